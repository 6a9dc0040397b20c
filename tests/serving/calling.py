"""The application called in this process, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from include.serving.app import App
from include.serving.metrics import Metrics
from include.serving.predict import NAMES, STORED, Answering
from include.serving.recorder import Entry
from include.serving.router import Live, Router, describe
from tests.packaging import tiny

NOW = 1_359_608_400.0  # 2013-01-31T05:00Z
FLIGHT = {
    "carrier": "B6",
    "flight": 727,
    "origin": "JFK",
    "dest": "BQN",
    "sched_dep": "2013-01-31T23:59:00-05:00",
    "sched_arr": "2013-02-01T05:00:00-04:00",
    "distance": 1576,
}
FLIGHT_ID = "20130131-B6-727-JFK"


class Row(NamedTuple):
    values: list[float]
    times: list[float]


class Store:
    """A feature store that holds one row for every flight; `fail` is raised instead."""

    def __init__(self, row: Mapping[str, float], age: float = 60.0) -> None:
        self.values, self.age = [row[name] for name in STORED], age
        self.fail: Exception | None = None
        self.reads = 0

    def read(self, keys: Sequence[Mapping[str, Any]], _now: float) -> list[Row]:
        if self.fail is not None:
            raise self.fail
        self.reads += len(keys)
        return [Row(list(self.values), [NOW - self.age] * 13) for _ in keys]


class Kept:
    """A log that is a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def put(self, entry: Entry) -> None:
        self.entries.append(entry)


def middle() -> dict[str, float]:
    """A value within the bounds of every feature."""
    return dict(zip(NAMES, ((tiny.LOW + tiny.HIGH) / 2).astype("float32").tolist(), strict=True))


def app(live: Live, reader: Store | None = None, recorder: Kept | None = None) -> App:
    router = Router(tiny.MODEL, "code", live)
    metrics = Metrics(lambda: describe(router), dict)
    answering = Answering(lambda: NOW + 1e9, lambda wall: wall - 1e9, metrics, reader, recorder)  # type: ignore[arg-type]
    return App(router, answering, metrics, str)


def call(app: Callable[..., Any], method: str, path: str, body: Any = b"") -> tuple[int, Any]:
    """Status and value (JSON decoded) of one request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "path": path, "method": method}, receive, send))
    start, end = sent
    headers = dict(start["headers"])
    assert int(headers[b"content-length"]) == len(end["body"]) or method == "HEAD"
    kind = headers[b"content-type"]
    return start["status"], json.loads(end["body"]) if kind == b"application/json" and end["body"] else end["body"]
