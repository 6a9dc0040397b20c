"""Promotions, rollbacks and corrupt bundles under load, ten of each: no request fails, and who answers is who may.

The ledger alone is asked who was allowed when. The clients are a process of their own.
"""

from __future__ import annotations

import os
import shutil
import time
from bisect import bisect_right
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from include import bundle
from include.contracts import Ref
from include.files import canonical_json, read_json
from include.release import ledger
from include.release.ledger import CANARY, Deployment
from include.settings import Settings
from tests.packaging import tiny
from tests.serving import planted
from tests.serving.following import Scene, flights, request, scene
from tests.serving.load import Load, Seen, load

pytestmark = pytest.mark.xdist_group("service")

ROUNDS = 10
FOLLOWED = 1.0  # seconds from the ledger's entry
ANSWERS = 25  # that each deployment gives at least before the next one is made
CONNECTIONS = 4
_Allowed = frozenset[int]  # versions


# -- corrupt bundles -------------------------------------------------------------------------------------------------
def _altered(made: Ref) -> None:
    planted.corrupt(made)


def _gone(made: Ref) -> None:
    shutil.rmtree(made["uri"])


def _no_model(made: Ref) -> None:
    (Path(made["uri"]) / bundle.MODEL).unlink()


def _empty_schema(made: Ref) -> None:
    (Path(made["uri"]) / bundle.SCHEMA).write_bytes(b"")


def _another_schema(made: Ref) -> None:
    file = Path(made["uri"]) / bundle.SCHEMA
    file.write_text(canonical_json({**read_json(file), "params": {"altered": True}}))


def _unreadable(made: Ref) -> None:
    model = Path(made["uri"]) / bundle.MODEL
    model.unlink()
    os.mkfifo(model)  # whoever opens it waits forever


ALTERATIONS = (_altered, _gone, _no_model, _empty_schema, _another_schema, _unreadable)
CONTENTS = (b"", b"no ONNX at all", tiny.model()[:-50], planted.column(0, 3))  # as packaged: their hashes are right


def corrupt(scene: Scene, number: int, kind: int) -> None:
    """A version whose bundle cannot be served, of one of ten kinds."""
    if kind < len(ALTERATIONS):
        ALTERATIONS[kind](scene.version(number, planted.constant(0.5)))
    else:
        scene.version(number, CONTENTS[kind - len(ALTERATIONS)])


# -- what is done ----------------------------------------------------------------------------------------------------
class Drill(NamedTuple):
    """What was done under load: when the service said that it follows each generation, and what the clients saw."""

    followed: dict[int, float]  # wall time
    generations: list[dict[str, Any]]  # as the ledger has them
    seen: list[Seen]
    corrupt: frozenset[int]
    states: dict[int, dict[str, Any]]  # of the service, by generation


class Director:
    def __init__(self, scene: Scene, load: Load) -> None:
        self.scene, self.load = scene, load
        self.followed: dict[int, float] = {}
        self.states: dict[int, dict[str, Any]] = {}

    def deploy(self, kind: str, champion: int, challenger: int | None = None, **more: Any) -> None:
        """Deploy, wait until the service says that it follows, and until its clients have had answers since."""
        seen = ledger.current(self.scene.engine, tiny.MODEL)
        key = f"drill/{seen.generation + 1}"
        decision = ledger.Decision(key, tiny.MODEL, kind, "test", "because", planted.AS_OF, champion)
        made: Deployment = ledger.deploy(self.scene.engine, seen, decision, champion, challenger, **more)
        state = self.scene.service.wait(lambda: self._following(made.generation), 20)
        self.followed[made.generation] = time.time()
        self.states[made.generation] = state
        self.load.wait(ANSWERS)

    def _following(self, generation: int) -> dict[str, Any] | None:
        state = self.scene.state()
        return state if state["generation"] == generation else None


