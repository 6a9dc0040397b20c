"""The new user's way, word for word: a fresh clone, `make demo` twice, `make down`; and a loop by hand in between."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from include import alerts
from include.files import read_json
from include.release import ledger as book
from include.serving import collect as spool
from include.settings import ROOT, Settings
from scripts.demo import airflow
from scripts.stack import supervisor
from scripts.stack.config import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("new-user") / "ratchet"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    try:
        yield folder
    finally:
        make(folder, "down")


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    return {
        "RATCHET_PORT": free_port(),
        "RATCHET_MLFLOW_PORT": free_port(),
        "RATCHET_SERVICE_PORT": free_port(),
        "RATCHET_EVIDENTLY_PORT": free_port(),
    }


def make(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    outside = {
        k: v for k, v in os.environ.items() if not k.startswith(("RATCHET_", "AIRFLOW", "PYTEST", "VIRTUAL_ENV"))
    }
    outside.pop("PYTHONPATH", None)
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env={**outside, **more}, capture_output=True, text=True, check=False)


def chapters(report: dict[str, Any]) -> dict[str, Any]:
    return {c["chapter"]: c for c in report["chapters"]}


def check_releases(told: dict[str, Any], live: dict[str, Any]) -> None:
    """One promoted with an approval on record, one taken out by itself, one that waits for the reader."""
    bad = told["7_bad_release"]
    assert bad["state"] == "failed"
    assert [s["kind"] for s in bad["steps"]] == ["shadow", "rollback"]
    assert live["champion"] == (2 if "6_release" in told else 1)
    if "6_release" in told:  # its training's verdict is near its limit: another CPU may round it over
        good = told["6_release"]
        assert good["state"] == "success"
        approved = ["shadow", "approval", "approved", "canary", "canary", "promotion"]
        assert [s["kind"] for s in good["steps"]] == approved
        assert good["steps"][2]["actor"] == "demo"
    if "9_release" in told:
        waiting = told["9_release"]
        assert waiting["state"] == "waits for you"
        assert waiting["approve_at"]
        assert live["challenger"] == waiting["version"]


def stack_of(clone: Path, ports: dict[str, str]) -> Stack:
    airflow_port, mlflow, service, evidently = (int(port) for port in ports.values())
    return Stack(Settings(home=clone / "var"), airflow_port, mlflow, service, evidently)


def release_survives_kills(stack: Stack, waiting: dict[str, Any]) -> None:
    """The reader approves; in the middle of the canary the scheduler and the service die by SIGKILL."""
    ledger = book.connect(stack.settings.ledger_url)

    def live() -> book.Deployment:
        return book.current(ledger, stack.settings.model)

    with airflow.connect(stack, "operator") as operator:
        (question,) = airflow.questions(operator, "release", waiting["run"])
        airflow.answer(operator, question, "Approve", "it looks good")
    wait(lambda: live().stage == book.CANARY)
    for name in ("scheduler", "service"):
        psutil.Process(supervisor.states(stack)[name]["pid"]).kill()
    wait(lambda: live().champion == waiting["version"])
    with airflow.connect(stack) as admin:
        wait(lambda: (airflow.run(admin, "release", waiting["run"]) or {})["state"] == "success")
    said = [row for row in book.history(ledger, stack.settings.model) if row["kind"] == "approved"]
    assert (said[-1]["actor"], said[-1]["reason"]) == ("operator", "it looks good")
    spool.collect(stack.settings)
    rows = spool.read(stack.settings, stack.settings.model, columns=["prediction_id", "role"])
    assert rows.num_rows == rows.group_by(["prediction_id", "role"]).aggregate([]).num_rows > 5_000


def wait(true: Callable[[], bool], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_new_user(clone: Path, ports: dict[str, str]) -> None:
    first = make(clone, "demo", **ports)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    report = read_json(clone / "var" / "demo" / "report.json")
    told = chapters(report)
    assert {c["state"] for n, c in told.items() if not n.endswith("release")} == {"success"}
    assert told["1_history"]["rows"]["raw_movements"] > 50_000
    assert told["1_history"]["quarantined"]["raw_weather"] == 1  # the wind of 1,048 mph

    model = told["2_first_model"]
    assert model["verdict"]["accepted"]
    assert model["scores"]["challenger"]["log_loss"]["value"] < model["scores"]["naive_baseline"]["log_loss"]["value"]
    looks = [c for name, c in told.items() if name.startswith("5_look")]
    assert [c["verdict"]["state"] for c in looks] == [*["healthy"] * (len(looks) - 1), "retrain"]
    assert set(looks[-1]["verdict"]["causes"]) == {"surprise"}  # something changed; its age has no part in it
    assert looks[-1]["request"]["outcome"] == "ask"
    assert told["8_broken"]["verdict"]["state"] == "incident"
    assert told["8_broken"]["request"] is None
    assert told["8_mended"]["verdict"]["state"] != "incident"
    open_alerts = {a["group"]: a for a in alerts.unresolved(Settings(home=clone / "var"))}
    assert "verdict/flights_on_time" not in open_alerts
    woken = told["5_retrain"]  # by the asset event: nobody triggered it
    assert woken["run"].startswith("asset_triggered__")
    assert woken["verdict"]["accepted"] == (woken["released"] is not None)
    assert not told["4_change"]["verdict"]["accepted"]
    assert told["4_change"]["released"] is None
    check_releases(told, report["live"])
    assert report["open"]["airflow"] in first.stdout

    if "9_release" in told:
        release_survives_kills(stack_of(clone, ports), told["9_release"])

    again = make(clone, "demo", **ports)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    repeated = read_json(clone / "var" / "demo" / "report.json")
    assert [c["run"] for c in repeated["chapters"]] == [c["run"] for c in report["chapters"]]
    assert all(c["done_before"] for c in repeated["chapters"])
    if "9_release" in told:
        assert repeated["live"]["champion"] == told["9_release"]["version"]

    why = make(clone, "why", "VERSION=1", **ports)
    assert "flights_on_time version 1: " in why.stdout, why.stderr
    same = make(clone, "reproduce", "VERSION=1", **ports)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "identical" in same.stdout

    assert make(clone, "down").returncode == 0
    left = [p for p in psutil.process_iter(["cwd", "cmdline"]) if str(clone) in " ".join(p.info["cmdline"] or [])]
    assert left == []
