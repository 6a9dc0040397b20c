"""The index: the newest verdict by data time, whose alert is whose, what is not known is said to be not known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from include.console.view import Airflow, DagState, Health, Index, Question, Row
from include.files import write_text
from include.loop.console import models
from include.release import ledger as book
from include.release.ledger import Decision, Deployment
from include.settings import ROOT, Settings
from include.times import iso, parse
from tests.console import planted
from tests.console.planted import OURS, WALL


def index(settings: Settings, airflow: Airflow | None = None) -> Index:
    return models.index(settings, airflow or Airflow(), WALL)


def ours(settings: Settings, airflow: Airflow | None = None) -> Row:
    return next(row for row in index(settings, airflow).rows if row.ours)


def look(settings: Settings, state: str, as_of: str, run: str = "monitor/by_hand") -> None:
    about = Decision(run, OURS, "monitor", "ada", planted.SENTENCES[state], as_of, 1, run, {"state": state})
    book.record(book.connect(settings.ledger_url), about)


def test_where_nothing_has_happened_the_page_says_so_and_makes_nothing(empty: Settings) -> None:
    found = index(empty)
    (row,) = found.rows
    assert (row.model, row.health.state, row.champion, row.days) == (OURS, "unwatched", None, ())
    assert {gap.what for gap in found.gaps} == {"ledger", "data time", "freshness"}
    assert not empty.home.exists()


def test_a_row_says_what_is_live_and_since_when(one: Settings) -> None:
    row = ours(one)
    live = book.current(book.connect(one.ledger_url), OURS)
    assert row.champion == live.champion == 4
    assert row.champion_since is not None
    assert row.champion_since.date() == (WALL - timedelta(days=60 - 56)).date()
    assert row.challenger is None
    assert row.age_days == pytest.approx((parse(planted.as_of(59)) - parse(planted.as_of(56))) / timedelta(days=1))
    assert len(row.days) == models.SHOWN
    assert row.traffic is not None
    assert row.traffic.failed == pytest.approx(2 / 981)
    assert row.traffic.stale == pytest.approx(0.05)
    assert row.features_as_of == planted.as_of(59)


def test_the_newest_look_by_data_time_is_the_verdict(one: Settings) -> None:
    assert ours(one).health.state == "healthy"
    look(one, "incident", iso(parse(planted.as_of(59)) + timedelta(hours=1)))
    bad = ours(one).health
    assert (bad.state, bad.run) == ("incident", "monitor/by_hand")
    look(one, "healthy", planted.as_of(30), "monitor/late")  # a late look at older data
    assert ours(one).health == bad


def test_since_when_it_is_so(empty: Settings) -> None:
    planted.plant(empty, states={OURS: "incident"})  # the newest two looks
    found = ours(empty).health
    assert (found.state, found.since, found.as_of) == ("incident", planted.as_of(58), planted.as_of(59))
    assert found.since_at is not None
    assert found.at is not None
    assert found.at - found.since_at == timedelta(days=1)
    assert found.findings[0]["name"] == "frozen"
    assert found.findings[0]["persistent"]


def test_models_that_are_not_ours_are_shown_and_the_worst_is_first(empty: Settings) -> None:
    planted.plant(empty, planted.names(4), days=20, states={"model_02": "incident", "model_01": "retrain"})
    found = index(empty)
    assert [(row.model, row.health.state) for row in found.rows] == [
        ("model_02", "incident"),
        ("model_01", "retrain"),
        (OURS, "healthy"),
        ("model_03", "healthy"),
    ]
    assert [row.ours for row in found.rows] == [False, False, True, False]
    assert all(row.days and row.champion for row in found.rows)


def test_an_alert_belongs_to_the_model_that_it_names_or_to_ours(empty: Settings) -> None:
    planted.plant(empty, planted.names(2), days=20)
    planted.alert(empty, "levels/model_01", "notice")
    planted.alert(empty, "failed/ingest/land", "notice")
    planted.alert(empty, f"verdict/{OURS}", "page")
    planted.alert(empty, "release/model_01", "page")
    planted.alert(empty, "release/model_01", "page", state="resolved")
    found = {row.model: [alert.title for alert in row.alerts] for row in index(empty).rows}
    assert found == {
        OURS: [f"verdict/{OURS} is wrong", "failed/ingest/land is wrong"],
        "model_01": ["levels/model_01 is wrong"],
    }


def test_what_airflow_knows_is_ours_alone(empty: Settings) -> None:
    planted.plant(empty, planted.names(2), days=20)
    soon = WALL + timedelta(hours=3)
    dags = {"train": DagState("train", False, soon, ("scheduled__1",)), "release": DagState("release", True, None)}
    asked = Question("r1", "approval", -1, "Release?", "text", WALL)
    rows = {row.model: row for row in index(empty, Airflow(dags, [asked])).rows}
    assert rows[OURS].question == replace(asked, over=True)  # no release is under way
    assert rows[OURS].next_run == ("train", soon)
    assert [link.text for link in rows[OURS].doing] == ["train: scheduled__1"]
    assert (rows["model_01"].question, rows["model_01"].next_run, rows["model_01"].doing) == (None, None, ())


@pytest.mark.parametrize("state", ["healthy", "retrain", "rollback", "insufficient", "incident"])
def test_a_verdict_about_a_champion_dies_with_its_reign(state: str) -> None:
    """Whoever has just gone back must not be told to go back; a feed stays broken whoever is champion."""
    found = Health(state, "so it is", "2013-04-30T00:00:00+00:00", WALL, "monitor/x", version=1)
    assert models.current(found, 1) == found
    assert models.current(found, None) == found
    after = models.current(found, 2)
    assert (after.state, "Version 2 went live after" in after.reason) == (
        (state, False) if state == "incident" else ("unwatched", True)
    )
    assert (after.run, after.as_of) == (found.run, found.as_of)  # the evidence stays within reach


def test_a_paused_schedule_has_no_next_run(one: Settings) -> None:
    paused = Airflow({"train": DagState("train", True, WALL)})
    assert ours(one, paused).next_run is None


def test_freezes_and_requests_come_and_go(one: Settings) -> None:
    ledger = book.connect(one.ledger_url)

    def freeze(frozen: bool) -> None:
        kind = "freeze" if frozen else "thaw"
        about = Decision(f"f/{kind}", OURS, kind, "ada", "holidays", planted.as_of(59), None, f"freeze/{kind}")
        book.freeze(ledger, about, frozen)

    freeze(True)
    book.request_retrain(ledger, OURS, planted.as_of(59), "new carrier", "ada", "train/x")
    row = ours(one)
    assert row.frozen is not None
    assert (row.frozen.actor, row.frozen.reason, row.request) == ("ada", "holidays", "new carrier")
    freeze(False)
    request = book.open_request(ledger, OURS)
    assert request is not None
    book.close_request(ledger, request.id, "train/x", "done")
    assert (ours(one).frozen, ours(one).request) == (None, None)


@pytest.mark.parametrize(
    ("stage", "text"), [("waiting", "waits for its release to begin"), ("shadow", "0 of 300 requests compared")]
)
def test_a_challenger_says_how_far_it_is(one: Settings, stage: str, text: str) -> None:
    ledger = book.connect(one.ledger_url)
    release = None
    if stage == "shadow":
        from include.release import releases

        release = releases.begin(ledger, OURS, 3, 4, planted.POLICY, planted.as_of(59), "release", "release/r9").id
    seen = book.current(ledger, OURS)
    about = Decision("k", OURS, stage, "release", "why", planted.as_of(59), 3, "release/r9")
    book.deploy(ledger, seen, about, 4, 3, stage, 0.0, release)
    progress = ours(one).challenger
    assert progress is not None
    assert (progress.version, progress.stage, progress.text) == (3, stage, text)


def test_a_ledger_that_does_not_answer_hides_nothing_else(one: Settings) -> None:
    broken = one.home / "ledger.db"
    broken.rename(one.home / "kept.db")
    write_text(broken, "this is no database " * 500)
    found = index(one)
    assert [gap.what for gap in found.gaps] == ["ledger"]
    (row,) = found.rows
    assert row.features_as_of is not None
    assert len(row.days) == models.SHOWN


def test_a_performance_table_that_cannot_be_read_hides_nothing_else(one: Settings) -> None:
    for file in (one.lake / "performance" / "_delta_log").iterdir():
        file.write_text("nonsense")
    found = index(one)
    assert [gap.what for gap in found.gaps] == ["performance"]
    assert found.rows[0].champion == 4


def test_a_ledger_of_another_schema_is_neither_read_nor_migrated(one: Settings) -> None:
    import sqlite3

    with sqlite3.connect(one.home / "ledger.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    assert [gap.what for gap in index(one).gaps] == ["ledger"]
    with sqlite3.connect(one.home / "ledger.db") as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)


def test_a_first_deployment_is_seen_without_a_restart(one: Settings) -> None:
    index(one)
    ledger = book.connect(one.ledger_url)
    about = Decision("new/champion", "newcomer", "champion", "train", "first", planted.as_of(59), 1, "train/new")
    book.deploy(ledger, Deployment("newcomer", 0, None, None), about, 1, None)
    assert {row.model: row.champion for row in index(one).rows} == {OURS: 4, "newcomer": 1}


def test_the_console_costs_the_api_server_no_heavy_import() -> None:
    heavy = ("pandas", "pyarrow", "mlflow", "airflow", "onnxruntime", "sklearn", "xgboost", "feast", "evidently")
    names = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in Path(ROOT / "include" / "loop" / "console").glob("*.py")
    )
    code = "import importlib, sys\n"
    code += f"for name in {names!r}: importlib.import_module(name)\n"
    code += f"print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
