"""The service as it runs: a process that follows an installation's ledger, asked over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import sqlalchemy as sa

from include import clock, lake, times
from include.contracts import SCHEDULE
from include.features import store
from include.files import read_json
from include.release import ledger
from include.serving.plan import NAMES as BOOKED
from include.serving.predict import NAMES
from include.settings import Settings
from tests.conftest import END as LAST
from tests.conftest import copy_home
from tests.packaging import tiny
from tests.serving import planted
from tests.serving.calling import FLIGHT, middle
from tests.serving.running import Service, running, stop

pytestmark = pytest.mark.xdist_group("service")
KEYS = ("flight_id", "carrier", "flight", "origin", "dest", "local_hour")


class Stage(NamedTuple):
    """A running service, its installation and ledger, and what it said before there was a champion."""

    service: Service
    settings: Settings
    engine: sa.Engine
    before: dict[str, tuple[int, Any]]

    def version(self, number: int, content: bytes, **serving: Any) -> Any:
        made = planted.save(self.settings, content, **{"threshold": 0.2 + number / 1000, **serving})
        planted.add(self.engine, number, made)
        return made

    def deploy(self, champion: int, challenger: int | None = None, **more: Any) -> None:
        """Deploy, and wait until it is followed."""
        generation = planted.deploy(self.engine, champion, challenger, **more).generation
        self.service.wait(lambda: self.state()["generation"] == generation, 5)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.service.ask("GET", "/readyz")[1]
        return state

    def answer(self, flight: dict[str, Any], **more: Any) -> dict[str, Any]:
        status, value = self.service.predict(flight, **more)
        assert status == 200, value
        return value


@pytest.fixture(scope="module")
def stage(history: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    settings = Settings(home=copy_home(history.home, tmp_path_factory.mktemp("follow") / "var"))
    # five minutes after the last materialization
    clock.start(settings.home / "clock.json", datetime.now(UTC), times.parse("2013-01-31T05:05:00+00:00"), 1.0)
    engine = ledger.connect(settings.ledger_url)
    with running(settings.home) as service:
        before = {path: service.ask("GET", path) for path in ("/healthz", "/readyz", "/metrics")}
        before["/predict"] = service.predict(FLIGHT)
        stage = Stage(service, settings, engine, before)
        stage.version(1, tiny.model())
        stage.deploy(1)
        yield stage


def tomorrow(settings: Settings, count: int) -> list[dict[str, Any]]:
    """Flights that the store knows, as the schedule's rows."""
    versions = lake.catalog(settings.lake)["versions"]
    rows = lake.read(settings.lake, SCHEDULE, versions[SCHEDULE.name], days=("2013-01-31", "2013-01-31")).to_pylist()
    return [row for row in rows if row["sched_dep"] > times.parse(LAST)][:count]


def request(row: dict[str, Any]) -> dict[str, Any]:
    named = {name: row[name] for name in ("carrier", "flight", "origin", "dest", "distance")}
    return {**named, "sched_dep": row["sched_dep"].isoformat(), "sched_arr": row["sched_arr"].isoformat()}


def test_without_a_champion_it_lives_but_is_not_ready(stage: Stage) -> None:
    assert {path: status for path, (status, _) in stage.before.items()} == {
        "/healthz": 200,
        "/readyz": 503,
        "/metrics": 200,
        "/predict": 503,
    }
    assert stage.before["/predict"][1]["error"]["field"] == "model"


def test_it_predicts_from_the_features_that_are_online(stage: Stage) -> None:
    rows = tomorrow(stage.settings, 60)
    online = store.online(stage.settings, [{k: row[k] for k in KEYS} for row in rows], list(NAMES))
    due = tiny.scores(online[list(NAMES)].to_numpy())
    status, value = stage.service.ask("POST", "/predict/batch", {"flights": [request(row) for row in rows]})
    assert status == 200
    np.testing.assert_allclose([a["probability"] for a in value["predictions"]], due, atol=1e-9)
    used = value["predictions"][0]["features"]
    assert used["stale"] == []
    assert abs((times.parse(used["at"]) - times.parse("2013-01-31T05:05:00+00:00")).total_seconds()) < 300


def test_a_flight_that_is_in_no_schedule_is_refused_and_named(stage: Stage) -> None:
    flight = {**request(tomorrow(stage.settings, 1)[0]), "flight": 9998}
    status, value = stage.service.predict(flight)
    assert (status, value["error"]["field"]) == (422, "departures_30m")


def test_features_of_hours_ago_are_flagged(stage: Stage) -> None:
    flight = {**request(tomorrow(stage.settings, 1)[0]), "at": "2013-01-31T09:00:00Z", "features": {"temp": 30}}
    used = stage.answer(flight)["features"]
    assert "origin_hourly" in used["stale"]
    assert "origin_daily" not in used["stale"]


def test_a_new_generation_answers_within_a_second(stage: Stage) -> None:
    flight = request(tomorrow(stage.settings, 1)[0])
    for number in (11, 12, 13):
        stage.version(number, planted.constant(number / 100))
        planted.deploy(stage.engine, number)
        begin = time.monotonic()
        stage.service.wait(lambda due=number: stage.answer(flight)["version"] == due, 5)  # type: ignore[misc]
        assert time.monotonic() - begin < 1.0
        assert stage.answer(flight)["probability"] == number / 100


