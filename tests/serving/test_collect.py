"""The collector: every prediction on a worker's disk comes into the lake once, whoever is killed, wherever."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from include import lake
from include.contracts import ANSWER, FEATURES, PREDICTIONS, SHADOW
from include.files import read_json
from include.serving import collect, spool
from include.serving.recorder import Entry, Recorder
from include.settings import ROOT, Settings
from tests.serving.entries import FLIGHT, MODEL, NAMES, NOON, entry, half, until

NEVER = 3600.0
# a collector of small batches that kills itself at the n-th of the crash points that it passes
COLLECTOR = """
import json, os, signal, sys
from pathlib import Path
from include.serving import collect
from include.settings import Settings
collect._ROWS, collect._FILES = 60, 2
passed, last = [], int(sys.argv[2])
def reached(name):
    passed.append(name)
    if len(passed) == last:
        os.kill(os.getpid(), signal.SIGKILL)
collect.reached = reached
done = collect.collect(Settings(home=Path(sys.argv[1])))
print(json.dumps([passed, done]))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "var")


def logged(settings: Settings, *entries: Entry, worker: str = "w") -> str:
    """A worker that logs and ends in order; its folder's name."""
    recorder = Recorder(settings.predictions, worker, flush_seconds=NEVER)
    for one in entries:
        recorder.put(one)
    recorder.close()
    return recorder.worker


