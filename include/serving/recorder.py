"""The service's log of its predictions, beside the requests: `put` takes one and returns at once.

One thread writes what was put to the spool (include/serving/spool.py). A second one scores the same rows with the
version in the shadow, in micro-batches, and hands the scores to the first: a shadow that is slow or hangs delays
neither an answer nor the log of the answers. What is dropped on the way is counted.

This module travels with the service: it knows the standard library, NumPy, msgspec and the contracts.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from include.contracts import ANSWER, SHADOW
from include.crashpoints import reached
from include.serving import spool
from include.serving.spool import CELL, Line

_SLICE = 32  # entries encoded at a stretch, some 0.3 ms: so long may this thread keep an answer waiting
_BREATH = 0.0002  # seconds between two such slices, in which requests have the interpreter
_APPEND = 2048  # entries in one append, with one fsync
_MICRO_BATCH = 256  # rows a call of the shadow
_SEGMENT_BYTES = 16_000_000  # a segment is closed early at this size: the collector holds whole ones in memory
_PATIENCE = 5.0  # seconds at the end for the shadow to finish
_LONGEST_ERROR = 500  # characters
_DISK = "the log of predictions cannot be written"
_FORM = "predictions of a wrong form are dropped from the log"

_ANSWERED, _RECORDED, _DROPPED = CELL["answered"], CELL["recorded"], CELL["dropped"]
_ASKED, _SHADOWED, _SHADOW_DROPPED = CELL["shadow_asked"], CELL["shadowed"], CELL["shadow_dropped"]
_SHADOW_FAILED, _FAILURES = CELL["shadow_failed"], CELL["failures"]

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One prediction as the service made it; times with a zone. See PREDICTIONS in include/contracts.py."""

    prediction_id: str
    model: str
    version: int
    generation: int
    stage: str  # of the deployment
    flight: Mapping[str, Any]  # flight_id, carrier, flight, origin, dest, sched_dep, sched_arr, distance
    row: np.ndarray  # float32 [k]
    features: tuple[str, ...]  # names of `row`
    probability: float | None  # None: the version failed
    error: str | None
    stale: str
    given: bool
    latency_us: float
    model_us: float
    weight: float
    at: datetime  # data time
    wall: datetime
    role: str = ANSWER
    shadow: Callable[[np.ndarray], np.ndarray] | None = None  # scores rows [n, k]: the other version
    shadow_version: int | None = None


