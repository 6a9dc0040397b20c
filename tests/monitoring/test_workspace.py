"""Evidently's workspace: what its UI reads is there, once, whole, whoever else writes and whenever one is killed."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from include import crashpoints
from include.contracts import TARGET
from include.models.flights_on_time.spec import SPEC
from include.settings import ROOT, Settings

FEW = SPEC.model_copy(update={"features": ("temp", "distance")})
POINTS = ("project.beside", "project", "dashboard.beside", "dashboard", "run.beside", "run")
_fork = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def snapshots() -> dict[str, Any]:
    """A day's and a week's snapshot, of a log made up: what is in them is test_report's subject."""
    from include.monitoring import report

    rng, count = np.random.default_rng(3), 2_400
    as_of = pd.Timestamp("2013-04-08T06:30:00Z")
    asked = as_of - pd.to_timedelta(rng.uniform(0, 7 * 24, count), unit="h")
    p = rng.uniform(0.05, 0.9, count)
    window = pd.DataFrame(
        {
            "event_timestamp": asked,
            "sched_dep": asked + SPEC.horizon,
            "local_date": asked.strftime("%Y-%m-%d"),
            "mature": asked + SPEC.horizon + SPEC.label_maturity <= as_of,
            "stale": rng.random(count) < 0.1,
            "latency_us": rng.gamma(2, 2_000, count),
            "temp": rng.normal(10, 5, count),
            "distance": rng.uniform(200, 2_500, count),
            TARGET: (rng.random(count) < p).astype(float),
        }
    )
    performance = {"coverage": 0.9, "scores": {}, "surprise": None, "worst_slice": None}
    evidence = {"model": SPEC.name, "version": "1", "as_of": as_of.isoformat(), "performance": performance}
    made = {span: report.make(FEW, window, p, window, p, evidence, span) for span in report.SPANS}
    return {span: one.snapshot for span, one in made.items() if one}


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path / "var")
    made.home.mkdir()
    return made


def look(snapshot: Any, **metadata: str) -> Any:
    """The same snapshot of another look."""
    return snapshot.copy(update={"metadata": {**snapshot.metadata, **metadata}})


def served(home: Settings) -> Any:
    """What `evidently ui` has in memory after it has read the workspace with its own code."""
    from evidently.ui.service.managers.projects import ProjectManager
    from evidently.ui.service.storage.local import create_local_project_manager
    from evidently.ui.service.storage.local.base import LocalState

    state = LocalState.load(str(home.evidently), None)
    manager: ProjectManager = create_local_project_manager(str(home.evidently), False, state=state)
    return state, manager


def runs(home: Settings) -> list[Any]:
    state, _ = served(home)
    return [run for project in state.snapshots.values() for run in project.values()]


# -- once ----------------------------------------------------------------------------------------------------------
def test_a_model_has_one_project_and_a_look_one_run(home: Settings, snapshots: dict[str, Any]) -> None:
    from include.monitoring import workspace

    first = [workspace.add(home, snapshots[span]) for span in ("day", "week")]
    again = [workspace.add(home, snapshots[span]) for span in ("day", "week")]
    assert first == again
    assert len(set(first)) == 2
    state, _ = served(home)
    assert [project.name for project in state.projects.values()] == [SPEC.name]
    told = {run.metadata["span"]: run for run in runs(home)}
    assert set(told) == {"day", "week"}
    assert told["day"].metadata == snapshots["day"].metadata
    assert set(told["day"].tags) == {"day", "version 1"}
    workspace.add(home, look(snapshots["day"], version="2"))
    workspace.add(home, look(snapshots["day"], model="other"))
    assert len(runs(home)) == 4
    assert len(served(home)[0].projects) == 2


def test_a_later_look_at_the_same_week_replaces_it_an_earlier_one_does_not(
    home: Settings, snapshots: dict[str, Any]
) -> None:
    from include.monitoring import workspace

    for day in ("07", "05", "06"):
        workspace.add(home, look(snapshots["week"], as_of=f"2013-04-{day}T06:30:00+00:00"))
    (run,) = runs(home)
    assert run.metadata["as_of"].startswith("2013-04-07")


