"""The spool: files by which the service hands its log to the collector. Both sides know its format from here only.

One folder a worker, named anew at each start of one:

    lock            held (flock) as long as the worker lives
    counts          what it has answered, recorded and dropped; mapped into memory, so that kill -9 loses no count
    00000007.open   the segment being written: one JSON line a prediction, on disk (fsync) after every append
    00000006.jsonl  a closed segment: nobody writes it again, and its number is never given twice

This module travels with the service: it knows the standard library, msgspec and the contracts.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from include.crashpoints import reached

LOCK, COUNTS, OPEN, CLOSED = "lock", "counts", ".open", ".jsonl"
COUNTERS = (
    "answered",  # answers handed to the log; = recorded + dropped + what waits, or was lost by a kill
    "recorded",  # answers on disk
    "dropped",  # answers given up: the queue was full, the disk did not take them, they could not be encoded
    "shadow_asked",  # the same three for shadow scores
    "shadowed",
    "shadow_dropped",
    "shadow_failed",  # of `shadowed`: the version failed
    "failures",  # appends that the disk did not take
    "segments",  # number of the newest segment
    "recorded_before",  # `recorded` and `shadowed` when that segment was begun: with its lines, exact after a kill
    "shadowed_before",
)
_SEGMENT = re.compile(r"(\d{8})\.(open|jsonl)")

_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One line of a segment: a row of PREDICTIONS; see include/contracts.py. NaN and infinity are written as null."""

    prediction_id: str
    role: str
    model: str
    version: _Int
    generation: _Int
    stage: str
    flight_id: str
    carrier: str
    flight: _Int
    origin: str
    dest: str
    sched_dep: _Time
    sched_arr: _Time
    distance: float | None
    probability: float | None
    error: str | None
    stale: str
    given: bool
    latency_us: float | None
    model_us: float | None
    weight: float
    at: _Time
    wall: _Time
    features: dict[str, float | None]


_encoder = msgspec.json.Encoder(enc_hook=lambda value: value.item())  # NumPy's scalars
_decoder = msgspec.json.Decoder(Line)


def encode(lines: Iterable[Line]) -> bytes:
    """Lines as they are in a segment, each with its newline."""
    return _encoder.encode_lines(lines)


def decode(data: bytes) -> tuple[list[Line], list[tuple[int, str]]]:
    """The lines of a segment, and number (from 1) and reason of each that is none."""
    try:
        return _decoder.decode_lines(data), []
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    good: list[Line] = []
    bad: list[tuple[int, str]] = []
    for number, text in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            good.append(_decoder.decode(text))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            bad.append((number, str(error)))
    return good, bad


def whole(data: bytes) -> bytes:
    """Up to the last newline: what a kill in the middle of a write left whole."""
    return data[: data.rfind(b"\n") + 1]


class Counts:
    """The counters of one worker, in a file mapped into memory. Adding costs 0.1 us and is on no disk but in the
    kernel: it survives the process, not the machine.

    `counts.cells[i] += n` is one step under CPython's lock (it gives way at calls and jumps only), so several threads
    may count."""

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(8 * len(COUNTERS))
            self._map = mmap.mmap(file.fileno(), 8 * len(COUNTERS))
        self.cells = memoryview(self._map).cast("Q")

    def as_dict(self) -> dict[str, int]:
        return dict(zip(COUNTERS, self.cells, strict=True))

    def flush(self) -> None:
        self._map.flush()


CELL = {name: i for i, name in enumerate(COUNTERS)}


def read_counts(folder: Path) -> dict[str, int]:
    """The counters of a worker, alive or dead; zeros for one that died before it had any."""
    try:
        data = (folder / COUNTS).read_bytes()
    except FileNotFoundError:
        data = b""
    cells = memoryview(data[: len(data) // 8 * 8]).cast("Q")
    return {name: cells[i] if i < len(cells) else 0 for i, name in enumerate(COUNTERS)}


def lock(folder: Path) -> int | None:
    """Take a worker's lock: a file descriptor to be closed, or None while its worker lives (or the folder is gone)."""
    try:
        held = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(held).st_ino == (folder / LOCK).stat().st_ino:  # else it was removed between the two lines above
            return held
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(held)
    return None


def segments(folder: Path) -> tuple[list[tuple[int, Path]], Path | None, list[Path]]:
    """Closed segments in order, the open one, and files that are no part of a spool."""
    closed, foreign = [], []
    begun = None
    for path in sorted(folder.iterdir()):
        match = _SEGMENT.fullmatch(path.name)
        if match and match[2] == "jsonl":
            closed.append((int(match[1]), path))
        elif match:
            begun = path
        elif path.name not in (LOCK, COUNTS):
            foreign.append(path)
    return closed, begun, foreign


class Writer:
    """A worker's own folder: appends to its open segment, closes segments. For one thread; `counts` is for all."""

    def __init__(self, root: Path, worker: str) -> None:
        self.folder, self._lock = _claim(root, worker)
        self.counts = Counts(self.folder / COUNTS)
        self._file: int | None = None
        self._size = 0  # bytes that are known to be on disk
        self._torn = False  # the file may hold more than that
        self._begun = 0.0

    @property
    def open_seconds(self) -> float:
        """Age of the open segment; 0 when there is none."""
        return time.monotonic() - self._begun if self._file is not None else 0.0

    @property
    def open_bytes(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Put whole lines on the disk. Raises OSError; then none of them counts, and the next begin a new segment."""
        if self._torn:
            self.rotate()
        try:
            if self._file is None:
                self._begin()
            assert self._file is not None
            self._torn = True
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):
                self.rotate()
            raise
        self._torn = False
        self._size += len(data)

    def rotate(self) -> None:
        """Close the open segment, if there is one: from now on the collector may take it."""
        if self._file is None:
            return
        if self._torn:  # a write failed half-way: cut off what it left
            os.ftruncate(self._file, self._size)
        name = f"{self.counts.cells[CELL['segments']]:08d}"
        (self.folder / (name + OPEN)).rename(self.folder / (name + CLOSED))
        reached("spool.closed")
        os.close(self._file)
        self._file, self._size, self._torn = None, 0, False
        self.counts.flush()
        _sync(self.folder)

    def close(self) -> None:
        """Close the segment and give up the lock: to the collector this worker has ended."""
        self.rotate()
        os.close(self._lock)

    def _begin(self) -> None:
        cells = self.counts.cells
        cells[CELL["recorded_before"]] = cells[CELL["recorded"]]
        cells[CELL["shadowed_before"]] = cells[CELL["shadowed"]]
        cells[CELL["segments"]] += 1
        self.counts.flush()  # a number on disk is never given twice, not even after a loss of power
        path = self.folder / f"{cells[CELL['segments']]:08d}{OPEN}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        reached("spool.begun")
        self._size, self._begun = 0, time.monotonic()
        _sync(self.folder)


def _claim(root: Path, worker: str) -> tuple[Path, int]:
    """A new folder and its lock. Its name is never used again: the lake remembers up to which segment it has each."""
    root.mkdir(parents=True, exist_ok=True)
    while True:
        folder = root / f"{worker}-{secrets.token_hex(4)}"
        folder.mkdir()
        held = lock(folder)
        if held is not None:  # else a collector took it, between the two lines above, for one that had died at once
            return folder, held


def _sync(folder: Path) -> None:
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