class Recorder:
    """The log of one worker: its folder below `folder` is the worker's name and a token of this start.

    At most `size` entries wait in memory; they are on disk `flush_seconds` later, and the collector's after
    `rotate_seconds`.
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        size: int = 20_000,
        flush_seconds: float = 0.2,
        rotate_seconds: float = 5.0,
    ) -> None:
        self._writer = spool.Writer(folder, worker)
        self.worker = self._writer.folder.name
        self._cells = self._writer.counts.cells
        self._size, self._flush_seconds, self._rotate_seconds = size, flush_seconds, rotate_seconds
        self._queue: deque[Entry] = deque()
        self._unscored: deque[Entry] = deque()
        self._scored: deque[Line] = deque()
        self._stop, self._work, self._end_shadow = threading.Event(), threading.Event(), threading.Event()
        self._closed = False
        self._said: set[str] = set()
        self._shadow = threading.Thread(target=self._score_always, name="shadow", daemon=True)
        self._thread = threading.Thread(target=self._record_always, name="recorder", daemon=True)
        self._shadow.start()
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Take an entry to be logged. Never waits and never raises; what finds the queue full is counted as dropped."""
        cells = self._cells
        try:
            answer = entry.role == ANSWER
            room = len(self._queue) < self._size and not self._closed
            if answer:
                cells[_ANSWERED] += 1
                if not room:
                    cells[_DROPPED] += 1
            if not answer or entry.shadow is not None:
                cells[_ASKED] += 1
                if not room:
                    cells[_SHADOW_DROPPED] += 1
            if room:
                self._queue.append(entry)
        except Exception:
            self._complain(_FORM)

    def counts(self) -> dict[str, int]:
        """The counters of spool.COUNTERS, and `queued`: entries that wait."""
        return {**self._writer.counts.as_dict(), "queued": len(self._queue)}

    def close(self) -> None:
        """Write what was put, close the segment, end the threads. Whatever is put later is dropped."""
        self._closed = True
        self._stop.set()
        self._thread.join()

    # -- the recorder's thread ---------------------------------------------------------------------------------------
    def _record_always(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(self._flush_seconds)
            try:
                self._flush()
                if self._writer.open_seconds >= self._rotate_seconds:
                    self._writer.rotate()
            except Exception:
                self._complain(_DISK)
        try:
            self._end()
        except Exception:
            self._complain("the log of predictions could not be ended; the collector will recover it")

    def _end(self) -> None:
        self._end_shadow.set()
        self._work.set()
        self._shadow.join(_PATIENCE)
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        """Put all that waits on the disk, and hand on what is to be scored."""
        while self._queue:
            entries = _take(self._queue, _APPEND)
            answers = sum(e.role == ANSWER for e in entries)
            self._append((_line(e) for e in entries), answers, len(entries) - answers)
            self._hand_on([e for e in entries if e.shadow is not None and e.role == ANSWER])
        while self._scored:
            lines = _take(self._scored, _APPEND)
            self._append(iter(lines), 0, len(lines))

    def _append(self, lines: Iterator[Line | None], answers: int, shadows: int) -> None:
        """Encode so many lines a slice at a time and write them with one fsync. None: the entry was of a wrong form."""
        parts: list[bytes] = []
        fit_answers = fit_shadows = failed = 0
        for part in _slices(lines):
            data, fit = _encoded([line for line in part if line is not None])
            parts.append(data)
            scores = [line for line in fit if line.role != ANSWER]
            fit_answers += len(fit) - len(scores)
            fit_shadows += len(scores)
            failed += sum(line.error is not None for line in scores)
            if len(part) == _SLICE:
                time.sleep(_BREATH)
        if fit_answers < answers or fit_shadows < shadows:
            self._cells[_DROPPED] += answers - fit_answers
            self._cells[_SHADOW_DROPPED] += shadows - fit_shadows
            self._complain(_FORM)
        self._write(b"".join(parts), fit_answers, fit_shadows, failed)

    def _write(self, data: bytes, answers: int, shadows: int, failed: int) -> None:
        cells = self._cells
        try:
            if data:
                self._writer.append(data)
        except OSError:
            cells[_DROPPED] += answers
            cells[_SHADOW_DROPPED] += shadows
            cells[_FAILURES] += 1
            self._complain(_DISK)
            return
        reached("recorder.appended")
        cells[_RECORDED] += answers
        cells[_SHADOWED] += shadows
        cells[_SHADOW_FAILED] += failed
        if _DISK in self._said:
            self._said.discard(_DISK)
            log.warning("the log of predictions is written again; counts so far: %s", self.counts())
        if self._writer.open_bytes >= _SEGMENT_BYTES:
            self._writer.rotate()

    def _complain(self, text: str) -> None:
        """Say it once, until it works again: a full disk must not be filled with complaints."""
        if text not in self._said:
            self._said.add(text)
            log.error("%s; counts so far: %s", text, self.counts(), exc_info=sys.exc_info()[0] is not None)

    # -- the shadow's thread -----------------------------------------------------------------------------------------
    def _hand_on(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        room = max(self._size - len(self._unscored) - len(self._scored), 0)
        self._unscored.extend(entries[:room])
        self._cells[_SHADOW_DROPPED] += max(len(entries) - room, 0)
        self._work.set()

    def _score_always(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            while self._unscored:
                entries = _take(self._unscored, _MICRO_BATCH)
                try:
                    lines = _scored(entries)
                    self._scored.extend(lines)
                    self._cells[_SHADOW_DROPPED] += len(entries) - len(lines)
                except Exception:
                    self._cells[_SHADOW_DROPPED] += len(entries)
                    self._complain("shadow scores cannot be made")
            if self._end_shadow.is_set():
                return


def _take(queue: deque[Any], most: int) -> list[Any]:
    return [queue.popleft() for _ in range(min(len(queue), most))]


def _slices(lines: Iterator[Line | None]) -> Iterator[list[Line | None]]:
    while part := [line for _, line in zip(range(_SLICE), lines, strict=False)]:
        yield part


def _encoded(lines: list[Line]) -> tuple[bytes, list[Line]]:
    """The lines as text, and those among them that can be encoded: all, as a rule."""
    try:
        return spool.encode(lines), lines
    except Exception:
        if len(lines) == 1:
            return b"", []
    parts = [_encoded([line]) for line in lines]
    return b"".join(data for data, _ in parts), [line for _, fit in parts for line in fit]


def _line(entry: Entry, **changed: Any) -> Line | None:
    """The line of an entry; None for one of a wrong form."""
    try:
        flight = entry.flight
        return Line(
            entry.prediction_id,
            changed.get("role", entry.role),
            entry.model,
            changed.get("version", entry.version),
            entry.generation,
            entry.stage,
            flight["flight_id"],
            flight["carrier"],
            flight["flight"],
            flight["origin"],
            flight["dest"],
            flight["sched_dep"],
            flight["sched_arr"],
            flight["distance"],
            changed.get("probability", entry.probability),
            changed.get("error", entry.error),
            entry.stale,
            entry.given,
            changed.get("latency_us", entry.latency_us),
            changed.get("model_us", entry.model_us),
            entry.weight,
            entry.at,
            entry.wall,
            dict(zip(entry.features, entry.row.tolist(), strict=True)),
        )
    except Exception:
        return None


def _scored(entries: list[Entry]) -> list[Line]:
    """Shadow lines of entries, in calls of one version each."""
    groups: dict[tuple[int, int | None], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((id(entry.shadow), entry.shadow_version), []).append(entry)
    return [line for group in groups.values() for line in _scored_alike(group)]


def _scored_alike(entries: list[Entry]) -> list[Line]:
    """Shadow lines of entries of one version. When it fails on a batch, each row is tried alone: one bad row is one
    error."""
    score = entries[0].shadow
    assert score is not None
    started = time.perf_counter()
    try:
        found = np.asarray(score(np.stack([e.row for e in entries])), dtype=np.float64).reshape(-1)
        if len(found) != len(entries):
            raise ValueError(f"{len(found)} probabilities for {len(entries)} rows")
        outcomes: list[tuple[float | None, str | None]] = [_judged(p) for p in found.tolist()]
    except Exception as error:
        if len(entries) > 1:
            return [line for entry in entries for line in _scored_alike([entry])]
        outcomes = [(None, f"{type(error).__name__}: {error}"[:_LONGEST_ERROR])]
    spent = (time.perf_counter() - started) * 1e6 / len(entries)
    made = (
        _line(e, role=SHADOW, version=e.shadow_version, probability=p, error=why, latency_us=spent, model_us=spent)
        for e, (p, why) in zip(entries, outcomes, strict=True)
    )
    return [line for line in made if line is not None]


def _judged(probability: float) -> tuple[float | None, str | None]:
    if 0.0 <= probability <= 1.0:
        return probability, None
    return None, f"{probability} is no probability"
