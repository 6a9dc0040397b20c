"""Platt calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include import platt


@examples(deadline=None, max_examples=30)
@given(st.floats(0.3, 2.5), st.floats(-1.5, 1.5), st.integers(0, 2**31))
def test_finds_the_slope_and_offset_that_made_the_labels(slope: float, offset: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    margin = rng.normal(-0.5, 1.2, 60_000)
    y = (rng.random(len(margin)) < 1 / (1 + np.exp(-(slope * margin + offset)))).astype(float)
    found = platt.fit(margin, y)
    assert found["slope"] == pytest.approx(slope, abs=0.12)
    assert found["offset"] == pytest.approx(offset, abs=0.12)
    assert platt.probability(found, margin).mean() == pytest.approx(y.mean(), abs=1e-6)


def test_refuses_to_reverse_ranks_or_to_learn_from_one_class() -> None:
    margin = np.linspace(-2, 2, 500)
    assert platt.fit(margin, (margin < 0).astype(float)) == platt.NONE
    assert platt.fit(margin, np.ones(500)) == platt.NONE


def test_no_calibration_is_the_sigmoid_without_overflow() -> None:
    found = platt.probability(platt.NONE, np.array([-800.0, 0.0, 800.0]))
    assert found == pytest.approx([0.0, 0.5, 1.0])


def test_labels_that_a_whole_step_would_overshoot_are_found() -> None:
    """Far too sure margins: Newton's method without its damping runs away, and nothing would be bent."""
    rng = np.random.default_rng(5)
    odds = rng.normal(0, 1, 5_000)
    y = (rng.random(len(odds)) < platt.sigmoid(odds)).astype(float)
    found = platt.fit(30 * odds + 60, y)
    assert found["slope"] == pytest.approx(1 / 30, rel=0.15)
    assert found["offset"] == pytest.approx(-2, abs=0.3)
