"""An installation with thirty days of features, its ledger, and a service that follows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from include import clock, lake, times
from include.contracts import FEATURES, SCHEDULE, Ref
from include.features.online import Reader
from include.release import ledger
from include.release.ledger import Deployment
from include.serving.predict import STORED
from include.settings import Settings
from tests.conftest import copy_home
from tests.packaging import tiny
from tests.serving import planted
from tests.serving.running import Service, running

KEYS = ("flight_id", "carrier", "flight", "origin", "dest", "local_hour")
DAYS = ("2013-01-28", "2013-02-02")  # whose flights are online


class Scene(NamedTuple):
    """A running service, its installation and ledger. Version 1 is champion to begin with."""

    service: Service
    settings: Settings
    engine: sa.Engine

    def version(self, number: int, content: bytes, **serving: Any) -> Ref:
        made = planted.save(self.settings, content, **{"threshold": 0.2 + number / 1000, **serving})
        planted.add(self.engine, number, made)
        return made

    def deploy(self, champion: int, challenger: int | None = None, **more: Any) -> Deployment:
        """Deploy, and wait until it is followed."""
        made = planted.deploy(self.engine, champion, challenger, **more)
        self.service.wait(lambda: self.state()["generation"] == made.generation)
        return made

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.service.ask("GET", "/readyz")[1]
        return state

    def metric(self, name: str) -> float:
        """The sum of a metric's samples; 0 when it has none."""
        lines = self.service.ask("GET", "/metrics")[1].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{")))


@contextmanager
def scene(history: Settings, folder: Path) -> Iterator[Scene]:
    """Serve a copy of an installation, five minutes after its last materialization."""
    settings = prepare(history, folder)
    with running(settings.home) as service:
        made = Scene(service, settings, ledger.connect(settings.ledger_url, migrate=False))
        service.wait(lambda: made.state()["champion"] == 1)
        yield made


def prepare(history: Settings, folder: Path) -> Settings:
    """A copy of an installation with version 1 as champion, and a clock."""
    settings = Settings(home=copy_home(history.home, folder / "var"))
    clock.start(settings.home / "clock.json", datetime.now(UTC), times.parse("2013-01-31T05:05:00+00:00"), 1.0)
    engine = ledger.connect(settings.ledger_url)
    planted.add(engine, 1, planted.save(settings, tiny.model()))
    planted.deploy(engine, 1)
    return settings


def flights(settings: Settings) -> list[dict[str, Any]]:
    """The flights that the service can answer from what is online, as rows of the schedule, in its order."""
    versions = lake.catalog(settings.lake)["versions"]
    rows = lake.read(settings.lake, SCHEDULE, versions[SCHEDULE.name], days=DAYS).to_pylist()
    found = Reader(settings, STORED).read([{name: row[name] for name in KEYS} for row in rows], 0.0)
    needed = [i for i, name in enumerate(STORED) if not FEATURES[name].nullable]
    known = ~np.isnan(np.array([stored.values for stored in found])[:, needed]).any(axis=1)
    return [row for row, whole in zip(rows, known, strict=True) if whole]


def request(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the schedule as a request has it."""
    named = {name: row[name] for name in ("carrier", "flight", "origin", "dest", "distance")}
    return {**named, "sched_dep": row["sched_dep"].isoformat(), "sched_arr": row["sched_arr"].isoformat()}
