"""Killed after any external write of any step and run again, the loop leaves what it would have left anyway."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from include.settings import Settings
from include.training import track
from tests.conftest import END, copy_home
from tests.e2e.chains import INGEST, MONITOR, TRAIN, Killed, Step, fresh, local, results, run_step
from tests.e2e.state import differences, digest

LATER = "2013-01-31T11:00:00+00:00"
MONITORED = {"as_of": END}


def kill_everywhere(settings: Settings, work: Path, steps: tuple[Step, ...], params: dict[str, Any]) -> list[str]:
    """Run a chain; at each step kill it at every crash point that it passes, retry, and compare. Returns the points."""
    tried: list[str] = []
    before, after = work / "before", work / "after"
    for step in steps:
        copy_home(settings.home, before)
        log = work / "points"
        run_step(settings, step, params, log=log)
        wanted, expected = fresh(digest, settings), results(settings)
        points = list(dict.fromkeys(log.read_text().split())) if log.exists() else []
        log.unlink(missing_ok=True)
        settings.home.rename(after)
        for point in points:
            copy_home(before, settings.home)
            with pytest.raises(Killed):
                run_step(settings, step, params, crash_at=point)
            run_step(settings, step, params)
            found = differences(fresh(digest, settings), wanted)
            assert found == [], f"killed at {point}"
            assert results(settings).keys() == expected.keys()
            shutil.rmtree(settings.home)
        after.rename(settings.home)
        shutil.rmtree(before)
        tried += points
    return tried


@pytest.mark.timeout(1500)  # dozens of processes, each killed: minutes, more on a busy machine
def test_ingest_survives_being_killed_anywhere(history: Settings, tmp_path: Path) -> None:
    settings = local(copy_home(history.home, tmp_path / "var"))
    points = kill_everywhere(settings, tmp_path, INGEST, {"start": END, "end": LATER})
    assert {p.split(".")[1] for p in points} >= {"land", "check", "facts", "features", "publish", "materialize"}
    assert len(points) >= 29


def make_mlflow(settings: Settings) -> None:
    """MLflow's database takes seconds to make; what is killed here are the project's writes, not that."""
    track.client(settings).search_experiments()


@pytest.mark.timeout(1500)  # dozens of processes, each killed: minutes, more on a busy machine
def test_train_survives_being_killed_anywhere(history: Settings, tmp_path: Path) -> None:
    settings = local(copy_home(history.home, tmp_path / "var"))
    fresh(make_mlflow, settings)
    points = kill_everywhere(settings, tmp_path, TRAIN, {"as_of": END, "trials": 3})
    wanted = {"snapshot", "frame", "check_frame", "fit", "export", "evaluate", "log", "gate", "register", "package"}
    assert {p.split(".")[1] for p in points} >= {*wanted, "rehearse", "deploy", "version"}
    assert results(settings)["released"]["as"] == "champion"
    points = kill_everywhere(settings, tmp_path, MONITOR, MONITORED)
    assert {p.split(".")[1] for p in points} >= {"window", "measure", "monitor"}
