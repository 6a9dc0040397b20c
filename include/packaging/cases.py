"""Requests that a service must refuse, made from a model's schema and one good row: name, body, field to be named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

MANY = 20_000  # rows; more than any sane limit, and still a small body


class Case(NamedTuple):
    name: str
    body: bytes
    field: str  # that the answer must name


def bad_inputs(schema: Mapping[str, Any], good: Mapping[str, float | None]) -> list[Case]:
    """Every way of being wrong that the schema allows for. `good`: a row that the service accepts."""
    features = schema["features"]
    first = features[0]["name"]
    cases = [
        _case("missing feature", {k: v for k, v in good.items() if k != first}, first),
        _case("unknown feature", {**good, "no_such_feature": 1.0}, "no_such_feature"),
        _case("text for a number", {**good, first: "12"}, first),
        _case("truth value for a number", {**good, first: True}, first),
        _case("list for a number", {**good, first: [1.0]}, first),
        _case("Infinity", {**good, first: float("inf")}, first),
        _case("ragged rows", good, first, {k: v for k, v in good.items() if k != first}),
        _case("a row that is no object", list(good.values()), "rows"),
        Case("no rows", b'{"rows": []}', "rows"),
        Case("rows absent", b"{}", "rows"),
        Case("too many rows", json.dumps({"rows": [{}] * MANY}).encode(), "rows"),
        Case("not JSON", b'{"rows": [{"', "body"),
        Case("not an object", b"[]", "body"),
        Case("empty body", b"", "body"),
    ]
    if required := [f["name"] for f in features if not f["nullable"]]:
        cases.append(_case("null where forbidden", {**good, required[0]: None}, required[0]))
        cases.append(_case("NaN where forbidden", {**good, required[0]: float("nan")}, required[0]))
    for word, bound, sign in (("above its bound", "high", 1), ("below its bound", "low", -1)):
        if bounded := [f for f in features if f[bound] is not None]:
            name, limit = bounded[0]["name"], bounded[0][bound]
            cases.append(_case(word, {**good, name: limit + sign * (1 + abs(limit))}, name))
    return cases


def _case(name: str, row: Any, field: str, *more: Any) -> Case:
    return Case(name, json.dumps({"rows": [row, *more]}).encode(), field)
