"""The governor: one request open, no more trainings than the budget, no cause lost, and each answer with a reason."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.models.spec import Governor
from include.monitoring import governor
from include.monitoring.governor import State, admit, decide
from include.times import iso, parse

LIMITS = Governor(cooldown_days=7, trainings=6, budget_days=30)
BEGIN = datetime(2013, 3, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def at(day: float) -> str:
    return iso(BEGIN + timedelta(days=day))


# -- the rules, one by one -------------------------------------------------------------------------------------------
def test_the_first_ask_is_asked() -> None:
    assert decide(LIMITS, at(0), State()) == governor.Answer("ask", "Asked: training 1 of 6 allowed in 30 days.")


def test_an_ask_joins_an_open_request_whatever_the_cooldown_and_the_budget() -> None:
    full = State(open=4, last=at(0), trainings=tuple(at(d) for d in range(6)))
    answer = decide(LIMITS, at(5), full)
    assert (answer.outcome, answer.reason) == ("merge", "Merged: request 4 is open, and one training answers both.")


def test_the_cooldown_is_of_the_last_request_and_ends_to_the_second() -> None:
    early = decide(LIMITS, iso(BEGIN + 7 * DAY - timedelta(seconds=1)), State(last=at(0)))
    assert early.outcome == "drop"
    assert early.reason == (
        f"Dropped: the last request is of {at(0)}, and another one may follow 7 days later, from {at(7)} on."
    )
    assert decide(LIMITS, at(7), State(last=at(0))).outcome == "ask"
    assert decide(LIMITS, at(-3), State(last=at(0))).outcome == "drop"  # a look back asks for nothing


def test_the_budget_names_its_numbers_and_when_it_frees() -> None:
    spent = State(trainings=tuple(at(d) for d in (0, 1, 2, 3, 20, 25)))
    answer = decide(LIMITS, at(29), spent)
    assert answer.outcome == "drop"
    assert answer.reason == (
        f"Dropped: 6 trainings have begun in 30 days, of 6 allowed, and the next may begin on {at(30)}."
    )
    assert decide(LIMITS, at(30), spent).reason == "Asked: training 6 of 6 allowed in 30 days."


def test_a_training_that_looks_back_counts_those_after_it() -> None:
    """Else a month could hold the budget twice, once in each order of time."""
    spent = State(trainings=tuple(at(d) for d in (20, 21, 22, 23, 24, 25)))
    assert not admit(LIMITS, "schedule", at(10), spent).may
    assert decide(LIMITS, at(10), spent).outcome == "drop"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State(incident="temp is missing in 60% of the flights."), "a data incident is open"),
        (State(frozen="ann: audit"), "the model is frozen"),
    ],
)
@pytest.mark.parametrize("number", [None, 3])
def test_nothing_is_asked_or_merged_meanwhile(state: State, word: str, number: int | None) -> None:
    """What is measured on a broken feed is no cause either."""
    answer = decide(LIMITS, at(0), replace(state, open=number))
    assert answer.outcome == "drop"
    assert word in answer.reason
    assert str(state.incident or state.frozen).rstrip(".") in answer.reason
    assert not admit(LIMITS, "request", at(0), replace(state, open=3)).may
    assert not admit(LIMITS, "schedule", at(0), state).may


def test_a_person_is_told_and_not_held() -> None:
    state = State(trainings=(at(0),) * 6, incident="temp is stuck", frozen="ann: audit")
    found = admit(LIMITS, "person", at(1), state)
    assert found.may
    for word in ("A person wants it, although", "temp is stuck", "6 trainings have begun in 30 days, of 6 allowed"):
        assert word in found.reason


def test_who_is_held_is_named() -> None:
    spent = State(trainings=(at(0),) * 6)
    held = admit(LIMITS, "request", at(1), State(open=3, frozen="ann: audit"))
    assert held.reason.startswith("Request 3 waits: the model is frozen")
    assert admit(LIMITS, "schedule", at(1), spent).reason.startswith("The scheduled training is left out: 6 trainings")
    assert admit(LIMITS, "schedule", at(31), spent).reason == "It is training 1 of 6 allowed in 30 days."


def test_a_request_keeps_its_place_in_the_budget() -> None:
    """Whatever people have trained since it was asked: at its as-of no room would come again."""
    spent = State(open=3, trainings=(at(0),) * 7)
    assert admit(LIMITS, "request", at(1), spent) == governor.Admission(
        True, "It is training 8 of 6 allowed in 30 days."
    )


def test_causes_are_told_once_and_in_order() -> None:
    assert governor.merged(["It is old."]) == "It is old."
    assert governor.merged(["It is old.", "it is surprised", "It is old."]) == "It is old; it is surprised"


# -- the bell --------------------------------------------------------------------------------------------------------
def test_a_bell_is_rung_again_ever_more_rarely() -> None:
    assert not governor.due(timedelta(minutes=29), 0)
    assert governor.due(timedelta(minutes=30), 0)
    assert not governor.due(timedelta(minutes=59), 1)
    assert governor.due(timedelta(hours=1), 1)
    assert not governor.due(timedelta(hours=23), 50)
    assert governor.due(DAY, 50)


@given(hours=st.integers(1, 24 * 14))
def test_a_week_of_hourly_sweeps_leaves_a_handful_of_events(hours: int) -> None:
    silent, rung = timedelta(0), 0
    for _ in range(hours):
        silent += timedelta(hours=1)
        if governor.due(silent, rung):
            silent, rung = timedelta(0), rung + 1
    assert 1 <= rung <= 6 + hours // 24


# -- what holds whatever happens -------------------------------------------------------------------------------------
class World:
    """A ledger in a few lines, and everything that the rules let happen in it."""

    def __init__(self, limits: Governor) -> None:
        self.limits, self.state = limits, State()
        self.requests: list[dict[str, Any]] = []
        self.governed: list[str] = []  # trainings that no person has begun

    def ask(self, as_of: str, cause: str) -> governor.Answer:
        answer = decide(self.limits, as_of, self.state)
        if answer.outcome == "ask":
            assert self.state.open is None
            self.requests.append({"as_of": as_of, "causes": [cause], "trainings": 0})
            self.state = replace(self.state, open=len(self.requests) - 1, last=as_of)
        elif answer.outcome == "merge":
            assert self.state.open is not None
            self.requests[self.state.open]["causes"].append(cause)
        return answer

    def train(self, who: str, as_of: str) -> governor.Admission:
        request = self.state.open
        if request is not None:
            who, as_of = ("request" if who == "schedule" else who), self.requests[request]["as_of"]
        found = admit(self.limits, who, as_of, self.state)  # type: ignore[arg-type]
        if found.may:
            self.state = replace(self.state, open=None, trainings=(*self.state.trainings, as_of))
            if request is not None:
                self.requests[request]["trainings"] += 1
            if who != "person":
                self.governed.append(as_of)
        return found


limits = st.builds(
    Governor,
    cooldown_days=st.sampled_from([0.0, 1.0, 7.0]),
    trainings=st.integers(1, 4),
    budget_days=st.sampled_from([1.0, 10.0, 30.0]),
)
moments = st.floats(0, 90).map(at)
events = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["ask", "schedule", "person"]), st.integers(0, 90).map(at)),
        st.tuples(st.sampled_from(["incident", "frozen"]), st.booleans()),
    ),
    max_size=60,
)


@settings(max_examples=500)
@given(limits, events)
def test_whatever_happens(limits: Governor, happened: list[tuple[str, Any]]) -> None:
    """Times come in any order, as runs that are late or look back bring them."""
    world, heard = World(limits), 0
    for number, (what, value) in enumerate(happened):
        before = world.state
        if what in ("incident", "frozen"):
            world.state = replace(world.state, **{what: f"reason {number}" if value else None})  # type: ignore[arg-type]
        elif what == "ask":
            answer = world.ask(value, f"cause {number}")
            heard += answer.outcome != "drop"
            if before.incident or before.frozen:
                assert answer.outcome == "drop"
            if answer.outcome == "ask" and before.last is not None:
                assert parse(value) >= parse(before.last) + timedelta(days=limits.cooldown_days)
            assert re.search(r"reason \d" if before.incident or before.frozen else r"\d", answer.reason)
        else:
            found = world.train(what, value)
            assert found.may or what == "schedule"
            if before.incident or before.frozen:
                assert found.may == (what == "person")
    # no cause is lost, and none is told to two requests
    told = [cause for request in world.requests for cause in request["causes"]]
    assert len(told) == len(set(told)) == heard
    # each request is trained for once; all but the newest are over
    counted = [request["trainings"] for request in world.requests]
    assert counted in ([1] * len(counted), [1] * (len(counted) - 1) + [0])
    # in no window more governed trainings than the budget
    begun = [parse(text) for text in world.governed]
    for first in begun:
        window = [t for t in begun if first <= t < first + timedelta(days=limits.budget_days)]
        assert len(window) <= limits.trainings


@given(limits, st.lists(st.floats(0, 90), max_size=40), st.data())
def test_what_people_train_counts_for_the_others(limits: Governor, days: list[float], data: st.DataObject) -> None:
    world = World(limits)
    for day in sorted(days):
        before = len(world.state.trainings)
        who = data.draw(st.sampled_from(["person", "schedule"]))
        found = world.train(who, at(day))
        shared = [
            t for t in world.state.trainings[:before] if parse(t) > parse(at(day)) - timedelta(limits.budget_days)
        ]
        assert found.may == (who == "person" or len(shared) < limits.trainings)


@given(limits, st.lists(moments, max_size=5), st.integers(0, 3), st.integers(2, 4))
def test_the_order_of_equal_asks_does_not_matter(limits: Governor, trainings: list[str], quiet: int, asks: int) -> None:
    ended = set()
    for order in permutations(range(asks)):
        world = World(limits)
        world.state = State(last=at(0) if quiet else None, trainings=tuple(trainings))
        outcomes = [world.ask(at(quiet * 3), f"cause {n}").outcome for n in order]
        causes = frozenset(cause for request in world.requests for cause in request["causes"])
        ended.add((tuple(outcomes), causes))
    assert len(ended) == 1
