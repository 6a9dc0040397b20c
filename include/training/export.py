"""The shipped form: an ONNX graph that repeats the fitted model to 1e-6, as a bundle (include/bundle.py).

    "features" float32 [n, k] -> family -> "margin" -> calibration -> Sigmoid -> "probability" float64 [n]

The graph is written node by node, not by a converter: names, order and thus bytes depend on the model only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from include import bundle, crashpoints
from include.contracts import Ref
from include.models.spec import ModelSpec
from include.settings import Settings
from include.training import data, families
from include.training.fit import PROBABILITY, Fitted, load_model

PARITY = 1e-6
_OPSETS = (("", 18), ("ai.onnx.ml", 3))
_IR = 10


class NotExact(RuntimeError):
    """The exported model does not repeat the fitted one: nothing may ship."""


def to_onnx(model: Mapping[str, Any]) -> bytes:
    """The ONNX bytes of a fitted model; equal models have equal bytes."""
    made, constants = families.module(model["family"]).nodes(model)
    calibration = model["calibration"]
    graph = helper.make_graph(
        [
            *made,
            helper.make_node("Mul", ["margin", "slope"], ["scaled"], name="calibration_slope"),
            helper.make_node("Add", ["scaled", "offset"], ["log_odds"], name="calibration_offset"),
            helper.make_node("Sigmoid", ["log_odds"], [bundle.OUTPUT], name="to_probability"),
        ],
        "model",
        [helper.make_tensor_value_info(bundle.INPUT, TensorProto.FLOAT, ["n", len(model["features"])])],
        [helper.make_tensor_value_info(bundle.OUTPUT, TensorProto.DOUBLE, ["n"])],
        [*constants, *(numpy_helper.from_array(np.array(calibration[name]), name) for name in ("slope", "offset"))],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
    whole = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="ratchet")
    onnx.checker.check_model(whole)
    return whole.SerializeToString(deterministic=True)


def export(
    settings: Settings,
    spec: ModelSpec,
    frame: Ref,
    fitted: Fitted,
    as_of: str,
    families: Sequence[str] | None = None,
) -> Ref:
    """Write the bundle of a fitted model and compare it with the training side on every holdout row.

    Raises NotExact, naming the largest difference, when one exceeds 1e-6; the bundle is then of no use to anyone.
    """
    parts = data.split(spec, data.read(settings, frame))
    described = bundle.schema(
        model=spec.name,
        features=spec.features,
        configuration_hash=spec.configuration_hash(tuple(families) if families else None),
        as_of=as_of,
        family=fitted["family"],
        params=fitted["params"],
        reference=reference(spec, parts.training),
        serving=spec.serving.model_dump(mode="json"),
    )
    made = bundle.save(settings, to_onnx(load_model(fitted["model"])), described)
    crashpoints.reached("train.export.bundle")
    expected = pd.read_parquet(Path(fitted["predictions"]["uri"]))[PROBABILITY].to_numpy()
    found = bundle.predict(bundle.load(made), data.matrix(parts.holdout, spec.features))
    worst = float(np.abs(found - expected).max())
    if worst > PARITY:
        raise NotExact(
            f"the exported {fitted['family']} differs from the fitted one by {worst:.1e}, {PARITY:g} is allowed"
        )
    return made


def reference(spec: ModelSpec, training: pd.DataFrame) -> dict[str, float | None]:
    """The row that contributions are taken against: each feature's median in training; None: it has no value there."""
    medians = training[list(spec.features)].median()
    return {name: None if math.isnan(m) else float(np.float32(m)) for name, m in medians.items()}
