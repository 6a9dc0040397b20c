"""Performance before labels: unbiased for a calibrated model, mended for one that is too sure, its own error told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include import metrics
from include.monitoring import estimate

bounded = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)
THRESHOLD = 0.4


def drawn(seed: int, n: int = 6000, days: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chances [n], labels drawn from them, and their days."""
    rng = np.random.default_rng(seed)
    q = rng.beta(1.2, 3, n)
    return q, (rng.random(n) < q).astype(float), np.sort([f"2013-05-{1 + d:02d}" for d in rng.integers(0, days, n)])


def surer(q: np.ndarray, slope: float = 2.5, offset: float = 0.3) -> np.ndarray:
    """Scores of a model that is too sure of them."""
    return 1 / (1 + np.exp(-(slope * np.log(q / (1 - q)) + offset)))


def errors(scores: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean (estimated - measured) of each sample, by term, from each score as it is."""
    found: dict[str, list[float]] = {name: [] for name in estimate.TOLD}
    for y, p, q in scores:
        told, came = estimate.expected(p, q, THRESHOLD), estimate.measured(y, p, THRESHOLD)
        for name in estimate.TOLD:
            found[name].append(told[name].mean() - came[name].mean())
    return {name: np.array(values) for name, values in found.items()}


def test_a_calibrated_models_estimate_is_unbiased() -> None:
    """Over 300 samples the mean error is within four standard errors of zero, and its size is that of chance."""
    samples = [drawn(seed, 1000) for seed in range(300)]
    for name, gaps in errors([(y, q, q) for q, y, _ in samples]).items():
        assert abs(gaps.mean()) < 4 * gaps.std(ddof=1) / np.sqrt(len(gaps)), name
        assert gaps.std() < 0.03, name


def test_a_model_that_is_too_sure_is_mended_by_the_labels_before() -> None:
    """As they are, its scores promise far too little loss; bent by the labels of other flights, what comes."""
    as_is, mended = [], []
    for seed in range(40):
        q, y, days = drawn(seed)
        p, half = surer(q), len(q) // 2
        bend = estimate.fit(y[:half], p[:half], days[:half])
        assert 0.25 < bend["slope"] < 0.6
        as_is.append((y[half:], p[half:], p[half:]))
        mended.append((y[half:], p[half:], estimate.bent(bend, p[half:])))
    raw, fixed = errors(as_is), errors(mended)
    assert raw["log_loss"].mean() < -0.15
    assert raw["accuracy"].mean() > 0.05
    for name, gaps in fixed.items():
        assert abs(gaps.mean()) < 4 * gaps.std(ddof=1) / np.sqrt(len(gaps)) + 0.003, name
        assert abs(gaps.mean()) < abs(raw[name].mean()) / 5, name


@bounded
@given(seeds, st.floats(0.3, 3.0), st.floats(-1.0, 1.0))
def test_the_bend_is_found_again(seed: int, slope: float, offset: float) -> None:
    q, y, days = drawn(seed, 20_000)
    bend = estimate.fit(y, surer(q, 1 / slope, -offset / slope), days)
    assert bend["slope"] == pytest.approx(slope, rel=0.2)
    assert bend["offset"] == pytest.approx(offset, abs=0.2)
    assert (bend["rows"], bend["days"]) == (20_000, 10)


@bounded
@given(seeds, st.sampled_from(["few", "one day", "alike", "reversed"]))
def test_nothing_is_bent_by_too_little(seed: int, why: str) -> None:
    q, y, days = drawn(seed, 3000)
    n = estimate.MIN_ROWS - 1 if why == "few" else len(q)
    y = np.zeros_like(y) if why == "alike" else 1 - (q > 0.25) if why == "reversed" else y
    days = np.full(len(days), "2013-05-01") if why == "one day" else days
    bend = estimate.fit(y[:n], q[:n], days[:n])
    assert (bend["slope"], bend["offset"]) == (1.0, 0.0)
    assert (estimate.bent(bend, q) == q).all()


@bounded
@given(seeds)
def test_what_is_expected_of_certain_chances_is_what_comes(seed: int) -> None:
    """With the label itself as the chance, the estimate is the measurement."""
    q, y, _ = drawn(seed, 200)
    told, came = estimate.expected(q, y, THRESHOLD), estimate.measured(y, q, THRESHOLD)
    for name in estimate.TOLD:
        np.testing.assert_allclose(told[name], came[name])
    np.testing.assert_allclose(estimate.expected(q, q, THRESHOLD)["log_loss"], metrics.entropy(q))


def test_each_day_is_estimated_from_the_days_before_it() -> None:
    """Labels of a day and of later ones change nothing of its estimate."""
    q, y, days = drawn(7)
    p = surer(q)
    whole = estimate.measure(y, p, days, THRESHOLD)
    cut = days < "2013-05-06"
    before = estimate.measure(np.where(cut, y, np.nan), p, days, THRESHOLD)
    assert [d["log_loss"] for d in whole["daily"]][:6] == [d["log_loss"] for d in before["daily"]][:6]
    assert whole["daily"][9]["log_loss"] != before["daily"][9]["log_loss"]
    assert before["bend"]["days"] == 5
    assert before["unlabelled"]["rows"] == int((~cut).sum())
    first = metrics.entropy(p[days == "2013-05-01"]).mean()  # nothing was known: as they are
    assert whole["daily"][0]["log_loss"] == pytest.approx(first)


def test_the_error_is_told_with_its_interval_over_days() -> None:
    q, y, days = drawn(3, 20_000)
    found = estimate.measure(y, q, days, THRESHOLD)
    truth = metrics.log_loss(y, q).mean()
    error = found["error"]["log_loss"]
    assert error["value"] == pytest.approx(found["log_loss"] - truth)
    assert error["low"] < 0 < error["high"]
    assert error["days"] == 10
    # the world turns over: scores mean the opposite on the last day, which no estimate from scores can see
    turned = np.where(days == "2013-05-10", 1 - y, y)
    late = estimate.measure(turned, q, days, THRESHOLD)
    assert late["daily"][-1] == found["daily"][-1]
    assert late["error"]["log_loss"]["value"] < -0.05


def test_without_labels_there_is_an_estimate_and_no_error() -> None:
    q, y, days = drawn(1, 100)
    found = estimate.measure(np.full(100, np.nan), q, days, THRESHOLD)
    assert found["error"] == dict.fromkeys(estimate.TOLD)
    assert found["base_rate"] == pytest.approx(q.mean())
    assert found["unlabelled"] == {"rows": 100, **{n: pytest.approx(found[n]) for n in estimate.TOLD}}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert estimate.measure(y, q, days, THRESHOLD)["unlabelled"] is None
