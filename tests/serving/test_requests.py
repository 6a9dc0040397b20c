"""Decoding: what is refused names its field and its row, whatever the body."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include.contracts import FEATURES
from include.serving import requests
from include.serving.requests import Refused
from tests.serving.calling import FLIGHT, middle


def body(**changed: Any) -> bytes:
    return json.dumps({"flight": {**FLIGHT, **changed}}).encode()


def refused(content: bytes, many: bool = False) -> Refused:
    with pytest.raises(Refused) as caught:
        (requests.many if many else requests.one)(content)
    value = json.loads(requests.failure(caught.value))["error"]
    assert set(value) == {"field", "row", "message"}
    assert value["message"]
    return caught.value


WRONG: dict[str, list[Any]] = {
    "carrier": [None, 1, "", "b6", "B6X", "B6\n", ["B6"]],
    "flight": [None, "727", 0, 10_000, 1.5, True],
    "origin": [None, "", "jfk", "JFKX", "JFK\n"],
    "dest": [None, 7, "A"],
    "sched_dep": [None, "", "2013-01-31T23:59:00", "yesterday", 1359, "2013-13-01T00:00:00Z"],
    "sched_arr": [None, "2013-02-01T05:00:00", {}],
    "distance": [None, "1576", 49, 6001, True],
    "at": ["2013-01-31T23:59:00", 5],
    "features": [[], 3],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in WRONG.items() for v in values])
def test_a_wrong_value_is_refused_and_its_field_named(field: str, value: Any) -> None:
    error = refused(body(**{field: value}))
    assert (error.status, error.field, error.row) == (422, field, None)
    batch = json.dumps({"flights": [FLIGHT, {**FLIGHT, field: value}]}).encode()
    error = refused(batch, many=True)
    assert (error.status, error.field, error.row) == (422, field, 1)


@pytest.mark.parametrize("field", list(FLIGHT))
def test_a_missing_field_is_named(field: str) -> None:
    assert refused(json.dumps({"flight": {k: v for k, v in FLIGHT.items() if k != field}}).encode()).field == field


def test_an_unknown_field_is_named_and_cut_short() -> None:
    assert refused(body(tail="N123")).field == "tail"
    assert refused(json.dumps({"flight": FLIGHT, "explian": True}).encode()).field == "explian"
    assert len(requests.failure(refused(body(**{"x" * 100_000: 1})))) < 1_000


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
@pytest.mark.parametrize("field", ["distance", "features"])
def test_no_number_that_is_none_passes(literal: str, field: str) -> None:
    text = literal if field == "distance" else f'{{"temp": {literal}}}'
    error = refused(body(**{field: "@"}).replace(b'"@"', text.encode()))
    assert error.field in ("body", "distance", "temp")


@examples(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_given_feature_outside_of_its_bounds_is_named(data: st.DataObject) -> None:
    feature = data.draw(st.sampled_from(list(FEATURES.values())))
    assert feature.low is not None
    assert feature.high is not None
    wrong = [feature.low - 1, feature.high + 1, "1", True, []] + ([] if feature.nullable else [None])
    error = refused(body(features={**middle(), feature.name: data.draw(st.sampled_from(wrong))}))
    assert (error.status, error.field) == (422, feature.name)


@examples(max_examples=40, deadline=None)
@given(names=st.sets(st.sampled_from([n for n, f in FEATURES.items() if f.nullable])))
def test_given_features_are_what_was_given_and_null_is_missing(names: set[str]) -> None:
    found = requests.given(requests.one(body(features={**middle(), **dict.fromkeys(names)})).flight)
    assert set(found) == set(FEATURES)
    assert {name for name, value in found.items() if math.isnan(value)} == names


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"NaN", b'{"flight": NaN}', b'"\\ud800"', b"1" * 10_000],
)
def test_what_is_no_json_is_400_or_named_as_the_body(content: bytes) -> None:
    error = refused(content)
    assert error.status in (400, 422)
    assert error.field == "body"


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"flight": ' + b"[" * 200_000, b'{"flight":' * 100_000])
def test_deep_json_is_refused(content: bytes) -> None:
    assert refused(content).status in (400, 422)


def test_a_batch_is_bounded() -> None:
    assert refused(json.dumps({"flights": []}).encode(), many=True).field == "flights"
    assert refused(json.dumps({"flights": [FLIGHT] * 1001}).encode(), many=True).field == "flights"
    assert len(requests.many(json.dumps({"flights": [FLIGHT] * 1000}).encode()).flights) == 1000


@examples(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=80)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from([*FLIGHT, "flight", "explain", "x"]), v),
        max_leaves=12,
    ).map(lambda v: json.dumps(v).encode())
)
def test_any_body_is_decoded_or_refused(content: bytes) -> None:
    for decode in (requests.one, requests.many):
        try:
            decode(content)
        except Refused as error:
            json.loads(requests.failure(error))
