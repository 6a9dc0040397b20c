"""The ledger: append-only, one winner a generation, decisions that survive retries."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from include.release import ledger as book
from include.release.ledger import Decision, Deployment, Version
from include.release.tables import metadata

AS_OF = "2013-03-01T05:00:00+00:00"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> sa.Engine:
    return book.connect(url)


def decision(key: str, kind: str = "champion", version: int | None = 1, **more: object) -> Decision:
    return Decision(key=key, model="m", kind=kind, actor="test", reason="because", as_of=AS_OF, version=version, **more)  # type: ignore[arg-type]


def test_nothing_deployed_is_a_value_of_its_own(ledger: sa.Engine) -> None:
    assert book.current(ledger, "m") == Deployment("m", 0, None, None)


def test_deploy_moves_the_generation_and_keeps_models_apart(ledger: sa.Engine) -> None:
    made = book.deploy(ledger, book.current(ledger, "m"), decision("a"), champion=1, challenger=None)
    assert made == book.current(ledger, "m") == Deployment("m", 1, 1, None)
    assert book.current(ledger, "other").generation == 0


def test_a_retried_decision_is_the_same_decision(ledger: sa.Engine) -> None:
    seen = book.current(ledger, "m")
    first = book.deploy(ledger, seen, decision("a"), 1, None)
    assert book.deploy(ledger, seen, decision("a"), 1, None) == first
    assert len(book.history(ledger, "m")) == 1


def test_a_stale_view_loses_and_leaves_no_trace(ledger: sa.Engine) -> None:
    seen = book.current(ledger, "m")
    book.deploy(ledger, seen, decision("a"), 1, None)
    with pytest.raises(book.Superseded, match="generation 0"):
        book.deploy(ledger, seen, decision("b"), 2, None)
    assert [d["key"] for d in book.history(ledger, "m")] == ["a"]
    assert book.current(ledger, "m").champion == 1


@pytest.mark.parametrize("table", sorted(metadata.tables))
@pytest.mark.parametrize("verb", ["UPDATE {} SET recorded_at = recorded_at", "DELETE FROM {}"])
def test_history_cannot_be_rewritten(ledger: sa.Engine, table: str, verb: str) -> None:
    book.deploy(ledger, book.current(ledger, "m"), decision("a"), 1, None)
    book.add_version(ledger, a_version())
    request = book.request_retrain(ledger, "m", AS_OF, "age", "test", "r1")
    book.close_request(ledger, request.id, "run", "trained")
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), ledger.begin() as connection:
        connection.exec_driver_sql(verb.format(table))


def a_version() -> Version:
    ref = {"uri": "x", "version": "v", "hash": "h"}
    return Version("m", 1, "run", "hash", AS_OF, "2013-02-20", frame=ref, bundle=ref, bento=ref)  # type: ignore[arg-type]


def test_a_version_is_kept_as_entered_first(ledger: sa.Engine) -> None:
    book.add_version(ledger, a_version())
    book.add_version(ledger, a_version())
    assert book.version(ledger, "m", 1) == a_version()
    with pytest.raises(book.UnknownVersion, match="version 2 of m"):
        book.version(ledger, "m", 2)


def test_what_was_live_at_a_time(ledger: sa.Engine) -> None:
    book.deploy(ledger, book.current(ledger, "m"), decision("a"), 1, None)
    now = datetime.now(UTC)
    assert book.live_at(ledger, "m", now + timedelta(minutes=1)).champion == 1
    assert book.live_at(ledger, "m", now - timedelta(minutes=1)).champion is None


def test_one_open_request_a_model(ledger: sa.Engine) -> None:
    first = book.request_retrain(ledger, "m", AS_OF, "age", "monitor", "run1")
    assert book.request_retrain(ledger, "m", AS_OF, "surprise", "monitor", "run2") == first
    assert book.open_request(ledger, "m") == first
    book.close_request(ledger, first.id, "train1", "challenger")
    assert book.open_request(ledger, "m") is None
    # the asking run's late retry asks for nothing new, another run does
    assert book.request_retrain(ledger, "m", AS_OF, "age", "monitor", "run1") == first
    assert book.request_retrain(ledger, "m", AS_OF, "age", "monitor", "run3").id != first.id


def _promote(url: str, who: int, rounds: int, start: object, wins: object) -> None:
    ledger = book.connect(url)
    for n in range(rounds):
        start.wait()  # type: ignore[attr-defined]
        seen = Deployment("m", n, None, None)
        try:
            book.deploy(ledger, seen, decision(f"{who}/{n}", version=who), who, None)
            wins.put((n, who))  # type: ignore[attr-defined]
        except book.Superseded:
            pass


def test_two_promoters_racing_200_times_give_one_winner_each(url: str) -> None:
    book.connect(url)
    spawn = multiprocessing.get_context("spawn")
    start, wins = spawn.Barrier(2), spawn.Queue()
    racers = [spawn.Process(target=_promote, args=(url, who, 200, start, wins)) for who in (1, 2)]
    for racer in racers:
        racer.start()
    won = [wins.get(timeout=120) for _ in range(200)]
    for racer in racers:
        racer.join(timeout=60)
        assert racer.exitcode == 0
    assert Counter(n for n, _ in won) == Counter(range(200))
    ledger = book.connect(url)
    with ledger.connect() as connection:
        rows = connection.exec_driver_sql("SELECT generation, champion FROM deployments ORDER BY generation").all()
    assert rows == [(n + 1, who) for n, who in sorted(won)]
    assert wins.empty()


def _ask(url: str, who: int, start: object, answers: object) -> None:
    ledger = book.connect(url)
    start.wait()  # type: ignore[attr-defined]
    answers.put(book.request_retrain(ledger, "m", AS_OF, "age", f"monitor{who}", f"run{who}").id)  # type: ignore[attr-defined]


def test_two_that_ask_at_once_share_one_request(url: str) -> None:
    book.connect(url)
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(2), spawn.Queue()
    askers = [spawn.Process(target=_ask, args=(url, who, start, answers)) for who in (1, 2)]
    for asker in askers:
        asker.start()
    assert answers.get(timeout=60) == answers.get(timeout=60)
    for asker in askers:
        asker.join(timeout=60)
