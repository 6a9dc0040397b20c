"""What a flight's own schedule says of it: its id, its hour in New York, and the features known at booking.

The same as include/features/sql/plan.sql makes of the published schedule, which a test holds for all of January. Only
`departures_30m` needs the other flights, and comes from the feature store.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from include.contracts import CARRIERS, FEATURES, ORIGINS
from include.serving.requests import Flight, Refused

NAMES = (
    "minute_of_day",
    "weekday",
    "distance",
    "block_minutes",
    "slack_minutes",
    "carrier_code",
    "origin_code",
)
_ZONE = ZoneInfo("America/New_York")
_CARRIER = {name: float(code) for code, name in enumerate(CARRIERS)}
_ORIGIN = {name: float(code) for code, name in enumerate(ORIGINS)}
_FIRST, _LAST = datetime(1980, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_BLOCK, _SLACK = FEATURES["block_minutes"], FEATURES["slack_minutes"]


class Plan(NamedTuple):
    """`values` in the order of NAMES."""

    flight_id: str
    local_hour: int
    values: tuple[float, ...]


def plan(flight: Flight) -> Plan:
    """Raises Refused for a time that no flight has: outside of 1980-2100, or an arrival too early or too late."""
    departs, arrives = flight.sched_dep, flight.sched_arr
    if not _FIRST <= departs <= _LAST:
        raise Refused(422, f"sched_dep: must lie between {_FIRST:%Y} and {_LAST:%Y}", "sched_dep")
    if not _FIRST <= arrives <= _LAST:
        raise Refused(422, f"sched_arr: must lie between {_FIRST:%Y} and {_LAST:%Y}", "sched_arr")
    local = departs.astimezone(_ZONE)
    block = arrives.timestamp() // 60 - departs.timestamp() // 60
    slack = block - flight.distance / 8
    for value, feature in ((block, _BLOCK), (slack, _SLACK)):
        if not feature.low <= value <= feature.high:  # type: ignore[operator]
            why = f"sched_arr: {feature.name} must lie in [{feature.low}, {feature.high}], is {value:g}"
            raise Refused(422, why, "sched_arr")
    return Plan(
        f"{local.year}{local.month:02}{local.day:02}-{flight.carrier}-{flight.flight}-{flight.origin}",
        local.hour,
        (
            local.hour * 60.0 + local.minute,
            float(local.weekday()),
            flight.distance,
            block,
            slack,
            _CARRIER.get(flight.carrier, -1.0),
            _ORIGIN.get(flight.origin, -1.0),
        ),
    )
