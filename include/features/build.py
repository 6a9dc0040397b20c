"""Recompute the feature rows that newly known facts touch, and write them to the lake, day by day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypedDict

import pyarrow as pa

from include import crashpoints, lake, times
from include.contracts import FACTS, VIEWS, Interval, View
from include.features import compute
from include.features.definitions import LOOKBACK, MARGIN, PUBLISHED_AHEAD
from include.settings import Settings

_CHUNK = 31  # days computed at a time: memory stays bounded however long the interval
_DAY = timedelta(days=1)


class Written(TypedDict):
    """Days of fact rows that were written, and the version of each table that holds them."""

    days: list[str]
    versions: dict[str, int]


class Built(TypedDict):
    versions: dict[str, int]


def build(settings: Settings, interval: Interval, facts: Written) -> Built:
    """Bring the feature tables up to the facts of `facts["versions"]`; returns the version of each feature table.

    Snapshots from `start` on are made again, because facts of the interval may have changed them; none is made after
    `as_of`. A day is replaced as a whole, and holds what could be known: doing it again writes the same rows.
    """
    days = _days(settings, interval, facts)
    every = sorted({day for some in days.values() for day in some})
    versions = {v.table.name: _version(settings, v) for v in VIEWS if not days[v.name]}
    for first in range(0, len(every), _CHUNK):
        chunk = every[first : first + _CHUNK]
        part = {name: [d for d in some if chunk[0] <= d <= chunk[-1]] for name, some in days.items()}
        made = compute.rows(_facts(settings, facts, part), part, times.parse(interval["as_of"]))
        for view in VIEWS:
            if view.name in made:
                table = view.table
                versions[table.name] = lake.overwrite_days(settings.lake, table, made[view.name], part[view.name])
                crashpoints.reached(f"ingest.features.{view.name}")
    return Built(versions=versions)


def _days(settings: Settings, interval: Interval, facts: Written) -> dict[str, list[str]]:
    """The days of each view whose rows may differ from what is written."""
    start, as_of = times.parse(interval["start"]), times.parse(interval["as_of"])
    last = _last(settings, interval, facts)
    hourly = _dates(start, last)
    daily = [day for day in hourly if any(at >= start for at in compute.instants("daily", [day], as_of))]
    plan = _dates(times.parse(min(facts["days"])) - PUBLISHED_AHEAD, last) if facts["days"] else hourly
    by_cadence = {"plan": plan, "hourly": hourly, "daily": daily}
    return {v.name: by_cadence[v.cadence] or _missing(settings, v, hourly) for v in VIEWS}


def _last(settings: Settings, interval: Interval, facts: Written) -> datetime:
    """Up to when snapshots may have changed: a fact counts for 28 days, but only a changed one changes anything."""
    end, as_of = times.parse(interval["end"]), times.parse(interval["as_of"])
    if end >= as_of:
        return as_of
    reach = min(as_of, end + LOOKBACK + _DAY)
    return reach if _changed(settings, facts, as_of) else end


def _changed(settings: Settings, facts: Written, as_of: datetime) -> bool:
    """Whether the touched days hold other facts than what is published."""
    published = lake.catalog(settings.lake)["versions"]
    if not facts["days"]:
        return False
    span = (min(facts["days"]), max(facts["days"]))
    for table in FACTS:
        old, new = published.get(table.name), facts["versions"][table.name]
        if old is None:
            return True
        before = lake.read(settings.lake, table, old, span, as_of) if old != new else None
        if before is not None and not before.equals(lake.read(settings.lake, table, new, span, as_of)):
            return True
    return False


def _facts(settings: Settings, facts: Written, days: dict[str, list[str]]) -> dict[str, pa.Table]:
    """The facts that rows of these days can depend on, by table name."""
    every = sorted({day for some in days.values() for day in some})
    back = LOOKBACK + MARGIN if any(days[v.name] for v in VIEWS if v.cadence == "daily") else _DAY + MARGIN
    first = times.day(times.parse(every[0]) - back)
    last = times.day(times.parse(every[-1]) + PUBLISHED_AHEAD + _DAY)
    return {t.name: lake.read(settings.lake, t, facts["versions"][t.name], (first, last)) for t in FACTS}


def _dates(start: datetime, last: datetime) -> list[str]:
    return times.days_between(start, last + timedelta(microseconds=1))


def _missing(settings: Settings, view: View, days: list[str]) -> list[str]:
    """A table that was never written gets its first days, be they empty, so that it can be read."""
    try:
        lake.version(settings.lake, view.table)
    except lake.UnknownVersion:
        return days
    return []


def _version(settings: Settings, view: View) -> int:
    """Of a table that needs no writing: what is published, else what is there."""
    published = lake.catalog(settings.lake)["versions"].get(view.table.name)
    return lake.version(settings.lake, view.table) if published is None else published