def test_a_run_in_the_workspace_is_light_and_whole_where_it_is_shown(home: Settings, snapshots: dict[str, Any]) -> None:
    from include.monitoring import workspace

    file = workspace.add(home, snapshots["week"])
    assert file.stat().st_size < 0.5 * len(json.dumps(snapshots["week"].dict(), default=str))
    table = next(w for w in json.loads(file.read_text())["widgets"] if w["type"] == "big_table")
    named = {part["id"] for row in table["params"]["data"] for part in row["details"]["parts"]}
    assert named == {graph["id"] for graph in table["additionalGraphs"]}  # what a click opens is there
    assert len(named) == len(FEW.features) + 1


def test_a_snapshot_without_a_name_is_refused(home: Settings, snapshots: dict[str, Any]) -> None:
    from include.monitoring import workspace

    with pytest.raises(ValueError, match="lacks version"):
        workspace.add(home, look(snapshots["day"], version=""))
    assert not home.evidently.exists()


# -- the dashboard -------------------------------------------------------------------------------------------------
def test_every_panel_shows_a_series_of_its_own_span(home: Settings, snapshots: dict[str, Any]) -> None:
    from evidently.ui.service.base import SeriesFilter

    from include.monitoring import workspace

    for day in ("2013-04-06", "2013-04-07"):
        workspace.add(home, look(snapshots["day"], period=day, as_of=f"{day}T06:30:00+00:00"))
    workspace.add(home, snapshots["week"])
    state, manager = served(home)
    (project,) = state.projects
    shown = state.read_dashboard(project)
    assert len(shown.panels) == 16
    for panel in shown.panels:
        (value,) = panel.values
        wanted = SeriesFilter(**value.dict(include={"tags", "metadata", "metric", "metric_labels"}))
        got = asyncio.run(manager.data_storage.get_data_series(project, [wanted], None, None))
        (series,) = got.series
        span = "day" if panel.title.endswith("by day") else "week"
        assert len(series.values) == {"day": 2, "week": 1}[span], panel.title
        assert np.isfinite(series.values).all(), panel.title
        assert {source.metadata["span"] for source in got.sources} == {span}


