"""Platt calibration: two numbers that bend a model's log odds.

They are a node of its own in the shipped model, and models ship with NONE: fitting the two on recent days made the
next week worse (docs/decisions/0005-calibration.md; bench/bench_calibration.py measures it again with `fit`). What the
monitor expects of the champion is bent by them (include/monitoring/estimate.py).
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from include.metrics import CLIP, Array


class Calibration(TypedDict):
    """Calibrated log odds = slope x log odds + offset. (1, 0) leaves them as they are."""

    slope: float
    offset: float


NONE = Calibration(slope=1.0, offset=0.0)
_STEPS = 50
_STILL = 1e-10  # a step as small as this changes nothing


def fit(margin: Array, y: Array) -> Calibration:
    """The slope and offset with the lowest log loss on margins float64 [n] and labels [n] (Newton's method).

    Returns NONE when the labels are all alike or the slope would not be positive: ranks are never reversed.
    """
    if y.min() == y.max():
        return NONE
    weights = np.array([1.0, 0.0])
    design = np.column_stack([margin, np.ones_like(margin)])
    for _ in range(_STEPS):
        p = sigmoid(design @ weights)
        curve = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, design.T @ (p - y))
        # far from the answer a whole step of Newton's overshoots, and the next ones run away
        while np.abs(step).max() > _STILL and _cost(design, weights - step, y) > _cost(design, weights, y):
            step = step / 2
        weights = weights - step
        if np.abs(step).max() <= _STILL:
            break
    if not np.isfinite(weights).all() or weights[0] <= 0:
        return NONE
    return Calibration(slope=float(weights[0]), offset=float(weights[1]))


def apply(calibration: Calibration, margin: Array) -> Array:
    """Calibrated log odds, float64 [n]."""
    result: Array = calibration["slope"] * margin + calibration["offset"]
    return result


def probability(calibration: Calibration, margin: Array) -> Array:
    """Calibrated probabilities, float64 [n]."""
    return sigmoid(apply(calibration, margin))


def log_odds(p: Array) -> Array:
    """Of probabilities [n], those of 0 and 1 taken a hair inside."""
    q = np.clip(p, CLIP, 1 - CLIP)
    result: Array = np.log(q) - np.log1p(-q)
    return result


def sigmoid(odds: Array) -> Array:
    """Probabilities [n] of log odds; no value overflows."""
    result: Array = np.exp(-np.logaddexp(0.0, -odds))
    return result


def _cost(design: Array, weights: Array, y: Array) -> float:
    """Mean log loss of the bent log odds, nats."""
    odds = design @ weights
    return float((np.logaddexp(0.0, odds) - y * odds).mean())
