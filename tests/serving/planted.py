"""Versions with known faults, packaged as bundles, and a ledger that deploys them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import sqlalchemy as sa
from onnx import TensorProto, helper, numpy_helper

from include import bundle
from include.contracts import FEATURES, Ref
from include.packed import code_hash
from include.release import ledger
from include.release.ledger import Decision, Deployment, Version
from include.settings import Settings
from tests.packaging import tiny

AS_OF = "2013-01-31T05:00:00+00:00"
MEDIANS = {n: float(np.float32((f.low + f.high) / 2)) for n, f in FEATURES.items()}  # type: ignore[operator]


def failing_above(miles: float) -> bytes:
    """The tiny model, but no number for flights that are longer."""
    model = onnx.load_from_string(tiny.model())
    nodes = list(model.graph.node)
    nodes[-1].output[0] = "sound"
    place = list(FEATURES).index("distance")
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name)
        for name, value in (("place", [place]), ("limit", np.float32(miles)), ("nan", float("nan")), ("axis", [1]))
    )
    model.graph.node.extend(
        [
            helper.make_node("Gather", ["features", "place"], ["column"], axis=1),
            helper.make_node("Squeeze", ["column", "axis"], ["distance"]),
            helper.make_node("Greater", ["distance", "limit"], ["far"]),
            helper.make_node("Where", ["far", "nan", "sound"], ["probability"]),
        ]
    )
    content: bytes = model.SerializeToString()
    return content


def constant(probability: float) -> bytes:
    """Always the same probability."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["features"], ["wide"], to=TensorProto.DOUBLE),
            helper.make_node("ReduceMin", ["wide", "axis"], ["least"], keepdims=0),
            helper.make_node("IsNaN", ["least"], ["odd"]),
            helper.make_node("Where", ["odd", "p", "p"], ["probability"]),
        ],
        "constant",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(FEATURES)])],
        [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, [None])],
        [numpy_helper.from_array(np.array(probability), "p"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


def save(settings: Settings, content: bytes, **serving: Any) -> Ref:
    """A bundle of today's format."""
    policy = {"threshold": 0.4, "stale": "flag", "log_rate": 1.0, **serving}
    described = bundle.schema(tiny.MODEL, tiny.NAMES, "c" * 64, AS_OF, "logistic", {}, MEDIANS, policy)
    return bundle.save(settings, content, described)


def add(engine: sa.Engine, number: int, made: Ref, code: str | None = None) -> None:
    nothing = Ref(uri="", version="", hash="")
    entry = Version(
        tiny.MODEL, number, "run", "c" * 64, AS_OF, "2013-01-23", nothing, made, nothing, code or code_hash()
    )
    ledger.add_version(engine, entry)


def deploy(engine: sa.Engine, champion: int | None, challenger: int | None = None, **more: Any) -> Deployment:
    """The next generation."""
    seen = ledger.current(engine, tiny.MODEL)
    decision = Decision(f"test/{seen.generation + 1}", tiny.MODEL, "test", "test", "because", AS_OF, champion)
    return ledger.deploy(engine, seen, decision, champion, challenger, **more)


def corrupt(made: Ref) -> None:
    """Another content than the reference says."""
    model = Path(made["uri"]) / bundle.MODEL
    model.write_bytes(model.read_bytes()[:-20])


def column(place: int, width: int) -> bytes:
    """One of `width` features is the probability."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["features"], ["wide"], to=TensorProto.DOUBLE),
            helper.make_node("Gather", ["wide", "place"], ["one"], axis=1),
            helper.make_node("Identity", ["one"], ["probability"]),
        ],
        "column",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, [None])],
        [numpy_helper.from_array(np.array(place), "place")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content
