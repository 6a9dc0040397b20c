"""A challenger in the shadow that fails, is slow or hangs delays no answer, and what it fails is counted.

A model that hangs makes the proof sharp: whoever waited for it would never be answered.
"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from include.contracts import FEATURES
from include.serving import collect
from include.settings import Settings
from tests.packaging import tiny
from tests.serving import planted
from tests.serving.following import Scene, flights, request, scene
from tests.serving.load import Seen, load

pytestmark = pytest.mark.xdist_group("service")

ANSWERS = 300
FAR = 3000.0  # miles; the reference row, with which a version is warmed, flies farther
SLOW, HANGS = 100_000, 10**15  # turns of a loop: a fraction of a second, and years


def looping(miles: float, turns: int) -> bytes:
    """The tiny model, but one that goes round and round first when a flight is shorter than so many miles."""
    model = onnx.load_from_string(tiny.model())
    graph = model.graph
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["so_far", "one"], ["then"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("so_far", TensorProto.DOUBLE, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("then", TensorProto.DOUBLE, []),
        ],
    )
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name)
        for name, value in (
            ("place", [list(FEATURES).index("distance")]),
            ("limit", np.float32(miles)),
            ("turns", np.int64(turns)),
            ("none", np.int64(0)),
            ("yes", True),
            ("zero", 0.0),
            ("one", 1.0),
            ("tiny", 1e-30),
        )
    )
    graph.node[-1].output[0] = "sound"
    graph.node.extend(
        [
            helper.make_node("Gather", ["features", "place"], ["distances"], axis=1),
            helper.make_node("ReduceMin", ["distances"], ["shortest"], keepdims=0),
            helper.make_node("Less", ["shortest", "limit"], ["near"]),
            helper.make_node("Where", ["near", "turns", "none"], ["rounds"]),
            helper.make_node("Loop", ["rounds", "yes", "zero"], ["counted"], body=body),
            helper.make_node("Mul", ["counted", "tiny"], ["nothing"]),
            helper.make_node("Add", ["sound", "nothing"], ["probability"]),
        ]
    )
    content: bytes = model.SerializeToString()
    return content


class Measured(NamedTuple):
    """Beside each challenger: the champion's answers, and by how much each of the log's counters rose."""

    seen: dict[str, list[Seen]]
    risen: dict[str, dict[str, float]]
    far: set[str]  # flights of more than 1,000 miles, by prediction
    collected: collect.Collected
    totals: dict[str, int]


CHALLENGERS = {
    "sound": planted.constant(0.5),
    "failing": planted.failing_above(1000),
    "slow": looping(FAR, SLOW),
    "hangs": looping(FAR, HANGS),  # the last: the worker's shadow does not come back
}


@pytest.fixture(scope="module")
def measured(history: Settings, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("shadow")
    seen, risen = {}, {}
    with scene(history, folder) as made:
        known = [request(row) for row in flights(made.settings)[-400:] if row["distance"] < FAR]
        for number, (name, content) in enumerate(CHALLENGERS.items(), start=2):
            made.version(number, content)
            made.deploy(1, number, stage="shadow", release=number)
            assert made.state()["challenger"] == number
            before = counters(made)
            (folder / name).mkdir()
            with load(made.service.port, known, folder / name, connections=2) as clients:
                clients.wait(ANSWERS)
                seen[name] = clients.stop()
            # an empty queue is not enough: what was taken from it last may not be written yet
            wanted = before["recorded"] + before["dropped"] + len(seen[name])
            made.service.wait(partial(has_written, made, wanted))
            if name != "hangs":
                made.service.wait(lambda: all_scored(made), 60)
            risen[name] = {k: after - before[k] for k, after in counters(made).items()}
    collected = collect.collect(made.settings)
    rows = collect.read(made.settings, tiny.MODEL, versions=[1], columns=["prediction_id", "distance"]).to_pylist()
    far = {row["prediction_id"] for row in rows if row["distance"] > 1000}
    return Measured(seen, risen, far, collected, collect.totals(made.settings))


def counters(scene: Scene) -> dict[str, float]:
    names = ("recorded", "dropped", "shadowed", "shadow_dropped", "shadow_failed")
    return {name: scene.metric(f"ratchet_log_{name}_total") for name in names}


def has_written(scene: Scene, wanted: float) -> bool:
    """Whether so many rows of answers have left the queue for good."""
    now = counters(scene)
    return now["recorded"] + now["dropped"] >= wanted


def all_scored(scene: Scene) -> bool:
    now = counters(scene)
    return now["shadowed"] == now["recorded"]


@pytest.mark.parametrize("name", CHALLENGERS)
def test_each_request_is_answered_by_the_champion_and_logged(measured: Measured, name: str) -> None:
    seen = measured.seen[name]
    assert {(s.status, s.version, s.stage) for s in seen} == {(200, 1, "champion")}
    assert measured.risen[name]["recorded"] == len(seen) >= ANSWERS
    assert measured.risen[name]["dropped"] == 0


@pytest.mark.parametrize("name", ["failing", "slow", "hangs"])
def test_no_answer_waits_for_it(measured: Measured, name: str) -> None:
    took = {n: [s.received - s.sent for s in seen] for n, seen in measured.seen.items()}
    # the loops take a whole core from a service that may have two: noise, but never the time of a loop
    assert median(took[name]) < 3 * median(took["sound"]) + 0.01
    assert max(took[name]) < 5.0


def test_what_fails_is_counted_once_a_row(measured: Measured) -> None:
    failed = sum(s.prediction_id in measured.far for s in measured.seen["failing"])
    assert measured.risen["failing"]["shadow_failed"] == failed > ANSWERS / 10
    assert measured.risen["failing"]["shadowed"] == len(measured.seen["failing"])
    for name in ("sound", "slow"):
        assert measured.risen[name]["shadow_failed"] == 0
        assert measured.risen[name]["shadowed"] == len(measured.seen[name])


def test_what_hangs_is_scored_never_and_counted_as_lost_at_the_end(measured: Measured) -> None:
    assert measured.risen["hangs"]["shadowed"] == 0
    assert measured.totals["shadow_lost"] + measured.totals["shadow_dropped"] == len(measured.seen["hangs"])
    assert (measured.collected["lost"], measured.collected["dropped"]) == (0, 0)
    assert measured.collected["answers"] == sum(map(len, measured.seen.values()))
