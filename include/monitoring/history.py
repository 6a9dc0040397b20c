"""What was said of each day at each look: a day's numbers are stated anew as its labels come.

A statement is never changed. So one can read what was known when, how far a first number was off, and what the
estimates that were made before the labels have been worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include import lake, metrics
from include.contracts import DAY, PERFORMANCE
from include.files import hash_value
from include.models.spec import ModelSpec
from include.settings import Settings
from include.times import iso, parse

_SCHEMA = lake.schema(PERFORMANCE)
_MEASURED = ("log_loss", "accuracy", "base_rate")
_ESTIMATED = {"log_loss": "estimated_log_loss", "accuracy": "estimated_accuracy", "base_rate": "estimated_rate"}


def rows(performance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The daily rows to state, from what performance.measure gives: one a day of the window."""
    estimated = {row["day"]: row for row in (performance["estimated"] or {"daily": []})["daily"]}
    told = []
    for row in performance["daily"]:
        before = estimated[row["day"]]
        told.append(
            {
                "day": row["day"],
                "flights": row["rows"],
                **{name: row[name] for name in ("labelled", "brier", "predicted", *_MEASURED)},
                **{column: before[name] for name, column in _ESTIMATED.items()},
            }
        )
    return told


def state(settings: Settings, model: str, version: int, as_of: str, daily: list[dict[str, Any]]) -> int:
    """Keep what the look at `as_of` says of each day (see `rows`); returns how many rows are new.

    The same look again adds nothing, whatever it says: what was once stated stays.
    """
    if not daily:
        return 0
    own = {"model": model, "version": version, "as_of": parse(as_of)}
    look = hash_value([model, version, iso(parse(as_of))])
    table = pa.Table.from_pylist([{DAY: row["day"], **own, **row} for row in daily], schema=_SCHEMA)
    try:
        lake.append(settings.lake, PERFORMANCE, table, {f"look/{look}": 1})
    except lake.Repeated:
        return 0
    return table.num_rows


def read(
    settings: Settings,
    spec: ModelSpec,
    version: int | None = None,
    as_of: str | None = None,
    days: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Each version's days, in order, from the statements made at `as_of` or before (None: all).

    [{"version", "day", "looks", "estimated" (the first statement: made before most labels), "first" (the first with
    enough labels to say something: coverage of triggers.min_coverage; None while there is none), "newest", "changed"
    {log_loss, accuracy, base_rate: newest - first, or None}}]; a statement is a row of PERFORMANCE with "coverage".
    """
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in _statements(settings, spec.name, version, parse(as_of) if as_of else None, days):
        found.setdefault((row["version"], row["day"]), []).append(row)
    return [_told(spec, key, statements) for key, statements in sorted(found.items())]


def _told(spec: ModelSpec, key: tuple[int, str], statements: list[dict[str, Any]]) -> dict[str, Any]:
    enough = [s for s in statements if s["coverage"] >= spec.triggers.min_coverage]
    first, newest = enough[0] if enough else None, statements[-1]
    both = [(None if first is None else first[name], newest[name]) for name in _MEASURED]
    return {
        "version": key[0],
        "day": key[1],
        "looks": len(statements),
        "estimated": statements[0],
        "first": first,
        "newest": newest,
        "changed": {
            name: None if old is None or new is None else new - old
            for name, (old, new) in zip(_MEASURED, both, strict=True)
        },
    }


def errors(told: list[dict[str, Any]], coverage: float) -> dict[str, Any]:
    """What the first estimates of `read` were worth: {"days", "log_loss", "accuracy", "base_rate"}, each an estimate
    of (estimated - measured) over the days whose newest statement has at least this coverage, with "absolute", the
    mean size of a day's error; None without such days. A day counts once, by its newest version."""
    by_day = {t["day"]: t for t in told if t["newest"]["coverage"] >= coverage}
    found: dict[str, Any] = {"days": len(by_day)}
    for name, column in _ESTIMATED.items():
        gaps = [
            (day, t["estimated"][column] - t["newest"][name])
            for day, t in by_day.items()
            if t["estimated"][column] is not None and t["newest"][name] is not None
        ]
        if not gaps:
            found[name] = None
            continue
        values = np.array([gap for _, gap in gaps])
        mean = metrics.by_day(values, np.array([day for day, _ in gaps]))
        found[name] = {**mean.model_dump(), "absolute": float(np.abs(values).mean())}
    return found


def _statements(
    settings: Settings, model: str, version: int | None, as_of: datetime | None, days: tuple[str, str] | None
) -> list[dict[str, Any]]:
    """Rows of PERFORMANCE, the oldest look first."""
    try:
        newest = lake.version(settings.lake, PERFORMANCE)
    except lake.UnknownVersion:
        return []
    table = lake.read(settings.lake, PERFORMANCE, newest, days)
    keep = pc.equal(table["model"], model)
    if version is not None:
        keep = pc.and_(keep, pc.equal(table["version"], version))
    if as_of is not None:
        keep = pc.and_(keep, pc.less_equal(table["as_of"], pa.scalar(as_of, type=_SCHEMA.field("as_of").type)))
    table = table.filter(keep).sort_by([("as_of", "ascending")])
    return [
        {**row, "as_of": iso(row["as_of"]), "coverage": row["labelled"] / max(row["flights"], 1)}
        for row in table.drop_columns(DAY).to_pylist()
    ]
