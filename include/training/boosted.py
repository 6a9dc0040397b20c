"""XGBoost's trees. A fitted model is the booster's own JSON and the log odds it starts from.

Sibling of logistic.py: `fit`, `margin`, `contributions`, `nodes`. One thread: more make a busy machine slower and the
sums of histograms depend on their number. Missing values go the way that each split has learnt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import xgboost
from onnx import helper, numpy_helper

Model = dict[str, Any]
MAX_BIN = 128  # bins of a feature's histogram: 256 cost a third more time for no measurable loss


def fit(x: np.ndarray, y: np.ndarray, features: Sequence[str], params: Mapping[str, Any], seed: int) -> Model:
    """Fit on float32 [n, k], NaN where missing, and labels [n]. Deterministic: seeded, one thread."""
    rest = {name: value for name, value in params.items() if name != "n_estimators"}
    base = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    settings = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_bin": MAX_BIN,
        "base_score": base,
        "nthread": 1,
        "seed": seed,
        "verbosity": 0,
        **rest,
    }
    data = xgboost.QuantileDMatrix(x, label=y, max_bin=settings["max_bin"], nthread=1)
    booster = xgboost.train(settings, data, num_boost_round=int(params.get("n_estimators", 100)))
    return {
        "features": list(features),
        "start": float(np.log(base / (1 - base))),
        "booster": json.loads(booster.save_raw("json").decode()),
    }


def _booster(model: Model) -> xgboost.Booster:
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(json.dumps(model["booster"]).encode()))
    return booster


def margin(model: Model, x: np.ndarray) -> np.ndarray:
    """Log odds, float64 [n]."""
    found = _booster(model).inplace_predict(x, predict_type="margin")
    return np.asarray(found, dtype=np.float64).reshape(-1)


def contributions(model: Model, x: np.ndarray) -> np.ndarray:
    """SHAP values: what each feature adds to the log odds beside the expected margin, float64 [n, k]."""
    found = _booster(model).predict(xgboost.DMatrix(x, nthread=1), pred_contribs=True)
    return np.asarray(found, dtype=np.float64)[:, :-1]  # the last column is the expected margin


def nodes(model: Model) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """ONNX nodes from "features" float32 [n, k] to "margin" float64 [n]: the same trees, thresholds and leaves."""
    trees = model["booster"]["learner"]["gradient_booster"]["model"]["trees"]
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["sums"],
        name="trees",
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=[model["start"]],
        **_ensemble(trees),
    )
    made = [
        ensemble,
        helper.make_node("Reshape", ["sums", "flat"], ["narrow"], name="flatten"),
        helper.make_node("Cast", ["narrow"], ["margin"], name="log_odds", to=onnx.TensorProto.DOUBLE),
    ]
    return made, [numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat")]


def _ensemble(trees: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The trees as the operator's parallel lists. XGBoost goes left when value < threshold: BRANCH_LT, left is true."""
    out: dict[str, list[Any]] = {name: [] for name in (*_NODE_LISTS, *_TARGET_LISTS)}
    for number, tree in enumerate(trees):
        for node, left in enumerate(tree["left_children"]):
            leaf = left == -1
            value = tree["split_conditions"][node]  # a leaf keeps its weight here
            row = (
                number,
                node,
                0 if leaf else tree["split_indices"][node],
                "LEAF" if leaf else "BRANCH_LT",
                0.0 if leaf else value,
                0 if leaf else left,
                0 if leaf else tree["right_children"][node],
                0 if leaf else int(tree["default_left"][node]),
            )
            for name, item in zip(_NODE_LISTS, row, strict=True):
                out[name].append(item)
            if leaf:
                for name, item in zip(_TARGET_LISTS, (number, node, 0, value), strict=True):
                    out[name].append(item)
    return out


_NODE_LISTS = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_modes",
    "nodes_values",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
)
_TARGET_LISTS = ("target_treeids", "target_nodeids", "target_ids", "target_weights")
