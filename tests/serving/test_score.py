"""From body to answer, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include.bundle import Bundle, load
from include.bundle import predict as score
from include.packaging.cases import Case, bad_inputs
from include.packaging.checks import records
from include.serving.requests import MAX_BYTES
from include.serving.router import Live, model
from include.serving.score import MAX_ROWS
from include.settings import Settings
from tests.packaging import tiny
from tests.serving.calling import app, call

ROW = records(tiny.frame(1, missing=0), tiny.NAMES)[0]
ROWS = records(tiny.frame(6, seed=2), tiny.NAMES)
CASES = bad_inputs({"features": [{"name": n, **vars(f)} for n, f in tiny.FEATURES.items()]}, ROW)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    home: Path = tmp_path_factory.mktemp("serving")
    return load(tiny.save(Settings(home=home)))


def send(bundle: Bundle, value: Any) -> tuple[int, dict[str, Any]]:
    return call(app(Live(champion=model("m", 1, bundle))), "POST", "/score", value)


def test_predictions_are_those_of_the_bundle_in_order(bundle: Bundle) -> None:
    status, value = send(bundle, {"rows": ROWS})
    table = tiny.frame(6, seed=2).to_numpy()
    assert status == 200
    assert value == {"predictions": score(bundle, table).tolist(), "model": "m", "version": "1"}
    np.testing.assert_allclose(value["predictions"], tiny.scores(table), atol=1e-9)


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_each_bad_input_is_refused_and_its_field_named(bundle: Bundle, case: Case) -> None:
    status, value = send(bundle, case.body)
    assert 400 <= status < 500
    assert value["error"]["field"] == case.field
    assert value["error"]["message"]


@examples(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_wrong_value_anywhere_is_found_and_named(bundle: Bundle, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(ROWS) - 1))
    feature = data.draw(st.sampled_from(list(tiny.FEATURES.values())))
    wrong: list[Any] = ["1", "", True, [], {}, float("inf"), -float("inf"), 10**400]
    wrong += [feature.low - 1, feature.high + 1] if feature.low is not None and feature.high is not None else []
    wrong += [] if feature.nullable else [None, float("nan")]
    value = data.draw(st.sampled_from(wrong))
    spoilt = [{**r, feature.name: value} if i == row else r for i, r in enumerate(ROWS)]
    status, said = send(bundle, {"rows": spoilt})
    assert status == 400
    assert (said["error"]["row"], said["error"]["field"]) == (row, feature.name)
    assert feature.name in said["error"]["message"]


@examples(max_examples=60, deadline=None)
@given(missing=st.sets(st.sampled_from([n for n, f in tiny.FEATURES.items() if f.nullable])))
def test_null_and_nan_where_allowed_are_the_same_and_as_in_training(bundle: Bundle, missing: set[str]) -> None:
    null = send(bundle, {"rows": [{**ROW, **dict.fromkeys(missing)}]})
    assert null == send(bundle, {"rows": [{**ROW, **dict.fromkeys(missing, float("nan"))}]})
    table = tiny.frame(1, missing=0)
    table[list(missing)] = np.nan
    np.testing.assert_allclose(null[1]["predictions"], tiny.scores(table.to_numpy()), atol=1e-9)


@examples(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200) | st.text(max_size=80).map(lambda t: f'{{"rows": {t}}}'.encode(errors="replace")))
def test_no_body_raises(bundle: Bundle, body: bytes) -> None:
    status, value = send(bundle, body)
    assert status in (200, 400, 413)
    json.dumps(value, allow_nan=False).encode()


@pytest.mark.parametrize(
    "body",
    [b"[" * 200_000, b'{"rows": ' + b"[" * 200_000, b"1" * 10_000, b'"\\ud800"', b"\xff\xfe", b'{"\\ud800": 1}'],
    ids=["deep", "deep rows", "huge number", "lone surrogate", "no UTF-8", "surrogate key"],
)
def test_hostile_json_is_refused(bundle: Bundle, body: bytes) -> None:
    status, value = send(bundle, body)
    assert status == 400
    json.dumps(value).encode()


def test_limits_of_rows_and_bytes(bundle: Bundle) -> None:
    assert send(bundle, {"rows": [ROW] * MAX_ROWS})[0] == 200
    assert send(bundle, {"rows": [ROW] * (MAX_ROWS + 1)})[0] == 400
    assert send(bundle, b" " * (MAX_BYTES + 1))[0] == 413


def test_an_answer_does_not_repeat_a_clients_text_at_length(bundle: Bundle) -> None:
    for value in ({"x" * 100_000: 1}, {"rows": [{**ROW, "x" * 100_000: 1}]}):
        status, said = send(bundle, value)
        assert status == 400
        assert len(json.dumps(said)) < 1_000
