"""POST /score: rows of features as training has them, scored and not logged. A rehearsal compares these with training.

    {"rows": [{feature: number or null, …}, …]}  →  {"predictions": [p, …], "model": …, "version": …}

Python's JSON is used here, which reads NaN as a missing value, as a client that sends a frame's rows writes it.
"""

from __future__ import annotations

import json
from typing import Any

from include.bundle import BadInput, check_rows
from include.serving.requests import MAX_BYTES, Refused, Scores, TooLarge
from include.serving.router import Model

MAX_ROWS = 1_000
ROWS = "rows"


def answer(model: Model, body: bytes) -> Scores:
    """The probabilities of a body's rows. Raises BadInput for what `rows` must not be, TooLarge for too many bytes, and
    Refused when the model fails."""
    table = check_rows(model.bundle.schema, rows_of(body))
    try:
        found = model.run(table)
    except Exception as error:  # whatever ONNX Runtime raises, the request is answered
        raise Refused(503, f"model: {error}", "model") from error
    return Scores(found.tolist(), model.name, str(model.version))


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
        raise BadInput(f"rows: {len(rows)} rows, at most {MAX_ROWS} in one request", field=ROWS)
    return rows
