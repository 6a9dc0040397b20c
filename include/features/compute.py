"""Facts to feature rows: pure, Arrow in and Arrow out."""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include import lake, times
from include.contracts import CARRIERS, DAY, EVENT_TIME, KNOWN_AT, ORIGINS, PUBLICATION_LAG, VIEWS, View
from include.features import engine
from include.features.definitions import DAILY_HOUR, MEANS, OTHERS, PRIOR, TALLIES, Mean

_AT = {
    "hourly": "DATE_TRUNC('hour', f.known_at - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR",
    "daily": f"DATE_TRUNC('day', f.known_at - INTERVAL {DAILY_HOUR} HOUR - INTERVAL 1 MICROSECOND)"
    f" + INTERVAL {DAILY_HOUR + 24} HOUR",
}


def instants(cadence: str, days: list[str], as_of: datetime) -> list[datetime]:
    """The snapshots of a cadence on these days that are not in the future of `as_of`."""
    hours = range(24) if cadence == "hourly" else [DAILY_HOUR]
    every = (times.parse(day) + timedelta(hours=h) for day in days for h in hours)
    return [at for at in every if at <= as_of]


def rows(facts: dict[str, pa.Table], days: dict[str, list[str]], as_of: datetime) -> dict[str, pa.Table]:
    """The feature rows of some days, by view name: {view: days} in, {view: rows in the table's schema} out.

    `facts` holds the fact tables by name, with enough of the past for the longest window. A row at an instant uses
    only facts with known_at at or before it, so rows made now and rows made later are the same.
    """
    with engine.connect() as con:
        for name, table in facts.items():
            engine.register(con, name, table)
        _define_codes(con)
        for name, tally in TALLIES.items():
            sql = engine.text("tally", moment=_AT[tally.cadence], fact=tally.fact, value=tally.value)
            engine.define(con, name, sql)
        return {v.name: _finish(v, _view(con, v, days[v.name], as_of)) for v in VIEWS if days.get(v.name)}


def _define_codes(con: duckdb.DuckDBPyConnection) -> None:
    for name, values in (("carriers", CARRIERS), ("origins", ORIGINS)):
        engine.register(con, name, pa.table({"name": list(values), "code": list(range(len(values)))}))


def _view(con: duckdb.DuckDBPyConnection, view: View, days: list[str], as_of: datetime) -> pa.Table:
    if view.cadence == "plan":
        first, last = times.parse(min(days)), min(times.parse(max(days)) + timedelta(days=1, microseconds=-1), as_of)
        return engine.fetch(con, engine.text("plan", first=f"{first:%F %T.%f}", last=f"{last:%F %T.%f}"))
    entities, keys = f"entities_{view.name}", ", ".join(view.keys)
    at = pa.array(instants(view.cadence, days, as_of), pa.timestamp("us", tz="UTC"))
    engine.register(con, "instants", pa.table({"moment": at}))
    engine.define(con, entities, engine.text("entities", keys=keys))
    parts = [_mean(m, view, entities) for m in MEANS.get(view.name, ())]
    parts += [engine.text(name, entities=entities) for name in OTHERS.get(view.name, ())]
    return engine.fetch(con, _side_by_side(parts, keys, ", ".join(f.name for f in view.features)))


def _side_by_side(parts: list[str], keys: str, features: str) -> str:
    first, *others = [f"({sql}) AS part_{i}" for i, sql in enumerate(parts)]
    joins = "".join(f" JOIN {part} USING ({keys}, moment)" for part in others)
    return engine.text("view", keys=keys, features=features, parts=first + joins)


def _mean(mean: Mean, view: View, entities: str) -> str:
    return engine.text(
        "mean",
        feature=mean.feature,
        tally=mean.tally,
        entities=entities,
        hours=mean.hours,
        prior=PRIOR,
        weight=mean.weight,
        group_by=", ".join(("moment", *mean.keys)),
        entity_keys=", ".join(f"e.{k}" for k in view.keys),
        same_keys=" AND ".join(f"g.{k} = e.{k}" for k in mean.keys) or "TRUE",
    )


def _finish(view: View, rows: pa.Table) -> pa.Table:
    """Add the day, the event time and the moment from which the row may be used; order as in the lake."""
    at = rows["moment"]
    lag = pa.scalar(PUBLICATION_LAG, pa.duration("us"))
    made = rows.append_column(DAY, pc.strftime(at, "%Y-%m-%d")).append_column(EVENT_TIME, at)
    made = made.append_column(KNOWN_AT, pc.add(at, lag))
    made = made.select(list(view.table.columns)).cast(lake.schema(view.table))
    return made.sort_by([(name, "ascending") for name in (DAY, *view.table.key)]).combine_chunks()
