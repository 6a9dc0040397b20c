"""Shared by all tests: 30 real days of the loop's state, made once a session, and copies of it to write on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from include.files import read_json, write_json
from include.loop.run import Run
from include.settings import Settings

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # children compile once
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Groups share a service or a trained installation: a pytest that breaks them up must not go unnoticed."""
    if getattr(config.option, "loadgroup", False):  # set in the worker processes only
        lost = [i.nodeid for i in items if i.get_closest_marker("xdist_group") and "@" not in i.nodeid]
        if lost:
            raise pytest.UsageError(f"pytest-xdist has lost the group of {len(lost)} tests, the first is {lost[0]}")


START, END = "2013-01-01T05:00:00+00:00", "2013-01-31T05:00:00+00:00"


def run_of(settings: Settings, dag: str, task: str, **params: Any) -> Run:
    """The Run that a task of a DAG run "test" would get."""
    return Run(settings, f"{dag}/test", settings.reports / dag / "test" / task / "index.html", params)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole session, also when several processes run it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


def once(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """What `make` returns (JSON-able), made by the first process that asks."""
    with FileLock(folder / f"{name}.lock"):
        done = folder / f"{name}.json"
        if not done.exists():
            write_json(done, make())
        return read_json(done)


@pytest.fixture(scope="session")
def history(shared_folder: Path) -> Settings:
    """An installation that has ingested 30 days of January 2013 through the real steps. Read it, do not write on it."""
    settings = Settings(home=shared_folder / "history")
    once(shared_folder, "history", lambda: ingest(settings, START, END))
    return settings


def ingest(settings: Settings, start: str, end: str) -> dict[str, Any]:
    """Run all steps of the ingest DAG for an interval; returns what each gave."""
    from include.loop import ingest as steps

    def run(task: str) -> Run:
        return run_of(settings, "ingest", task, start=start, end=end)

    given: dict[str, Any] = {"interval": steps.plan(run("plan"))}
    given["landed"] = steps.land(run("land"), given["interval"])
    given["checked"] = steps.validate(run("validate"), given["interval"], given["landed"])
    given["facts"] = steps.facts(run("facts"), given["interval"], given["landed"], given["checked"])
    given["features"] = steps.features(run("features"), given["interval"], given["facts"])
    parts = (given["landed"], given["facts"], given["features"])
    given["published"] = steps.publish(run("publish"), given["interval"], *parts)
    given["online"] = steps.materialize(run("materialize"), given["published"])
    return given


def copy_home(source: Path, target: Path) -> Path:
    """A copy of an installation: files that are only ever replaced are linked, databases are copied."""

    def link(old: str, new: str) -> None:
        if Path(old).suffix in (".parquet", ".onnx", ".bento"):
            os.link(old, new)
        else:
            shutil.copy2(old, new)

    shutil.copytree(source, target, copy_function=link, symlinks=True)
    return target


@pytest.fixture
def installation(history: Settings, tmp_path: Path) -> Settings:
    """A copy of `history` that a test may write on."""
    return Settings(home=copy_home(history.home, tmp_path / "var"))
