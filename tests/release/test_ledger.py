"""The ledger: append-only, one winner a generation, decisions that survive retries."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from include.release import ledger as book
from include.release import releases
from include.release.ledger import Decision, Deployment, Version
from include.release.tables import metadata

AS_OF = "2013-03-01T05:00:00+00:00"


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
    release = releases.begin(ledger, "m", 2, 1, {}, AS_OF, "test", "release/r")
    releases.answer(ledger, release.id, releases.APPROVED, "somebody", "looks good")
    book.freeze(ledger, decision("ice", "freeze", None), frozen=True)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger.begin() as connection:
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


def texts(ledger: sa.Engine, request: int) -> list[tuple[str, str, str | None]]:
    return [(c.kind, c.cause, c.run) for c in book.causes(ledger, request)]


def test_an_ask_joins_the_open_request_with_its_causes(ledger: sa.Engine) -> None:
    why = [("age", "21 days old"), ("surprise", "+0.05 nats")]
    first = book.enter_request(ledger, None, "m", AS_OF, why, "monitor", "run1")
    assert (first.cause, first.run) == ("21 days old", "run1")
    joined = book.enter_request(ledger, first.id, "m", AS_OF, [("age", "22 days old")], "monitor", "run2")
    assert joined == first
    three = [("age", "21 days old", "run1"), ("surprise", "+0.05 nats", "run1"), ("age", "22 days old", "run2")]
    assert texts(ledger, first.id) == three
    # a retry is one entry; what it brings beyond is another
    book.enter_request(ledger, first.id, "m", AS_OF, [("age", "22.0 days"), ("score", "PSI 0.3")], "monitor", "run2")
    assert texts(ledger, first.id) == [*three, ("score", "PSI 0.3", "run2")]
    assert book.request_of(ledger, "m", "run2") == first
    assert book.request_of(ledger, "m", "run3") is None
    with pytest.raises(ValueError, match="without a reason"):
        book.enter_request(ledger, first.id, "m", AS_OF, [], "monitor", "run3")


def test_an_ask_that_saw_another_request_enters_nothing(ledger: sa.Engine) -> None:
    why = [("age", "old")]
    with pytest.raises(book.Superseded, match="request 7 was open"):
        book.enter_request(ledger, 7, "m", AS_OF, why, "monitor", "run1")
    first = book.enter_request(ledger, None, "m", AS_OF, why, "monitor", "run1")
    with pytest.raises(book.Superseded, match="none was open"):
        book.enter_request(ledger, None, "m", AS_OF, why, "monitor", "run2")
    book.close_request(ledger, first.id, "train/a", "refused")
    with pytest.raises(book.Superseded, match=f"request {first.id} was open"):
        book.enter_request(ledger, first.id, "m", AS_OF, why, "monitor", "run2")
    assert texts(ledger, first.id) == [("age", "old", "run1")]
    assert book.open_request(ledger, "m") is None
    # requests of other models are nobody's concern
    assert book.enter_request(ledger, None, "other", AS_OF, why, "monitor", "run2").model == "other"
    assert book.open_request(ledger, "m") is None


def test_the_newest_of_a_kind_is_of_the_latest_data(ledger: sa.Engine) -> None:
    def monitor(key: str, day: int, state: str) -> None:
        as_of = f"2013-03-{day:02}T05:00:00+00:00"
        book.record(ledger, Decision(key, "m", "monitor", "test", state, as_of, evidence={"state": state}))

    assert book.latest(ledger, "m", "monitor") is None
    monitor("a", 5, "incident")
    monitor("b", 3, "healthy")  # a look back, made later
    book.record(ledger, decision("c"))
    found = book.latest(ledger, "m", "monitor")
    assert found is not None
    assert (found["evidence"], found["recorded_at"].utcoffset()) == ({"state": "incident"}, timedelta(0))
    monitor("d", 5, "retrain")  # the same day's, judged anew
    assert book.latest(ledger, "m", "monitor")["reason"] == "retrain"  # type: ignore[index]
    assert [d["key"] for d in book.of_kind(ledger, "m", "monitor")] == ["a", "b", "d"]
    assert book.latest(ledger, "other", "monitor") is None


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


def _ask(url: str, who: int, rounds: int, start: object, answers: object) -> None:
    ledger = book.connect(url)
    for n in range(rounds):
        start.wait()  # type: ignore[attr-defined]
        run = f"{who}/{n}"
        asked = book.request_retrain(ledger, "m", AS_OF, run, "monitor", run)
        answers.put((n, asked.id))  # type: ignore[attr-defined]
        start.wait()  # type: ignore[attr-defined]
        if who == 1:
            book.close_request(ledger, asked.id, f"train/{n}", "trained")
        start.wait()  # type: ignore[attr-defined]


def test_two_that_ask_at_once_share_one_request_and_both_are_heard(url: str) -> None:
    rounds = 20
    ledger = book.connect(url)
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(2), spawn.Queue()
    askers = [spawn.Process(target=_ask, args=(url, who, rounds, start, answers)) for who in (1, 2)]
    for asker in askers:
        asker.start()
    got = [answers.get(timeout=60) for _ in range(2 * rounds)]
    for asker in askers:
        asker.join(timeout=60)
        assert asker.exitcode == 0
    requests = {n: {request for m, request in got if m == n} for n in range(rounds)}
    assert [len(found) for found in requests.values()] == [1] * rounds
    assert len(set().union(*requests.values())) == rounds
    for n, (request,) in requests.items():
        assert sorted(cause for _, cause, _ in texts(ledger, request)) == [f"1/{n}", f"2/{n}"]


def test_a_frozen_model_is_not_promoted_but_may_be_rolled_back(ledger: sa.Engine) -> None:
    book.deploy(ledger, book.current(ledger, "m"), decision("a"), 1, None)
    book.freeze(ledger, decision("ice", "freeze", None), frozen=True)
    live = book.current(ledger, "m")
    with pytest.raises(book.Frozen, match="test: because"):
        book.deploy(ledger, live, decision("b", "promotion", 2), 2, None)
    assert book.current(ledger, "m") == live
    assert [d["key"] for d in book.history(ledger, "m")] == ["a", "ice"]
    assert book.deploy(ledger, live, decision("c", "rollback", 3), 3, None).champion == 3
    book.freeze(ledger, decision("thaw", "freeze", None), frozen=False)
    book.freeze(ledger, decision("ice", "freeze", None), frozen=True)  # a retry of the first: it is history
    assert book.frozen(ledger, "m") is None
    assert book.deploy(ledger, book.current(ledger, "m"), decision("d", "promotion", 2), 2, None).champion == 2


def test_a_deployment_keeps_its_stage(ledger: sa.Engine) -> None:
    first = book.deploy(ledger, book.current(ledger, "m"), decision("a"), 1, None)
    made = book.deploy(ledger, first, decision("b", "canary", 2), 1, 2, stage=book.CANARY, share=0.05, release=7)
    assert book.current(ledger, "m") == made == Deployment("m", 2, 1, 2, "canary", 0.05, 7)
    assert [(d["generation"], d["kind"], d["share"]) for d in book.deployed(ledger, "m")] == [
        (1, "champion", 0.0),
        (2, "canary", 0.05),
    ]


def test_what_was_live_is_known_to_the_millisecond(ledger: sa.Engine) -> None:
    for number in range(1, 6):
        book.deploy(ledger, book.current(ledger, "m"), decision(str(number), version=number), number, None)
    moments = [row["recorded_at"].replace(tzinfo=UTC) for row in book.deployed(ledger, "m")]
    assert any(moment.microsecond for moment in moments)
    assert [book.live_at(ledger, "m", moment).champion for moment in moments][-1] == 5
    assert book.live_at(ledger, "m", moments[0] - timedelta(seconds=1)).generation == 0


def test_a_release_is_one_a_run_and_its_first_answer_stays(ledger: sa.Engine) -> None:
    first = releases.begin(ledger, "m", 2, 1, {"steps": [1.0]}, AS_OF, "test", "release/r")
    assert releases.begin(ledger, "m", 2, 1, {"steps": [0.5]}, AS_OF, "test", "release/r") == first
    assert releases.get(ledger, first.id).policy == {"steps": [1.0]}
    assert releases.approval(ledger, first.id) is None
    releases.answer(ledger, first.id, releases.REJECTED, "ann", "no")
    assert releases.answer(ledger, first.id, releases.APPROVED, "bob", "yes").actor == "ann"
    with pytest.raises(releases.UnknownRelease, match="release 99"):
        releases.get(ledger, 99)
