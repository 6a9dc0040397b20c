"""From the source to the fact tables: which span a run covers, landing raw rows, writing the facts of its good rows.

Each step overwrites whole days, so a step that runs twice, late or after being killed leaves the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include import lake
from include.contracts import (
    DEPARTURE,
    LATE15,
    OUTCOME,
    QUARANTINE,
    RAW_MOVEMENTS,
    RAW_SCHEDULE,
    RAW_TABLES,
    RAW_WEATHER,
    SCHEDULE,
    WEATHER,
    Interval,
    Ref,
    Table,
)
from include.crashpoints import reached
from include.settings import Settings
from include.sources import facts, landing, nycflights
from include.times import days_between, iso, parse

SOURCES: dict[str, ModuleType] = {nycflights.NAME: nycflights}

# A row can change until its flight has arrived: in 2013 on the UTC day after its own at the latest. The schedule of a
# day is published two days before it.
_CHANGES_FOR = timedelta(days=1)
_PUBLISHED_AHEAD = timedelta(days=2)

_FACTS: tuple[tuple[Table, Table, Callable[[pa.Table, datetime], pa.Table]], ...] = (
    (SCHEDULE, RAW_SCHEDULE, facts.schedule),
    (DEPARTURE, RAW_MOVEMENTS, facts.departure),
    (LATE15, RAW_MOVEMENTS, facts.late15),
    (OUTCOME, RAW_MOVEMENTS, facts.outcome),
    (WEATHER, RAW_WEATHER, facts.weather),
)


def source(settings: Settings) -> ModuleType:
    """The module that reads the configured source. Raises ValueError that names the known ones."""
    if settings.source not in SOURCES:
        raise ValueError(f"settings.source is {settings.source!r}; known sources: {', '.join(SOURCES)}")
    return SOURCES[settings.source]


def plan(settings: Settings, start: str | None, end: str | None, as_of: str) -> Interval:
    """The span of data time that a run covers and the knowledge it may use.

    Without `start` it goes on where ingest has left no hole (the catalog's watermark), so that a machine that slept
    leaves none; when that is already at `end`, the last hour is done again. Without `end` it goes up to `as_of`.
    The interval's as-of is never before the catalog's: doing old days again does not forget what is known by now.
    Raises ValueError that names the field, Exhausted when the source has nothing at or after `start`.
    """
    feed, published = source(settings), lake.catalog(settings.lake)
    now = _time("as_of", as_of)
    last = _time("end", end) if end else min(now, feed.ENDS)
    if start:
        first = _time("start", start)
    else:
        first = parse(published["watermark"]) if published["watermark"] else settings.history_start
        if first >= feed.ENDS:
            raise feed.Exhausted(
                f"the source {feed.NAME} is exhausted: all up to its end, {iso(feed.ENDS)}, is ingested"
            )
        if published["watermark"] and first >= last:
            first = last - timedelta(hours=1)
    _check_span(feed, first, last, now)
    return Interval(start=iso(first), end=iso(last), as_of=max(iso(last), published["as_of"] or iso(last)))


def land(settings: Settings, interval: Interval) -> dict[str, Any]:
    """Write what the source delivers for the touched days to the raw tables, as it is.

    Returns {"days": [...], "versions": {raw table: version}}, and under "delivered" {raw table: Ref} for a delivery
    that the table could not take whole (columns, types, repeated keys): it is kept as a file for the check to judge.
    Touched are the days with a row that may have become known in [start, end): from a day before it to two after.
    """
    feed = source(settings)
    days = touched_days(settings, interval)
    delivery = feed.extract(days, parse(interval["as_of"]))
    versions: dict[str, int] = {}
    delivered: dict[str, Ref] = {}
    for table in RAW_TABLES:
        rows = landing.landable(table, delivery[table.name], days)
        if not landing.same(rows, delivery[table.name]):
            delivered[table.name] = landing.keep(settings, table, delivery[table.name])
            reached(f"ingest.land.{table.name}.delivered")
        if rows is not None:
            versions[table.name] = lake.overwrite_days(settings.lake, table, rows, days)
            reached(f"ingest.land.{table.name}")
    landed: dict[str, Any] = {"days": days, "versions": versions}
    return {**landed, "delivered": delivered} if delivered else landed


def write_facts(
    settings: Settings, interval: Interval, landed: dict[str, Any], checked: dict[str, Any]
) -> dict[str, Any]:
    """Write the facts of the landed days from the rows that no rule has put aside, and those rows to quarantine.

    Returns {"days": [...], "versions": {fact and quarantine tables: version}}. `checked["bad_rows"]` refers to a
    Parquet file of the quarantine's schema; without it, nothing is put aside.
    """
    days, as_of = landed["days"], parse(interval["as_of"])
    bad = _bad_rows(checked)
    good = {t.name: _good_rows(settings, t, landed, bad) for t in RAW_TABLES}
    versions: dict[str, int] = {}
    for table, raw, transform in _FACTS:
        rows = transform(good[raw.name], as_of)
        versions[table.name] = lake.overwrite_days(settings.lake, table, rows, days)
        reached(f"ingest.facts.{table.name}")
    versions[QUARANTINE.name] = lake.overwrite_days(settings.lake, QUARANTINE, bad, days)
    reached(f"ingest.facts.{QUARANTINE.name}")
    return {"days": days, "versions": versions}


def touched_days(settings: Settings, interval: Interval) -> list[str]:
    """UTC dates whose rows can have become known in [start, end), clipped to the source's."""
    feed = source(settings)
    first = max(parse(interval["start"]) - _CHANGES_FOR, feed.BEGINS)
    last = min(parse(interval["end"]) + _PUBLISHED_AHEAD + timedelta(microseconds=1), feed.ENDS)
    return [day for day in days_between(first, last) if day <= feed.LAST_DAY]


def _time(field: str, text: str) -> datetime:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _check_span(feed: ModuleType, first: datetime, last: datetime, now: datetime) -> None:
    if first >= feed.ENDS:
        raise feed.Exhausted(f"start: {iso(first)} lies beyond the end of the source {feed.NAME}, {iso(feed.ENDS)}")
    if first < feed.BEGINS:
        raise ValueError(f"start: {iso(first)} lies before the source {feed.NAME} begins, {iso(feed.BEGINS)}")
    if last > feed.ENDS:
        raise ValueError(f"end: {iso(last)} lies beyond the end of the source {feed.NAME}, {iso(feed.ENDS)}")
    if first >= last:
        raise ValueError(f"start: {iso(first)} is not before the end, {iso(last)}: there is nothing to ingest")
    if last > now:
        raise ValueError(f"end: {iso(last)} lies after the run's as_of, {iso(now)}: nothing is known of it yet")


def _bad_rows(checked: dict[str, Any]) -> pa.Table:
    ref = checked.get("bad_rows")
    if not ref:
        return lake.schema(QUARANTINE).empty_table()
    return pq.read_table(ref["uri"]).cast(lake.schema(QUARANTINE))


def _good_rows(settings: Settings, table: Table, landed: dict[str, Any], bad: pa.Table) -> pa.Table:
    """Landed rows of a raw table without those in `bad`. A schedule row put aside takes its movements with it."""
    feeds = [RAW_SCHEDULE.name, RAW_MOVEMENTS.name] if table is RAW_MOVEMENTS else [table.name]
    broken = bad.filter(pc.is_in(bad["feed"], value_set=pa.array(feeds)))
    days = (landed["days"][0], landed["days"][-1])
    rows = lake.read(settings.lake, table, landed["versions"][table.name], days)
    keys = pa.array(lake.row_keys(table, rows), pa.string())
    return rows.filter(pc.invert(pc.is_in(keys, value_set=broken["row_key"])))
