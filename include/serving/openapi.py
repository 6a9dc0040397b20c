"""The service's OpenAPI document, made from the structs that requests are decoded into and answers are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from include.contracts import FEATURES
from include.serving import requests

_REF = "#/components/schemas/{name}"
_STRUCTS = (
    requests.Predict,
    requests.PredictBatch,
    requests.Answer,
    requests.Answers,
    requests.Scores,
    requests.Failure,
    requests.State,
)
_FLIGHT = {
    "carrier": "B6",
    "flight": 727,
    "origin": "JFK",
    "dest": "BQN",
    "sched_dep": "2013-04-30T23:59:00-04:00",
    "sched_arr": "2013-05-01T03:50:00-04:00",
    "distance": 1576,
}
_GIVEN = {f.name: f.low for f in FEATURES.values()}  # any value within the bounds
_EXAMPLES: dict[str, dict[str, Any]] = {
    "Predict": {
        "examples": {
            "flight": {"summary": "features from the store", "value": {"flight": _FLIGHT}},
            "replay": {
                "summary": "features given, and explained",
                "value": {"flight": {**_FLIGHT, "features": _GIVEN}, "explain": True},
            },
        }
    },
    "PredictBatch": {"examples": {"two": {"value": {"flights": [{**_FLIGHT, "features": _GIVEN}] * 2}}}},
}
_WHY = {
    "400": "the body is not JSON, or not what this path reads",
    "408": "the body did not arrive within ten seconds; the connection is closed",
    "413": "too much at once; the connection is closed",
    "422": "JSON, but a field is wrong, or a feature that may not be missing is not known; `error.field` names it",
    "503": "no champion yet, the feature store cannot be read, features are too old, or the model failed",
}


def document(features: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """OpenAPI 3.1. `features`: of the champion's schema, which rows to be scored must have; None: there is none."""
    schemas, components = msgspec.json.schema_components(_STRUCTS, ref_template=_REF)
    body = {struct.__name__: schema for struct, schema in zip(_STRUCTS, schemas, strict=True)}
    body["ScoreRows"] = _ref("ScoreRows")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ratchet",
            "version": "1",
            "description": "Will a flight out of New York not be on time? Answers come with the version that gave them "
            "and the age of the features that they rest on.",
        },
        "paths": {
            "/predict": _post(body, "predict", "One flight", "Predict", "Answer"),
            "/predict/batch": _post(body, "predictBatch", "Up to 1,000 flights", "PredictBatch", "Answers"),
            "/score": _post(body, "score", "Rows of features, as training has them; not logged", "ScoreRows", "Scores"),
            "/healthz": _get("healthz", "The process lives", {"200": _json(body["State"])}),
            "/livez": _get("livez", "The process lives", {"200": _json(body["State"])}),
            "/readyz": _get(
                "readyz",
                "What is served",
                {"200": _json(body["State"]), "503": _json(body["State"], "no champion yet")},
            ),
            "/metrics": _get(
                "metrics", "For Prometheus", {"200": {"description": "text", "content": {"text/plain": {}}}}
            ),
            "/openapi.json": _get("openapi", "This document", {"200": _json({"type": "object"})}),
        },
        "components": {"schemas": {**components, "ScoreRows": _rows(features)}},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF.format(name=name)}


def _rows(features: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "object"}
    if features is not None:
        values = {f["name"]: _value(f) for f in features}
        row |= {"properties": values, "required": list(values), "additionalProperties": False}
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": requests.MAX_FLIGHTS}
    return {
        "title": "ScoreRows",
        "type": "object",
        "properties": {"rows": rows},
        "required": ["rows"],
        "additionalProperties": False,
    }


def _value(feature: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {k: feature[b] for k, b in (("minimum", "low"), ("maximum", "high")) if feature[b] is not None}
    return {"type": ["number", "null"] if feature["nullable"] else "number", **bounds}


def _post(body: dict[str, Any], name: str, summary: str, takes: str, gives: str) -> dict[str, Any]:
    refused = {status: _json(body["Failure"], why) for status, why in _WHY.items()}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": body[takes], **_EXAMPLES.get(takes, {})}},
            },
            "responses": {"200": _json(body[gives]), **refused},
        }
    }


def _get(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"operationId": name, "summary": summary, "responses": responses}}


def _json(schema: dict[str, Any], description: str = "answered") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
