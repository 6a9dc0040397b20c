"""Charts' specs: Vega-Lite takes them, they hold only JSON's numbers, and no two marks hide one another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from include.console import charts, curve
from include.console.vegalite import Spec
from include.console.view import Number
from tests.console import views

SPECS: dict[str, Callable[[], Spec | None]] = {
    "curve": lambda: curve.chart(views.days(), views.marks()),
    "a year": lambda: curve.chart(views.days(365), views.marks()),
    "no days": lambda: curve.chart((), ()),
    "slices": lambda: charts.slices(views.slices(), "difference"),
    "calibration": lambda: charts.calibration(views.evidence().calibration),
    "drift": lambda: charts.drift(views.drift()),
    "drift alone": lambda: charts.drift([replace(row, importance=None) for row in views.drift()]),
    "scores": lambda: charts.scores(views.evidence().scores),
}
measure = st.floats(-1e6, 1e6) | st.sampled_from([float("nan"), float("inf"), float("-inf")])


@pytest.mark.parametrize("name", SPECS)
def test_vega_lite_takes_it(name: str) -> None:
    spec = SPECS[name]()
    assert spec is not None
    text = json.dumps(spec, allow_nan=False).replace('"container"', "600")
    assert vl_convert.vegalite_to_vega(text)["marks"]


@given(st.lists(st.tuples(measure, measure, measure), max_size=8))
def test_what_is_no_number_is_a_gap(values: list[tuple[float, float, float]]) -> None:
    rows = [("origin", str(i), 10, Number(*value, unit="nats")) for i, value in enumerate(values)]
    days = [replace(views.days()[0], log_loss=Number(*value), daily=value[0]) for value in values]
    side = {"challenger": [(value[0], Number(*value)) for value in values]}
    for spec in (charts.slices(rows, "x"), curve.chart(days, ()), charts.calibration(side)):
        json.dumps(spec, allow_nan=False)


@given(st.lists(st.integers(0, 30 * 24 * 60), min_size=2, max_size=7, unique=True))
def test_no_two_decisions_lie_upon_each_other(minutes: list[int]) -> None:
    start = datetime.fromisoformat("2013-04-01T00:00:00+00:00")
    one = views.marks()[0]
    marks = [replace(one, as_of=(start + timedelta(minutes=m)).isoformat()) for m in minutes]
    drawn = curve.chart(views.days(), marks)["datasets"]["marks"]
    assert len({(row["at"], row["y"]) for row in drawn}) == len(marks)
    for before, after in pairwise(drawn):
        apart = datetime.fromisoformat(after["at"]) - datetime.fromisoformat(before["at"])
        assert apart > timedelta(hours=1) or after["y"] != before["y"]


def test_a_refusal_does_not_look_like_a_promotion() -> None:
    drawn = {row["what"]: (row["shape"], row["colour"]) for row in SPECS["curve"]()["datasets"]["marks"]}  # type: ignore[index]
    assert (
        len({drawn["refused by the gate"], drawn["version 2 promoted to champion"], drawn["version 3 rolled back"]})
        == 3
    )


@given(st.lists(st.none() | st.tuples(measure, measure, measure), max_size=30))
def test_any_days_make_a_sparkline(values: list[tuple[float, float, float] | None]) -> None:
    numbers = [Number(*value) if value else None for value in values]
    shown = charts.spark_bias([replace(views.days()[0], bias=found) for found in numbers])
    assert "nan" not in shown
    assert "inf" not in shown


def test_a_sparkline_says_its_range_in_words_and_needs_labels() -> None:
    shown = charts.spark_loss(views.days())
    assert "Log loss over 20 days: from 0.5707 to 0.4755, lowest" in shown
    assert charts.spark_loss(()) == ""
