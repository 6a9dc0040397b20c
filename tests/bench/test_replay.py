"""The pure parts of the replay of policies: schedules, cut-offs, intervals, adaptation."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.replay import adapt, faults, monitor, policies, scores
from bench.replay.fits import sigmoid
from bench.replay.year import FIRST, HOUR, Year
from include.contracts import CLUSTER, EVENT_TIME
from include.models.flights_on_time.spec import SPEC

DAYS = st.integers(60, 400)


# -- schedules -----------------------------------------------------------------------------------------------------
@given(DAYS, st.integers(1, 30), st.floats(0.01, 0.99))
def test_calendar_of_a_budget_has_exactly_that_many_trainings(days: int, trainings: int, phase: float) -> None:
    found = policies.spread(trainings, days, phase)
    assert len(found) == trainings
    assert 0 <= found[-1] < days
    gaps = np.diff(found[1:])
    assert trainings <= 3 or gaps.max() - gaps.min() <= 2
    assert found == sorted(set(found))


@given(DAYS, st.integers(1, 30), st.integers(0, 100))
def test_random_has_as_many_and_starts_on_day_0(days: int, trainings: int, seed: int) -> None:
    found = policies.random(trainings, days, seed)
    assert len(set(found)) == trainings
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] < days


@given(DAYS, st.integers(1, 20), st.integers(1, 8), st.integers(5, 60))
def test_no_trigger_trains_more_often_than_its_rest_and_budget_allow(
    days: int, rest: int, budget: int, of: int
) -> None:
    found = policies.triggered(lambda _day, _last: True, days, rest, budget, of)
    assert all(b - a >= rest for a, b in pairwise(found))
    assert all(sum(day <= other < day + of for other in found) <= budget for day in found)


def test_the_newest_model_serves_and_grows_older() -> None:
    assert policies.serving([0, 3, 4], 6).tolist() == [0, 0, 0, 1, 2, 2]
    assert policies.ages([0, 3, 4], 6).tolist() == [0, 1, 2, 0, 0, 1]


@pytest.mark.parametrize("schedule", [[], [1, 2], [0, 2, 2], [0, 3, 1]])
def test_a_schedule_that_cannot_be_is_refused(schedule: list[int]) -> None:
    with pytest.raises(ValueError, match="rising days"):
        policies.serving(schedule, 10)


def test_more_trainings_than_days_are_refused() -> None:
    with pytest.raises(ValueError, match="16 trainings do not fit into 30 days"):
        policies.spread(16, 30, 0.5)


# -- what was known when -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def year() -> Year:
    """A flight every hour from mid-January to the end of March."""
    dep = pd.date_range("2013-01-15T00:00Z", "2013-03-31T23:00Z", freq="h").astype("datetime64[us, UTC]")
    rows = pd.DataFrame({"sched_dep": dep, EVENT_TIME: dep - SPEC.horizon})
    local = rows["sched_dep"].dt.tz_convert("America/New_York")
    rows[CLUSTER] = local.dt.date.astype(str)
    return Year(rows)


@pytest.mark.parametrize("day", [0, 1, 17])
def test_nothing_is_learnt_before_it_is_known(year: Year, day: int) -> None:
    t = year.times[day]
    assert t == pd.Timestamp(FIRST + HOUR) + pd.Timedelta(days=day)
    known, rows = int(year.known[day]), year.rows
    assert (rows["sched_dep"].iloc[:known] <= t - SPEC.label_maturity).all()
    assert (rows["sched_dep"].iloc[known:] > t - SPEC.label_maturity).all()
    asked = rows.iloc[year.bounds[day] : year.bounds[day + 1]][EVENT_TIME]
    assert asked.min() >= t
    assert asked.max() < t + pd.Timedelta(days=1)
    assert (year.day[year.bounds[day] : year.bounds[day + 1]] == day).all()


def test_the_gate_sees_seven_whole_days_that_training_does_not(year: Year) -> None:
    held = year.rows.iloc[year.holdout(10)]
    days = held[CLUSTER].unique()
    assert len(days) == SPEC.holdout_days
    assert held.groupby(CLUSTER).size().min() >= 23  # one day has the hour that daylight saving takes
    assert year.rows[CLUSTER].iloc[year.withheld(10) - 1] < days[0]
    assert days[-1] < year.rows[CLUSTER].iloc[year.known[10] - 1]  # the partial last day belongs to nobody


def test_a_window_ends_at_its_cut_off(year: Year) -> None:
    at = year.rows.iloc[year.window(5, 7)][EVENT_TIME]
    assert at.max() < year.times[5] <= at.max() + pd.Timedelta(hours=1)
    assert at.min() == year.times[5] - pd.Timedelta(days=7)


def test_rows_out_of_order_are_refused(year: Year) -> None:
    with pytest.raises(ValueError, match="in order of sched_dep"):
        Year(year.rows.iloc[::-1])


# -- intervals -----------------------------------------------------------------------------------------------------
def test_sums_by_day() -> None:
    assert scores.daily(np.array([1.0, 2, 3, 4]), np.array([7, 9, 9, 11])).tolist() == [3, 0, 7]


def test_weeks_are_drawn_whole_and_pairs_together() -> None:
    week = np.repeat(np.arange(26), 7)
    drawn = scores.weights(week, draws=50)
    assert (drawn.reshape(50, 26, 7) == drawn.reshape(50, 26, 7)[:, :, :1]).all()
    assert (drawn.sum(axis=1) == len(week)).all()


def test_interval_covers_the_truth_where_days_of_a_week_are_alike() -> None:
    rng, week, hits = np.random.default_rng(1), np.repeat(np.arange(26), 7), 0
    for _ in range(100):
        sums = 1000 * (np.repeat(rng.normal(0, 1, 26), 7) + rng.normal(0, 0.2, len(week)))
        found = scores.mean(sums, np.full(len(week), 1000.0), week)
        hits += found.low <= 0 <= found.high
    assert 85 <= hits <= 99  # days taken as independent would cover some 55 of 100


def test_share_of_a_gain_is_that_of_the_sums() -> None:
    week, gain = np.repeat(np.arange(26), 7), np.random.default_rng(2).random(182)
    found = scores.ratio(0.9 * gain, gain, week)
    assert found.value == pytest.approx(0.9)
    assert (found.low, found.high) == pytest.approx((0.9, 0.9))
    assert found.sure


# -- adaptation ----------------------------------------------------------------------------------------------------
def _served(shift: float, seed: int = 3) -> dict[str, Any]:
    """60 days of 500 flights, whose log odds are `shift` too low; labels are known a day later."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1, 60 * 500)
    bounds = 1_000 + 500 * np.arange(61)
    known = np.maximum(bounds[:-1] - 500, 1_000)
    y = (rng.random(len(truth)) < sigmoid(truth)).astype(float)
    return {"margin": truth - shift, "y": y, "bounds": bounds, "known": known}