@pytest.fixture(scope="module")
def drill(history: Settings, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    folder = tmp_path_factory.mktemp("swaps")
    with scene(history, folder) as made:
        for i in range(ROUNDS):
            made.version(100 + i, planted.constant(0.3 + i / 100))
            corrupt(made, 200 + i, i)
        known = [request(row) for row in flights(made.settings)[-400:]]
        with load(made.service.port, known, folder, CONNECTIONS) as running:
            running.wait(200)
            director = Director(made, running)
            champion = 1
            for i in range(ROUNDS):
                good, bad = 100 + i, 200 + i
                director.deploy("canary", champion, good, stage=CANARY, share=0.25, release=i)
                director.deploy("promotion", good)
                director.deploy("canary", good, bad, stage=CANARY, share=0.5, release=100 + i)
                if i in (2, 6):  # of what cannot be loaded, the old champion takes the place
                    director.deploy("promotion", bad)
                director.deploy("rollback", champion)
                if i % 3 == 0:
                    director.deploy("promotion", champion := good)
            seen = running.stop()
        book = ledger.deployed(made.engine, tiny.MODEL)
    return Drill(director.followed, book, seen, frozenset(range(200, 200 + ROUNDS)), director.states)


def allowed(drill: Drill) -> list[tuple[float, _Allowed]]:
    """From when on the ledger allowed which versions, by time. A champion that is corrupt leaves the old one."""
    found: list[tuple[float, _Allowed]] = []
    champion = -1
    for row in drill.generations:
        champion = champion if row["champion"] in drill.corrupt else row["champion"]
        canary = row["stage"] == CANARY and row["share"] > 0 and row["challenger"] not in drill.corrupt
        versions = frozenset({champion, row["challenger"]} if canary else {champion})
        found.append((row["recorded_at"].replace(tzinfo=UTC).timestamp(), versions))
    return found


def between(windows: list[tuple[float, _Allowed]], since: float, until: float) -> list[_Allowed]:
    """Who was allowed at some moment of an interval."""
    starts = [start for start, _ in windows]
    first, last = max(bisect_right(starts, since) - 1, 0), bisect_right(starts, until)
    return [window for _, window in windows[first:last]]


# -- what must hold --------------------------------------------------------------------------------------------------
def test_it_was_ten_of_each(drill: Drill) -> None:
    kinds = [row["kind"] for row in drill.generations]
    assert kinds.count("promotion") >= ROUNDS
    assert kinds.count("rollback") == ROUNDS
    assert {row["challenger"] for row in drill.generations} >= drill.corrupt
    assert len([row for row in drill.generations if row["champion"] in drill.corrupt]) == 2


def test_no_request_failed_and_no_connection_was_closed(drill: Drill) -> None:
    assert [s for s in drill.seen if s.status != 200] == []
    assert max(s.opened for s in drill.seen) == CONNECTIONS


def test_every_generation_is_followed_within_a_second(drill: Drill) -> None:
    entered = {row["generation"]: row["recorded_at"].replace(tzinfo=UTC).timestamp() for row in drill.generations}
    late = {g: seconds for g, at in drill.followed.items() if (seconds := at - entered[g]) > FOLLOWED}
    assert late == {}
    assert drill.followed.keys() == entered.keys() - {1}


def test_no_version_answers_that_the_ledger_did_not_allow(drill: Drill) -> None:
    """An answer was decided on between `sent` and `received`; no version answers before it is in the ledger."""
    windows = allowed(drill)
    wrong = [
        s
        for s in drill.seen
        if not any(s.version in versions for versions in between(windows, s.sent - FOLLOWED, s.received))
    ]
    assert wrong == []


def test_once_the_service_follows_a_generation_only_its_versions_answer(drill: Drill) -> None:
    """No second's grace: the swap is one assignment, so what is asked later is answered by the new deployment."""
    windows = [window for _, window in allowed(drill)]  # of generations 1, 2, …
    said = [drill.followed[generation] for generation in sorted(drill.followed)]  # of generations 2, 3, …
    wrong = []
    for s in drill.seen:
        first = bisect_right(said, s.sent)
        last = bisect_right(said, s.received) + 1  # it may be at work already, and nobody has asked yet
        if not any(s.version in versions for versions in windows[first : last + 1]):
            wrong.append(s)
    assert wrong == []


def test_each_good_version_answered_and_the_canary_under_its_name(drill: Drill) -> None:
    canaries = {row["challenger"] for row in drill.generations} - drill.corrupt - {None}
    assert {s.version for s in drill.seen} == canaries | {1}
    assert {s.version for s in drill.seen if s.stage == "canary"} == canaries
    assert {s.stage for s in drill.seen} == {"champion", "canary"}


def test_what_is_broken_is_said_and_nothing_else_is(drill: Drill) -> None:
    for row in drill.generations[1:]:
        wanted = {str(v) for v in (row["champion"], row["challenger"]) if v in drill.corrupt}
        state = drill.states[row["generation"]]
        assert set(state["broken"]) == wanted
        assert state["challenger"] == (None if row["challenger"] in drill.corrupt else row["challenger"])
