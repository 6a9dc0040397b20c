"""What a rehearsal demands of a running service. Each check says what it saw, what was due, and why it failed."""

from __future__ import annotations

import http.client
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from include.packaging.cases import bad_inputs
from include.packaging.server import Server, ask, is_ready

Check = dict[str, Any]
_BATCH = 500  # rows a request of the replay
_ROUNDS = 3  # of measuring the latency
_FLIGHT = {
    "carrier": "B6",
    "flight": 727,
    "origin": "JFK",
    "dest": "BQN",
    "sched_dep": "2013-01-10T23:59:00-05:00",
    "sched_arr": "2013-01-11T05:00:00-04:00",
    "distance": 1576,
}


@dataclass(frozen=True)
class Limits:
    """What a rehearsal demands. The latency is a client's, over HTTP, one row a request."""

    parity: float = 1e-6  # largest difference between served and trained probability
    p99_ms: float = 100.0
    ready_seconds: float = 60.0
    requests: int = 300  # to measure the latency


def check(name: str, passed: bool, value: Any, threshold: Any, unit: str, reason: str) -> Check:
    value = round(value, 9) if isinstance(value, float) else value
    return {"name": name, "passed": passed, "value": value, "threshold": threshold, "unit": unit, "reason": reason}


def check_service(
    server: Server,
    described: Mapping[str, Any],
    frame: pd.DataFrame,
    expected: np.ndarray,
    limits: Limits,
    report: dict[str, Any],
) -> list[Check]:
    """All checks of a running service. `described`: the archive's {schema, identity}; fills in `report`'s numbers."""
    schema = described["schema"]
    names = [f["name"] for f in schema["features"]]
    absent = [n for n in names if n not in frame.columns]
    if absent or len(frame) == 0 or len(frame) != len(expected):
        why = f"{len(frame)} rows, {len(expected)} expected probabilities, columns missing: {absent[:5]}"
        return [check("parity", False, None, limits.parity, "", f"nothing that could be replayed: {why}")]
    rows = records(frame, names)
    report["rows"] = len(rows)
    connection = server.connect()
    groups: list[tuple[str, Callable[[], list[Check]]]] = [
        ("identity", lambda: [_identity(connection, described["identity"], rows[0])]),
        ("parity", lambda: [_parity(connection, rows, expected, limits)]),
        ("a flight", lambda: [_flight(connection, rows[0])]),
        ("missing values", lambda: [_missing_values(connection, schema, rows[0])]),
        ("bad input", lambda: _bad_inputs(connection, schema, rows[0])),
        ("latency", lambda: [_latency(connection, rows, limits, report)]),
    ]
    checks: list[Check] = []
    for name, run in groups:
        try:
            checks += run()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # it opens again by itself
            why = f"the service did not answer: {type(error).__name__} {error}"
            checks.append(check(name, False, None, None, "", why))
    connection.close()
    alive = is_ready(server.port, timeout=5)
    why = "still ready after all of this" if alive else "no longer ready"
    return [*checks, check("alive at the end", alive, None, None, "", why)]


def records(frame: pd.DataFrame, names: Sequence[str]) -> list[dict[str, float | None]]:
    """Rows as a client sends them: float32 values, null for NaN."""
    table = frame[list(names)].to_numpy(dtype=np.float32).astype(float).tolist()
    return [{n: None if math.isnan(v) else v for n, v in zip(names, row, strict=True)} for row in table]


def _identity(
    connection: http.client.HTTPConnection, identity: Mapping[str, Any], row: Mapping[str, float | None]
) -> Check:
    """The service says that it is the model and version of its labels."""
    due = {"model": identity["labels"]["model_name"], "version": identity["labels"]["model_version"]}
    status, value = ask(connection, json.dumps({"rows": [row]}).encode())
    said = {k: value.get(k) for k in due} if isinstance(value, dict) else {}
    why = f"answered {status}, as {said.get('model')} version {said.get('version')}"
    return check("identity", said == due, said.get("version"), due["version"], "version", why)


