"""Bundles: content-addressed, verified when loaded, and rows checked by the contract of each feature."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from onnx import TensorProto, helper

from include import bundle
from include.contracts import FEATURES
from include.files import hash_folder
from include.settings import Settings

NAMES = ("minute_of_day", "weekday", "temp", "origin_late_1h")
GOOD = {"minute_of_day": 600, "weekday": 2, "temp": 41.0, "origin_late_1h": None}


def _onnx(width: int = len(NAMES)) -> bytes:
    """Sigmoid of the sum of a row."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", [bundle.INPUT, "axis"], ["sum"], keepdims=0),
            helper.make_node("Sigmoid", ["sum"], [bundle.OUTPUT]),
        ],
        "sum",
        [helper.make_tensor_value_info(bundle.INPUT, TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info(bundle.OUTPUT, TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )


def _schema() -> dict[str, Any]:
    return bundle.schema("flights_on_time", NAMES, "0" * 64, "2013-03-01T00:00:00+00:00", "logistic", {"C": 0.1})


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_bundle_is_named_by_its_content_and_saved_once(home: Settings) -> None:
    first = bundle.save(home, _onnx(), _schema())
    stamp = (Path(first["uri"]) / bundle.MODEL).stat().st_mtime_ns
    assert bundle.save(home, _onnx(), _schema()) == first
    assert (Path(first["uri"]) / bundle.MODEL).stat().st_mtime_ns == stamp
    assert hash_folder(Path(first["uri"])) == first["hash"] == Path(first["uri"]).name
    other = bundle.save(home, _onnx(), {**_schema(), "as_of": "2013-03-02T00:00:00+00:00"})
    assert other["hash"] != first["hash"]
    assert {p.name for p in home.bundles.iterdir()} == {first["hash"], other["hash"]}


def test_loaded_bundle_predicts_in_float64(home: Settings) -> None:
    loaded = bundle.load(bundle.save(home, _onnx(), _schema()))
    found = bundle.predict(loaded, np.array([[1, 2, -3, 0], [0, 0, 0, 2]], dtype=np.float32))
    assert found.dtype == np.float64
    assert found == pytest.approx([0.5, 1 / (1 + math.exp(-2))], abs=1e-6)
    assert loaded.features == list(NAMES)
    assert loaded.session.get_session_options().intra_op_num_threads == 1
    with pytest.raises(bundle.BadInput, match="4 features"):
        bundle.predict(loaded, np.zeros((2, 3), dtype=np.float32))


def test_altered_incomplete_or_unfitting_bundle_is_refused(home: Settings) -> None:
    ref = bundle.save(home, _onnx(), _schema())
    narrow = bundle.save(home, _onnx(width=3), _schema())
    with pytest.raises(bundle.BadBundle, match="takes 3 features, its schema names 4"):
        bundle.load(narrow)
    file = Path(ref["uri"]) / bundle.SCHEMA
    file.write_text(file.read_text().replace("0.1", "0.2"))
    with pytest.raises(bundle.BadBundle, match="altered"):
        bundle.load(ref)
    file.unlink()
    with pytest.raises(bundle.BadBundle, match=r"schema\.json missing"):
        bundle.load(Path(ref["uri"]))


@pytest.mark.parametrize(
    ("rows", "field", "says"),
    [
        ([], "rows", "at least one row"),
        ({}, "rows", "at least one row"),
        ([GOOD, 3], "rows", "row 1: expected an object"),
        ([{k: v for k, v in GOOD.items() if k != "temp"}], "temp", "row 0: missing feature 'temp'"),
        ([{**GOOD, "tempo": 1}], "tempo", "unknown feature 'tempo'"),
        ([{**GOOD, "temp": "41"}], "temp", "temp must be a number, got str"),
        ([{**GOOD, "temp": True}], "temp", "temp must be a number, got bool"),
        ([{**GOOD, "temp": [41]}], "temp", "temp must be a number, got list"),
        ([GOOD, {**GOOD, "weekday": None}], "weekday", "row 1: weekday must not be missing"),
        ([{**GOOD, "weekday": math.nan}], "weekday", "weekday must not be missing"),
        ([{**GOOD, "temp": math.inf}], "temp", "temp must be finite"),
        ([{**GOOD, "temp": 1e300}], "temp", "temp must be finite"),
        ([{**GOOD, "temp": 10**400}], "temp", "temp is too large"),
        ([{**GOOD, "temp": 131}], "temp", r"temp must lie in \[-60.*, 130.*\], got 131"),
        ([{**GOOD, "minute_of_day": -1}], "minute_of_day", "minute_of_day must lie in"),
    ],
)
def test_bad_rows_are_refused_by_name(rows: Any, field: str, says: str) -> None:
    with pytest.raises(bundle.BadInput, match=says) as caught:
        bundle.check_rows(_schema(), rows)
    assert caught.value.field == field


def test_good_rows_keep_their_values_in_the_schemas_order() -> None:
    found = bundle.check_rows(_schema(), [dict(reversed(GOOD.items())), {**GOOD, "origin_late_1h": 1}])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[600, 2, 41, np.nan], [600, 2, 41, 1]], dtype=np.float32))


_value = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))


@examples(deadline=None, max_examples=200)
@given(st.lists(st.dictionaries(st.sampled_from([*NAMES, "other"]), _value), max_size=3))
def test_whatever_passes_the_check_obeys_the_contract(rows: list[dict[str, Any]]) -> None:
    try:
        found = bundle.check_rows(json.loads(json.dumps(_schema())), rows)
    except bundle.BadInput:
        return
    for column, name in enumerate(NAMES):
        feature, values = FEATURES[name], found[:, column]
        assert feature.nullable or not np.isnan(values).any()
        known = values[~np.isnan(values)]
        assert feature.low is None or (known >= np.float32(feature.low)).all()
        assert feature.high is None or (known <= np.float32(feature.high)).all()
