"""The monitor on a real log of real days: what it says, what it asks for, and what it keeps from being asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include import alerts, clock, times
from include.contracts import VIEWS
from include.files import read_json
from include.loop import common, governor, monitor, train
from include.loop.run import Run, Skip
from include.release import ledger as book
from include.release.ledger import Decision
from include.settings import Settings
from tests.conftest import END, copy_home, once, run_of
from tests.e2e import asking
from tests.e2e.chains import MONITOR, results, run_step

pytestmark = pytest.mark.xdist_group("loop")

START = "2013-01-20T05:00:00+00:00"
WEATHER = [f.name for view in VIEWS if view.name == "origin_weather" for f in view.features]


@pytest.fixture(scope="module")
def flights(trained: Settings) -> pd.DataFrame:
    return asking.flights(trained, START, END)


def copy_of(trained: Settings, folder: Path) -> Settings:
    return Settings(home=copy_home(trained.home, folder / "var"), mlflow_uri=trained.mlflow_uri)


@pytest.fixture(scope="module")
def watched(trained: Settings, flights: pd.DataFrame, shared_folder: Path) -> Settings:
    """After a look at a log in which all is well."""
    settings = Settings(home=shared_folder / "watched", mlflow_uri=trained.mlflow_uri)

    def make() -> dict[str, Any]:
        copy_home(trained.home, settings.home)
        asking.ask(settings, flights)
        look(settings)
        return {}

    once(shared_folder, "watched_results", make)
    return settings


def look(settings: Settings) -> dict[str, Any]:
    for step in MONITOR:
        run_step(settings, step, {"as_of": END})
    return results(settings)


def run(settings: Settings, task: str, name: str = "monitor/test") -> Run:
    return replace(run_of(settings, "monitor", task, as_of=END), name=name)


def test_a_sound_week_is_told_in_numbers_and_asks_for_nothing(watched: Settings) -> None:
    told = results(watched)
    assert told["judged"]["state"] == "healthy", told["judged"]["reason"]
    assert told["acted"]["ended"].startswith("Skip: Healthy")
    found = read_json(Path(told["judged"]["evidence"]))
    performance = found["performance"]
    assert 0.9 < performance["coverage"] <= 1
    assert performance["worst_slice"]["by"] in ("origin", "carrier", "hour_band")
    assert 0.3 < performance["scores"]["log_loss"]["value"] < 0.7
    assert told["audited"]["rows"] > 500
    assert told["audited"]["mismatched"] == 0  # the log's features are those that the lake has
    pages = watched.reports / "monitor" / "test"
    assert "Healthy" in (pages / "measure" / "index.html").read_text()
    assert (pages / "report" / "day" / "evidently.html.gz").stat().st_size > 100_000
    entry = book.latest(common.ledger(run(watched, "measure")), "flights_on_time", "monitor")
    assert entry is not None
    assert entry["reason"] == told["judged"]["reason"]


def test_a_look_again_says_and_writes_the_same(watched: Settings, tmp_path: Path) -> None:
    settings = copy_of(watched, tmp_path)
    before = results(settings)["judged"]
    assert {**look(settings)["judged"], "evidence": before["evidence"]} == before  # it lies in another home
    entries = book.of_kind(common.ledger(run(settings, "measure")), "flights_on_time", "monitor")
    assert len(entries) == 1


def stuck(rows: pd.DataFrame) -> pd.DataFrame:
    """From the last day on each airport's weather stands still."""
    last = rows["sched_dep"] >= rows["sched_dep"].max() - pd.Timedelta(hours=30)
    first = rows[last].groupby("origin")[WEATHER].transform("first")
    return rows.assign(**{name: rows[name].where(~last, first[name].reindex(rows.index)) for name in WEATHER})


