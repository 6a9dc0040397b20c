"""Logistic regression on imputed, scaled numbers and one-hot codes. A fitted model is a plain dict of numbers.

Sibling of boosted.py: `fit`, `margin`, `contributions`, `nodes`. Medians stand in for missing numbers; a code that
was not seen in training has no column of its own and adds nothing. Scaling is folded into the weights, so that the
model is one weight a feature, one a code's value and a bias: the same arithmetic here and in ONNX, in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

CODES = ("carrier_code", "origin_code")  # numbers that name categories
Model = dict[str, Any]


def fit(x: np.ndarray, y: np.ndarray, features: Sequence[str], params: Mapping[str, Any], seed: int) -> Model:
    """Fit on float32 [n, k] and labels [n]. Deterministic: one BLAS thread, a solver without randomness."""
    from sklearn.linear_model import LogisticRegression

    wide = x.astype(np.float64)
    numeric = [i for i, name in enumerate(features) if name not in CODES]
    levels = {i: sorted({float(v) for v in wide[:, i]}) for i, name in enumerate(features) if name in CODES}
    medians = np.array([_median(wide[:, i]) for i in numeric])
    numbers = np.where(np.isnan(wide[:, numeric]), medians, wide[:, numeric])
    mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    hot = [(wide[:, i] == level).astype(np.float64) for i, values in levels.items() for level in values]
    design = np.column_stack([(numbers - mean) / scale, *hot])
    with threadpool_limits(1):
        solver = LogisticRegression(**params, max_iter=500, random_state=seed).fit(design, y)
    weights = solver.coef_[0][: len(numeric)] / scale
    return {
        "features": list(features),
        "numeric": numeric,
        "medians": medians.tolist(),
        "means": mean.tolist(),
        "weights": weights.tolist(),
        "codes": [[i, level] for i, values in levels.items() for level in values],
        "code_weights": solver.coef_[0][len(numeric) :].tolist(),
        "bias": float(solver.intercept_[0] - mean @ weights),
    }


def _median(column: np.ndarray) -> float:
    return 0.0 if np.isnan(column).all() else float(np.nanmedian(column))


def _numbers(model: Model, x: np.ndarray) -> np.ndarray:
    chosen = x[:, model["numeric"]].astype(np.float64)
    return np.where(np.isnan(chosen), np.array(model["medians"]), chosen)


def margin(model: Model, x: np.ndarray) -> np.ndarray:
    """Log odds, float64 [n]."""
    result: np.ndarray = _numbers(model, x) @ np.array(model["weights"]) + model["bias"]
    for (column, level), weight in zip(model["codes"], model["code_weights"], strict=True):
        result = result + weight * (x[:, column] == np.float32(level))
    return result


def contributions(model: Model, x: np.ndarray) -> np.ndarray:
    """What each feature adds to the log odds beside the mean of training, float64 [n, k]."""
    parts = np.zeros(x.shape)
    centred = _numbers(model, x) - np.array(model["means"])
    parts[:, model["numeric"]] = centred * np.array(model["weights"])
    for (column, level), weight in zip(model["codes"], model["code_weights"], strict=True):
        parts[:, column] += weight * (x[:, column] == np.float32(level))
    return parts


def nodes(model: Model) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """ONNX nodes from "features" float32 [n, k] to "margin" float64 [n], in the arithmetic of `margin`."""
    columns = [column for column, _ in model["codes"]]
    constants = {
        "numeric": np.array(model["numeric"], dtype=np.int64),
        "medians": np.array(model["medians"]),
        "weights": np.array(model["weights"]),
        "bias": np.array(model["bias"]),
    }
    made = [
        helper.make_node("Cast", ["features"], ["wide"], name="widen", to=TensorProto.DOUBLE),
        helper.make_node("Gather", ["wide", "numeric"], ["numbers"], name="pick_numbers", axis=1),
        helper.make_node("IsNaN", ["numbers"], ["absent"], name="find_missing"),
        helper.make_node("Where", ["absent", "medians", "numbers"], ["imputed"], name="impute"),
        helper.make_node("MatMul", ["imputed", "weights"], ["weighed"], name="weigh"),
        helper.make_node("Add", ["weighed", "bias"], ["linear"], name="add_bias"),
    ]
    if columns:
        constants |= {
            "code_columns": np.array(columns, dtype=np.int64),
            "code_levels": np.array([level for _, level in model["codes"]]),
            "code_weights": np.array(model["code_weights"]),
        }
        made += [
            helper.make_node("Gather", ["wide", "code_columns"], ["codes"], name="pick_codes", axis=1),
            helper.make_node("Equal", ["codes", "code_levels"], ["is_level"], name="one_hot"),
            helper.make_node("Cast", ["is_level"], ["hot"], name="as_number", to=TensorProto.DOUBLE),
            helper.make_node("MatMul", ["hot", "code_weights"], ["weighed_codes"], name="weigh_codes"),
        ]
    last = ["linear", "weighed_codes"] if columns else ["linear"]
    made.append(helper.make_node("Sum", last, ["margin"], name="log_odds"))
    return made, [numpy_helper.from_array(value, name) for name, value in constants.items()]
