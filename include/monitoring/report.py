"""Evidently's report of a window against the reference: HTML for people, JSON for machines.

Importing Evidently takes 7 s, so only this module does. It costs some fifty times a plain PSI and holds its rows in
memory, so large windows are sampled; the verdict does not rest on it but on include.monitoring.drift, over all rows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.presets import ClassificationQuality, DataDriftPreset

from include.files import replacing, write_json
from include.metrics import Array
from include.models.spec import ModelSpec
from include.times import parse

HTML, JSON = "evidently.html", "evidently.json"
SAMPLE = 5_000  # rows of each side
SCORE = "score"


def write(
    spec: ModelSpec,
    window: pd.DataFrame,
    p: Array,
    reference: pd.DataFrame,
    reference_p: Array,
    folder: Path,
    evidence: Mapping[str, Any],
) -> dict[str, Any]:
    """Write evidently.html and evidently.json into `folder`; returns the JSON's content.

    Over the labelled flights of the window: drift of features and score, and classification quality. With labels of
    one kind only, or none, quality is left out and drift covers all flights. What Evidently cannot know is added to
    the JSON from `evidence` (see evidence.collect): coverage, performance by day-clustered intervals, worst slice.
    """
    now, before = _side(spec, window, p), _side(spec, reference, reference_p)
    labelled = [side[side[spec.target].notna()].astype({spec.target: "int64"}) for side in (now, before)]
    judged = all(side[spec.target].nunique() == 2 for side in labelled)
    if judged:
        now, before = labelled
    now, before = (_sampled(side, spec.seed) for side in (now, before))
    snapshot = _report(spec, judged).run(
        Dataset.from_pandas(now, _definition(spec, judged)),
        Dataset.from_pandas(before, _definition(spec, judged)),
        timestamp=parse(evidence["as_of"]),
    )
    summary = _summary(snapshot.dict(), evidence, {"current": len(now), "reference": len(before)}, judged)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / HTML) as part:
        snapshot.save_html(str(part))
    write_json(folder / JSON, summary)
    return summary


def _side(spec: ModelSpec, rows: pd.DataFrame, p: Array) -> pd.DataFrame:
    features = rows[list(spec.features)].astype(np.float64)
    return features.assign(**{SCORE: np.asarray(p, dtype=np.float64), spec.target: rows[spec.target].to_numpy()})


def _sampled(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    return rows if len(rows) <= SAMPLE else rows.sample(SAMPLE, random_state=seed)


def _definition(spec: ModelSpec, judged: bool) -> DataDefinition:
    task = BinaryClassification(target=spec.target, prediction_probas=SCORE, pos_label=1)
    return DataDefinition(numerical_columns=[*spec.features, SCORE], classification=[task] if judged else None)


def _report(spec: ModelSpec, judged: bool) -> Report:
    columns = [*spec.features, SCORE]
    drift = DataDriftPreset(columns=columns, num_method="psi", num_threshold=spec.triggers.score_psi)
    return Report([drift, ClassificationQuality(conf_matrix=True)] if judged else [drift])


def _summary(
    found: Mapping[str, Any], evidence: Mapping[str, Any], rows: dict[str, int], judged: bool
) -> dict[str, Any]:
    """What Evidently measured, by name, beside what it cannot know."""
    metrics = [(m["config"]["type"].rpartition(":")[2], m["config"], m["value"]) for m in found["metrics"] if m]
    performance = evidence["performance"]
    return {
        "rows": rows,
        "drifted_columns": next(int(value["count"]) for kind, _, value in metrics if kind == "DriftedColumnsCount"),
        "drift": {config["column"]: float(value) for kind, config, value in metrics if kind == "ValueDrift"},
        "quality": {k: float(v) for k, _, v in metrics if isinstance(v, (int, float)) and k != "ValueDrift"}
        if judged
        else None,
        "coverage": performance["coverage"],
        "scores": performance["scores"],
        "surprise": performance["surprise"],
        "worst_slice": performance["worst_slice"],
    }
