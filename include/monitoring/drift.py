"""How far distributions have moved: population stability index (PSI) and share of missing values, by feature.

PSI compares shares in bins that the reference's quantiles define. It says that something moved, not that it matters:
slow features (season, last week's level) move every week, so a verdict never trains because of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from include.contracts import FEATURES

Array = np.ndarray[Any, Any]

BINS = 10
MIN_ROWS = 200  # below it a PSI of ten bins is mostly noise


class Drift(TypedDict):
    """One feature. `psi` is over values that are present, None where too few are. `nulls` are shares of rows; `stuck`
    is the share of the window's most common value, `reference_stuck` that of the same value in the reference."""

    feature: str
    psi: float | None
    nulls: float
    reference_nulls: float
    stuck: float
    reference_stuck: float
    mean: float | None
    reference_mean: float | None
    stationary: bool


def psi(reference: Array, current: Array, bins: int = BINS) -> float | None:
    """Population stability index of two samples, missing values left out; None with fewer than MIN_ROWS of either.

    A value on an edge belongs below it, so that a spike at the smallest value (no rain) has a bin of its own. Half a
    row is added to each bin, so that an empty one costs much but not infinitely much.
    """
    reference, current = _present(reference), _present(current)
    if min(len(reference), len(current)) < MIN_ROWS:
        return None
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    before, now = (
        _shares(np.searchsorted(edges, values, side="left"), len(edges) + 1) for values in (reference, current)
    )
    return float(((now - before) * np.log(now / before)).sum())


def compare(reference: pd.DataFrame, current: pd.DataFrame, features: Sequence[str]) -> list[Drift]:
    """Drift of each feature, the furthest moved first. Raises KeyError naming features that a frame lacks."""
    for name, frame in (("reference", reference), ("current", current)):
        absent = [f for f in features if f not in frame.columns]
        if absent:
            raise KeyError(f"the {name} window lacks the features {absent}")
        if not len(frame):
            raise ValueError(f"the {name} window has no rows")
    found = [_one(f, reference[f].to_numpy(np.float64), current[f].to_numpy(np.float64)) for f in features]
    return sorted(found, key=lambda d: -1.0 if d["psi"] is None else d["psi"], reverse=True)


def _one(name: str, reference: Array, current: Array) -> Drift:
    stuck, before = _stuck(_present(reference), _present(current))
    return Drift(
        feature=name,
        psi=psi(reference, current),
        nulls=float(np.isnan(current).mean()),
        reference_nulls=float(np.isnan(reference).mean()),
        stuck=stuck,
        reference_stuck=before,
        mean=_mean(current),
        reference_mean=_mean(reference),
        stationary=FEATURES[name].stationary if name in FEATURES else True,
    )


def _stuck(reference: Array, current: Array) -> tuple[float, float]:
    """Share of the current sample's most common value, now and before. A dead feed repeats one value; weather and
    season, however extreme, do not."""
    if not len(current):
        return 0.0, 0.0
    values, counts = np.unique(current, return_counts=True)
    common = values[counts.argmax()]
    return float(counts.max() / len(current)), float((reference == common).mean()) if len(reference) else 0.0


def _present(values: Array) -> Array:
    values = np.asarray(values, dtype=np.float64)
    return values[np.isfinite(values)]


def _mean(values: Array) -> float | None:
    present = _present(values)
    return float(present.mean()) if len(present) else None


def _shares(where: Array, count: int) -> Array:
    counts = np.bincount(where, minlength=count) + 0.5
    return counts / counts.sum()
