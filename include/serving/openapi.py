"""The service's OpenAPI document, made from the structs that requests are decoded into and answers are made of."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

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
_WHY = {
    "400": "the body is not JSON, or not what this path reads",
    "413": "too much at once; the connection is closed",
    "422": "JSON, but a field is wrong, or a feature that may not be missing is not known; `error.field` names it",
    "503": "no champion yet, the feature store cannot be read, features are too old, or the model failed",
    "504": "the body did not arrive in time",
}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
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
        "components": {"schemas": {**components, "ScoreRows": _rows()}},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF.format(name=name)}


def _rows() -> dict[str, Any]:
    """Rows of the served model: which features, the bundle's schema says."""
    value = {"type": ["number", "null"]}
    row = {"type": "object", "additionalProperties": value}
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": requests.MAX_FLIGHTS}
    return {
        "title": "ScoreRows",
        "type": "object",
        "properties": {"rows": rows},
        "required": ["rows"],
        "additionalProperties": False,
    }


def _post(body: dict[str, Any], name: str, summary: str, takes: str, gives: str) -> dict[str, Any]:
    refused = {status: _json(body["Failure"], why) for status, why in _WHY.items()}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "requestBody": {"required": True, "content": {"application/json": {"schema": body[takes]}}},
            "responses": {"200": _json(body[gives]), **refused},
        }
    }


def _get(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"operationId": name, "summary": summary, "responses": responses}}


def _json(schema: dict[str, Any], description: str = "answered") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
