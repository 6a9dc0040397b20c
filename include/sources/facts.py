"""Raw rows to facts: pure functions from Arrow to Arrow, each fact with its one `known_at`.

A fact is there as soon as it can be known and not before: `as_of` cuts. Input rows are good rows:
include/quality has put the others aside.
"""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pyarrow as pa

from include import lake
from include.contracts import DEPARTURE, KNOWN_AT, LATE15, OUTCOME, SCHEDULE, WEATHER, Table

ZONE = "America/New_York"
_LATE_MINUTES = 15  # late from the 15th minute on, at departure as at arrival
_LATE = pd.Timedelta(minutes=_LATE_MINUTES)


def schedule(raw: pa.Table, as_of: datetime) -> pa.Table:
    """The published flights, with the hour and the day of New York."""
    rows = raw.to_pandas()
    local = rows["sched_dep"].dt.tz_convert(ZONE)
    return _fact(
        SCHEDULE,
        as_of,
        rows.assign(
            local_date=_dates(local),
            local_hour=local.dt.hour,
            minute_of_day=local.dt.hour * 60 + local.dt.minute,
            weekday=local.dt.weekday,
        ),
    )


def departure(movements: pa.Table, as_of: datetime) -> pa.Table:
    """Flights that have left, from the moment they did. Never the clock on the wall: scheduled time plus delay."""
    rows = movements.to_pandas()
    departed = _after(rows["sched_dep"], rows["dep_delay"])
    return _fact(DEPARTURE, as_of, rows.assign(departed_at=departed, known_at=departed)[departed.notna()])


def late15(movements: pa.Table, as_of: datetime) -> pa.Table:
    """Was a flight 15 or more minutes late in leaving? Known when it leaves, at the latest after 15 minutes."""
    rows = movements.to_pandas()
    departed = _after(rows["sched_dep"], rows["dep_delay"])
    known = _earlier(departed, rows["sched_dep"] + _LATE)
    late = ~(rows["dep_delay"] < _LATE_MINUTES)
    return _fact(LATE15, as_of, rows.assign(late=late.astype("int64"), known_at=known))


def outcome(movements: pa.Table, as_of: datetime) -> pa.Table:
    """The label: 15 or more minutes late at arrival, cancelled or diverted. Known when the flight arrives, at the
    latest 15 minutes after its scheduled arrival: whoever has not arrived then is late, whatever comes."""
    rows = movements.to_pandas()
    known = _earlier(_after(rows["sched_arr"], rows["arr_delay"]), rows["sched_arr"] + _LATE)
    missed = ~(rows["arr_delay"] < _LATE_MINUTES)
    return _fact(OUTCOME, as_of, rows.assign(not_on_time=missed.astype("int64"), known_at=known))


def weather(raw: pa.Table, as_of: datetime) -> pa.Table:
    """Observations as they came, without the wind's direction."""
    return _fact(WEATHER, as_of, raw.to_pandas())


def _dates(local: pd.Series) -> pd.Series:
    """The date as text; each distinct one is formatted once, since formatting every row takes seconds a year."""
    days = local.dt.tz_localize(None).dt.floor("D")
    return days.map({day: day.strftime("%Y-%m-%d") for day in days.unique()})


def _after(planned: pd.Series, minutes: pd.Series) -> pd.Series:
    return planned + pd.to_timedelta(minutes, unit="min")


def _earlier(first: pd.Series, second: pd.Series) -> pd.Series:
    """The earlier of two times; a time that is not there does not count."""
    return second.where(~(first < second), first)


def _fact(table: Table, as_of: datetime, rows: pd.DataFrame) -> pa.Table:
    known = rows[rows[KNOWN_AT] <= pd.Timestamp(as_of)]
    return pa.Table.from_pandas(known[list(table.columns)], schema=lake.schema(table), preserve_index=False, safe=False)
