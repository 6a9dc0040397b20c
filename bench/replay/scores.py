"""What a policy's predictions were worth, with the uncertainty of weeks.

Neighbouring days share a weather front and a season, so whole weeks are drawn (week-block bootstrap). Differences are
paired: two policies are compared on the same weeks of each draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from include import metrics, slices
from include.metrics import Array

DRAWS = 4_000
SEED = 2013


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


def weights(week: Array, draws: int = DRAWS, seed: int = SEED) -> Array:
    """How often each day [days] counts in each draw [draws, days]: weeks are drawn with replacement."""
    names, where = np.unique(week, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.asarray(counts[:, where], dtype=np.float64)


def mean(sums: Array, rows: Array, week: Array, level: float = 0.95) -> Interval:
    """Mean over rows of values given as sums [days] of `rows` [days], and its interval over weeks."""
    drawn = weights(week)
    return _interval(sums.sum() / rows.sum(), (drawn @ sums) / (drawn @ rows), level)


def ratio(above: Array, below: Array, week: Array, level: float = 0.95) -> Interval:
    """Ratio of two sums over days [days], with its interval over weeks: the share of a gain that a policy keeps."""
    drawn = weights(week)
    return _interval(above.sum() / below.sum(), (drawn @ above) / (drawn @ below), level)


def _interval(value: float, drawn: Array, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


# -- sums by day ---------------------------------------------------------------------------------------------------
def daily(values: Array, bounds: Array) -> Array:
    """Sums [d] of per-row values [rows of all days], whose day d is bounds[d] to bounds[d + 1] less bounds[0]."""
    edges = np.concatenate([[0.0], np.cumsum(values)])
    where = np.asarray(bounds) - bounds[0]
    return np.asarray(edges[where[1:]] - edges[where[:-1]])


# -- one policy ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Measured:
    log_loss: float
    brier: float
    auc: float
    weekly_auc: float  # mean over weeks: what ranking is worth within a week's own weather
    worst_week: float  # log loss
    worst_week_auc: float
    bias: float
    worst_slice: str
    worst_slice_surprise: float  # log loss above what the model itself expects, nats


def measure(rows: pd.DataFrame, y: Array, p: Array, week: Array, by: Sequence[str], least: int) -> Measured:
    """Scores of predictions p [n] on rows [n] of weeks week [n]. Slices of fewer than `least` rows are left out."""
    loss = metrics.log_loss(y, p)
    weeks = np.unique(week)
    aucs = [a for w in weeks if (a := metrics.auc(y[week == w], p[week == w])) is not None]
    surprise = loss - metrics.entropy(p)
    parts = [(f"{k} {v}", float(surprise[m].mean())) for k, v, m in slices.masks(rows, by) if m.sum() >= least]
    worst = max(parts, key=lambda part: part[1])
    return Measured(
        log_loss=float(loss.mean()),
        brier=float(((p - y) ** 2).mean()),
        auc=float(metrics.auc(y, p) or np.nan),
        weekly_auc=float(np.mean(aucs)),
        worst_week=max(float(loss[week == w].mean()) for w in weeks),
        worst_week_auc=min(aucs),
        bias=float((p - y).mean()),
        worst_slice=worst[0],
        worst_slice_surprise=worst[1],
    )
