"""Features at booking: the same from a request as from the feature SQL, on every flight of January."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include import lake
from include.contracts import SCHEDULE, VIEWS
from include.serving.plan import NAMES, Plan, plan
from include.serving.requests import Flight, Refused
from include.settings import Settings

PLAN = next(v for v in VIEWS if v.cadence == "plan")
DEPARTS = datetime(2013, 7, 1, 12, tzinfo=UTC)


def flight(**changed: Any) -> Flight:
    own = {"carrier": "B6", "flight": 1, "origin": "JFK", "dest": "BOS", "sched_dep": DEPARTS, "distance": 187.0}
    return Flight(**{**own, "sched_arr": DEPARTS + timedelta(hours=1), **changed})


def test_every_flight_of_january_has_the_features_of_the_sql(history: Settings) -> None:
    versions = lake.catalog(history.lake)["versions"]
    published = lake.read(history.lake, SCHEDULE, versions[SCHEDULE.name]).to_pylist()
    made = lake.read(history.lake, PLAN.table, versions[PLAN.table.name]).to_pylist()
    due = {row["flight_id"]: [row[name] for name in NAMES] for row in made}
    assert len(published) > 25_000
    for row in published:
        own = {k: row[k] for k in ("carrier", "flight", "origin", "dest", "sched_dep", "sched_arr", "distance")}
        found = plan(Flight(**own))
        assert (found.flight_id, found.local_hour) == (row["flight_id"], row["local_hour"])
        if row["flight_id"] in due:
            assert np.array(found.values, dtype=np.float32).tolist() == due[row["flight_id"]], row["flight_id"]
    assert len(due) > 25_000


@examples(max_examples=200, deadline=None)
@given(
    departs=st.datetimes(timezones=st.timezones()),
    minutes=st.integers(-10_000, 10_000),
    distance=st.floats(50, 6000),
)
def test_any_schedule_gives_features_within_their_bounds_or_names_the_time(
    departs: datetime, minutes: int, distance: float
) -> None:
    try:
        arrives = departs + timedelta(minutes=minutes)
    except OverflowError:
        return
    try:
        found: Plan | None = plan(flight(sched_dep=departs, sched_arr=arrives, distance=distance))
    except Refused as error:
        refused = error
        found = None
    if found is None:
        assert (refused.status, refused.field) in ((422, "sched_dep"), (422, "sched_arr"))
        return
    for name, value in zip(NAMES, found.values, strict=True):
        feature = next(f for f in PLAN.features if f.name == name)
        assert feature.low is not None
        assert feature.high is not None
        assert feature.low <= value <= feature.high


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"sched_arr": DEPARTS - timedelta(hours=1)}, "sched_arr"),
        ({"sched_arr": DEPARTS + timedelta(hours=16)}, "sched_arr"),
        ({"sched_arr": DEPARTS + timedelta(hours=1), "distance": 6000.0}, "sched_arr"),
        ({"sched_dep": datetime(1, 1, 1, tzinfo=UTC)}, "sched_dep"),
        ({"sched_arr": datetime(9999, 12, 31, tzinfo=UTC)}, "sched_arr"),
    ],
)
def test_an_impossible_time_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as caught:
        plan(flight(**changed))
    assert caught.value.field == field


def test_the_day_is_new_yorks_and_codes_are_the_contracts() -> None:
    late = plan(
        flight(sched_dep=datetime(2013, 7, 2, 3, 59, tzinfo=UTC), sched_arr=datetime(2013, 7, 2, 5, tzinfo=UTC))
    )
    assert late.flight_id == "20130701-B6-1-JFK"
    assert late.local_hour == 23
    assert dict(zip(NAMES, late.values, strict=True))["carrier_code"] == 3
    unknown = dict(zip(NAMES, plan(flight(carrier="ZZ", origin="BOS")).values, strict=True))
    assert (unknown["carrier_code"], unknown["origin_code"]) == (-1, -1)
