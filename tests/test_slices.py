"""Slices: every row in one slice of each kind, clear words for a slice that does not exist."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include import slices


@given(st.integers(0, 23))
def test_a_band_is_named_after_hours_that_hold_the_hour(hour: int) -> None:
    low, high = slices.hour_band(np.array([hour]))[0].split("-")
    assert int(low) <= hour <= int(high)


def test_each_row_is_in_one_slice_of_each_kind() -> None:
    frame = pd.DataFrame({"origin": ["JFK", "LGA", "JFK"], "local_hour": [5, 9, 23]})
    found = list(slices.masks(frame, ("origin", "hour_band")))
    assert [(by, value) for by, value, _ in found] == [
        ("origin", "JFK"),
        ("origin", "LGA"),
        ("hour_band", "00-08"),
        ("hour_band", "09-11"),
        ("hour_band", "21-23"),
    ]
    assert sum(mask for _, _, mask in found).tolist() == [2, 2, 2]  # type: ignore[union-attr]


def test_an_unknown_slice_is_named() -> None:
    with pytest.raises(slices.UnknownSlice, match="tailnum"):
        slices.values(pd.DataFrame({"origin": ["JFK"]}), "tailnum")
