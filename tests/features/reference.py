"""The features once more, one row at a time in pandas, written from their definitions and sharing no code with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

Row = dict[str, Any]


class Facts:
    """Facts as pandas frames, with what a flight is beside what happened to it."""

    def __init__(self, facts: dict[str, pa.Table]) -> None:
        self.schedule = facts["schedule"].to_pandas()
        self.weather = facts["weather"].to_pandas()
        about = self.schedule[["flight_id", "carrier", "flight", "origin", "dest", "local_hour"]]
        self.lates = facts["late15"].to_pandas().merge(about, on="flight_id")
        self.departures = facts["departure"].to_pandas().merge(about, on="flight_id")
        self.outcomes = facts["outcome"].to_pandas().merge(about, on="flight_id")


def recent(rows: pd.DataFrame, at: pd.Timestamp, hours: int, **group: Any) -> pd.DataFrame:
    """What became known in (at - hours, at] of a group."""
    keep = (rows["known_at"] > at - timedelta(hours=hours)) & (rows["known_at"] <= at)
    for name, value in group.items():
        keep &= rows[name] == value
    return rows[keep]


def late(facts: Facts, at: pd.Timestamp, hours: int, **group: Any) -> float:
    return recent(facts.lates, at, hours, **group)["late"].mean()


def rate(facts: Facts, at: pd.Timestamp, days: int, m: int, **group: Any) -> float:
    labels = recent(facts.outcomes, at, days * 24, **group)["not_on_time"]
    return (labels.sum() + 0.24 * m) / (len(labels) + m)


def pick(row: Row, *names: str) -> Row:
    return {name: row[name] for name in names}


def origin_hourly(facts: Facts, row: Row, at: pd.Timestamp) -> Row:
    group = pick(row, "origin")
    due = facts.schedule[
        (facts.schedule["sched_dep"] > at - timedelta(hours=4))
        & (facts.schedule["sched_dep"] <= at)
        & (facts.schedule["origin"] == row["origin"])
    ]
    gone = set(facts.departures.loc[facts.departures["departed_at"] <= at, "flight_id"])
    queue = sum(flight not in gone for flight in due["flight_id"])
    return {
        "origin_late_1h": late(facts, at, 1, **group),
        "origin_late_3h": late(facts, at, 3, **group),
        "origin_delay_1h": recent(facts.departures, at, 1, **group)["dep_delay"].mean(),
        "origin_delay_3h": recent(facts.departures, at, 3, **group)["dep_delay"].mean(),
        "origin_queue": queue,
        "origin_queue_share": queue / len(due) if len(due) else float("nan"),
        "all_late_6h": late(facts, at, 6),
    }


def origin_weather(facts: Facts, row: Row, at: pd.Timestamp) -> Row:
    here = facts.weather[facts.weather["origin"] == row["origin"]]
    known = here[(here["known_at"] <= at) & (here["observed_at"] >= at - timedelta(hours=6))].sort_values("observed_at")
    if known.empty:
        return {}
    now = known.iloc[-1]
    ends = now["observed_at"]
    last = here[(here["observed_at"] > ends - timedelta(hours=3)) & (here["observed_at"] <= ends)]
    before = here.loc[here["observed_at"] == ends - timedelta(hours=3), "pressure"]
    return {
        "temp": now["temp"],
        "humid": now["humid"],
        "wind": now["wind_speed"],
        "gust": now["wind_speed"] if pd.isna(now["wind_gust"]) else now["wind_gust"],
        "precip_3h": last["precip"].sum(),
        "pressure": now["pressure"],
        "pressure_change_3h": now["pressure"] - before.iloc[0] if len(before) else float("nan"),
        "visib": now["visib"],
        "visib_min_3h": last["visib"].min(),
        "dew_spread": now["temp"] - now["dewp"],
    }


def flight_plan(facts: Facts, row: Row, at: pd.Timestamp) -> Row:
    plan = facts.schedule
    mine = plan[plan["flight_id"] == row["flight_id"]].iloc[0]
    near = (plan["sched_dep"] - mine["sched_dep"]).abs() <= timedelta(minutes=30)
    block = (mine["sched_arr"] - mine["sched_dep"]).total_seconds() / 60
    carriers = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
    return {
        "minute_of_day": mine["minute_of_day"],
        "weekday": mine["weekday"],
        "distance": mine["distance"],
        "block_minutes": block,
        "slack_minutes": block - mine["distance"] / 8,
        "carrier_code": carriers.index(mine["carrier"]),
        "origin_code": ["EWR", "JFK", "LGA"].index(mine["origin"]),
        "departures_30m": (near & (plan["origin"] == mine["origin"]) & (plan["known_at"] <= at)).sum(),
    }


EXPECTED: dict[str, Callable[[Facts, Row, pd.Timestamp], Row]] = {
    "flight_plan": flight_plan,
    "origin_weather": origin_weather,
    "origin_hourly": origin_hourly,
    "carrier_origin_hourly": lambda f, r, t: {
        "carrier_origin_late_3h": late(f, t, 3, **pick(r, "carrier", "origin")),
    },
    "dest_hourly": lambda f, r, t: {"dest_late_6h": late(f, t, 6, **pick(r, "dest"))},
    "carrier_hourly": lambda f, r, t: {"carrier_late_24h": late(f, t, 24, **pick(r, "carrier"))},
    "origin_daily": lambda f, r, t: {
        "origin_late_1d": rate(f, t, 1, 20, **pick(r, "origin")),
        "all_late_7d": rate(f, t, 7, 50),
    },
    "carrier_daily": lambda f, r, t: {"carrier_late_7d": rate(f, t, 7, 30, **pick(r, "carrier"))},
    "carrier_origin_daily": lambda f, r, t: {
        "carrier_origin_late_7d": rate(f, t, 7, 30, **pick(r, "carrier", "origin")),
    },
    "dest_daily": lambda f, r, t: {"dest_late_7d": rate(f, t, 7, 30, **pick(r, "dest"))},
    "route_daily": lambda f, r, t: {"route_late_28d": rate(f, t, 28, 50, **pick(r, "origin", "dest"))},
    "flight_number_daily": lambda f, r, t: {"flight_late_28d": rate(f, t, 28, 5, **pick(r, "carrier", "flight"))},
    "origin_hour_daily": lambda f, r, t: {
        "origin_hour_late_28d": rate(f, t, 28, 30, **pick(r, "origin", "local_hour")),
    },
}