@pytest.mark.parametrize("form", ["offset", "platt"])
def test_a_shift_is_found_from_late_labels(form: Any) -> None:
    data = _served(0.7)
    found = adapt.recalibrated(**data, form=form, days=14, strength=10.0)
    moved = (found - data["margin"])[-500:]
    assert moved.mean() == pytest.approx(0.7, abs=0.1)


def test_a_strong_pull_leaves_everything_as_it_is() -> None:
    data = _served(0.7)
    found = adapt.recalibrated(**data, form="platt", days=14, strength=1e9)
    assert found == pytest.approx(data["margin"], abs=1e-3)


@pytest.mark.parametrize("day", [1, 17, 59])
def test_no_adaptation_sees_a_label_before_it_is_known(day: int) -> None:
    data = _served(0.4)
    late = data["known"][day] - 1_000
    other = {**data, "y": np.concatenate([data["y"][:late], 1 - data["y"][late:]])}
    one, two = (adapt.recalibrated(**d, form="platt", days=14, strength=10.0) for d in (data, other))
    upto = data["bounds"][day + 1] - 1_000
    assert (one[:upto] == two[:upto]).all()
    assert day == 59 or (one[upto:] != two[upto:]).any()


def test_a_mean_of_models_takes_the_newest() -> None:
    bounds = np.array([0, 2, 4, 6])
    fits: Any = SimpleNamespace(year=SimpleNamespace(bounds=bounds), margin=lambda n: np.full(6, float(n)))
    assert adapt.averaged([fits], [0, 1, 2], np.array([10, 20, 40]), 2).tolist() == [10, 10, 15, 15, 30, 30]


# -- faults --------------------------------------------------------------------------------------------------------
def test_a_gate_without_withheld_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a holdout"):
        monitor.run(SimpleNamespace(year=None), lambda *_: False, gated=True, withheld=False)  # type: ignore[arg-type]


def test_groups_of_features_are_those_of_the_views() -> None:
    assert len(faults.HOURLY) == 10
    assert len(faults.WEATHER) == 10
    assert not set(faults.HOURLY) & set(faults.WEATHER)
