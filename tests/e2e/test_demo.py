"""The new user's way, word for word: a fresh clone, `make demo` twice, `make down`; and a loop by hand in between."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from include import alerts
from include.release import ledger as book
from include.serving import collect as spool
from scripts.demo import airflow
from scripts.stack import supervisor
from tests.e2e.running import Demo, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


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


def test_the_story(demo: Demo) -> None:
    told = demo.chapters
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
    open_alerts = {a["group"]: a for a in alerts.unresolved(demo.stack.settings)}
    assert "verdict/flights_on_time" not in open_alerts
    woken = told["5_retrain"]  # by the asset event: nobody triggered it
    assert woken["run"].startswith("asset_triggered__")
    assert woken["verdict"]["accepted"] == (woken["released"] is not None)
    assert not told["4_change"]["verdict"]["accepted"]
    assert told["4_change"]["released"] is None
    check_releases(told, demo.report["live"])


def test_a_release_survives_kills(demo: Demo) -> None:
    """The reader approves; in the middle of the canary the scheduler and the service die by SIGKILL."""
    waiting = demo.chapters.get("9_release")
    if waiting is None:  # its training's verdict is near its limit: another CPU may round it over
        return
    stack, settings = demo.stack, demo.stack.settings
    ledger = book.connect(settings.ledger_url)

    def live() -> book.Deployment:
        return book.current(ledger, settings.model)

    with airflow.connect(stack, "operator") as operator:
        (question,) = airflow.questions(operator, "release", waiting["run"])
        airflow.answer(operator, question, "Approve", "it looks good")
    wait(lambda: live().stage == book.CANARY)
    for name in ("scheduler", "service"):
        psutil.Process(supervisor.states(stack)[name]["pid"]).kill()
    wait(lambda: live().champion == waiting["version"])
    with airflow.connect(stack) as admin:
        wait(lambda: (airflow.run(admin, "release", waiting["run"]) or {})["state"] == "success")
    said = [row for row in book.history(ledger, settings.model) if row["kind"] == "approved"]
    assert (said[-1]["actor"], said[-1]["reason"]) == ("operator", "it looks good")
    spool.collect(settings)
    rows = spool.read(settings, settings.model, columns=["prediction_id", "role"])
    assert rows.num_rows == rows.group_by(["prediction_id", "role"]).aggregate([]).num_rows > 5_000


def test_a_second_demo_finds_what_the_first_has_done(demo: Demo) -> None:
    before = demo.report
    again = demo.make("demo")
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert [c["run"] for c in demo.report["chapters"]] == [c["run"] for c in before["chapters"]]
    assert all(c["done_before"] for c in demo.report["chapters"])
    waiting = demo.chapters.get("9_release")
    assert waiting is None or demo.report["live"]["champion"] == waiting["version"]


def test_a_version_says_why_it_is_there_and_is_made_again(demo: Demo) -> None:
    why = demo.make("why", "VERSION=1")
    assert "flights_on_time version 1: " in why.stdout, why.stderr
    same = demo.make("reproduce", "VERSION=1")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "identical" in same.stdout
