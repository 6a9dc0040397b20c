"""Worst first: a total order that does not depend on where rows stood, and in which news of harm moves a row up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.console.order import rank, worst_first
from include.console.view import Alert, Frozen, Health, Progress, Question, Row

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
STATES = ("healthy", "insufficient", "incident", "rollback", "retrain", "unwatched", "unheard-of")


def row(
    model: str = "m",
    state: str = "healthy",
    since: int = 0,
    severities: tuple[str, ...] = (),
    stage: str | None = None,
    asked: int | None = None,
    frozen: int | None = None,
) -> Row:
    """A row; hours count back from noon."""

    def ago(hours: int) -> datetime:
        return NOON - timedelta(hours=hours)

    watched = state != "unwatched"
    told = tuple(Alert("t", "c", "a", severity, "2013-04-30T00:00:00+00:00", None, None) for severity in severities)
    progress = Progress(2, stage, 0.0, "", None, None, ago(since), "", None) if stage else None
    question = Question("r", "approval", -1, "", "", ago(asked)) if asked is not None else None
    ice = Frozen("ada", "holidays", ago(frozen)) if frozen is not None else None
    health = Health(state, "", None, None, None, since_at=ago(since) if watched else None)
    return Row(
        model=model,
        ours=False,
        health=health,
        champion=1,
        champion_since=None,
        age_days=None,
        challenger=progress,
        days=(),
        features_as_of=None,
        labels_as_of=None,
        traffic=None,
        alerts=told,
        question=question,
        frozen=ice,
        request=None,
        next_run=None,
    )


rows = st.builds(
    row,
    model=st.text("abc", min_size=1, max_size=3),
    state=st.sampled_from(STATES),
    since=st.integers(0, 99),
    severities=st.sampled_from([(), ("notice",), ("page",), ("notice", "page")]),
    stage=st.sampled_from([None, "waiting", "shadow", "approval", "canary"]),
    asked=st.none() | st.integers(0, 99),
    frozen=st.none() | st.integers(0, 99),
)
sets = st.lists(rows, max_size=8, unique_by=lambda r: r.model)


@given(sets, st.randoms())
def test_the_order_does_not_depend_on_where_rows_stood(some: list[Row], random: object) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert worst_first(shuffled) == worst_first(some)


@given(sets)
def test_no_row_is_lost_and_urgency_only_falls(some: list[Row]) -> None:
    found = worst_first(some)
    assert sorted(r.model for r in found) == sorted(r.model for r in some)
    assert [rank(r) for r in found] == sorted(rank(r) for r in some)


@given(rows)
def test_an_alert_that_pages_puts_a_row_among_the_worst(some: Row) -> None:
    page = Alert("t", "c", "a", "page", "2013-04-30T00:00:00+00:00", None, None)
    assert rank(replace(some, alerts=(*some.alerts, page))) == 0


@given(rows, rows)
def test_of_any_two_rows_either_comes_first_whoever_asks(a: Row, b: Row) -> None:
    a, b = replace(a, model="a"), replace(b, model="b")
    assert worst_first([a, b]) == worst_first([b, a])


def test_from_worst_to_best() -> None:
    wanted = [
        row("long ago", "incident", since=9),
        row("rolled", "rollback", since=5),
        row("just now", "incident", since=1),
        row("paged", "healthy", severities=("page",)),
        row("blind", "insufficient"),
        row("asked first", stage="approval", asked=9),
        row("asked", "retrain", asked=2),
        row("old", "retrain", since=3),
        row("noticed", "healthy", severities=("notice",)),
        row("ice", frozen=3),
        row("all well"),
        row("new", "unwatched"),
    ]
    assert [r.model for r in worst_first(reversed(wanted))] == [r.model for r in wanted]


@pytest.mark.parametrize("state", ["healthy", "retrain"])
def test_who_waits_for_an_answer_comes_before_who_wants_a_training(state: str) -> None:
    assert rank(row(state=state, stage="approval")) < rank(row(state="retrain"))
    assert rank(row(state=state, stage="shadow")) == rank(row(state=state))