def _parity(
    connection: http.client.HTTPConnection, rows: Sequence[Mapping[str, Any]], expected: np.ndarray, limits: Limits
) -> Check:
    served: list[float] = []
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        status, value = ask(connection, json.dumps({"rows": batch}).encode())
        if status != 200 or len(value["predictions"]) != len(batch):
            why = f"rows from {start} on were answered with {status}: {json.dumps(value)[:300]}"
            return check("parity", False, status, limits.parity, "", why)
        served += value["predictions"]
    difference = np.abs(np.asarray(served) - expected)
    worst = float(difference.max())
    passed = bool(np.isfinite(difference).all() and worst <= limits.parity)
    why = (
        f"largest difference between served and trained probability over {len(rows)} rows, at row {difference.argmax()}"
    )
    return check("parity", passed, worst if math.isfinite(worst) else str(worst), limits.parity, "", why)


def _flight(connection: http.client.HTTPConnection, row: Mapping[str, float | None]) -> Check:
    """A flight that brings all of its features along is answered as its features alone are."""
    given = {**_FLIGHT, "features": row}
    status, due = ask(connection, json.dumps({"rows": [row]}).encode())
    if status != 200:
        return check("a flight", False, status, 200, "status", f"its features alone were refused: {due}")
    status, said = ask(connection, json.dumps({"flight": given}).encode(), "/predict")
    if status != 200:
        return check("a flight", False, status, 200, "status", f"/predict answered {json.dumps(said)[:300]}")
    passed = said["probability"] == due["predictions"][0] and str(said["version"]) == due["version"]
    why = f"/predict says {said['probability']}, /score says {due['predictions'][0]}"
    return check("a flight", passed, said["probability"], due["predictions"][0], "", why)


def _missing_values(
    connection: http.client.HTTPConnection, schema: Mapping[str, Any], row: Mapping[str, float | None]
) -> Check:
    """null and NaN mean the same, and are welcome wherever the schema says so."""
    nullable = [f["name"] for f in schema["features"] if f["nullable"]]
    answers = []
    for missing in (None, float("nan")):
        status, value = ask(connection, json.dumps({"rows": [{**row, **dict.fromkeys(nullable, missing)}]}).encode())
        answers.append((status, value.get("predictions") if isinstance(value, dict) else value))
    passed = answers[0][0] == 200 and answers[0] == answers[1]
    why = "null and NaN where allowed give the same answer" if passed else f"null gave {answers[0]}, NaN {answers[1]}"
    return check("missing values", passed, answers[0][0], 200, "status", why)


def _bad_inputs(
    connection: http.client.HTTPConnection, schema: Mapping[str, Any], row: Mapping[str, float | None]
) -> list[Check]:
    checks = []
    for case in bad_inputs(schema, row):
        status, value = ask(connection, case.body)
        error = value.get("error") if isinstance(value, dict) else None
        error = error if isinstance(error, dict) else {}
        passed = 400 <= status < 500 and error.get("field") == case.field and bool(error.get("message"))
        why = f"answered {status}: {error.get('message')}" + ("" if passed else f"; 4xx naming {case.field} was due")
        checks.append(check(f"refuses: {case.name}", passed, status, "4xx", "status", why))
    return checks


def _latency(
    connection: http.client.HTTPConnection,
    rows: Sequence[Mapping[str, Any]],
    limits: Limits,
    report: dict[str, Any],
) -> Check:
    """The best of three rounds: a busy machine only ever adds to a latency."""
    bodies = [json.dumps({"rows": [rows[i % len(rows)]]}).encode() for i in range(limits.requests)]
    p50 = p99 = math.inf
    failed = rounds = 0
    while rounds < _ROUNDS and p99 > limits.p99_ms and not failed:
        rounds += 1
        times = []
        for body in bodies:
            begin = time.perf_counter()
            status, _ = ask(connection, body)
            times.append(1000 * (time.perf_counter() - begin))
            failed += status != 200
        p50, p99 = min((p50, p99), tuple(float(np.percentile(times, q)) for q in (50, 99)), key=lambda pair: pair[1])
    report["latency_ms"] = {"p50": round(p50, 3), "p99": round(p99, 3)}
    why = f"p99 of {len(bodies)} requests of one row (p50 {p50:.2f} ms), round {rounds} of {_ROUNDS}, {failed} failed"
    return check("latency", p99 <= limits.p99_ms and not failed, p99, limits.p99_ms, "ms", why)
