"""Microseconds of CPU of each layer of the service, in this process and without a server.

    python -m bench.serving.layers BODIES AT      # in a contender's environment; AT: data time, seconds since 1970

Each layer is called with real requests, so many at a stretch, and timed by the thread's own clock of CPU; the median
of the stretches counts. Prints JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import uvloop

from bench.serving.common import BUNDLE, key, variable
from include import bundle
from include.features.online import Reader
from include.serving import requests
from include.serving.app import App
from include.serving.metrics import Metrics
from include.serving.plan import plan
from include.serving.predict import STORED, Answering
from include.serving.recorder import Recorder
from include.serving.requests import Flight
from include.serving.router import Live, Router, describe, model, warm
from include.settings import Settings

STRETCHES = 7


def per_call(function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Microseconds of this thread for one item."""
    return median(_stretch(function, items) for _ in range(STRETCHES))


def _stretch(function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    began = time.thread_time()
    for item in items:
        function(item)
    return (time.thread_time() - began) / len(items) * 1e6


def measure(bodies: list[bytes], at: float) -> dict[str, float]:
    """Microseconds by layer; `at` is the data time of the requests. A layer's name that others hold is a sum."""
    settings = Settings()
    champion = warm(model("bench", 1, bundle.load(Path(variable(BUNDLE)))))
    live = Live(champion=champion, generation=1)
    metrics = Metrics(lambda: describe(router), dict)
    router = Router("bench", "", live)
    flights = [requests.one(body).flight for body in bodies]
    plans = [plan(flight) for flight in flights]
    keys = [key(flight, planned) for flight, planned in zip(flights, plans, strict=True)]
    kept, fresh = Reader(settings, STORED), _Fresh(settings, STORED, 0.0)
    rows = [[*planned.values, *row.values] for planned, row in zip(plans, kept.read(keys, 0.0), strict=True)]

    answering = Answering(time.time, lambda _wall: at, metrics, kept)
    answer = answering.answer(live, flights[:1], False)[0]
    layers = {
        "decode": per_call(requests.one, bodies),
        "plan": per_call(plan, flights),
        "read": per_call(lambda key: kept.read([key], 0.0), keys),
        "read from the store": per_call(lambda key: fresh.read([key], 0.0), keys[:200]),
        "model": per_call(lambda row: champion.run(np.array([row], dtype=np.float32)), rows),
        "count an answer": per_call(lambda _: metrics.answered(1, "champion", 1e-4), keys),
        "count a request": per_call(lambda _: metrics.request("/predict", 200), keys),
        "answer": per_call(lambda flight: answering.answer(live, (flight,), False), flights),
        "encode": per_call(msgspec.json.Encoder().encode, [answer] * len(keys)),
        "app": _app(App(router, answering, metrics, str), bodies),
    }
    return layers | _log(answering, live, flights)


def _log(answering: Answering, live: Live, flights: list[Flight]) -> dict[str, float]:
    """What the log costs the thread that answers, beside `answer`, and the thread that writes."""
    with tempfile.TemporaryDirectory(prefix="bench-log-") as folder:
        recorder = Recorder(Path(folder), "bench")
        answering.recorder = recorder
        used, began = time.process_time(), time.thread_time()
        logged = per_call(lambda flight: answering.answer(live, (flight,), False), flights)
        own = time.thread_time() - began
        recorder.close()
        whole = time.process_time() - used
        lost = recorder.counts()["dropped"]
        answering.recorder = None
    if lost:
        raise RuntimeError(f"{lost} predictions were dropped from the log: this is no measurement")
    return {"answer, logged": logged, "written": (whole - own) / (len(flights) * STRETCHES) * 1e6}


class _Fresh(Reader):
    """A reader that keeps nothing."""

    def _forget(self) -> None:
        self._state = None
        super()._forget()


def _app(app: App, bodies: list[bytes]) -> float:
    """Microseconds of one request through the ASGI application, in a loop as the server's."""

    async def call(body: bytes) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        await app({"type": "http", "path": "/predict", "method": "POST"}, receive, send)

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200

    async def stretch() -> float:
        began = time.thread_time()
        for body in bodies:
            await call(body)
        return (time.thread_time() - began) / len(bodies) * 1e6

    async def stretches() -> float:
        return median([await stretch() for _ in range(STRETCHES)])

    return uvloop.run(stretches())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bodies", type=Path)
    parser.add_argument("at", type=float)
    asked = parser.parse_args()
    gc.collect()  # as the service does
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    json.dump(measure(asked.bodies.read_bytes().splitlines(), asked.at), sys.stdout)


if __name__ == "__main__":
    main()
