"""What to do next, in words: always one thing, the most urgent, and only what a form can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.console import advice
from include.console.view import Health, Row
from tests.console import views

states = st.sampled_from(["healthy", "insufficient", "incident", "rollback", "retrain", "unwatched", "unheard of"])


@st.composite
def rows(draw: Callable[..., Any]) -> Row:
    health = replace(views.HEALTHY, state=draw(states), reason=draw(st.text()))
    return replace(
        views.row(),
        health=health,
        champion=draw(st.sampled_from([None, 2])),
        alerts=draw(st.sampled_from([(), (views.PAGE,), (views.NOTICE, views.PAGE)])),
        question=draw(st.sampled_from([None, views.QUESTION])),
        challenger=draw(st.sampled_from([None, views.SHADOW, views.APPROVAL])),
        frozen=draw(st.sampled_from([None, views.FROZEN])),
        request=draw(st.sampled_from([None, "age"])),
    )


@given(rows())
def test_there_is_always_something_to_say(row: Row) -> None:
    step = advice.step(row)
    assert step.text
    assert step.action in ("", "answer", "retrain", "rollback", "thaw")
    assert advice.tone(row) in ("good", "warn", "bad", "quiet")
    assert step.action != "thaw" or row.frozen
    assert step.action != "answer" or row.question or row.challenger


@given(rows())
def test_nobody_is_told_to_train_on_a_broken_feed(row: Row) -> None:
    step = advice.step(replace(row, health=replace(row.health, state="incident")))
    assert step.action == ""


@pytest.mark.parametrize(
    ("row", "action"),
    [
        (views.row(), ""),
        (views.broken(), ""),
        (views.waiting(), "answer"),
        (replace(views.training(), doing=()), "retrain"),
        (views.training(), ""),  # it is under way
        (replace(views.row(), health=replace(views.HEALTHY, state="rollback")), "rollback"),
        (replace(views.row(), frozen=views.FROZEN), "thaw"),
        (views.new(), "retrain"),
        (replace(views.new(), doing=views.training().doing), ""),  # the first training is under way
        (replace(views.training(), doing=(), challenger=views.SHADOW), ""),  # what was asked for is on its way
        (replace(views.row(), question=replace(views.QUESTION, over=True)), "answer"),
    ],
)
def test_the_next_step(row: Row, action: str) -> None:
    assert advice.step(row).action == action


def test_an_incident_is_answered_by_its_own_alert() -> None:
    other = replace(views.PAGE, cause="its scores lie beside the champion's", action="Mend, and train anew.")
    step = advice.step(replace(views.broken(), alerts=(other, *views.broken().alerts)))
    assert step.text == views.PAGE.action
    assert "train anew" not in advice.step(replace(views.broken(), alerts=(other,))).text


def test_an_open_alert_is_never_nothing() -> None:
    assert advice.step(views.row()).text == "Nothing."
    assert advice.title(views.NOTICE, views.NAME) in advice.step(replace(views.row(), alerts=(views.NOTICE,))).text


def test_a_sentence_does_not_repeat_the_pill() -> None:
    assert advice.sentence(views.RETRAIN).startswith("Log loss is +0.2936")
    assert advice.sentence(views.INCIDENT).startswith("origin_weather says")  # a name stays as it is
    assert advice.unstated("Accepted as a refresh: it is no worse.") == "As a refresh: it is no worse."
    assert advice.sentence(Health("unwatched", "Nobody: yet", None, None, None)) == "Nobody: yet"


def test_an_open_question_is_not_told_twice() -> None:
    asked = replace(views.NOTICE, title="Release 3 of flights_on_time version 4 waits for an approval")
    assert advice.alerts(replace(views.waiting(), alerts=(asked, views.NOTICE))) == [views.NOTICE]
    assert advice.alerts(replace(views.row(), alerts=(asked,))) == [asked]
