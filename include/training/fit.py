"""The final fit: the chosen parameters on all rows before the holdout, and what the model says on the holdout."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include import crashpoints, platt
from include.contracts import FRAME_IDENTITY, Ref
from include.files import canonical_json, hash_text, read_json, replacing, used_again, write_text
from include.models.spec import ModelSpec
from include.settings import Settings
from include.training import data, families

PROBABILITY = "probability"
_SAMPLE = 2_000  # rows of the holdout whose feature contributions are computed, spread evenly


class Fitted(TypedDict):
    """What the fit hands on. `predictions`: FRAME_IDENTITY and "probability" of every holdout row, by sched_dep."""

    model: Ref  # the native model as JSON: numbers only, no pickle
    predictions: Ref
    family: str
    params: dict[str, Any]
    split: dict[str, dict[str, str | int]]
    calibration: platt.Calibration
    contributions: list[dict[str, Any]]  # [{"feature", "mean_abs"}, …], largest first, in log odds


def fit(settings: Settings, spec: ModelSpec, frame: Ref, chosen: Mapping[str, Any]) -> Fitted:
    """Fit {"family", "params"} on fit and validation rows. Same frame, spec and parameters: the same bytes.

    Results are content-addressed under settings.trainings, so a retry writes what is already there.
    """
    parts = data.split(spec, data.read(settings, frame))
    model = train(spec, parts, chosen)
    x = data.matrix(parts.holdout, spec.features)
    predicted = predict(model, x)
    kept = _write_model(settings, model)
    crashpoints.reached("train.fit.model")
    rows = parts.holdout[list(FRAME_IDENTITY)].assign(**{PROBABILITY: predicted})
    predictions = _write_predictions(settings, rows)
    crashpoints.reached("train.fit.predictions")
    return Fitted(
        model=kept,
        predictions=predictions,
        family=chosen["family"],
        params=dict(chosen["params"]),
        split=data.describe(parts),
        calibration=model["calibration"],
        contributions=contributions(spec, model, x),
    )


def train(spec: ModelSpec, parts: data.Parts, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The fitted model, a dict that JSON can hold. Uncalibrated: docs/decisions/0005 measured that it is better so."""
    rows = parts.training
    x, y = data.matrix(rows, spec.features), data.labels(rows, spec.target)
    model = families.fit(chosen["family"], x, y, spec.features, chosen["params"], spec.seed)
    return {**model, "calibration": platt.NONE}


def predict(model: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Calibrated probabilities of the native model, float64 [n]: what the shipped model must repeat."""
    return platt.probability(model["calibration"], families.margin(model, x))


def contributions(spec: ModelSpec, model: Mapping[str, Any], x: np.ndarray) -> list[dict[str, Any]]:
    """Mean absolute contribution of each feature to the log odds, on at most 2,000 evenly spread rows of x."""
    some = x[np.linspace(0, len(x) - 1, min(_SAMPLE, len(x))).astype(int)]
    means = np.abs(families.contributions(model, some)).mean(axis=0)
    order = np.argsort(-means, kind="stable")
    return [{"feature": spec.features[i], "mean_abs": round(float(means[i]), 6)} for i in order]


def load_model(model: Ref | Path) -> dict[str, Any]:
    """A fitted model from its file."""
    kept: dict[str, Any] = read_json(Path(model["uri"]) if isinstance(model, dict) else model)
    return kept


def _write_model(settings: Settings, model: Mapping[str, Any]) -> Ref:
    text = canonical_json(model)
    content = hash_text(text)
    path = settings.trainings / "models" / f"{content}.json"
    if not used_again(path):
        write_text(path, text)
    return Ref(uri=str(path), version=content[:12], hash=content)


def _write_predictions(settings: Settings, rows: pd.DataFrame) -> Ref:
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    content = hashlib.sha256(written := buffer.getvalue().to_pybytes()).hexdigest()
    final = settings.trainings / "predictions" / f"{content}.parquet"
    if not used_again(final):
        with replacing(final) as part:
            part.write_bytes(written)
    return Ref(uri=str(final), version=content[:12], hash=content)
