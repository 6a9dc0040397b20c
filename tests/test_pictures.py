"""Pages and charts: nothing from outside, nothing unescaped, every value inside the picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include import pictures

bounded = settings(max_examples=60, deadline=None)
numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))
labels = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


def places(svg: str, what: str) -> list[float]:
    return [float(x) for x in re.findall(rf'{what}="(-?[\d.]+)"', svg)]


@bounded
@given(st.lists(st.tuples(labels, numbers, st.floats(0, 1e3)), min_size=1, max_size=12))
def test_intervals_are_well_formed_and_inside(rows: list[tuple[str, float, float]]) -> None:
    svg = pictures.intervals("A <title>", [(name, v, v - half, v + half) for name, v, half in rows], {"none": 0.0})
    ElementTree.fromstring(svg)
    assert all(0 <= x <= pictures.WIDTH for x in places(svg, "cx"))


@bounded
@given(st.lists(st.tuples(labels, numbers), min_size=1, max_size=12))
def test_bars_are_well_formed_and_inside(rows: list[tuple[str, float]]) -> None:
    svg = pictures.bars("bars", rows)
    ElementTree.fromstring(svg)
    assert all(width >= 0 for width in places(svg, "width"))
    assert all(0 <= x <= pictures.WIDTH for x in places(svg, " x"))


@bounded
@given(st.lists(st.none() | numbers, min_size=1, max_size=30))
def test_lines_leave_gaps_and_stay_inside(values: list[float | None]) -> None:
    svg = pictures.lines("lines", [str(i) for i in range(len(values))], {"one": values, "two": values[::-1]})
    ElementTree.fromstring(svg)
    assert svg.count("<circle") == 2 * sum(v is not None for v in values)
    assert all(0 <= x <= pictures.WIDTH for x in places(svg, "cx"))


@bounded
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5)), min_size=1, max_size=10))
def test_calibration_is_well_formed(points: list[tuple[float, float, float]]) -> None:
    svg = pictures.calibration("calibration", [(str(p), rate, rate - half, rate + half) for p, rate, half in points])
    ElementTree.fromstring(svg)
    assert all(15 <= y <= 335 for y in places(svg, "cy"))


@bounded
@given(numbers, numbers)
def test_ticks_enclose_what_is_shown(one: float, other: float) -> None:
    low, high = sorted((one, other))
    ticks = pictures._ticks([high, low])
    size = ticks[-1] - ticks[0]
    assert ticks[0] <= low + 1e-6 * size
    assert ticks[-1] >= high - 1e-6 * size
    assert 2 <= len(ticks) <= 9


def test_what_is_no_number_cannot_be_shown() -> None:
    with pytest.raises(ValueError, match="cannot show"):
        pictures.bars("bars", [("a", float("nan"))])


def test_text_is_escaped_everywhere() -> None:
    bad = "<script>&"
    parts = [
        pictures.lead(bad, bad, "good"),
        pictures.section(bad, bad),
        pictures.table([bad], [[bad]]),
        pictures.figure("", bad),
        pictures.intervals(bad, [(bad, 1.0, None, None)], {bad: 0.0}),
        pictures.bars(bad, [(bad, 1.0)]),
        pictures.lines(bad, [bad], {bad: [1.0]}),
    ]
    assert "<script" not in pictures.document(bad, *parts)


def test_numbers_are_written_for_people() -> None:
    assert [pictures.number(v) for v in (None, 3, 12345.0, 0.12345, 55.25)] == ["–", "3", "12,345", "0.1235", "55.2"]
    assert pictures.span(0.5, 0.25, 0.75) == "0.5000 [0.2500, 0.7500]"
    assert pictures.span(0.5, None, None) == "0.5000"
