"""What the monitor's verdict looks at: the champion's latest window beside the rows it was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from include.metrics import Array
from include.models.spec import ModelSpec
from include.monitoring import drift, performance
from include.times import parse


def collect(
    spec: ModelSpec,
    window: pd.DataFrame,
    p: Array,
    reference: pd.DataFrame,
    reference_p: Array,
    *,
    version: str,
    trained_as_of: str,
    as_of: str,
) -> dict[str, Any]:
    """Measure the champion `version` on a window [n flights, label null while unknown] with its predictions `p` [n].

    `reference`: rows that it was trained on [m], `reference_p` its predictions of them. Returns JSON: "performance"
    (see performance.measure), "drift" (see drift.compare), "score_psi", "age_days" and what was looked at.
    Raises ValueError for an empty window or an as-of before the training's.
    """
    age = (parse(as_of) - parse(trained_as_of)).total_seconds() / 86_400
    if age < 0:
        raise ValueError(f"as_of {as_of} lies before the champion's own, {trained_as_of}")
    days = window["local_date"].astype(str)
    return {
        "model": spec.name,
        "version": str(version),
        "as_of": as_of,
        "trained_as_of": trained_as_of,
        "age_days": age,
        "window": {"first": str(days.min()), "last": str(days.max())},
        "performance": performance.measure(spec, window, p),
        "score_psi": drift.psi(np.asarray(reference_p), np.asarray(p)),
        "drift": drift.compare(reference, window, spec.features),
    }
