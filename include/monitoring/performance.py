"""How the champion does on flights whose labels have become known, and how many of them those are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from include import metrics, slices
from include.contracts import CLUSTER
from include.metrics import Array
from include.models.spec import ModelSpec

CONFIDENCE = 0.95


def measure(spec: ModelSpec, window: pd.DataFrame, p: Array) -> dict[str, Any]:
    """Scores of predictions `p` [n] on the labelled rows of a window [n rows; label null while unknown].

    Returns {"rows", "labelled", "coverage", "base_rate", "scores": {metric: estimate or None}, "surprise": estimate,
    "slices": […], "worst_slice": the judged slice that surely does worst, "daily": […]}; what needs labels is None or
    empty without any. `surprise` is log loss above the model's own expectation, nats. Estimates: see metrics.Estimate.
    Raises ValueError when `p` does not fit the window or is no probability.
    """
    p = np.asarray(p, dtype=np.float64)
    if p.shape != (len(window),) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected a probability for each of {len(window)} rows of the window, got shape {p.shape}")
    known = window[spec.target].notna().to_numpy()
    told = {"rows": len(window), "labelled": int(known.sum()), "coverage": float(known.mean()) if len(known) else 0.0}
    if not known.any():
        return {
            **told,
            "base_rate": None,
            "scores": {},
            "surprise": None,
            "slices": [],
            "worst_slice": None,
            "daily": [],
        }
    rows, p = window[known], p[known]
    y, days = rows[spec.target].to_numpy(dtype=np.int64), rows[CLUSTER].astype(str).to_numpy()
    parts = _slices(spec, rows, y, p, days)
    return {
        **told,
        "base_rate": float(y.mean()),
        "scores": {name: _plain(found) for name, found in metrics.score(y, p, days, CONFIDENCE).items()},
        "surprise": _plain(metrics.by_day(metrics.surprise(y, p), days, CONFIDENCE)),
        "slices": parts,
        "worst_slice": _worst(spec, parts),
        "daily": _daily(window, known, y, p, days),
    }


def _slices(spec: ModelSpec, rows: pd.DataFrame, y: Array, p: Array, days: Array) -> list[dict[str, Any]]:
    return [
        {
            "by": by,
            "value": value,
            "rows": int(mask.sum()),
            "base_rate": float(y[mask].mean()),
            "log_loss": _plain(metrics.by_day(metrics.log_loss(y[mask], p[mask]), days[mask], CONFIDENCE)),
            "bias": _plain(metrics.by_day(p[mask] - y[mask], days[mask], CONFIDENCE)),
            "surprise": _plain(metrics.by_day(metrics.surprise(y[mask], p[mask]), days[mask], CONFIDENCE)),
        }
        for by, value, mask in slices.masks(rows, spec.gate.slices)
    ]


def _worst(spec: ModelSpec, parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The slice with the highest lower end of surprise: log loss itself would only name the hardest slice."""
    judged = [s for s in parts if s["rows"] >= spec.gate.min_slice_rows and s["surprise"]["low"] is not None]
    return max(judged, key=lambda s: s["surprise"]["low"], default=None)


def _daily(window: pd.DataFrame, known: Array, y: Array, p: Array, days: Array) -> list[dict[str, Any]]:
    every = window[CLUSTER].astype(str).to_numpy()
    told = []
    for day in np.unique(every):
        of, rows = days == day, every == day
        some = bool(of.any())
        told.append(
            {
                "day": str(day),
                "rows": int(rows.sum()),
                "coverage": float(known[rows].mean()),
                "base_rate": float(y[of].mean()) if some else None,
                "predicted": float(p[of].mean()) if some else None,
                "log_loss": float(metrics.log_loss(y[of], p[of]).mean()) if some else None,
            }
        )
    return told


def _plain(found: metrics.Estimate | None) -> dict[str, Any] | None:
    return None if found is None else found.model_dump()
