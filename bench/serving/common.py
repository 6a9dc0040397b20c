"""What every contender does alike: the features of one flight, as the project's own reader and rules give them."""

from __future__ import annotations

import os
from threading import Lock
from time import monotonic
from typing import Any

from include.features.online import Reader
from include.serving.plan import Plan, plan
from include.serving.predict import NAMES, STORED
from include.settings import Settings

THRESHOLD = 0.4
PIPELINE = "BENCH_PIPELINE"  # environment variables: the joblib file, the bundle's folder
BUNDLE = "BENCH_BUNDLE"


class Features:
    """Reads the online store of the installation in RATCHET_HOME. `row` may be called from several threads."""

    def __init__(self) -> None:
        self._reader = Reader(Settings(), STORED)
        self._lock = Lock()

    def row(self, flight: Any) -> list[float]:
        """The 36 features in the order of NAMES. `flight` has the attributes of include.serving.requests.Flight."""
        planned = plan(flight)
        with self._lock:
            (stored,) = self._reader.read([key(flight, planned)], monotonic())
        return [*planned.values, *stored.values]


def key(flight: Any, planned: Plan) -> dict[str, Any]:
    """What the reader is asked with."""
    named = {name: getattr(flight, name) for name in ("carrier", "flight", "origin", "dest")}
    return {"flight_id": planned.flight_id, "local_hour": planned.local_hour, **named}


def named(row: list[float]) -> dict[str, float]:
    return dict(zip(NAMES, row, strict=True))


def variable(name: str) -> str:
    return os.environ[name]
