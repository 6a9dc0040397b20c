"""Drift: zero where nothing moved, large where it did, missing and stuck values apart from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contracts import FEATURES
from include.models.flights_on_time.spec import SPEC
from include.monitoring import drift

bounded = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@bounded
@given(seeds, st.sampled_from(["normal", "exponential", "poisson"]))
def test_psi_of_the_same_sample_is_zero_and_of_the_same_distribution_small(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    one, other = (getattr(rng, kind)(size=5000) for _ in range(2))
    assert drift.psi(one, one) == pytest.approx(0, abs=1e-12)
    assert 0 <= (drift.psi(one, other) or 0) < 0.02


@bounded
@given(seeds, st.floats(0.1, 1.0))
def test_psi_grows_with_the_shift_and_does_not_depend_on_the_unit(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    before, now = rng.normal(size=5000), rng.normal(size=5000)
    near, far = drift.psi(before, now + shift), drift.psi(before, now + 2 * shift + 0.2)
    assert near is not None
    assert far is not None
    assert near < far
    assert drift.psi(before * 1000 + 5, (now + shift) * 1000 + 5) == pytest.approx(near)


def test_a_spike_at_the_lowest_value_has_a_bin_of_its_own() -> None:
    rain = np.r_[np.zeros(950), np.linspace(0.1, 1, 50)]
    found = drift.psi(rain, np.r_[np.zeros(500), np.linspace(0.1, 1, 500)])
    assert found is not None
    assert found > 0.5


def test_an_emptied_or_new_value_is_dear_and_finite() -> None:
    found = drift.psi(np.zeros(1000), np.ones(1000))
    assert found is not None
    assert 5 < found < 50


@pytest.mark.parametrize("rows", [0, drift.MIN_ROWS - 1])
def test_too_few_values_have_no_psi(rows: int) -> None:
    assert drift.psi(np.arange(1000.0), np.arange(float(rows))) is None
    assert drift.psi(np.arange(1000.0), np.r_[np.arange(float(rows)), np.full(1000, np.nan)]) is None


def test_missing_and_stuck_are_shares_of_rows() -> None:
    before = pd.DataFrame({"temp": np.r_[np.full(200, 1.0), np.arange(800.0) + 2]})
    now = pd.DataFrame({"temp": np.r_[np.full(600, 1.0), np.full(200, np.nan), np.arange(200.0) + 2]})
    (found,) = drift.compare(before, now, ["temp"])
    assert (found["nulls"], found["reference_nulls"]) == (0.2, 0.0)
    assert (found["stuck"], found["reference_stuck"]) == (0.75, 0.2)
    assert found["stationary"] is FEATURES["temp"].stationary is False


def test_what_is_missing_altogether_is_told() -> None:
    before = pd.DataFrame({"temp": np.arange(1000.0)})
    (found,) = drift.compare(before, before * np.nan, ["temp"])
    assert (found["psi"], found["nulls"], found["mean"], found["stuck"]) == (None, 1.0, None, 0.0)


def test_the_furthest_moved_comes_first(watched: Any) -> None:
    found = drift.compare(watched.reference, watched.window, SPEC.features)
    values = [d["psi"] for d in found if d["psi"] is not None]
    assert values == sorted(values, reverse=True)
    assert {d["feature"] for d in found} == set(SPEC.features)
    by_name = {d["feature"]: d["psi"] for d in found}
    assert (by_name["minute_of_day"] or 0) < 0.05  # the timetable does not move
    assert (by_name["temp"] or 0) > 0.5  # the season does


def test_a_window_without_rows_or_features_is_refused() -> None:
    rows = pd.DataFrame({"temp": np.arange(10.0)})
    with pytest.raises(KeyError, match="reference window lacks"):
        drift.compare(rows, rows, ["humid"])
    with pytest.raises(ValueError, match="current window has no rows"):
        drift.compare(rows, rows.iloc[:0], ["temp"])
