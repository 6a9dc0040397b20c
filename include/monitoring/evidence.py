"""What the monitor's verdict looks at: the champion's latest window beside the rows it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from include import metrics
from include.contracts import CLUSTER
from include.metrics import Array
from include.models.spec import ModelSpec
from include.monitoring import drift, estimate, feed, performance, service
from include.times import parse


def collect(
    spec: ModelSpec,
    window: pd.DataFrame,
    p: Array,
    reference: pd.DataFrame,
    reference_p: Array,
    summary: Mapping[str, Any],
    *,
    version: str,
    trained_as_of: str,
    as_of: str,
    unseen_after: str = "",
    workers: Sequence[Mapping[str, Any]] = (),
    log: Mapping[str, int] | None = None,
    rival: Mapping[str, Any] | None = None,
    audit: Mapping[str, Any] | None = None,
    profile: feed.Profile | None = None,
) -> dict[str, Any]:
    """Measure the champion `version` on a window [n flights, see window.build] with its predictions `p` [n].

    `p` is complete: rows that the champion did not score itself (`probability` is NaN) are scored by it from the
    logged features. `reference`: rows that it was trained on [m], `reference_p` its predictions of them. `summary`: the
    window's exact counts. `unseen_after`: the champion's trained_until; performance is that of later local dates.
    `workers`, `log`: see service.measure. `rival`: {"version", **rival(…)}; `audit`: what skew.compare found.
    `profile`: of the reference (see feed.profile), where it was summed up before.

    Returns JSON: "model", "version", "as_of", "trained_as_of", "age_days", "window" {"first", "last": local dates or
    None, "rows", "rescored"}, "volume" (the summary), "performance" (see performance.measure; with "answered", what
    clients were told beside the champion, and "training", {"rows", "accuracy", "log_loss", "base_rate"} of the
    reference), "accuracy" {"value", "training", "drop", "level", "beyond"}, "score_psi", "drift" (see drift.compare),
    "feed" (see feed.measure), "service", "skew" (the audit with "level" and "beyond", or None), "rival". Of a window
    without flights, drift is empty, feed and score_psi are None.
    Raises ValueError for an as-of before the training's, or when `p` does not fit.
    """
    age = (parse(as_of) - parse(trained_as_of)).total_seconds() / 86_400
    if age < 0:
        raise ValueError(f"as_of {as_of} lies before the champion's own, {trained_as_of}")
    found = performance.measure(spec, window, p, unseen_after)
    found["answered"] = performance.answered(spec, window, p, unseen_after)
    found["training"] = _training(spec, reference, reference_p)
    days, some = window[CLUSTER].astype(str), len(window) > 0
    return {
        "model": spec.name,
        "version": str(version),
        "as_of": as_of,
        "trained_as_of": trained_as_of,
        "age_days": age,
        "window": {
            "first": str(days.min()) if some else None,
            "last": str(days.max()) if some else None,
            "rows": len(window),
            "rescored": int(window["probability"].isna().sum()),
        },
        "volume": dict(summary),
        "performance": found,
        "accuracy": _accuracy(spec, found),
        "score_psi": drift.psi(np.asarray(reference_p), np.asarray(p)),
        "drift": drift.compare(reference, window, spec.features) if some else [],
        "feed": feed.measure(spec, profile or reference, window, summary["days"], as_of) if some else None,
        "service": service.measure(spec, summary, workers, log),
        "skew": _skew(spec, audit),
        "rival": None if rival is None else dict(rival),
    }


def rival(y: Array, p: Array, p_before: Array, days: Array) -> dict[str, Any]:
    """The champion's predictions `p` [n] beside those of its predecessor on the same labelled rows, of days that
    neither was trained on: {"loss": estimate of (champion - predecessor) log loss, paired by day; None without rows}.
    Rows without a label (NaN) are left out."""
    known = np.isfinite(np.asarray(y, dtype=np.float64))
    if not known.any():
        return {"loss": None}
    y, p, p_before, days = (np.asarray(values)[known] for values in (y, p, p_before, days))
    return {"loss": metrics.compare(y, p, p_before, days).model_dump()}


def _training(spec: ModelSpec, reference: pd.DataFrame, reference_p: Array) -> dict[str, Any]:
    """How the champion does on rows that it has seen: what its accuracy is held against."""
    y = reference[spec.target].to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.isfinite(y)
    came = estimate.measured(y[known], np.asarray(reference_p)[known], spec.serving.threshold)
    return {"rows": int(known.sum()), **{k: float(v.mean()) if len(v) else None for k, v in came.items()}}


def _accuracy(spec: ModelSpec, found: Mapping[str, Any]) -> dict[str, Any]:
    """The accuracy now beside the training's. A partial window is never beyond."""
    level, now, then = spec.levels.accuracy_drop, found["scores"].get("accuracy"), found["training"]["accuracy"]
    drop = 1 - now["value"] / then if now and then else None
    return {
        "value": now and now["value"],
        "training": then,
        "drop": drop,
        "level": level,
        "beyond": drop is not None and drop > level and not found["partial"],
    }


def _skew(spec: ModelSpec, audit: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if audit is None:
        return None
    rate, level = audit["rate"], spec.levels.mismatch
    return {**audit, "level": level, "beyond": rate is not None and rate > level}
