"""The clock and the text form of times: one mapping, fixed at first start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include import clock, times

WALL, ANCHOR = datetime(2026, 1, 1, tzinfo=UTC), datetime(2013, 3, 25, tzinfo=UTC)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def test_the_mapping_is_fixed_at_the_first_start(tmp_path: Path) -> None:
    file = tmp_path / "clock.json"
    first = clock.start(file, WALL, ANCHOR, speed=24.0)
    again = clock.start(file, WALL + timedelta(days=9), ANCHOR + timedelta(days=9), speed=1.0)
    assert again == first
    assert first.at(WALL + timedelta(hours=1)) == ANCHOR + timedelta(days=1)


def test_before_the_start_time_stands_still(tmp_path: Path) -> None:
    kept = clock.start(tmp_path / "clock.json", WALL, ANCHOR, speed=2.0)
    assert kept.at(WALL - timedelta(days=1)) == ANCHOR


def test_a_clock_that_was_never_started_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(clock.ClockNotStarted, match="make up"):
        clock.load(tmp_path / "clock.json")


@given(instants, instants)
def test_texts_compare_as_the_times_they_mean(a: datetime, b: datetime) -> None:
    whole = [t.replace(microsecond=0) for t in (a, b)]
    assert (times.iso(a) < times.iso(b)) == (whole[0] < whole[1])
    assert times.parse(times.iso(a)) == whole[0]


@given(instants, st.integers(min_value=1, max_value=10**6))
def test_days_between_are_the_days_touched(start: datetime, seconds: int) -> None:
    end = start + timedelta(seconds=seconds)
    days = times.days_between(start, end)
    assert days == sorted(set(days))
    assert days[0] == times.day(start)
    assert days[-1] == times.day(end - timedelta(microseconds=1))


def test_an_empty_span_touches_no_day() -> None:
    assert times.days_between(WALL, WALL) == []


@pytest.mark.parametrize("text", ["", "yesterday", "2013-13-01"])
def test_rubbish_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=repr(text)):
        times.parse(text)
