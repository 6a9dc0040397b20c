"""A tiny bundle with all 36 real features, its training side in NumPy, and rows that lie within their bounds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from include import bundle
from include.contracts import FEATURES, Ref
from include.settings import Settings

NAMES = list(FEATURES)
MODEL = "flights_on_time"
LOW = np.array([f.low for f in FEATURES.values()], dtype=float)
HIGH = np.array([f.high for f in FEATURES.values()], dtype=float)
NULLABLE = np.array([f.nullable for f in FEATURES.values()])
WEIGHTS = np.random.default_rng(7).normal(size=len(NAMES))
FILL = 0.25  # stands in for a missing value, on the scale of [0, 1] between the bounds


def scores(table: np.ndarray) -> np.ndarray:
    """The training side: probabilities, float64 [n], of rows float32 [n, 36]."""
    scaled = (table.astype(float) - LOW) / (HIGH - LOW)
    return 1 / (1 + np.exp(-np.where(np.isnan(scaled), FILL, scaled) @ WEIGHTS))


def frame(count: int, seed: int = 1, missing: float = 0.1) -> pd.DataFrame:
    """Rows within bounds; the given share of nullable values is NaN."""
    rng = np.random.default_rng(seed)
    table = (LOW + (HIGH - LOW) * rng.random((count, len(NAMES)))).astype(np.float32)
    table[(rng.random(table.shape) < missing) & NULLABLE] = np.nan
    return pd.DataFrame(table, columns=NAMES)


def model() -> bytes:
    """The same as `scores`, as ONNX in double precision inside."""
    tensors = {"low": LOW, "span": HIGH - LOW, "fill": np.array(FILL), "weights": WEIGHTS}
    steps = [
        helper.make_node("Cast", ["features"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Sub", ["wide", "low"], ["above"]),
        helper.make_node("Div", ["above", "span"], ["scaled"]),
        helper.make_node("IsNaN", ["scaled"], ["missing"]),
        helper.make_node("Where", ["missing", "fill", "scaled"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(
        steps,
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(NAMES)])],
        [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, [None])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


def save(settings: Settings, content: bytes | None = None) -> Ref:
    """Write the bundle; `content` replaces the model by something else."""
    reference = dict(zip(NAMES, frame(1, seed=9, missing=0).to_numpy()[0].tolist(), strict=True))
    policy = {"threshold": 0.4, "stale": "flag", "log_rate": 1.0}
    as_of = "2013-03-01T00:00:00+00:00"
    schema = bundle.schema(MODEL, NAMES, "c" * 64, as_of, "logistic", {}, reference, policy)
    return bundle.save(settings, content if content is not None else model(), schema)
