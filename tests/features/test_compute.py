"""Each feature says what its definition says, from what was known at its instant and from nothing else."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.contracts import EVENT_TIME, FEATURES, KNOWN_AT, PUBLICATION_LAG, VIEWS, View
from include.features import compute
from tests.features.cases import AS_OF, DAYS, DAYS_OF, scramble
from tests.features.reference import EXPECTED, Facts

_VIEWS = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)


@pytest.fixture(scope="module")
def plain(facts: dict[str, pa.Table]) -> Facts:
    return Facts(facts)


@_VIEWS
def test_features_equal_their_definition_written_row_by_row(
    view: View, made: dict[str, pa.Table], plain: Facts
) -> None:
    rows = made[view.name].to_pandas()
    sample = rows.sample(min(40, len(rows)), random_state=7)
    for row in sample.to_dict("records"):
        expected = EXPECTED[view.name](plain, row, row[EVENT_TIME])
        got = [row[f.name] for f in view.features]
        want = [np.float32(expected.get(f.name, np.nan)) for f in view.features]
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6, err_msg=str(row))


@_VIEWS
def test_nothing_of_the_future_changes_a_row(view: View, made: dict[str, pa.Table], facts: dict[str, pa.Table]) -> None:
    future = {name: scramble(table, AS_OF) for name, table in facts.items()}
    assert any(not future[name].equals(facts[name]) for name in facts)
    assert compute.rows(future, {view.name: DAYS}, AS_OF)[view.name].equals(made[view.name])


@pytest.mark.parametrize("hour", [0, 8, 9, 14])
def test_rows_made_earlier_are_the_rows_made_later(
    hour: int, made: dict[str, pa.Table], facts: dict[str, pa.Table]
) -> None:
    early = AS_OF.replace(day=21, hour=hour)
    known = {n: t.filter(pc.less_equal(t["known_at"], pa.scalar(early, t["known_at"].type))) for n, t in facts.items()}
    then = compute.rows(known, DAYS_OF, early)
    for view in VIEWS:
        later = made[view.name]
        same = later.filter(pc.less_equal(later[EVENT_TIME], pa.scalar(early, later[EVENT_TIME].type)))
        assert then[view.name].equals(same.combine_chunks()), view.name


@_VIEWS
def test_rows_lie_on_their_days_and_never_after_as_of(view: View, made: dict[str, pa.Table]) -> None:
    rows = made[view.name]
    assert set(rows["ds"].to_pylist()) <= set(DAYS)
    assert pc.max(rows[EVENT_TIME]).as_py() <= AS_OF
    assert pc.all(pc.equal(rows[KNOWN_AT], pc.add(rows[EVENT_TIME], pa.scalar(PUBLICATION_LAG)))).as_py()
    assert rows.group_by([*view.keys, EVENT_TIME]).aggregate([]).num_rows == rows.num_rows


def test_the_published_schedule_has_a_row_in_every_view(made: dict[str, pa.Table], facts: dict[str, pa.Table]) -> None:
    """A flight that is published finds all of its entities, seen before or not."""
    plan = facts["schedule"].to_pandas()
    at = AS_OF - timedelta(hours=1)
    soon = plan[(plan["sched_dep"] > at) & (plan["sched_dep"] <= at + timedelta(hours=6))]
    for view in VIEWS:
        if view.cadence == "plan":
            continue
        rows = made[view.name].to_pandas()
        newest = rows[rows[EVENT_TIME] == rows.loc[rows[EVENT_TIME] <= at, EVENT_TIME].max()]
        keys = list(view.keys)
        assert len(soon[keys].drop_duplicates().merge(newest, on=keys)) == len(soon[keys].drop_duplicates()), view.name


def test_features_are_within_their_bounds_and_null_only_where_that_is_legal(made: dict[str, pa.Table]) -> None:
    for view in VIEWS:
        for feature in view.features:
            values = made[view.name][feature.name]
            assert values.type == pa.float32()
            assert feature.nullable or not values.null_count, feature.name
            seen = pc.min_max(values).as_py()
            assert feature.low is None or seen["min"] >= feature.low, feature.name
            assert feature.high is None or seen["max"] <= feature.high, feature.name
    assert len(FEATURES) == 36


def test_an_entity_of_which_nothing_is_known_has_the_prior_or_null(facts: dict[str, pa.Table]) -> None:
    empty = {n: t.slice(0, 0) if n in ("outcome", "late15", "departure") else t for n, t in facts.items()}
    rows = compute.rows(empty, DAYS_OF, AS_OF)
    assert set(rows["route_daily"]["route_late_28d"].to_pylist()) == {float(np.float32(0.24))}
    assert rows["dest_hourly"]["dest_late_6h"].null_count == rows["dest_hourly"].num_rows
    assert pc.max(rows["origin_hourly"]["origin_queue_share"]).as_py() == 1.0


def test_carriers_and_origins_that_are_not_listed_get_minus_one(facts: dict[str, pa.Table]) -> None:
    plan = facts["schedule"]
    other = pa.array(["ZZ"] * plan.num_rows)
    renamed = plan.set_column(plan.schema.get_field_index("carrier"), "carrier", other)
    rows = compute.rows({**facts, "schedule": renamed}, {"flight_plan": DAYS}, AS_OF)["flight_plan"]
    assert set(rows["carrier_code"].to_pylist()) == {-1.0}
    assert set(rows["origin_code"].to_pylist()) == {0.0, 1.0, 2.0}