def test_a_corrupt_challenger_is_left_out_and_said_to_be_broken(stage: Stage) -> None:
    made = stage.version(20, planted.constant(0.20))
    planted.corrupt(made)
    stage.deploy(1, 20, stage="canary", share=1.0, release=1)
    assert stage.answer(request(tomorrow(stage.settings, 1)[0]))["version"] == 1
    state = stage.state()
    assert (state["champion"], state["challenger"]) == (1, None)
    assert "altered" in state["broken"]["20"]
    assert 'ratchet_broken_version{version="20"} 1.0' in stage.service.ask("GET", "/metrics")[1].decode()
    (status,) = (stage.settings.home / "service").iterdir()
    stage.service.wait(lambda: "20" in read_json(status)["broken"], 5)
    (Path(made["uri"]) / "model.onnx").write_bytes(planted.constant(0.20))  # repaired: taken without a new generation
    stage.service.wait(lambda: stage.state()["challenger"] == 20, 15)


def test_a_corrupt_champion_leaves_the_old_one_in_place(stage: Stage) -> None:
    stage.version(30, planted.constant(0.30))
    stage.deploy(30)
    planted.corrupt(stage.version(31, planted.constant(0.31)))
    stage.deploy(31)
    assert stage.answer(request(tomorrow(stage.settings, 1)[0]))["version"] == 30
    status, state = stage.service.ask("GET", "/readyz")
    assert (status, state["champion"]) == (200, 30)
    assert set(state["broken"]) == {"31"}
    stage.deploy(1)
    assert stage.state()["broken"] == {}


def test_a_canary_that_fails_costs_no_answer_and_is_logged(stage: Stage) -> None:
    stage.version(40, planted.failing_above(1000))
    stage.deploy(1, 40, stage="canary", share=1.0, release=2)
    rows = tomorrow(stage.settings, 80)
    far = [row["distance"] > 1000 for row in rows]
    assert 10 < sum(far) < 70
    stages = [stage.answer(request(row))["stage"] for row in rows]
    assert stages == ["fallback" if f else "canary" for f in far]
    name = f'ratchet_challenger_errors_total{{version="40"}} {sum(far)}.0'
    assert name in stage.service.ask("GET", "/metrics")[1].decode()


class Load:
    """Clients that ask all the time: what they saw as (begin, end, version), and what was refused."""

    def __init__(self, stage: Stage) -> None:
        self.bodies = [json.dumps({"flight": request(row)}) for row in tomorrow(stage.settings, 40)]
        self.seen: list[tuple[float, float, int]] = []
        self.refused: list[Any] = []
        self.ended = threading.Event()
        self.clients = [threading.Thread(target=self._ask, args=(stage.service,)) for _ in range(3)]

    def __enter__(self) -> Load:
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for client in self.clients:
            client.join()

    def _ask(self, service: Service) -> None:
        connection = service.connect()
        for body in cycle(self.bodies):
            if self.ended.is_set():
                return
            begin = time.monotonic()
            connection.request("POST", "/predict", body)
            response = connection.getresponse()
            value = json.loads(response.read())
            if response.status == 200:
                self.seen.append((begin, time.monotonic(), value["version"]))
            else:
                self.refused.append(value)


def test_under_load_no_swap_costs_a_request_and_only_live_versions_answer(stage: Stage) -> None:
    order = [50, 51, 52, 53, 54, 55]
    for number in order:
        stage.version(number, planted.constant(number / 100))
    planted.corrupt(ledger.version(stage.engine, tiny.MODEL, 53).bundle)
    stage.deploy(50)
    asked = {50: time.monotonic()}
    with Load(stage) as load:
        for number in order[1:]:
            asked[number] = time.monotonic()
            stage.deploy(number)
            count = len(load.seen)
            stage.service.wait(lambda due=count: len(load.seen) > due + 30, 20)  # type: ignore[misc]
    assert load.refused == []
    assert {version for _, _, version in load.seen} == {50, 51, 52, 54, 55}
    following = {50: 51, 51: 52, 52: 54, 54: 55}  # 52 went on while 53 could not be loaded
    for begin, end, version in load.seen:
        assert end >= asked[version]
        assert version == 55 or begin <= asked[following[version]] + 1


def test_it_starts_before_there_is_anything_and_ends_with_its_log_written(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "var")
    with running(settings.home) as service:
        state = service.ask("GET", "/readyz")[1]
        assert "ledger" in state["note"]
        engine = ledger.connect(settings.ledger_url)
        planted.add(engine, 1, planted.save(settings, tiny.model()))
        planted.deploy(engine, 1)
        service.wait(lambda: service.ask("GET", "/readyz")[0] == 200, 5)
        status, value = service.predict(FLIGHT)
        assert (status, value["error"]["field"]) == (503, "features")  # nothing was ever materialized
        assert not (settings.feast / "online.db").exists()
        stored = {name: v for name, v in middle().items() if name not in BOOKED}
        names = [service.predict({**FLIGHT, "features": stored})[1]["prediction_id"] for _ in range(25)]
        stop(service.process)
    segments = sorted(settings.predictions.glob("*/*.jsonl"))
    logged = [json.loads(line)["prediction_id"] for file in segments for line in file.read_text().splitlines()]
    assert logged == names
    assert list((settings.home / "service").iterdir()) == []


def test_no_worker_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with running(tmp_path / "var") as service:
        workers = service.workers()
        assert workers
        service.process.kill()
        service.process.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert alive == []
