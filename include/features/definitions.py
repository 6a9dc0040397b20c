"""What each feature sums up, as data: which fact, over which group, how far back, how much it is smoothed.

Flights that were late in the group's recent past say most about the next one. A rate over few flights is drawn
towards the year's own rate (`PRIOR`), with the weight of `weight` flights: those weights were measured on the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

PRIOR = 0.24  # share of flights that are not on time before anything is known of them
DAILY_HOUR = 9  # daily snapshots are taken at 09:00 UTC, before New York's first departures
LOOKBACK = timedelta(days=28)  # the longest window of any feature
MARGIN = timedelta(days=2)  # a fact may become known this long after its flight's day begins; the latest took 1.9 days
PUBLISHED_AHEAD = timedelta(days=2)  # the schedule of a day is known this long before the day


@dataclass(frozen=True)
class Tally:
    """A fact counted between snapshots: `value` is the column that is summed."""

    fact: str
    value: str
    cadence: str


TALLIES = {
    "outcomes": Tally("outcome", "not_on_time", "daily"),
    "lates": Tally("late15", "late", "hourly"),
    "delays": Tally("departure", "dep_delay", "hourly"),
}


@dataclass(frozen=True)
class Mean:
    """Mean of a tally over the rows that agree with the entity in `keys`; () means all rows."""

    feature: str
    tally: str
    keys: tuple[str, ...]
    hours: int
    weight: int = 0


DAY_HOURS = 24
MEANS: dict[str, tuple[Mean, ...]] = {
    "origin_hourly": (
        Mean("origin_late_1h", "lates", ("origin",), 1),
        Mean("origin_late_3h", "lates", ("origin",), 3),
        Mean("origin_delay_1h", "delays", ("origin",), 1),
        Mean("origin_delay_3h", "delays", ("origin",), 3),
        Mean("all_late_6h", "lates", (), 6),
    ),
    "carrier_origin_hourly": (Mean("carrier_origin_late_3h", "lates", ("carrier", "origin"), 3),),
    "dest_hourly": (Mean("dest_late_6h", "lates", ("dest",), 6),),
    "carrier_hourly": (Mean("carrier_late_24h", "lates", ("carrier",), 24),),
    "origin_daily": (
        Mean("origin_late_1d", "outcomes", ("origin",), DAY_HOURS, 20),
        Mean("all_late_7d", "outcomes", (), 7 * DAY_HOURS, 50),
    ),
    "carrier_daily": (Mean("carrier_late_7d", "outcomes", ("carrier",), 7 * DAY_HOURS, 30),),
    "carrier_origin_daily": (Mean("carrier_origin_late_7d", "outcomes", ("carrier", "origin"), 7 * DAY_HOURS, 30),),
    "dest_daily": (Mean("dest_late_7d", "outcomes", ("dest",), 7 * DAY_HOURS, 30),),
    "route_daily": (Mean("route_late_28d", "outcomes", ("origin", "dest"), 28 * DAY_HOURS, 50),),
    "flight_number_daily": (Mean("flight_late_28d", "outcomes", ("carrier", "flight"), 28 * DAY_HOURS, 5),),
    "origin_hour_daily": (Mean("origin_hour_late_28d", "outcomes", ("origin", "local_hour"), 28 * DAY_HOURS, 30),),
}
OTHERS = {"origin_weather": ("weather",), "origin_hourly": ("queue",)}  # SQL texts of their own
