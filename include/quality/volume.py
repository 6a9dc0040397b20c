"""How much came, a day: the frame behind the suite feed_volume. One row a UTC day, judged against the schedule."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pandas as pd

from include.contracts import DAY, ORIGINS, RAW_TABLES
from include.quality.frames import ROW, sound

_LATE = pd.Timedelta(minutes=15)  # by then a flight has left or is called late: the movements must know it
_CANCELLED = pd.Timedelta(hours=6)
_FEW = 10  # flights due below which a share says nothing
NAME = "feed_volume"
_NEEDED = {
    "raw_schedule": "ds flight_id sched_dep year month day",
    "raw_movements": "flight_id dep_time",
    "raw_weather": "ds",
}


def frame(raw: dict[str, pd.DataFrame], days: list[str], as_of: datetime, history_start: datetime) -> pd.DataFrame:
    """Columns: ds, flights_published, movements_due, movements_found, movements_arrive, movements_share,
    cancelled_share, local_day_flights (of days whose evening is landed too), weather_due, weather_share.

    A share is null where too little is due to say anything. Only the days, when a feed lacks a column needed here.
    """
    schedule, movements, weather = (raw[table.name] for table in RAW_TABLES)
    if not _usable(raw):
        return pd.DataFrame({DAY: list(days), ROW: range(len(days))})
    now = pd.Timestamp(as_of)
    flights = schedule.drop_duplicates("flight_id")
    flights = flights.assign(
        due=flights["sched_dep"] + _LATE <= now,
        found=flights["flight_id"].isin(movements["flight_id"]),
        old=flights["sched_dep"] + _CANCELLED <= now,
        never=~flights["flight_id"].isin(movements.loc[movements["dep_time"].notna(), "flight_id"]),
    )
    flights = flights.assign(seen=flights["due"] & flights["found"], cancelled=flights["old"] & flights["never"])
    sums = flights.groupby(DAY)[["due", "seen", "old", "cancelled"]].sum().reindex(days, fill_value=0)
    share = (sums["seen"] / sums["due"]).where(sums["due"] >= _FEW)
    due = pd.Series([_weather_due(day, now, pd.Timestamp(history_start)) for day in days], index=list(days))
    came = weather.groupby(DAY).size().reindex(days, fill_value=0)
    return (
        pd.DataFrame(
            {
                ROW: range(len(days)),
                "flights_published": flights.groupby(DAY).size().reindex(days, fill_value=0),
                "movements_due": sums["due"],
                "movements_found": sums["seen"],
                "movements_arrive": (sums["due"] == 0) | (sums["seen"] > 0),
                "movements_share": share,
                "cancelled_share": (sums["cancelled"] / sums["old"]).where(sums["old"] >= _FEW),
                "local_day_flights": _whole_local_days(flights, days),
                "weather_due": due,
                "weather_share": (came / due).where(due >= _FEW),
            }
        )
        .rename_axis(DAY)
        .reset_index()
    )


def _usable(raw: dict[str, pd.DataFrame]) -> bool:
    return all(set(_NEEDED[table.name].split()) <= sound(table, raw[table.name]) for table in RAW_TABLES)


def _whole_local_days(flights: pd.DataFrame, days: list[str]) -> pd.Series:
    """Flights of the date in New York, for each date whose evening (the next UTC day) is among `days` too."""
    number = flights["year"] * 10_000 + flights["month"] * 100 + flights["day"]
    counts = flights.groupby(number).size()
    whole = {day: int(day.replace("-", "")) for day, after in pairwise(days) if _next(day) == after}
    found = {day: float(counts.get(key, 0)) for day, key in whole.items()}
    return pd.Series(found, dtype="float64").reindex(days)


def _next(day: str) -> str:
    return (pd.Timestamp(day) + pd.Timedelta(days=1)).strftime("%Y-%m-%d")


def _weather_due(day: str, now: pd.Timestamp, history_start: pd.Timestamp) -> int:
    """Observations that must have come: hour H is due at H + 1 h, at each origin."""
    first = max(pd.Timestamp(day, tz="UTC"), history_start.ceil("h") + pd.Timedelta(hours=1))
    last = min(pd.Timestamp(day, tz="UTC") + pd.Timedelta(days=1), now.floor("h"))
    return max(int((last - first) / pd.Timedelta(hours=1)), 0) * len(ORIGINS)
