"""How well the champion does, before labels come: expected from its own scores, and how much that has been worth.

A calibrated score says how often the flight will not be on time, and so what loss and what hit the answer is to expect
(confidence-based estimation). A score that is too sure expects too little loss, so the scores are first bent by Platt's
two numbers, fitted on the labels that are known of the days before. Of a model that ships this makes next week's scores
worse (docs/decisions/0005-calibration.md), but an estimate gains: it follows the level of the week.

What no estimate of this kind can see is a change of what the scores mean. Its error against the later truth is
therefore measured, day by day.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from include import metrics, platt
from include.metrics import Array
from include.platt import Calibration

MIN_ROWS = 500  # of labels, below which nothing is bent
MIN_DAYS = 3
TOLD = ("log_loss", "accuracy", "base_rate")


class Bend(Calibration):
    """Platt's two numbers, fitted on `rows` labels of `days` days. (1, 0): scores stay as they are."""

    rows: int
    days: int


def fit(y: Array, p: Array, days: Array) -> Bend:
    """The bend of scores `p` [n] towards labels `y` [n]. (1, 0) with fewer than MIN_ROWS rows or MIN_DAYS days, with
    labels all alike, or where the slope would not be positive."""
    y, p = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    count = len(np.unique(np.asarray(days)))
    enough = len(y) >= MIN_ROWS and count >= MIN_DAYS
    found = platt.fit(platt.log_odds(p), y) if enough else platt.NONE
    return Bend(**found, rows=len(y), days=count)


def bent(bend: Bend, p: Array) -> Array:
    """Calibrated probabilities [n] of scores `p` [n]. (1, 0) gives them back to the bit."""
    p = np.asarray(p, dtype=np.float64)
    if (bend["slope"], bend["offset"]) == (1.0, 0.0):
        return p
    return platt.probability(bend, platt.log_odds(p))


def expected(p: Array, q: Array, threshold: float) -> dict[str, Array]:
    """What to expect of each score `p` [n] when `q` [n] is the chance of a 1: "log_loss" (nats), "accuracy" of the
    answer p >= threshold, "base_rate"; [n] each."""
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    ones, zeros = (metrics.log_loss(np.full(len(p), y), p) for y in (1, 0))
    return {
        "log_loss": q * ones + (1 - q) * zeros,
        "accuracy": np.where(p >= threshold, q, 1 - q),
        "base_rate": q,
    }


def measured(y: Array, p: Array, threshold: float) -> dict[str, Array]:
    """What came instead, in the same terms; [n] each."""
    y, p = np.asarray(y), np.asarray(p, dtype=np.float64)
    hit = ((p >= threshold) == (y == 1)).astype(np.float64)
    return {"log_loss": metrics.log_loss(y, p), "accuracy": hit, "base_rate": y.astype(np.float64)}


def measure(y: Array, p: Array, days: Array, threshold: float) -> dict[str, Any]:
    """Estimates for scores `p` [n] of `days` [n], with labels `y` [n] where they count, else NaN.

    Each day is estimated from the labels of the days before it, as it would have been then. Returns JSON: "log_loss",
    "accuracy", "base_rate" of all rows, "unlabelled" {"rows" and the three} of those without a label (None: there are
    none), "bend" (of the newest day, fitted on all days before), "daily" [{"day", "flights", the three}] and "error"
    {each of the three: estimate of (estimated - measured) over days, or None}, on the rows that have a label.
    """
    y, p, days = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64), np.asarray(days).astype(str)
    known = np.isfinite(y)
    q, bend = np.empty(len(p)), Bend(slope=1.0, offset=0.0, rows=0, days=0)
    for day in np.unique(days):
        before = known & (days < day)
        bend = fit(y[before], p[before], days[before])
        q[days == day] = bent(bend, p[days == day])
    told = expected(p, q, threshold)
    came = measured(y[known], p[known], threshold)
    errors = {
        name: metrics.by_day(told[name][known] - came[name], days[known]).model_dump() if known.any() else None
        for name in TOLD
    }
    return {
        **_means(told, np.ones(len(p), dtype=bool)),
        "unlabelled": {"rows": int((~known).sum()), **_means(told, ~known)} if (~known).any() else None,
        "bend": bend,
        "daily": [
            {"day": str(day), "flights": int((days == day).sum()), **_means(told, days == day)}
            for day in np.unique(days)
        ],
        "error": errors,
    }


def _means(told: dict[str, Array], of: Array) -> dict[str, float | None]:
    return {name: float(told[name][of].mean()) if of.any() else None for name in TOLD}