def test_a_broken_feed_is_an_incident_and_nothing_trains_on_it(
    trained: Settings, flights: pd.DataFrame, tmp_path: Path
) -> None:
    settings = copy_of(trained, tmp_path)
    asking.ask(settings, flights, spoil=stuck)
    seen = look(settings)
    assert seen["judged"]["state"] == "incident", seen["judged"]["reason"]
    assert seen["audited"]["mismatched"] > 100  # serving used what the lake does not have
    (alert,) = [a for a in alerts.unresolved(settings) if a["group"] == "verdict/flights_on_time"]
    assert (alert["severity"], alert["runbook"]) == ("page", "monitor")
    assert alert["link"].startswith("/dags/monitor/runs/test/tasks/measure")
    earlier = {**seen["judged"], "state": "healthy", "reason": "Healthy: a look at an earlier day."}
    with pytest.raises(Skip, match="earlier day"):  # it ends no incident that a later look has found
        monitor.act(run(settings, "act", "monitor/earlier"), {**seen["watched"], "as_of": START}, earlier)
    assert any(a["group"] == "verdict/flights_on_time" for a in alerts.unresolved(settings))
    asked = governor.ask(run(settings, "act"), "flights_on_time", END, [("age", "It is old.")], "monitor")
    assert asked["outcome"] == "drop"
    assert "incident" in asked["reason"]
    clock.start(settings.home / "clock.json", times.parse(END), times.parse(END), speed=1.0)
    weekly = Run(settings, "train/held", settings.reports / "page.html", wall=END)
    with pytest.raises(Skip, match="incident"):
        train.plan(weekly)
    # the feed is mended, and the flights are asked about again: the incident is over, and that is told once
    asking.ask(settings, flights, worker="again", later=timedelta(days=1))
    assert look(settings)["judged"]["state"] == "healthy"
    told = [a["state"] for a in alerts.sent(settings) if a["group"] == "verdict/flights_on_time"]
    assert len(told) == 2
    assert told[-1] == "resolved"


def test_surprise_that_persists_asks_once_and_the_training_it_wakes_answers(watched: Settings, tmp_path: Path) -> None:
    settings = copy_of(watched, tmp_path)
    ledger = common.ledger(run(settings, "act"))
    job, judged = results(settings)["watched"], results(settings)["judged"]
    with pytest.raises(Skip, match="Healthy"):
        monitor.act(run(settings, "act"), job, judged)
    worse = {**judged, "state": "retrain", "reason": "Retrain: it is surprised.", "causes": {"surprise": "surprised"}}
    asked = monitor.act(run(settings, "act"), job, worse)
    assert asked["outcome"] == "ask"
    again = monitor.act(run(settings, "act"), job, worse)  # a retry asks for nothing new
    assert again["request"] == asked["request"]
    merged = monitor.act(run(settings, "act", "monitor/tomorrow"), job, {**worse, "causes": {"age": "it is old"}})
    assert merged["request"] == asked["request"]
    assert merged["outcome"] == "merge"
    wakes = Run(settings, "train/other", settings.reports / "page.html", wall=END, events=(asked,))
    training = train.plan(wakes)
    assert training["request"] == asked["request"]
    assert {"surprised", "it is old"} <= set(training["cause"].split("; "))
    common.answer(wakes, training, "refused: too noisy")
    assert book.open_request(ledger, "flights_on_time") is None
    with pytest.raises(Skip, match="was answered by train/other"):
        train.plan(replace(wakes, name="train/doubled"))
    with pytest.raises(Skip, match="7 days"):
        monitor.act(run(settings, "act", "monitor/later"), job, worse)


def test_a_verdict_is_told_what_fired_at_earlier_looks(watched: Settings, tmp_path: Path) -> None:
    settings = copy_of(watched, tmp_path)
    ledger = common.ledger(run(settings, "measure"))
    for day in (27, 28, 29):
        as_of = f"2013-01-{day}T06:30:00+00:00"
        kept = {"state": "healthy", "findings": [{"name": "surprise", "fired": True}, {"name": "age", "fired": False}]}
        book.record(ledger, Decision(f"d{day}", "flights_on_time", "monitor", "monitor", "r", as_of, 1, None, kept))
    found = monitor.looks(ledger, "flights_on_time", END)
    assert [(f["version"], f["fired"]) for f in found] == [(1, ["surprise"])] * 3


def test_nobody_asked_is_silence_and_not_health(trained: Settings, tmp_path: Path) -> None:
    told = look(copy_of(trained, tmp_path))
    assert told["seen"]["flights"] == 0
    assert told["audited"] is None
    assert told["judged"]["state"] == "incident", told["judged"]["reason"]
