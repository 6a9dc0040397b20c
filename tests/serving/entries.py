"""Predictions to be logged, for the tests of the log; and, run as a program, a worker that logs until it is killed.

`python -m tests.serving.entries <folder> <options as JSON>` prints, after each put, how many it has put and how many of
them its log said to be on disk before.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from include import crashpoints
from include.contracts import FEATURES
from include.serving.recorder import Entry, Recorder

MODEL = "flights_on_time"
NAMES = tuple(FEATURES)
NOON = datetime(2013, 1, 5, 12, tzinfo=UTC)
FLIGHT = {
    "flight_id": "2013-01-05-UA-1-EWR",
    "carrier": "UA",
    "flight": 1,
    "origin": "EWR",
    "dest": "IAH",
    "sched_dep": NOON,
    "sched_arr": NOON + timedelta(hours=4),
    "distance": 1400.0,
}


def entry(number: int, shadow: Callable[[np.ndarray], np.ndarray] | None = None, **changed: Any) -> Entry:
    """A prediction that can be told from all others; its first feature is its number, its second one is missing."""
    row = np.full(len(NAMES), 0.25, dtype=np.float32)
    row[0], row[1] = number, np.nan
    whole = Entry(
        prediction_id=f"p{number:07d}",
        model=MODEL,
        version=1,
        generation=3,
        stage="shadow" if shadow else "",
        flight=FLIGHT,
        row=row,
        features=NAMES,
        probability=number % 1000 / 1000,
        error=None,
        stale="",
        given=False,
        latency_us=800.0,
        model_us=20.0,
        weight=1.0,
        at=NOON + timedelta(seconds=number),
        wall=NOON,
        shadow=shadow,
        shadow_version=2 if shadow else None,
    )
    return whole._replace(**changed)


def half(rows: np.ndarray) -> np.ndarray:
    """A version that fails on a batch with a multiple of 50 in it, and else says 0.5."""
    if (rows[:, 0] % 50 == 0).any():
        raise ArithmeticError("planted")
    return np.full(len(rows), 0.5)


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def main(folder: str, options: dict[str, Any]) -> None:
    recorder = Recorder(Path(folder), "w", options.get("size", 20_000), flush_seconds=0.005, rotate_seconds=0.03)
    if "file_bytes" in options:  # a write beyond that fails half-way, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_bytes"], resource.RLIM_INFINITY))
    number = 0
    while number < options.get("most", 1_000_000):
        counts = recorder.counts()
        if counts["segments"] >= options.get("die_after", 0) and "die_at" in options:
            os.environ[crashpoints.AT] = options["die_at"]
        if counts["failures"] >= options.get("failures", 1_000_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        number += 1
        recorder.put(entry(number, half if options.get("shadow") else None))
        os.write(1, f"{number} {counts['recorded']}\n".encode())
        time.sleep(options.get("pause", 0.0))
    recorder.close()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
