"""The recorder: what is put is on disk or counted, whatever happens to the disk, the shadow or the entries."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.contracts import SHADOW
from include.serving import spool
from include.serving.recorder import Recorder
from include.serving.spool import Line
from include.settings import ROOT
from tests.serving.entries import entry, half, until

NEVER = 3600.0


def lines(folder: Path) -> list[Line]:
    """What all workers below a folder have on disk."""
    found = [spool.decode(path.read_bytes()) for path in sorted(folder.glob("*/0*"))]
    assert not any(bad for _, bad in found)
    return [line for good, _ in found for line in good]


def test_what_is_put_is_on_disk_before_it_is_counted_as_recorded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "w", flush_seconds=0.01)
    for number in range(100):
        recorder.put(entry(number))
    until(lambda: recorder.counts()["recorded"] == 100)
    assert [line.prediction_id for line in lines(tmp_path)] == [f"p{n:07d}" for n in range(100)]
    assert not list(tmp_path.glob("*/*.jsonl"))  # the segment is still open
    recorder.close()
    assert len(list(tmp_path.glob("*/*.jsonl"))) == 1


def test_a_segment_is_closed_in_time_also_when_nothing_more_comes(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "w", flush_seconds=0.01, rotate_seconds=0.05)
    recorder.put(entry(1))
    until(lambda: bool(list(tmp_path.glob("*/00000001.jsonl"))))
    recorder.put(entry(2))
    until(lambda: bool(list(tmp_path.glob("*/00000002.jsonl"))))
    recorder.close()
    assert len(lines(tmp_path)) == 2


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "w", size=10, flush_seconds=NEVER)
    for number in range(25):
        recorder.put(entry(number, half if number < 20 else None))
    assert recorder.counts()["queued"] == 10
    recorder.close()
    recorder.put(entry(99))  # too late
    counts = recorder.counts()
    assert (counts["answered"], counts["recorded"], counts["dropped"]) == (26, 10, 16)
    assert (counts["shadow_asked"], counts["shadowed"], counts["shadow_dropped"]) == (20, 10, 10)


def test_threads_lose_no_count(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "w", size=500, flush_seconds=0.001)
    made = [entry(number) for number in range(4000)]

    def put_all() -> None:
        for one in made:
            recorder.put(one)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=put_all) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    recorder.close()
    counts = recorder.counts()
    assert counts["answered"] == 24_000 == counts["recorded"] + counts["dropped"]
    assert len(lines(tmp_path)) == counts["recorded"]


def wrong(**changed: Any) -> Any:
    return entry(7, **changed)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(wrong(error=object()), id="a value that is no JSON"),
        pytest.param(wrong(stale="\ud800"), id="half a character"),
        pytest.param(wrong(row=np.zeros(3, dtype=np.float32)), id="a short row"),
        pytest.param(wrong(flight={}), id="no flight"),
        pytest.param(wrong(row=None, shadow=half, shadow_version=2), id="no row"),
    ],
)
def test_an_entry_of_a_wrong_form_costs_itself_only(tmp_path: Path, bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path, "w", flush_seconds=NEVER)
    for made in (entry(1), bad, entry(2), bad, entry(3)):
        recorder.put(made)
    recorder.close()
    counts = recorder.counts()
    assert (counts["answered"], counts["recorded"], counts["dropped"]) == (5, 3, 2)
    assert counts["shadow_asked"] == counts["shadow_dropped"]
    assert [line.prediction_id for line in lines(tmp_path)] == ["p0000001", "p0000002", "p0000003"]
    assert sum("wrong form" in record.message for record in caplog.records) == 1


def test_put_raises_never(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "w", flush_seconds=NEVER)
    recorder.put(None)  # type: ignore[arg-type]
    recorder.put(entry(1))
    recorder.close()
    assert len(lines(tmp_path)) == 1


def shadows(tmp_path: Path, numbers: range, score: Callable[[np.ndarray], Any]) -> dict[str, Line]:
    recorder = Recorder(tmp_path, "w", flush_seconds=NEVER)
    for number in numbers:
        recorder.put(entry(number, score, stage="canary"))
    recorder.close()
    found = {line.prediction_id: line for line in lines(tmp_path) if line.role == SHADOW}
    counts = recorder.counts()
    assert len(found) == len(numbers) == counts["shadow_asked"] == counts["shadowed"] == counts["recorded"]
    assert counts["shadow_failed"] == sum(line.error is not None for line in found.values())
    return found


def test_the_shadow_scores_the_same_row_in_batches(tmp_path: Path) -> None:
    sizes: Counter[int] = Counter()

    def score(rows: np.ndarray) -> np.ndarray:
        sizes[len(rows)] += 1
        return rows[:, 0] / 1024

    found = shadows(tmp_path, range(600), score)
    assert sizes == {256: 2, 88: 1}
    assert {key: line.probability for key, line in found.items()} == {f"p{n:07d}": n / 1024 for n in range(600)}
    line = found["p0000008"]
    assert (line.version, line.stage, line.error, line.features["minute_of_day"]) == (2, "canary", None, 8.0)
    assert line.latency_us == line.model_us
    assert 0 < (line.model_us or 0.0) < 1e5


def test_one_bad_row_is_one_error(tmp_path: Path) -> None:
    found = shadows(tmp_path, range(1, 121), half)
    errors = {key: line.error for key, line in found.items() if line.error}
    assert errors == dict.fromkeys(("p0000050", "p0000100"), "ArithmeticError: planted")
    assert all((line.probability is None) == (key in errors) for key, line in found.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.01, 1.01])
def test_what_is_no_probability_is_an_error(tmp_path: Path, value: float) -> None:
    found = shadows(tmp_path, range(3), lambda rows: np.where(rows[:, 0] == 1, value, 0.5))
    assert [line.probability for line in found.values()] == [0.5, None, 0.5]
    assert found["p0000001"].error == f"{value} is no probability"


@pytest.mark.parametrize("made", [np.zeros(99), None, "text", []])
def test_a_shadow_of_a_wrong_form_fails(tmp_path: Path, made: Any) -> None:
    found = shadows(tmp_path, range(3), lambda _: made)
    assert all(line.error and line.probability is None for line in found.values())


def test_a_shadow_that_hangs_holds_up_nothing(tmp_path: Path) -> None:
    go, called = threading.Event(), threading.Event()

    def hang(rows: np.ndarray) -> np.ndarray:
        called.set()
        go.wait(30)
        return np.full(len(rows), 0.5)

    recorder = Recorder(tmp_path, "w", size=1000, flush_seconds=0.005)
    recorder.put(entry(0, hang))
    assert called.wait(10)
    for number in range(1, 3001):
        recorder.put(entry(number, hang))
        if number % 500 == 0:
            until(lambda n=number: recorder.counts()["recorded"] == n + 1)  # type: ignore[misc]
    until(lambda: recorder.counts()["shadow_dropped"] == 2000)  # 1000 wait for it, one is being scored
    go.set()
    recorder.close()
    counts = recorder.counts()
    assert (counts["recorded"], counts["dropped"], counts["shadowed"]) == (3001, 0, 1001)


def test_a_disk_that_fails_costs_what_it_did_not_take(tmp_path: Path) -> None:
    """The process may write no file above 300 kB: a write ends half-way. After the fifth failure it may again."""
    options = json.dumps({"file_bytes": 300_000, "failures": 5, "most": 20_000})
    command = [sys.executable, "-m", "tests.serving.entries", str(tmp_path), options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    (folder,) = tmp_path.iterdir()
    counts = spool.read_counts(folder)
    assert counts["failures"] >= 5
    assert counts["dropped"] > 0
    assert counts["answered"] == 20_000 == counts["recorded"] + counts["dropped"]
    found = [line.prediction_id for line in lines(tmp_path)]
    assert len(found) == len(set(found)) == counts["recorded"]
    assert found[-1] == "p0020000"
    assert 1 <= done.stderr.count("cannot be written; counts so far") <= counts["failures"]


def test_a_folder_that_is_gone_is_said_once_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path / "spool", "w", flush_seconds=0.005, rotate_seconds=NEVER)
    (folder,) = (tmp_path / "spool").iterdir()
    folder.rename(tmp_path / "away")
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            recorder.put(entry(number))
            until(lambda n=number: recorder.counts()["dropped"] == n + 1)  # type: ignore[misc]
        (tmp_path / "away").rename(folder)
        recorder.put(entry(3))
        until(lambda: recorder.counts()["recorded"] == 1)
    recorder.close()
    assert [line.prediction_id for line in lines(tmp_path / "spool")] == ["p0000003"]
    said = [record.message.split(";")[0] for record in caplog.records]
    assert said == ["the log of predictions cannot be written", "the log of predictions is written again"]


def test_the_recorder_ends_with_the_process(tmp_path: Path) -> None:
    """Its threads are daemons: a service that forgets to close it still ends, and leaves a worker to be recovered."""
    code = "from tests.serving.entries import *; r = Recorder(Path(sys.argv[1]), 'w'); r.put(entry(1))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, timeout=30, check=True)
    (folder,) = tmp_path.iterdir()
    held = spool.lock(folder)
    assert held is not None
    os.close(held)
    assert spool.read_counts(folder)["answered"] == 1
