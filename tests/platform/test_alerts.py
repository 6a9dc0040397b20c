"""Alerts through the real scheduler: what fails, dies or is late reaches a webhook and a service of Apprise's, once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from include import alerts
from include.settings import ROOT
from scripts.stack import control, processes, supervisor
from scripts.stack.config import Stack, environment
from tests.platform.conftest import make_stack
from tests.receiving import Receiver, receiving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]

SECRET = "t0ken-that-nobody-may-read"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
DAGS = '''
"""DAGs that fail in every way.

**When it fails:**
- `boom` red: that is
  its nature.
- any other task: look.
"""
import os, signal, time
from datetime import timedelta
from pathlib import Path
from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowSkipException
from dags.shared import COMMON, due
from include.settings import settings

ONCE_MORE = {"retries": 1, "retry_delay": timedelta(0)}

@dag(dag_id="fails", schedule=None, doc_md=__doc__, **COMMON)
def fails():
    @task(**ONCE_MORE)
    def boom():
        with (settings().home / "tries").open("a") as file:
            file.write("boom ")
        raise RuntimeError("it broke at row 17")

    @task(retries=0)
    def each(i):
        raise ValueError(f"item {i} is bad")

    @task
    def skips():
        raise AirflowSkipException("nothing to do")

    boom(), each.expand(i=[1, 2, 3, 4]), skips()

@dag(dag_id="dies", schedule=None, doc_md=__doc__, deadline=due(timedelta(seconds=60)), **COMMON)
def dies():
    @task(retries=0)
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    killed()

@dag(dag_id="slow", schedule=None, doc_md=__doc__, deadline=due(timedelta(seconds=2)), **COMMON)
def slow():
    @task
    def waits():
        while not (settings().home / "go").exists():
            time.sleep(0.2)

    waits()

@dag(dag_id="quick", schedule=None, doc_md=__doc__, deadline=due(timedelta(minutes=10)), **COMMON)
def quick():
    @task
    def nothing():
        pass

    nothing()

fails(), dies(), slow(), quick()
'''


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as state:
        yield state


@pytest.fixture
def started(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Airflow's four components and nothing else, with a webhook and a connection."""
    monkeypatch.setenv("RATCHET_ALERT_WEBHOOK", receiver.address("/hook"))
    monkeypatch.setenv("RATCHET_PRELOAD", "0")
    stack = make_stack(tmp_path)
    (stack.dags / "failing.py").write_text(DAGS)
    shutil.copy(ROOT / "dags" / "freeze.py", stack.dags)
    stack.folder.mkdir(parents=True)
    stack.logs.mkdir()
    control.migrate(stack, lambda _: None)
    # from a file: what is given on the command line stands in Airflow's audit log
    address = receiver.address(f"/apprise/{SECRET}", "json")
    connection = {"conn_type": "apprise", "extra": {"config": {"path": address}}}
    (tmp_path / "slack.json").write_text(json.dumps({"ratchet_alerts": connection}))
    add = ["connections", "import", str(tmp_path / "slack.json")]
    airflow = str(Path(sys.executable).parent / "airflow")
    subprocess.run([airflow, *add], env=environment(stack), cwd=ROOT, check=True, capture_output=True)
    for name in COMPONENTS:
        with (stack.logs / f"{name}.log").open("wb") as log:
            command = supervisor.programs(stack)[name]
            subprocess.Popen(command, env=environment(stack), cwd=ROOT, stdout=log, stderr=log)
    try:
        control.wait_ready(stack, lambda _: None, of=set(COMPONENTS))
        yield stack
    finally:
        processes.end(stack)


def wait(true: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(1)


def test_what_goes_wrong_reaches_a_person_once(started: Stack, receiver: Receiver) -> None:
    headers = {"Authorization": f"Bearer {control.token(started)}"}
    airflow = httpx.Client(base_url=f"{started.url}/api/v2", headers=headers, timeout=120, trust_env=False)

    def begin(dag: str, **conf: Any) -> str:
        answer = airflow.post(f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})
        answer.raise_for_status()
        return str(answer.json()["dag_run_id"])

    def ended(dag: str, run: str) -> bool:
        return airflow.get(f"/dags/{dag}/dagRuns/{run}").json()["state"] in ("success", "failed")

    def groups() -> list[str]:
        return [alert["group"] for alert in alerts.sent(started.settings)]

    dags = ("fails", "dies", "slow", "quick", "freeze")
    wait(lambda: all(airflow.get(f"/dags/{dag}").status_code == 200 for dag in dags))
    for dag in dags:
        airflow.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()
    started_runs, begun = [(dag, begin(dag)) for dag in dags[:4]], time.monotonic()
    wait(lambda: "run/slow" in groups())
    (started.home / "go").touch()
    wait(lambda: all(ended(dag, run) for dag, run in started_runs))
    again = begin("fails")  # breaks in the same way: no news, but for the mapped tasks, of which it is a new failure
    wait(lambda: ended("fails", again))
    for reason in ("", "holidays"):
        run = begin("freeze", reason=reason)
        wait(partial(ended, "freeze", run))

    wait(lambda: "failed/dies/killed" in groups())
    wait(lambda: time.monotonic() - begun > 65)  # the deadline of a run that failed before it is no news
    died = airflow.get(f"/dags/dies/dagRuns/{dict(started_runs)['dies']}").json()
    took = datetime.fromisoformat(died["end_date"]) - datetime.fromisoformat(died["queued_at"])
    late = ["run/slow"] + (["run/dies"] if took > timedelta(seconds=60) else [])
    told = alerts.sent(started.settings)
    assert (started.home / "tries").read_text().split() == ["boom"] * 4
    twice = ["failed/fails/each", "failed/freeze/change"]
    assert sorted(groups()) == sorted([*late, "failed/fails/boom", "failed/dies/killed", *twice, *twice])
    boom = next(alert for alert in told if alert["group"] == "failed/fails/boom")
    assert boom["cause"] == "RuntimeError: it broke at row 17"
    assert boom["action"].endswith("red: that is its nature.")
    killed = next(alert for alert in told if alert["group"] == "failed/dies/killed")
    assert "killed" in killed["cause"]
    assert [a["state"] for a in told if a["group"] == "failed/freeze/change"][-1] == alerts.RESOLVED

    hook, service = "/hook", f"/apprise/{SECRET}"
    wait(lambda: sum(len(one["alerts"]) for one in receiver.at(hook)) == len(told))
    assert [alert["id"] for one in receiver.at(hook) for alert in one["alerts"]] == [alert["id"] for alert in told]
    wait(lambda: len(receiver.at(service)) == len(receiver.at(hook)))
    assert f"{started.url}/dags/slow/runs/" in str(receiver.at(service))
    assert {one["type"] for one in receiver.at(service)} == {"warning", "info"}  # by hand: notices, and good news
    command = [sys.executable, "-m", "scripts.alerts", "--test"]
    tested = subprocess.run(command, env=environment(started), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "webhook: took it" in tested.stdout
    assert "ratchet_alerts.0: took it" in tested.stdout
    assert receiver.at(service)[-1]["type"] == "success" or alerts.unresolved(started.settings)
    held = [path for path in started.home.rglob("*") if path.is_file() and "secrets" not in path.parts]
    assert [path for path in held if SECRET.encode() in path.read_bytes()] == []
