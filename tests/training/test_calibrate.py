"""Platt calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include.training import calibrate


@examples(deadline=None, max_examples=30)
@given(st.floats(0.3, 2.5), st.floats(-1.5, 1.5), st.integers(0, 2**31))
def test_finds_the_slope_and_offset_that_made_the_labels(slope: float, offset: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    margin = rng.normal(-0.5, 1.2, 60_000)
    y = (rng.random(len(margin)) < 1 / (1 + np.exp(-(slope * margin + offset)))).astype(float)
    found = calibrate.fit(margin, y)
    assert found["slope"] == pytest.approx(slope, abs=0.12)
    assert found["offset"] == pytest.approx(offset, abs=0.12)
    assert calibrate.probability(found, margin).mean() == pytest.approx(y.mean(), abs=1e-6)


def test_refuses_to_reverse_ranks_or_to_learn_from_one_class() -> None:
    margin = np.linspace(-2, 2, 500)
    assert calibrate.fit(margin, (margin < 0).astype(float)) == calibrate.NONE
    assert calibrate.fit(margin, np.ones(500)) == calibrate.NONE


def test_no_calibration_is_the_sigmoid_without_overflow() -> None:
    found = calibrate.probability(calibrate.NONE, np.array([-800.0, 0.0, 800.0]))
    assert found == pytest.approx([0.0, 0.5, 1.0])
