"""The skew audit: equal to the bit or told, features that were brought along apart."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contracts import ENTITY
from include.monitoring import skew

NAMES = ["temp", "gust", "origin_queue"]


def logged(n: int = 40, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(rng.normal(size=(n, 3)).astype(np.float32), columns=NAMES)
    rows.loc[::4, "gust"] = np.nan
    return rows.assign(**{ENTITY: [f"f{i}" for i in range(n)], "given": np.arange(n) % 2 == 1})


def test_the_same_features_in_another_order_are_no_skew() -> None:
    rows = logged()
    found = skew.compare(rows, rows.sample(frac=1, random_state=1), NAMES)
    assert (found["rows"], found["mismatched"], found["rate"], found["by_feature"]) == (20, 0, 0.0, [])
    assert (found["given"]["rows"], found["given"]["mismatched"], found["unmatched"]) == (20, 0, 0)


def test_each_difference_is_told_by_feature() -> None:
    rows, other = logged(), logged()
    other.loc[[0, 2], "temp"] += np.float32(1)
    other.loc[2, "origin_queue"] = np.nextafter(other.loc[2, "origin_queue"], np.float32(9))  # the last bit
    other.loc[4, "gust"] = 3.0  # logged without it
    other.loc[1, "temp"] = np.nan  # a flight that brought its features along
    found = skew.compare(rows, other, NAMES)
    assert (found["mismatched"], found["rate"]) == (3, 3 / 20)
    assert [(f["feature"], f["mismatched"], f["missing"]) for f in found["by_feature"]] == [
        ("temp", 2, 0), ("gust", 1, 1), ("origin_queue", 1, 0),
    ]  # fmt: skip
    first = found["by_feature"][0]
    assert first["largest"] == pytest.approx(1, abs=1e-6)
    assert first["example"]["flight_id"] == "f0"
    assert found["by_feature"][1]["example"] == {"flight_id": "f4", "logged": None, "recomputed": 3.0}
    assert (found["given"]["mismatched"], found["given"]["by_feature"][0]["feature"]) == (1, "temp")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.sampled_from(NAMES))
def test_as_many_rows_as_were_changed_are_found(seed: int, changed: int, name: str) -> None:
    rows, other = logged(40, seed), logged(40, seed)
    at = np.random.default_rng(seed).choice(np.arange(0, 40, 2), changed, replace=False)
    other.loc[at, name] = other.loc[at, name].fillna(0) + np.float32(0.5)
    found = skew.compare(rows, other, NAMES)
    assert found["mismatched"] == changed
    assert sum(f["mismatched"] for f in found["by_feature"]) == changed
    assert found["given"]["mismatched"] == 0


def test_flights_that_were_not_recomputed_are_counted() -> None:
    rows = logged()
    assert skew.compare(rows, rows.iloc[:30], NAMES)["unmatched"] == 10
    nothing = skew.compare(rows, rows.iloc[:0], NAMES)
    assert (nothing["rows"], nothing["rate"], nothing["unmatched"]) == (0, None, 40)
    assert skew.compare(rows.iloc[:0], rows, NAMES)["rate"] is None


def test_what_cannot_be_compared_is_refused() -> None:
    rows = logged()
    with pytest.raises(KeyError, match=r"recomputed rows lack.*gust"):
        skew.compare(rows, rows.drop(columns="gust"), NAMES)
    with pytest.raises(ValueError, match="flight_id: f0 is in the recomputed"):
        skew.compare(rows, pd.concat([rows, rows.iloc[:1]]), NAMES)


def test_a_real_window_compared_with_itself_and_with_another_hour(watched: Any) -> None:
    names = list(watched.window.columns[-36:])
    assert skew.compare(watched.window, watched.window, names)["mismatched"] == 0
    late = watched.window.assign(temp=watched.window["temp"].shift(200))
    found = skew.compare(watched.window, late, names)
    assert found["rate"] > 0.5
    assert [f["feature"] for f in found["by_feature"]] == ["temp"]
