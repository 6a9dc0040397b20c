"""Metrics: right values, unit of observation is the day, intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import log_loss as reference_loss
from sklearn.metrics import roc_auc_score

from include import metrics

bounded = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def sample(seed: int, rows: int = 200, days: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 3, rows)
    y = (rng.random(rows) < p).astype(int)
    y[:2] = 0, 1
    return y, p, rng.integers(0, days, rows)


@bounded
@given(seeds)
def test_log_loss_and_auc_equal_scikit_learns(seed: int) -> None:
    y, p, _ = sample(seed)
    p = np.round(p, 2).clip(0.01, 0.99)  # with ties
    assert metrics.log_loss(y, p).mean() == pytest.approx(reference_loss(y, p))
    assert metrics.auc(y, p) == pytest.approx(roc_auc_score(y, p))


def test_a_certain_and_wrong_prediction_costs_much_but_not_infinitely_much() -> None:
    assert metrics.log_loss(np.array([1]), np.array([0.0]))[0] == pytest.approx(-np.log(metrics.CLIP))


def test_auc_of_one_class_is_not_defined() -> None:
    assert metrics.auc(np.ones(5), np.linspace(0, 1, 5)) is None
    assert metrics.score(np.ones(4), np.full(4, 0.5), np.arange(4))["auc"] is None


@bounded
@given(seeds, st.floats(0.6, 0.99))
def test_equal_days_give_the_t_interval_of_daily_means(seed: int, confidence: float) -> None:
    values = np.random.default_rng(seed).normal(size=(7, 30))
    found = metrics.by_day(values.ravel(), np.repeat(np.arange(7), 30), confidence)
    low, high = stats.t.interval(confidence, 6, values.mean(), stats.sem(values.mean(axis=1)))
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)


@bounded
@given(seeds)
def test_means_and_counts_of_days_are_enough(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, days = rng.normal(size=300), rng.geometric(0.4, 300)
    names, counts = np.unique(days, return_counts=True)
    means = np.array([values[days == name].mean() for name in names])
    found, wanted = metrics.of_days(means, counts), metrics.by_day(values, days)
    assert (found.rows, found.days) == (wanted.rows, wanted.days)
    assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))


@bounded
@given(seeds)
def test_the_value_is_the_plain_mean_whatever_the_days_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, days = rng.normal(size=300), rng.geometric(0.4, 300)
    found = metrics.by_day(values, days)
    assert found.value == pytest.approx(values.mean())
    assert (found.rows, found.days) == (300, len(np.unique(days)))


@bounded
@given(seeds)
def test_copying_each_flight_makes_nothing_surer(seed: int) -> None:
    y, p, days = sample(seed)
    once, often = (metrics.by_day(np.tile(p - y, n), np.tile(days, n)) for n in (1, 50))
    assert often.high == pytest.approx(once.high)


@pytest.mark.parametrize("sizes", [(900,) * 7, (900, 900, 900, 900, 900, 900, 60), (900, 900, 900, 30, 30, 30, 30)])
def test_an_interval_covers_the_truth_as_often_as_it_says(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    days = np.repeat(np.arange(len(sizes)), sizes)
    covered = 0
    for _ in range(800):
        values = rng.normal(size=len(sizes))[days] + rng.normal(size=len(days)) * 0.1  # days differ, flights little
        found = metrics.by_day(values, days)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / 800 <= 0.97
    apart = metrics.by_day(values, np.arange(len(values)))  # flights taken as independent
    assert apart.high is not None
    assert found.high is not None
    assert apart.high - apart.value < (found.high - found.value) / 5


def test_one_day_has_a_value_and_no_interval() -> None:
    found = metrics.by_day(np.array([1.0, 3.0]), np.array(["a", "a"]))
    assert (found.value, found.low, found.high) == (2.0, None, None)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_what_is_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        metrics.by_day(np.array(values), np.arange(len(values)))


@bounded
@given(seeds)
def test_a_comparison_is_paired_and_turns_its_sign(seed: int) -> None:
    y, p, days = sample(seed)
    other = p[::-1].copy()
    there, back = metrics.compare(y, p, other, days), metrics.compare(y, other, p, days)
    assert there.value == pytest.approx(metrics.log_loss(y, p).mean() - metrics.log_loss(y, other).mean())
    assert there.low == pytest.approx(-np.float64(back.high))
    assert metrics.compare(y, p, p, days).high == 0


def test_surprise_is_near_zero_when_calibrated_and_above_it_when_too_sure() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(1, 2, 200_000)
    y = (rng.random(200_000) < p).astype(int)
    assert metrics.surprise(y, p).mean() == pytest.approx(0, abs=0.005)
    surer = p**2 / (p**2 + (1 - p) ** 2)
    assert metrics.surprise(y, surer).mean() > 0.05


def test_calibration_error_of_a_calibrated_model_is_small_and_of_a_shifted_one_is_the_shift() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.7, 50_000)
    y = (rng.random(50_000) < p).astype(int)
    assert metrics.ece(y, p) < 0.01
    assert metrics.ece(y, p + 0.1) == pytest.approx(0.1, abs=0.01)
    found = metrics.reliability(y, p, np.arange(50_000) % 7)
    assert len(found) == metrics.BINS
    assert sum(b["rate"].rows for b in found) == 50_000


@bounded
@given(seeds, st.integers(1, 12))
def test_equal_predictions_share_a_bin(seed: int, distinct: int) -> None:
    p = np.random.default_rng(seed).integers(0, distinct, 100) / distinct
    where = metrics.bins(p)
    assert all(len(np.unique(where[p == value])) == 1 for value in np.unique(p))
    assert metrics.ece(np.zeros(100), p) == pytest.approx(p.mean())


def test_metrics_know_which_way_is_better() -> None:
    assert metrics.METRICS["log_loss"].improves(0.4, on=0.5)
    assert metrics.METRICS["auc"].improves(0.8, on=0.7)
    assert metrics.METRICS["bias"].improves(-0.01, on=0.05)
    assert not metrics.METRICS["bias"].improves(-0.06, on=0.05)
