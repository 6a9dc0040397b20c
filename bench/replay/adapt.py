"""Cheap adaptation between trainings: what may be done every day with labels that came late, for a hundredth of a fit.

Each takes the log odds that a policy served and gives others, in the same order. Nothing looks past a cut-off: at the
cut-off of day d only labels of rows[:known[d]] are used, and only rows of day d are changed by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xgboost

from bench.replay import policies
from bench.replay.fits import Fits, sigmoid
from bench.replay.year import Array, Year
from include.files import hash_value, replacing
from include.training import boosted

_STEPS = 8
CONTINUED = {
    "objective": "binary:logistic", "tree_method": "hist", "max_bin": 64, "max_depth": 4, "min_child_weight": 100.0,
    "reg_lambda": 10.0, "subsample": 0.8, "colsample_bytree": 0.6, "nthread": 1, "base_score": 0.5,
}  # fmt: skip


def served(fits: Fits, models: Sequence[int]) -> Array:
    """Log odds, float64, of all rows from day 0 on, each by the model of its day; `models` [days] are rows learnt."""
    bounds = fits.year.bounds
    parts = [fits.margin(n)[a:b] for n, a, b in zip(models, bounds, bounds[1:], strict=False)]
    return np.concatenate(parts).astype(np.float64)


def recalibrated(
    margin: Array, y: Array, bounds: Array, known: Array, form: Literal["offset", "platt"], days: int, strength: float
) -> Array:
    """Log odds bent every day by an offset (and a slope) fitted on what was served in the last `days`, as far as its
    labels are known. `strength`: of the pull towards leaving them as they are, in rows' worth of curvature.

    margin, y: [rows from day 0 on]; bounds [d + 1] and known [d] count rows of the whole year, as Year has them.
    """
    first, made = int(bounds[0]), margin.copy()
    for day in range(len(known)):
        rows = slice(int(bounds[max(0, day - days)]) - first, max(int(known[day]) - first, 0))
        if rows.stop - rows.start < 1:
            continue
        bend = _bend(_design(margin[rows], form), margin[rows], y[rows], strength)
        today = slice(int(bounds[day]) - first, int(bounds[day + 1]) - first)
        made[today] = margin[today] + _design(margin[today], form) @ bend
    return made


def _design(margin: Array, form: str) -> Array:
    one = np.ones_like(margin)
    return np.column_stack([one, margin + 1.0]) if form == "platt" else one[:, None]  # 1: log odds of a usual flight


def _bend(x: Array, margin: Array, y: Array, strength: float) -> Array:
    """Ridge-penalized correction of log odds (Newton's method): 0 leaves them as they are."""
    bend, pull = np.zeros(x.shape[1]), strength * 0.2 * np.eye(x.shape[1])  # a row's curvature is p (1 - p), about 0.2
    for _ in range(_STEPS):
        p = sigmoid(margin + x @ bend)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + pull, x.T @ (p - y) + pull @ bend)
        bend = bend - step
        if np.abs(step).max() < 1e-8:
            break
    return bend


def averaged(fits: Sequence[Fits], schedule: Sequence[int], sizes: Array, count: int) -> Array:
    """Mean log odds of the newest `count` models of a schedule, of every one of `fits` (seeds); sizes [d]: rows that a
    training of day d learns from."""
    where, bounds = policies.serving(schedule, len(sizes)), fits[0].year.bounds
    parts = []
    for day, newest in enumerate(where):
        part = slice(int(bounds[day]), int(bounds[day + 1]))
        models = [int(sizes[d]) for d in schedule[max(0, newest - count + 1) : newest + 1]]
        parts.append(np.mean([of.margin(n)[part] for of in fits for n in models], axis=0, dtype=np.float64))
    return np.concatenate(parts)


def weighted(fits: Fits, schedule: Sequence[int], half_life: float) -> Array:
    """Log odds of models that count a row half as much for every `half_life` days of its age. Kept beside the fits."""
    asked = {"schedule": list(schedule), "half_life": half_life}
    return _kept(fits, "weighted", asked, lambda: _weighted(fits.year, fits, schedule, half_life))


def _weighted(year: Year, fits: Fits, schedule: Sequence[int], half_life: float) -> Array:
    departed = year.rows["sched_dep"].to_numpy("datetime64[s]").astype(np.int64) / 86_400
    settings = {k: v for k, v in fits.params.items() if k != "n_estimators"}
    settings |= {"objective": "binary:logistic", "tree_method": "hist", "max_bin": boosted.MAX_BIN, "nthread": 1}
    where, parts = policies.serving(schedule, year.days), []
    for position, day in enumerate(schedule):
        n, served_days = int(year.known[day]), np.flatnonzero(where == position)
        weight = 0.5 ** ((departed[n - 1] - departed[:n]) / half_life)
        rows = xgboost.QuantileDMatrix(year.x[:n], label=year.y[:n], weight=weight, max_bin=boosted.MAX_BIN, nthread=1)
        model = xgboost.train({**settings, "seed": fits.seed}, rows, int(fits.params["n_estimators"]))
        part = slice(int(year.bounds[served_days[0]]), int(year.bounds[served_days[-1] + 1]))
        parts.append(model.inplace_predict(year.x[part], predict_type="margin"))
    return np.concatenate(parts).astype(np.float64)


def continued(fits: Fits, schedule: Sequence[int], days: int, trees: int, rate: float) -> Array:
    """Log odds of each schedule's model with a few trees more, fitted anew every day on the last `days` of labels
    (a warm start). Kept beside the fits."""
    asked = {"schedule": list(schedule), "days": days, "trees": trees, "rate": rate}
    return _kept(fits, "continued", asked, lambda: _continued(fits, schedule, days, trees, rate))


def _continued(fits: Fits, schedule: Sequence[int], days: int, trees: int, rate: float) -> Array:
    year, parts = fits.year, []
    where = policies.serving(schedule, year.days)
    start = year.rows["sched_dep"].searchsorted(year.times - np.timedelta64(days, "D"))
    for day in range(year.days):
        margin = fits.margin(int(year.known[schedule[where[day]]]))
        recent = slice(int(start[day]), int(year.known[day]))
        rows = xgboost.DMatrix(year.x[recent], label=year.y[recent], base_margin=margin[recent], nthread=1)
        model = xgboost.train({**CONTINUED, "learning_rate": rate, "seed": fits.seed}, rows, trees)
        part = slice(int(year.bounds[day]), int(year.bounds[day + 1]))
        today = xgboost.DMatrix(year.x[part], base_margin=margin[part], nthread=1)
        parts.append(model.predict(today, output_margin=True))
    return np.concatenate(parts).astype(np.float64)


def _kept(fits: Fits, name: str, asked: dict[str, Any], make: Any) -> Array:
    path: Path = fits.folder / f"{name}-{hash_value(asked)[:12]}.npy"
    if not path.exists():
        made = make()
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, made)
    return np.asarray(np.load(path))
