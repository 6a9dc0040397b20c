"""From a request's body to its answer: pure functions, without a web framework.

    {"rows": [{feature: number or null, …}, …]}  →  {"predictions": [p, …], "model": …, "version": …}

A refused request names what is wrong with it: {"error": {"field": …, "row": …, "message": …}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from include.bundle import BadInput, Bundle, check_rows, predict

MAX_ROWS = 1_000
MAX_BYTES = 4_000_000  # four times what 1,000 rows of 36 features need
ROWS = "rows"
_SHOWN = 200  # characters of a client's own text that an answer repeats


class TooLarge(BadInput):
    """More bytes or rows than one request may have."""


def answer(bundle: Bundle, identity: Mapping[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
    """HTTP status and JSON value for a body. 400: not what `rows` must be; 413: too much of it."""
    try:
        table = check_rows(bundle.schema, rows_of(body))
    except BadInput as error:
        return 413 if isinstance(error, TooLarge) else 400, refusal(error)
    return 200, {"predictions": predict(bundle, table).tolist(), **identity}


def rows_of(body: bytes) -> list[Any]:
    """The rows of a body, not yet checked against a schema. Raises BadInput, TooLarge.

    Python's JSON reads NaN and Infinity too; whether a feature may be NaN is for the schema to say.
    """
    if len(body) > MAX_BYTES:
        raise TooLarge(f"body: {len(body)} bytes, at most {MAX_BYTES} are read", field="body")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of 5,000 digits, 100,000 brackets
        raise BadInput(f"body: not JSON: {error}", field="body") from None
    if not isinstance(value, dict):
        raise BadInput(f'body: expected {{"rows": […]}}, got {type(value).__name__}', field="body")
    unknown = [key for key in value if key != ROWS]
    if unknown:
        raise BadInput(f"{unknown[0]!r}: unknown key, only 'rows' is read", field=unknown[0])
    rows = value.get(ROWS)
    if not isinstance(rows, list):
        raise BadInput("rows: expected a list of objects {feature: number or null}", field=ROWS)
    if len(rows) > MAX_ROWS:
        raise TooLarge(f"rows: {len(rows)} rows, at most {MAX_ROWS} in one request", field=ROWS)
    return rows


def refusal(error: BadInput) -> dict[str, Any]:
    """What a client is told. Its own text is cut short, so that an answer is never as large as the request."""
    field = (error.field or ROWS)[:_SHOWN]  # a row that is no object has no field of its own
    return {"error": {"field": field, "row": error.row, "message": str(error)[: 2 * _SHOWN]}}
