"""kill -9 of the service under load: what was answered is in the lake, or counted as lost. Nothing else is missing.

The clients remember the prediction id of each answer. The collector is tested with kills of its own: test_collect.py.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from include.contracts import ANSWER, SHADOW
from include.files import read_json
from include.release import ledger
from include.serving import collect
from include.settings import Settings
from tests.packaging import tiny
from tests.serving import planted
from tests.serving.following import flights, prepare, request
from tests.serving.load import BROKEN, Load, Seen, load
from tests.serving.running import Service, running, wait

pytestmark = pytest.mark.xdist_group("service")

CONNECTIONS = 4
FIRST = frozenset(range(1, CONNECTIONS + 1))  # their numbers
_COLUMNS = ["prediction_id", "role", "worker", "version", "flight_id"]


class Life(NamedTuple):
    """One worker: its name, what clients were answered by it, and whether it was killed."""

    worker: str
    seen: list[Seen]
    killed: bool

    @property
    def good(self) -> list[Seen]:
        return [s for s in self.seen if s.status == 200]


class Story(NamedTuple):
    """What came of it."""

    lives: list[Life]
    rows: list[dict[str, Any]]  # of the lake
    counts: dict[str, dict[str, int]]  # by worker, as the collector kept them
    collected: list[collect.Collected]


@pytest.fixture(scope="module")
def story(history: Settings, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("killed")
    settings = prepare(history, folder)
    engine = ledger.connect(settings.ledger_url)
    planted.add(engine, 2, planted.save(settings, planted.constant(0.5)))
    planted.deploy(engine, 1, 2, stage="canary", share=0.25, release=1)  # scored beside, whoever answers
    known = [request(row) for row in flights(settings)[-400:]]
    lives, collected = [], []
    with serving(settings, known, folder / "first") as (service, clients):
        lives.append(kill_worker(service, settings, clients))
        clients.wait(500, seconds=90)  # the supervisor has started another one
        collected.append(collect.collect(settings))  # while it is at work
        lives.append(kill_all(service, settings, clients, before=FIRST))
    with serving(settings, known, folder / "second") as (service, clients):
        clients.wait(333)
        lives.append(kill_all(service, settings, clients))
    collected.append(collect.collect(settings))  # nobody is at work
    with serving(settings, known, folder / "last") as (service, clients):
        clients.wait(500)
        worker = at_work(service, settings)["worker"]
        lives.append(Life(worker, clients.stop(), killed=False))
    collected.append(collect.collect(settings))
    rows = collect.read(settings, tiny.MODEL, columns=_COLUMNS).to_pylist()
    counts = {path.stem: read_json(path) for path in (settings.predictions / "closed").glob("*.json")}
    return Story(lives, rows, counts, collected)


@contextmanager
def serving(settings: Settings, known: list[dict[str, Any]], folder: Path) -> Iterator[tuple[Service, Load]]:
    """The service under load; the load ends first."""
    folder.mkdir()
    with running(settings.home) as service:
        service.wait(lambda: service.ask("GET", "/readyz")[0] == 200)
        with load(service.port, known, folder, CONNECTIONS, pause=0.0) as clients:
            yield service, clients


def at_work(service: Service, settings: Settings) -> dict[str, Any]:
    """What the worker that answers says of itself, once it has logged shadow scores. Those that were killed have left
    their files."""

    def find() -> dict[str, Any] | None:
        pids = {process.pid for process in service.workers()}
        states = [read_json(path) for path in (settings.home / "service").glob("*.json")]
        return next((state for state in states if state["pid"] in pids), None)

    found: dict[str, Any] = service.wait(find)
    service.wait(lambda: b"log_shadowed_total 0.0" not in service.ask("GET", "/metrics")[1])
    return found


def kill_worker(service: Service, settings: Settings, clients: Load) -> Life:
    """Kill the process that answers, in the middle of its work. Its requests came over the first connections."""
    state = at_work(service, settings)
    clients.wait(777)
    os.kill(state["pid"], signal.SIGKILL)
    wait(lambda: clients.look() and broken(clients.seen) >= FIRST, 10)
    return Life(state["worker"], [s for s in clients.seen if s.opened in FIRST], killed=True)


def kill_all(service: Service, settings: Settings, clients: Load, before: frozenset[int] = frozenset()) -> Life:
    """Kill the supervisor and all below it. The connections in `before` were to another worker."""
    worker = at_work(service, settings)["worker"]
    below = service.workers()
    service.process.kill()
    service.process.wait()
    for process in below:
        process.kill()
    assert psutil.wait_procs(below, timeout=10)[1] == []
    return Life(worker, [s for s in clients.stop() if s.opened not in before], killed=True)


def broken(seen: list[Seen]) -> set[int]:
    """The connections that broke."""
    return {s.opened for s in seen if s.status == BROKEN}


def test_three_workers_were_killed_at_work(story: Story) -> None:
    assert [life.killed for life in story.lives] == [True, True, True, False]
    assert story.counts.keys() == {life.worker for life in story.lives}
    for life in story.lives:
        assert len(life.good) > 300
        assert {s.status for s in life.seen} <= {200, BROKEN}
        assert len(broken(life.seen)) <= 2 * CONNECTIONS  # under way when it was killed, or just connected anew
        assert bool(broken(life.seen)) == life.killed


def test_nothing_is_in_the_lake_twice(story: Story) -> None:
    assert [k for k, n in Counter((r["prediction_id"], r["role"]) for r in story.rows).items() if n > 1] == []


def test_each_answer_is_in_the_lake_or_counted_as_lost(story: Story) -> None:
    logged = {row["prediction_id"]: row for row in story.rows if row["role"] == ANSWER}
    for life in story.lives:
        counts = story.counts[life.worker]
        there = [(s, logged[s.prediction_id]) for s in life.good if s.prediction_id in logged]
        assert {row["worker"] for _, row in there} == {life.worker}
        assert [s for s, row in there if row["version"] != s.version] == []
        assert len(life.good) - len(there) <= counts["lost"] + counts["dropped"]
        # counted is what clients have got, and at most one answer a connection that did not arrive any more
        assert len(life.good) <= counts["answered"] <= len(life.good) + CONNECTIONS * life.killed
        assert counts["answered"] == counts["recorded"] + counts["dropped"] + counts["lost"]
        assert counts["recorded"] == sum(row["worker"] == life.worker for row in logged.values())
        assert counts["dropped"] == 0


def test_only_the_last_answers_before_a_kill_are_lost(story: Story) -> None:
    """The log is written in order: with an answer on the disk, all that clients had before it was asked for are."""
    logged = {row["prediction_id"] for row in story.rows if row["role"] == ANSWER}
    for life in story.lives:
        newest = max(s.sent for s in life.good if s.prediction_id in logged)
        missing = [s for s in life.good if s.prediction_id not in logged]
        assert [s for s in missing if s.received < newest] == []
        assert life.killed or missing == []
    assert sum(story.counts[life.worker]["lost"] for life in story.lives) > 0  # the kills came at work


def test_shadow_scores_are_there_once_or_counted(story: Story) -> None:
    answers = {row["prediction_id"]: row for row in story.rows if row["role"] == ANSWER}
    for worker, counts in story.counts.items():
        rows = [row for row in story.rows if row["role"] == SHADOW and row["worker"] == worker]
        assert len(rows) == counts["shadowed"] > 0
        assert counts["shadow_asked"] == counts["shadowed"] + counts["shadow_dropped"] + counts["shadow_lost"]
        for row in rows:
            answer = answers[row["prediction_id"]]  # an answer comes to the disk before its shadow's score
            assert (answer["worker"], answer["flight_id"]) == (worker, row["flight_id"])
            assert {answer["version"], row["version"]} == {1, 2}


def test_each_collection_took_what_no_other_one_did(story: Story) -> None:
    assert [done["ended"] for done in story.collected] == [1, 2, 1]
    assert sum(done["rows"] for done in story.collected) == len(story.rows)
    assert sum(done["lost"] for done in story.collected) == sum(c["lost"] for c in story.counts.values())
    assert sum(done["refused"] for done in story.collected) == 0
