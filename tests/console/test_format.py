"""Numbers and times in words: total, monotone, and wall and data time never alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.console import format
from include.console.view import Number

NOW = datetime(2026, 11, 21, 17, 40, tzinfo=UTC)
finite = st.floats(allow_nan=False, allow_infinity=False)
units = st.sampled_from(["", "nats", "share", "probability", "ms", "MB", "flights", "x"])
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def _read(text: str) -> float:
    """The number that a person reads."""
    plain = text.replace("−", "-").replace(",", "").removesuffix(" ms")
    return float(plain.removesuffix("%")) / 100 if plain.endswith("%") else float(plain)


@given(finite, units, st.booleans())
def test_every_number_has_a_text(value: float, unit: str, sign: bool) -> None:
    text = format.number(value, unit, sign)
    assert text
    assert "-" not in text  # the hyphen is no minus


@given(finite, finite, units)
def test_rounding_never_turns_an_order_around(one: float, two: float, unit: str) -> None:
    low, high = sorted((one, two))
    assert _read(format.number(low, unit)) <= _read(format.number(high, unit))


@given(finite, units)
def test_a_sign_is_shown_for_what_is_not_shown_as_zero(value: float, unit: str) -> None:
    text = format.number(value, unit, sign=True)
    assert text[0] in ("+−" if _read(text.lstrip("+")) else "0")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.47554, "nats", "0.4755"),
        (-0.00264, "nats", "−0.0026"),
        (0.0179, "share", "1.8%"),
        (6627.0, "rows", "6,627"),
        (0.0643, "ms", "0.064"),
        (0.0, "nats", "0"),
        (float("nan"), "nats", "–"),
        (None, "", "–"),
    ],
)
def test_a_number_has_the_digits_of_its_unit(value: float | None, unit: str, text: str) -> None:
    assert format.number(value, unit) == text


def test_an_interval_stands_in_brackets_with_the_digits_of_its_value() -> None:
    assert format.interval(0.442, 0.512) == "[0.4420, 0.5120]"
    assert format.interval(-0.007, 0.0018, "nats", sign=True) == "[−0.0070, +0.0018]"
    assert format.interval(None, 0.5) == ""


def test_a_measured_value_carries_interval_and_unit() -> None:
    shown = format.measured(Number(0.4755, 0.4305, 0.5205, "nats"))
    for part in ("0.4755", "[0.4305, 0.5205]", "nats"):
        assert part in shown


@given(st.floats(0, 1))
def test_no_share_is_shown_as_none_or_all_unless_it_is(value: float) -> None:
    text = format.share(value)
    assert (text == "0%") == (value == 0)
    assert (text == "100%") == (value == 1)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_longer_is_never_told_as_shorter(one: float, two: float) -> None:
    lengths = {"s": 1, "min": 60, "h": 3600, "d": 86400}

    def read(text: str) -> int:
        number, unit = text.split()
        return int(number.replace(",", "")) * lengths[unit]

    low, high = sorted((one, two))
    assert read(format.duration(low)) <= read(format.duration(high))
    assert read(format.duration(high)) <= high


@given(times)
def test_a_wall_time_is_relative_with_the_exact_one_beside_it(at: datetime) -> None:
    shown = format.wall(at, NOW)
    assert f'title="{at:%Y-%m-%d %H:%M:%S} UTC"' in shown
    assert any(word in shown for word in ("ago", "in ", "just now"))
    assert "data" not in shown.replace("datetime", "")


@given(times)
def test_a_data_time_is_absolute_and_marked(at: datetime) -> None:
    shown = format.data(at.isoformat())
    assert str(at.year) in shown
    assert '<abbr class="mark"' in shown
    assert "ago" not in shown


def test_how_far_behind() -> None:
    now = "2013-04-30T00:00:00+00:00"
    assert format.behind("2013-04-29T18:00:00+00:00", now) == "6 h behind"
    assert format.behind(now, now) == "up to date"
    assert format.behind(None, now) == ""


@given(st.text())
def test_ticks_make_code_and_nothing_else(text: str) -> None:
    shown = format.ticked(text)
    assert "<" not in shown.replace("<code>", "").replace("</code>", "")


def test_a_data_time_within_a_sentence_is_shown_as_one() -> None:
    assert '<time class="data"' in format.ticked("by monitor, as of 2013-04-26T06:30:00+00:00: surprise")
    assert format.ticked("2013-02-31T00:00:00+00:00") == "2013-02-31T00:00:00+00:00"


def test_a_question_has_its_paragraphs_and_its_table() -> None:
    shown = format.prose("It holds.\n\n| check | value |\n| --- | --- |\n| loss | <b> |\n\nApprove `it`?")
    assert shown.startswith("<p>It holds.</p><table>")
    assert "<td>loss</td><td>&lt;b&gt;</td>" in shown
    assert shown.endswith("<p>Approve <code>it</code>?</p>")


@given(st.text("|-: ab\n<`", max_size=60))
def test_any_question_can_be_shown(text: str) -> None:
    assert "<b" not in format.prose(text)


def test_time_passes() -> None:
    assert format.ago(NOW - timedelta(minutes=4, seconds=40), NOW) == "4 min ago"
    assert format.ago(NOW + timedelta(hours=11), NOW) == "in 11 h"
    assert format.ago(NOW, NOW) == "just now"
