"""Metrics of probabilities that know their unit, their direction and their uncertainty.

Flights of one day share its weather and its queues, so they are not independent: an interval here treats the *day*
as the unit of observation (t interval over days). An interval over single flights would be several times too narrow.

Training, evaluation and monitoring score with this one module. Arrays: `y` 0 or 1 [n], `p` probability of 1 [n],
`days` any label of the day [n]. Losses are in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import stdtrit

Array = np.ndarray[Any, Any]

CLIP = 1e-7  # of probabilities: what float32 still tells from 0 and 1; a certain and wrong model costs 16 nats a row
BINS = 10  # of equal size, for calibration


class Estimate(BaseModel):
    """A mean and its interval. `low` and `high` are None where the days do not suffice for one (fewer than two)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float
    low: float | None
    high: float | None
    rows: int
    days: int


@dataclass(frozen=True)
class Metric:
    """`better`: where a better model lies. `zero` means that both signs are errors."""

    unit: str
    better: Literal["lower", "higher", "zero"]
    title: str

    def improves(self, value: float, on: float) -> bool:
        """Whether `value` is better than `on`, as numbers; whether it is *surely* better is for an interval to say."""
        if self.better == "zero":
            return abs(value) < abs(on)
        return value < on if self.better == "lower" else value > on


METRICS = {
    "log_loss": Metric("nats", "lower", "log loss"),
    "brier": Metric("", "lower", "Brier score"),
    "auc": Metric("", "higher", "area under the ROC curve"),
    "bias": Metric("", "zero", "mean prediction minus base rate"),
    "ece": Metric("", "lower", "expected calibration error"),
}


# -- of one row ----------------------------------------------------------------------------------------------------
def log_loss(y: Array, p: Array) -> Array:
    """Log loss of each row, nats."""
    q = np.clip(np.asarray(p, dtype=np.float64), CLIP, 1 - CLIP)
    return -np.where(np.asarray(y) == 1, np.log(q), np.log1p(-q))


def entropy(p: Array) -> Array:
    """The log loss that each prediction itself expects, nats."""
    q = np.clip(np.asarray(p, dtype=np.float64), CLIP, 1 - CLIP)
    return -(q * np.log(q) + (1 - q) * np.log1p(-q))


def surprise(y: Array, p: Array) -> Array:
    """Log loss beyond the model's own expectation, nats: near zero in the mean for a calibrated model, however hard
    the day; above zero when the model is surer than it should be."""
    return log_loss(y, p) - entropy(p)


# -- of a whole sample ---------------------------------------------------------------------------------------------
def auc(y: Array, p: Array) -> float | None:
    """Area under the ROC curve, ties counted half; None when there is one class only."""
    y = np.asarray(y) == 1
    positive = int(y.sum())
    negative = len(y) - positive
    if not positive or not negative:
        return None
    _, inverse, counts = np.unique(np.asarray(p), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[y].sum() - positive * (positive + 1) / 2) / (positive * negative))


def bins(p: Array, count: int = BINS) -> Array:
    """The bin [n] of each prediction: `count` bins of equal size, equal predictions in the same bin."""
    p = np.asarray(p)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, count + 1)[1:-1])) if len(p) else np.array([])
    return np.searchsorted(edges, p, side="right")


def ece(y: Array, p: Array) -> float:
    """Expected calibration error: mean over rows of |mean prediction - rate| of the row's bin."""
    where = bins(p)
    gaps = np.bincount(where, weights=np.asarray(p, dtype=np.float64) - np.asarray(y))
    return float(np.abs(gaps).sum() / len(where))


