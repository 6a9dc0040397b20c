"""How the champion does on flights whose labels have become known, and how many of them those are.

Only *mature* labels count: a flight that is on time is known to be so first, and early labels would flatter. Days that
the champion was trained on are no evidence of it either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from include import metrics, slices
from include.contracts import CLUSTER
from include.metrics import Array
from include.models.spec import ModelSpec
from include.monitoring import estimate

CONFIDENCE = 0.95


def measure(spec: ModelSpec, window: pd.DataFrame, p: Array, unseen_after: str = "") -> dict[str, Any]:
    """Scores of predictions `p` [n] on the labelled rows of a window [n rows; label null while unknown; `mature`].

    Rows of local dates up to `unseen_after`, which the champion was trained on, are left out. Returns JSON: "rows",
    "mature", "labelled" (of the mature), "coverage" (labelled of mature), "coverage_all" (labelled of rows), "partial"
    (either lies below triggers.min_coverage: the numbers are of a part that need not be like the rest), "base_rate",
    "scores" {metric: estimate or None} with "accuracy" at serving.threshold, "surprise" (log loss above the model's own
    expectation, nats), "slices", "worst_slice" (the one that surely does worst; there whenever there are labels),
    "daily" [a day's counts and means], "estimated" (see estimate.measure). What needs labels is None or empty without
    any. Estimates: see metrics.Estimate. Raises ValueError when `p` does not fit the window or is no probability.
    """
    p = np.asarray(p, dtype=np.float64)
    if p.shape != (len(window),) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected a probability for each of {len(window)} rows of the window, got shape {p.shape}")
    unseen = (window[CLUSTER].astype(str) > unseen_after).to_numpy(dtype=bool)
    window, p = window[unseen], p[unseen]
    y, mature = labels(spec, window), window["mature"].to_numpy(dtype=bool)
    days = window[CLUSTER].astype(str).to_numpy(dtype=str)
    known = np.isfinite(y)
    told = _coverage(spec, len(window), int(mature.sum()), int(known.sum()))
    told["estimated"] = estimate.measure(y, p, days, spec.serving.threshold) if len(window) else None
    told["daily"] = _daily(spec, y, mature, p, days)
    if not known.any():
        return {**told, "base_rate": None, "scores": {}, "surprise": None, "slices": [], "worst_slice": None}
    rows, p, days = window[known], p[known], days[known]
    truth = y[known].astype(np.int64)
    parts = _slices(spec, rows, truth, p, days)
    scores = metrics.score(truth, p, days, CONFIDENCE)
    hits = estimate.measured(truth, p, spec.serving.threshold)["accuracy"]
    scores["accuracy"] = metrics.by_day(hits, days, CONFIDENCE)
    return {
        **told,
        "base_rate": float(truth.mean()),
        "scores": {name: _plain(found) for name, found in scores.items()},
        "surprise": _plain(metrics.by_day(metrics.surprise(truth, p), days, CONFIDENCE)),
        "slices": parts,
        "worst_slice": _worst(spec, parts),
    }


def labels(spec: ModelSpec, window: pd.DataFrame) -> Array:
    """The labels that count, float64 [n]: NaN where a label is unknown, or known before it is mature."""
    y = window[spec.target].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(window["mature"].to_numpy(dtype=bool), y, np.nan)


def answered(spec: ModelSpec, window: pd.DataFrame, p: Array, unseen_after: str = "") -> dict[str, Any] | None:
    """What clients were told, whichever version said it, beside the champion's `p` [n] on the same labelled flights.

    Returns JSON: "rows", "log_loss" and "champion_log_loss" (estimates), "difference" (answered - champion, paired),
    "by_version" {version: {"rows", "log_loss", "champion_log_loss"}}; None without labelled answers.
    """
    p, told = np.asarray(p, dtype=np.float64), window["answered"].to_numpy(dtype=np.float64, na_value=np.nan)
    y = labels(spec, window)
    of = np.isfinite(y) & np.isfinite(told) & (window[CLUSTER].astype(str) > unseen_after).to_numpy(dtype=bool)
    if not of.any():
        return None
    days, versions = window[CLUSTER].astype(str).to_numpy(dtype=str)[of], window["answered_version"].to_numpy()[of]
    loss, ours = metrics.log_loss(y[of], told[of]), metrics.log_loss(y[of], p[of])
    return {
        "rows": int(of.sum()),
        "log_loss": _plain(metrics.by_day(loss, days, CONFIDENCE)),
        "champion_log_loss": _plain(metrics.by_day(ours, days, CONFIDENCE)),
        "difference": _plain(metrics.by_day(loss - ours, days, CONFIDENCE)),
        "by_version": {
            str(v): {
                "rows": int((versions == v).sum()),
                "log_loss": float(loss[versions == v].mean()),
                "champion_log_loss": float(ours[versions == v].mean()),
            }
            for v in np.unique(versions)
        },
    }


def _coverage(spec: ModelSpec, rows: int, mature: int, labelled: int) -> dict[str, Any]:
    of_mature, of_all = labelled / max(mature, 1), labelled / max(rows, 1)
    return {
        "rows": rows,
        "mature": mature,
        "labelled": labelled,
        "coverage": of_mature,
        "coverage_all": of_all,
        "partial": min(of_mature, of_all) < spec.triggers.min_coverage,
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
    """The slice with the highest lower end of surprise: log loss itself would only name the hardest slice.

    Of those with enough rows; if none has them, of all with an interval; if there is one day only, the largest.
    """
    told = [s for s in parts if s["surprise"]["low"] is not None]
    judged = [s for s in told if s["rows"] >= spec.gate.min_slice_rows] or told
    if judged:
        return max(judged, key=lambda s: s["surprise"]["low"])
    return max(parts, key=lambda s: s["rows"], default=None)


def _daily(spec: ModelSpec, y: Array, mature: Array, p: Array, days: Array) -> list[dict[str, Any]]:
    """Each day's counts, and its means over the labels that count: None without any."""
    told = []
    for day in np.unique(days):
        rows = days == day
        of = rows & np.isfinite(y)
        came = estimate.measured(y[of], p[of], spec.serving.threshold)
        means = {name: float(values.mean()) if len(values) else None for name, values in came.items()}
        told.append(
            {
                "day": str(day),
                "rows": int(rows.sum()),
                "mature": int((rows & mature).sum()),
                "labelled": int(of.sum()),
                "coverage": float(of.sum() / rows.sum()),
                "predicted": float(p[of].mean()) if of.any() else None,
                "brier": float(((p[of] - y[of]) ** 2).mean()) if of.any() else None,
                **means,
            }
        )
    return told


def _plain(found: metrics.Estimate | None) -> dict[str, Any] | None:
    return None if found is None else found.model_dump()