def test_panels_are_made_once_and_follow_their_definition(
    home: Settings, snapshots: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from evidently.sdk.models import DashboardTabModel
    from evidently.sdk.panels import text_panel
    from evidently.ui.storage.local.base import LocalState

    from include.monitoring import workspace

    folder = workspace.add(home, snapshots["day"]).parents[1]
    file, state = folder / "dashboard.json", LocalState(str(home.evidently))
    before = file.stat().st_ino
    workspace.add(home, snapshots["week"])
    assert file.stat().st_ino == before

    theirs, shown = text_panel("A note of theirs"), state.read_dashboard(folder.name)
    shown.tabs.append(DashboardTabModel(title="Theirs", panels=[theirs.id]))
    shown.panels.append(theirs)
    state.write_dashboard(folder.name, shown)
    fewer = workspace._panels("day")[1:]
    monkeypatch.setattr(workspace, "_panels", lambda _: fewer)
    workspace.add(home, snapshots["day"])
    titles = [panel.title for panel in state.read_dashboard(folder.name).panels]
    assert "A note of theirs" in titles
    assert "Log loss, by day" not in titles
    assert "Calibration, by day" in titles
    assert [tab.title for tab in state.read_dashboard(folder.name).tabs] == ["By day", "By week", "Theirs"]


# -- others, and death ---------------------------------------------------------------------------------------------
def _add(home: Settings, snapshot: Any, at: str = "", start: Any = None) -> None:
    from include.monitoring import workspace

    os.environ[crashpoints.AT] = at
    if start is not None:
        start.wait()
    workspace.add(home, snapshot)


def test_tasks_that_race_make_one_project(home: Settings, snapshots: dict[str, Any]) -> None:
    start = _fork.Barrier(4)
    looks = [look(snapshots["day"], period=f"2013-04-0{day}") for day in range(1, 5)]
    tasks = [_fork.Process(target=_add, args=(home, one, "", start)) for one in looks]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(60)
    assert [task.exitcode for task in tasks] == [0] * 4
    assert len(served(home)[0].projects) == 1
    assert {run.metadata["period"] for run in runs(home)} == {f"2013-04-0{day}" for day in range(1, 5)}


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_it_can_be_read_and_done_again(home: Settings, snapshots: dict[str, Any], point: str) -> None:
    """In a new project, killed before and after each write appears: the UI starts, a retry is whole."""
    from include.monitoring import workspace

    _killed(home, snapshots["day"], point)
    assert len(runs(home)) == (point == "run")
    workspace.add(home, snapshots["day"])
    assert len(runs(home)) == 1
    assert len(served(home)[0].read_dashboard(str(workspace.project_id(SPEC.name))).panels) == 16
    assert {path.name for path in home.home.iterdir()} == {"evidently", ".evidently.lock"}


@pytest.mark.parametrize("point", ["run.beside", "run"])
def test_killed_over_a_run_there_is_the_old_one_or_the_new(
    home: Settings, snapshots: dict[str, Any], point: str
) -> None:
    from include.monitoring import workspace

    workspace.add(home, snapshots["day"])
    newer = look(snapshots["day"], as_of="2013-04-08T09:00:00+00:00")
    _killed(home, newer, point)
    (run,) = runs(home)
    assert run.metadata["as_of"] == (newer if point == "run" else snapshots["day"]).metadata["as_of"]


def _killed(home: Settings, snapshot: Any, point: str) -> None:
    task = _fork.Process(target=_add, args=(home, snapshot, f"monitor.report.{point}"))
    task.start()
    task.join(60)
    assert task.exitcode == -signal.SIGKILL


# -- the real UI ---------------------------------------------------------------------------------------------------
@pytest.fixture
def ui(home: Settings) -> Iterator[str]:
    """`evidently ui` on a workspace that is not there yet."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    command = [str(Path(sys.executable).parent / "evidently"), "ui", "--host", "127.0.0.1", "--port", str(port)]
    env = {**os.environ, "DO_NOT_TRACK": "1", "EVIDENTLY_SECRET": "of this test", "no_proxy": "127.0.0.1"}
    with (home.home / "ui.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--workspace", str(home.evidently)], env=env, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def until(url: str, path: str, true: Any, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            got = httpx.get(url + path, trust_env=False, timeout=10).json()
            if true(got):
                return got
        except httpx.TransportError:
            got = "no answer"
        assert time.monotonic() < deadline, got
        time.sleep(0.1)


@pytest.mark.slow
def test_a_running_ui_sees_what_is_added_and_lets_nobody_else_write(
    home: Settings, snapshots: dict[str, Any], ui: str
) -> None:
    from include.monitoring import workspace

    until(ui, "/api/projects", lambda got: got == [])
    workspace.add(home, snapshots["day"])
    (project,) = until(ui, "/api/projects", lambda got: len(got) == 1)
    path = f"/api/projects/{project['id']}/snapshots"
    until(ui, path, lambda got: len(got) == 1)
    _killed(home, snapshots["week"], "run.beside")
    workspace.add(home, look(snapshots["day"], as_of="2013-04-08T09:00:00+00:00"))
    workspace.add(home, look(snapshots["week"], model="other"))
    until(ui, path, lambda got: [run["metadata"]["as_of"][11:13] for run in got] == ["09"])
    until(ui, "/api/projects", lambda got: {p["name"] for p in got} == {SPEC.name, "other"})

    schema = httpx.get(ui + "/schema/openapi.json", trust_env=False).json()
    open_to_all = {
        address
        for address, calls in schema["paths"].items()
        for call in set(calls) - {"get"}
        if httpx.request(call, ui + _filled(address, project["id"]), json={}, trust_env=False).status_code != 403
    }
    # neither keeps anything: one reads many series, one fills in a template
    assert open_to_all == {
        "/api/v2/snapshots/{project_id}/data_series_batch",
        "/api/llm_judges/prompt_template",
    }
    until(ui, path, lambda got: len(got) == 1)


def _filled(address: str, project: str) -> str:
    return "/".join(project if part.startswith("{") else part for part in address.split("/"))