# -- with the uncertainty of days ----------------------------------------------------------------------------------
def by_day(values: Array, days: Array, confidence: float = 0.95) -> Estimate:
    """Mean over rows and its t interval over days.

    Each day counts by its rows, so that the value is the plain mean and a day cut off by the window weighs little.
    With days of equal size it is the t interval of the daily means. The variance is unbiased for any weights, and
    the degrees of freedom are those of the effective number of days, 1 / sum of squared weights.
    Raises ValueError without rows, or for values that are not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"by_day needs finite values, got {len(values)} rows, {int((~np.isfinite(values)).sum())} bad")
    _, where, counts = np.unique(np.asarray(days), return_inverse=True, return_counts=True)
    return of_days(np.bincount(where, weights=values) / counts, counts, confidence)


def of_days(means: Array, counts: Array, confidence: float = 0.95) -> Estimate:
    """The same as `by_day` from each day's mean and number of rows, where those are all that is kept."""
    means, counts = np.asarray(means, dtype=np.float64), np.asarray(counts)
    weights = counts / counts.sum()
    mean = float(weights @ means)
    spread = _half_width(means, weights, mean, confidence)
    low, high = (None, None) if spread is None else (mean - spread, mean + spread)
    return Estimate(value=mean, low=low, high=high, rows=int(counts.sum()), days=len(counts))


def _half_width(means: Array, weights: Array, mean: float, confidence: float) -> float | None:
    if len(means) < 2:
        return None
    second, third = float((weights**2).sum()), float((weights**3).sum())
    # E[sum w^2 (m - mean)^2] = var x (second - 2 third + second^2), and the variance of the mean is var x second
    unbiased = second / (second - 2 * third + second**2)
    error = np.sqrt(float((weights**2 * (means - mean) ** 2).sum()) * unbiased)
    return float(stdtrit(1 / second - 1, (1 + confidence) / 2) * error)


def jackknife(
    metric: Callable[[Array, Array], float | None], y: Array, p: Array, days: Array, confidence: float = 0.95
) -> Estimate | None:
    """A metric that is no mean over rows (AUC, ECE), with the t interval of its leave-one-day-out pseudo-values.

    None when the metric is not defined on the rows. No interval when leaving out some day makes it undefined.
    """
    y, p, days = np.asarray(y), np.asarray(p), np.asarray(days)
    whole = metric(y, p)
    if whole is None:
        return None
    names = np.unique(days)
    parts = [metric(y[days != d], p[days != d]) for d in names] if len(names) > 1 else []
    known = [part for part in parts if part is not None]
    if len(known) < max(2, len(names)):
        return Estimate(value=whole, low=None, high=None, rows=len(y), days=len(names))
    pseudo = len(names) * whole - (len(names) - 1) * np.array(known)
    error = float(np.std(pseudo, ddof=1) / np.sqrt(len(names)))
    spread = float(stdtrit(len(names) - 1, (1 + confidence) / 2) * error)
    return Estimate(value=whole, low=whole - spread, high=whole + spread, rows=len(y), days=len(names))


def score(y: Array, p: Array, days: Array, confidence: float = 0.95) -> dict[str, Estimate | None]:
    """Every metric of METRICS with its interval; None where the metric is not defined."""
    return {
        "log_loss": by_day(log_loss(y, p), days, confidence),
        "brier": by_day((np.asarray(p) - np.asarray(y)) ** 2, days, confidence),
        "auc": jackknife(auc, y, p, days, confidence),
        "bias": by_day(np.asarray(p) - np.asarray(y), days, confidence),
        "ece": jackknife(ece, y, p, days, confidence),
    }


def compare(y: Array, p: Array, other: Array, days: Array, confidence: float = 0.95) -> Estimate:
    """Log loss of `p` minus that of `other` on the same rows, paired: below zero, `p` is better. Nats."""
    return by_day(log_loss(y, p) - log_loss(y, other), days, confidence)


def reliability(y: Array, p: Array, days: Array, confidence: float = 0.95) -> list[dict[str, Any]]:
    """For each bin of predictions: mean prediction, and the rate that came with its interval."""
    y, p, days = np.asarray(y), np.asarray(p, dtype=np.float64), np.asarray(days)
    where = bins(p)
    return [
        {"predicted": float(p[where == b].mean()), "rate": by_day(y[where == b], days[where == b], confidence)}
        for b in np.unique(where)
    ]