def start(settings: Settings, last: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COLLECTOR, str(settings.home), str(last)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def ids(settings: Settings, role: str = ANSWER) -> list[str]:
    rows = collect.read(settings, MODEL)
    return [i for i, r in zip(rows["prediction_id"].to_pylist(), rows["role"].to_pylist(), strict=True) if r == role]


def summary(settings: Settings) -> dict[str, Any]:
    (path,) = (settings.predictions / "closed").glob("*.json")
    found: dict[str, Any] = read_json(path)
    return found


# -- what is logged is what is read --------------------------------------------------------------------------------
numbers = st.floats(width=32, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@st.composite
def made(draw: st.DrawFn) -> Entry:
    names = draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]
    row = np.array([draw(numbers) for _ in names], dtype=np.float32)
    flight = {**FLIGHT, "flight_id": draw(texts), "carrier": draw(texts), "sched_dep": draw(times)}
    error = draw(st.none() | texts)
    return entry(0)._replace(
        row=row,
        features=tuple(names),
        flight=flight,
        error=error,
        probability=draw(st.floats(0, 1)) if error is None else None,
        stage=draw(texts),
        version=draw(st.integers(1, 2**62)),
        given=draw(st.booleans()),
        at=draw(times),
        weight=draw(st.floats(1, 1e6)),
        role=draw(st.sampled_from([ANSWER, SHADOW])),
    )


@given(st.lists(made(), min_size=1, max_size=4))
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_read_is_what_was_logged(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> None:
    settings = Settings(home=tmp_path_factory.mktemp("var"))
    entries = [e._replace(prediction_id=f"p{i}") for i, e in enumerate(entries)]
    worker = logged(settings, *entries)
    assert collect.collect(settings)["rows"] == len(entries)
    rows = {row["prediction_id"]: row for row in collect.read(settings, MODEL).to_pylist()}
    for one in entries:
        values = {n: None if np.isnan(v) else v for n, v in zip(one.features, one.row.tolist(), strict=True)}
        # a flight's distance is a feature, too
        wanted = {**dict.fromkeys(FEATURES), **one.flight, **values, "worker": worker}
        wanted |= {n: v for n, v in one._asdict().items() if n in PREDICTIONS.columns and n != "flight"}
        assert rows[one.prediction_id] == {**wanted, "ds": one.at.strftime("%Y-%m-%d")}
    shutil.rmtree(settings.home)


def test_numpy_numbers_are_numbers(settings: Settings) -> None:
    odd: dict[str, Any] = {
        "probability": np.float32(0.5),
        "version": np.int64(3),
        "latency_us": np.float64("nan"),
        "given": np.bool_(True),
    }
    logged(settings, entry(1, **odd))
    assert collect.collect(settings)["refused"] == 0
    (row,) = collect.read(settings, MODEL).to_pylist()
    assert [row[name] for name in odd] == [0.5, 3, None, True]


def test_nothing_was_ever_logged(settings: Settings) -> None:
    done = collect.collect(settings)
    assert (done["rows"], done["workers"], done["version"]) == (0, 0, None)
    assert collect.read(settings, MODEL).schema == lake.schema(PREDICTIONS)
    assert collect.made_by(settings, MODEL, 1, NOON).num_rows == 0
    assert collect.compact(settings) == 0
    assert not any(collect.totals(settings).values())


def test_reading_by_time_version_and_model(settings: Settings) -> None:
    logged(settings, *(entry(n, version=1 + n % 2, at=NOON + timedelta(hours=n)) for n in range(48)))
    logged(settings, entry(100, model="another"), entry(101, at=NOON, shadow=half, shadow_version=2))
    collect.collect(settings)
    since, until_ = NOON + timedelta(hours=10), NOON + timedelta(hours=20)
    rows = collect.read(settings, MODEL, since, until_, columns=["prediction_id", "ds"])
    assert rows["prediction_id"].to_pylist() == [f"p{n:07d}" for n in range(10, 20)]  # the end is outside
    assert rows.column_names == ["prediction_id", "ds"]
    assert collect.read(settings, MODEL, since, until_, versions=[2]).num_rows == 5
    assert collect.read(settings, MODEL, versions=[]).num_rows == 0
    assert collect.read(settings, "another")["prediction_id"].to_pylist() == ["p0000100"]
    spoilt = collect.made_by(settings, MODEL, 2, since)
    assert spoilt["prediction_id"].to_pylist() == [f"p{n:07d}" for n in range(11, 48, 2)]
    assert collect.made_by(settings, MODEL, 2).num_rows == 24  # a shadow's score was sent to nobody
    assert collect.read(settings, MODEL, versions=[2]).num_rows == 25


def test_only_the_days_asked_for_are_read(settings: Settings) -> None:
    logged(settings, *(entry(n, at=NOON + timedelta(days=n)) for n in range(3)))
    collect.collect(settings)
    (other,) = (settings.lake / "predictions" / "ds=2013-01-05").glob("*.parquet")
    other.write_bytes(b"")  # whoever opens it fails
    after = NOON + timedelta(days=1)
    assert collect.read(settings, MODEL, since=after).num_rows == 2
    with pytest.raises(OSError, match="only 0 bytes"):
        collect.read(settings, MODEL)


# -- workers that live, end and die --------------------------------------------------------------------------------
def test_a_living_worker_keeps_its_open_segment(settings: Settings) -> None:
    recorder = Recorder(settings.predictions, "w", flush_seconds=0.005, rotate_seconds=NEVER)
    recorder.put(entry(1))
    until(lambda: recorder.counts()["recorded"] == 1)
    done = collect.collect(settings)
    assert (done["rows"], done["workers"], done["ended"], done["lost"]) == (0, 1, 0, 0)
    recorder.put(entry(2))
    recorder.close()
    done = collect.collect(settings)
    assert (done["rows"], done["workers"], done["ended"], done["lost"]) == (2, 1, 1, 0)
    assert sorted(p.name for p in settings.predictions.iterdir()) == [".collecting", "closed"]
    assert collect.collect(settings)["workers"] == 0


class Worker:
    """A process that logs until it is killed."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        command = [sys.executable, "-m", "tests.serving.entries", str(settings.predictions), json.dumps(options)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        self.put = self.recorded = 0

    def reports(self) -> Iterator[None]:
        """Follow what it says it has put, and what its log said before."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            if text.endswith(b"\n"):
                self.put, self.recorded = map(int, text.split())
                yield

    def run(self, puts: int = 10**9) -> None:
        """Until it has put so many; kill it, and hear the last of it."""
        for _ in self.reports():
            if self.put >= puts:
                os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.wait(20) == -signal.SIGKILL

    def judge(self, settings: Settings, done: collect.Collected) -> None:
        """Every answer is in the lake, counted as dropped or counted as lost."""
        closed, found, scored = summary(settings), ids(settings), ids(settings, SHADOW)
        assert self.put <= closed["answered"] <= self.put + 1
        assert len(found) == len(set(found)) == closed["recorded"] == done["answers"]
        assert len(found) + closed["dropped"] + closed["lost"] == closed["answered"]
        assert len(found) >= self.recorded  # what it said to be on disk is there
        assert (done["lost"], done["dropped"], done["refused"]) == (closed["lost"], closed["dropped"], 0)
        assert set(found) <= {f"p{n:07d}" for n in range(1, self.put + 2)}
        assert len(scored) == len(set(scored)) == closed["shadowed"]
        assert len(scored) + closed["shadow_dropped"] + closed["shadow_lost"] == closed["shadow_asked"]
        rows = collect.read(settings, MODEL)
        assert set(rows.filter(pc.equal(rows["role"], SHADOW))["version"].to_pylist()) <= {2}
        totals = collect.totals(settings)
        assert {name: closed[name] for name in totals} == totals


@pytest.mark.parametrize("seed", range(8))
def test_kill_9_loses_nothing_that_is_not_counted(settings: Settings, seed: int) -> None:
    chance = random.Random(seed)
    size = chance.choice([3, 20_000])  # with 3, most are dropped
    worker = Worker(settings, size=size, shadow=seed % 2 == 0, pause=chance.choice([0.0, 0.0005]))
    worker.run(int(10 ** chance.uniform(0, 3.6)))
    done = collect.collect(settings)
    worker.judge(settings, done)
    assert done["ended"] == 1
    assert collect.collect(settings)["rows"] == 0


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("point", ["spool.begun", "recorder.appended", "spool.closed"])
def test_a_worker_killed_after_any_write_is_recovered(settings: Settings, point: str, after: int) -> None:
    worker = Worker(settings, die_at=point, die_after=after, shadow=True, pause=0.0005)
    worker.run()
    worker.judge(settings, collect.collect(settings))
    assert (summary(settings)["recorded"] > 0) == ((point, after) != ("spool.begun", 0))


def test_a_torn_line_is_cut_off_and_counted(settings: Settings) -> None:
    worker = Worker(settings, pause=0.0005)
    worker.run(300)
    (folder,) = (p for p in settings.predictions.iterdir() if p.is_dir())
    whole = spool.encode(line for _, p in spool.segments(folder)[0] for line in spool.decode(p.read_bytes())[0])
    begun = folder / f"{spool.read_counts(folder)['segments']:08d}.open"
    with begun.open("ab") as file:
        file.write(whole[:700])  # as if the kill had hit the middle of a write
    done = collect.collect(settings)
    assert (summary(settings)["torn"], done["refused"]) == (1, 0)
    worker.judge(settings, done)


def test_a_worker_that_died_at_birth_leaves_nothing(settings: Settings) -> None:
    (settings.predictions / "w-00000000").mkdir(parents=True)
    assert collect.collect(settings)["ended"] == 1
    assert not (settings.predictions / "w-00000000").exists()


# -- rubbish -------------------------------------------------------------------------------------------------------
def test_rubbish_is_put_aside_and_stops_nothing(settings: Settings) -> None:
    first = logged(settings, *(entry(n) for n in range(5)), worker="a")
    logged(settings, entry(5), entry(6, features=(*NAMES[:-1], "no_such_feature")), entry(7, role="third"), worker="b")
    folder = settings.predictions / first
    segment = folder / "00000001.jsonl"
    text = segment.read_bytes()
    segment.write_bytes(b"rubbish\n" + text + b"\xff\xfe\n" + text[:100])
    (folder / "00000009.jsonl").write_bytes(text)  # would hide the worker's own segments up to 9
    (folder / "copy.jsonl").write_bytes(text)
    (folder / "note.txt").write_text("?")
    (settings.predictions / "stray").write_text("a file among the workers")
    done = collect.collect(settings)
    assert ids(settings) == [f"p{n:07d}" for n in range(6)]
    assert (done["rows"], done["refused"]) == (6, 3 + 2 + 1 + 1 + 1)
    refused = settings.predictions / "refused"
    assert (refused / f"{first}-00000001.jsonl").read_bytes().startswith(b"rubbish")
    note = (refused / f"{first}-00000001.jsonl.txt").read_text()
    assert "3 lines are no predictions" in note
    assert [s.split(":")[0] for s in note.splitlines()[1:]] == ["line 1", "line 7", "line 8"]
    assert "1 segments only" in (refused / f"{first}-00000009.jsonl.txt").read_text()
    assert (refused / f"{first}-note.txt").exists()
    (other,) = refused.glob("b-*.jsonl.txt")
    assert "no_such_feature" in other.read_text()
    assert "third" in other.read_text()
    again = collect.collect(settings)
    assert (again["rows"], again["refused"], again["workers"]) == (0, 0, 0)


def test_a_segment_that_cannot_be_read_is_put_aside(settings: Settings) -> None:
    worker = logged(settings, entry(1))
    path = settings.predictions / worker / "00000001.jsonl"
    path.unlink()
    path.mkdir()
    logged(settings, entry(2))
    assert collect.collect(settings)["refused"] == 1
    assert ids(settings) == ["p0000002"]


# -- collectors that are killed, or many ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def spooled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An installation with a lake, and a spool of everything: workers that ended and died, torn lines, rubbish."""
    settings = Settings(home=tmp_path_factory.mktemp("spooled") / "var")
    for number in (9000, 9001):
        logged(settings, entry(number))
        collect.collect(settings)
    dead = Worker(settings, shadow=True, pause=0.0005)
    dead.run(150)
    (folder,) = (p for p in settings.predictions.iterdir() if p.name.startswith("w-"))
    counts = spool.read_counts(folder)
    with (folder / f"{counts['segments']:08d}.open").open("ab") as file:
        file.write(b'{"prediction_id":"p')
    name = logged(settings, *(entry(n) for n in range(1000, 1050)), worker="a")
    with (settings.predictions / name / "00000001.jsonl").open("ab") as file:
        file.write(b"rubbish\n")
    recorder = Recorder(settings.predictions, "b", flush_seconds=0.002, rotate_seconds=0.0)
    for number in range(2000, 2008):
        recorder.put(entry(number))
        until(lambda n=number: recorder.counts()["recorded"] == n - 1999)  # type: ignore[misc]
    recorder.close()
    (settings.predictions / recorder.worker / "note.txt").write_text("?")
    return settings


def state(settings: Settings) -> dict[str, Any]:
    """All that a collection leaves, but for the names of Delta's files."""
    root = settings.predictions
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    return {"rows": collect.read(settings, MODEL), "files": files, "totals": collect.totals(settings)}


def copied(spooled: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(spooled.home, tmp_path / "var")
    return Settings(home=tmp_path / "var")


@pytest.fixture(scope="module")
def undisturbed(spooled: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, Any]]:
    """The crash points that a collection of it passes, in order, and what it leaves."""
    settings = copied(spooled, tmp_path_factory.mktemp("undisturbed"))
    done = start(settings)
    passed, found = json.loads(done.communicate(timeout=60)[0])
    assert found["rows"] + 2 == collect.read(settings, MODEL).num_rows
    assert (found["refused"], found["ended"]) == (2, 3)
    return passed, state(settings)


POINTS = ("counted", "torn", "closed", "refused", "appended", "unlinked", "compacted", "removed")


@pytest.mark.parametrize("point", [f"collect.{name}" for name in POINTS])
def test_a_collector_killed_after_any_write_loses_and_doubles_nothing(
    spooled: Settings, undisturbed: tuple[list[str], dict[str, Any]], tmp_path: Path, point: str
) -> None:
    """At its first and at its last passing."""
    passed, wanted = undisturbed
    assert set(passed) == {f"collect.{name}" for name in POINTS}
    places = [number for number, name in enumerate(passed, start=1) if name == point]
    for place in dict.fromkeys((places[0], places[-1])):
        settings = copied(spooled, tmp_path / str(place))
        process = start(settings, place)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        collect.collect(settings)
        assert state(settings) == wanted


def test_collectors_at_once_take_everything_once(settings: Settings) -> None:
    """While a worker goes on logging."""
    recorder = Recorder(settings.predictions, "w", flush_seconds=0.002, rotate_seconds=0.0)
    collectors = [start(settings) for _ in range(3)]
    number = 0
    while any(process.poll() is None for process in collectors) or number < 200:
        number += 1
        recorder.put(entry(number))
        until(lambda n=number: recorder.counts()["recorded"] == n)  # type: ignore[misc]
        if number == 100:
            collectors += [start(settings) for _ in range(2)]
    done = [json.loads(process.communicate(timeout=60)[0])[1] for process in collectors]
    recorder.close()
    last = collect.collect(settings)
    assert sum(one["answers"] for one in done) + last["answers"] == number
    assert ids(settings) == [f"p{n:07d}" for n in range(1, number + 1)]
    assert sum(one["refused"] for one in done) + last["refused"] == 0
    assert (last["ended"], last["lost"], last["dropped"]) == (1, 0, 0)


# -- compaction ----------------------------------------------------------------------------------------------------
def test_compaction_keeps_rows_and_what_is_known_of_writers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(settings.predictions, "w", flush_seconds=0.002, rotate_seconds=0.0)
    keep = settings.home / "kept"

    def files() -> int:
        return len(collect.DeltaTable(str(settings.lake / "predictions")).file_uris())

    for number in range(1, 6):
        recorder.put(entry(number))
        path = settings.predictions / recorder.worker / f"{number:08d}.jsonl"
        until(path.exists)
        if number == 2:
            keep.write_bytes(path.read_bytes())
        collect.collect(settings)
        assert not path.exists()  # what is in the lake does not fill the disk of a worker that lives
    before = collect.read(settings, MODEL)
    assert files() == 5
    assert collect.compact(settings) == 1
    assert files() == 1
    assert collect.compact(settings) == 0
    assert collect.read(settings, MODEL) == before
    shutil.copy(keep, settings.predictions / recorder.worker / "00000002.jsonl")  # as after a kill before its removal
    assert collect.collect(settings)["rows"] == 0
    monkeypatch.setattr(collect, "_FILES", 2)
    for number in (6, 7):
        recorder.put(entry(number))
        until((settings.predictions / recorder.worker / f"{number:08d}.jsonl").exists)
        collect.collect(settings)
    assert files() == 1
    assert len(ids(settings)) == 7
    recorder.close()
