"""Platt calibration: two numbers that bend a model's log odds, kept as a node of its own in the shipped model.

Models ship with NONE: fitting the two on recent days made the next week worse (docs/decisions/0005-calibration.md;
bench/bench_calibration.py measures it again with `fit`).
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np


class Calibration(TypedDict):
    """Calibrated log odds = slope x log odds + offset. (1, 0) leaves them as they are."""

    slope: float
    offset: float


NONE = Calibration(slope=1.0, offset=0.0)
_STEPS = 50


def fit(margin: np.ndarray, y: np.ndarray) -> Calibration:
    """The slope and offset with the lowest log loss on margins float64 [n] and labels [n] (Newton's method).

    Returns NONE when the labels are all alike or the slope would not be positive: ranks are never reversed.
    """
    if y.min() == y.max():
        return NONE
    weights = np.array([1.0, 0.0])
    design = np.column_stack([margin, np.ones_like(margin)])
    for _ in range(_STEPS):
        p = _sigmoid(design @ weights)
        slope = design.T @ (p - y)
        curve = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    if not np.isfinite(weights).all() or weights[0] <= 0:
        return NONE
    return Calibration(slope=float(weights[0]), offset=float(weights[1]))


def apply(calibration: Calibration, margin: np.ndarray) -> np.ndarray:
    """Calibrated log odds, float64 [n]."""
    result: np.ndarray = calibration["slope"] * margin + calibration["offset"]
    return result


def probability(calibration: Calibration, margin: np.ndarray) -> np.ndarray:
    """Calibrated probabilities, float64 [n]."""
    return _sigmoid(apply(calibration, margin))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.exp(-np.logaddexp(0.0, -values))
    return result
