"""The loop's steps in a row, on 30 real days: what a version leads back to, what wakes a training, what is refused."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include import clock, times
from include.evaluation import evidence
from include.loop import common, promote, rollback, train, why
from include.loop.run import Run, Stop
from include.models import registry
from include.models.flights_on_time.spec import SPEC
from include.release import ledger as book
from include.settings import ROOT, Settings
from include.training import data, families, reproduce, track, tune
from tests.conftest import END, copy_home, run_of
from tests.e2e.chains import local, results

pytestmark = pytest.mark.xdist_group("loop")


def plan(settings: Settings, name: str = "train/other", events: tuple[dict[str, Any], ...] = (), **params: Any) -> Any:
    return train.plan(Run(settings, name, settings.reports / "page.html", params, wall=END, events=events))


# -- lineage -----------------------------------------------------------------------------------------------------
def test_a_version_leads_back_to_all_that_made_it(trained: Settings) -> None:
    found = why.why(trained, 1)
    made, entry = found["manifest"], found["version"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made["code"]["commit"] == head.stdout.strip()
    assert made["code"]["dirty"] in (True, False)
    given = results(trained)
    assert made["data"]["versions"] == given["job"]["versions"]
    assert made["data"]["snapshot"]["hash"] == given["snapshot"]["hash"]
    assert made["data"]["frame"]["hash"] == given["frame"]["hash"] == entry["frame"]["hash"]
    assert made["result"]["bundle"]["hash"] == entry["bundle"]["hash"]
    assert made["params"] == given["fitted"]["params"]
    assert made["seed"] == SPEC.seed
    assert len(made["lock"]) == 64
    assert made["hardware"]["cores"] >= 1
    score = found["evidence"]["challenger"]["scores"]["log_loss"]
    assert score["low"] < score["value"] < score["high"]
    assert {s["by"] for s in found["evidence"]["slices"]} == set(SPEC.gate.slices)
    assert found["verdict"]["accepted"] is True
    assert len(found["sample"]) == 5
    assert Path(entry["bento"]["uri"]).is_file()
    assert found["live_as"] == ["champion"]
    assert {d["kind"] for d in found["decisions"]} >= {"gate", "rehearsal", "champion"}


def test_why_prints_it_for_a_person(trained: Settings) -> None:
    told = why.text(why.why(trained, 1))
    for word in ("version 1: champion", "Accepted as the first model", "lock", "seed 2013", "features_origin_hourly@"):
        assert word in told
    with pytest.raises(book.UnknownVersion, match="no packaged version 7"):
        why.why(trained, 7)


def test_training_again_from_the_manifest_is_identical(trained: Settings) -> None:
    report = reproduce.reproduce(trained, "1")
    assert report["identical"] is True
    assert report["missing"] == []


# -- what wakes a training ---------------------------------------------------------------------------------------
def test_a_schedule_takes_what_is_published_and_a_form_that_asks_for_more_is_refused(trained: Settings) -> None:
    clock.start(trained.home / "clock.json", times.parse(END), times.parse(END), speed=1.0)
    later = times.iso(times.parse(END) + timedelta(hours=1))
    run = Run(trained, "train/weekly", trained.reports / "page.html", wall=later)
    assert run.as_of() == later
    assert train.plan(run)["as_of"] == END


# -- bad forms ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"as_of": "yesterday"}, "as_of: 'yesterday' is not a time"),
        ({"as_of": "2013-06-01T00:00:00Z"}, "as_of: .* up to which data is published"),
        ({"as_of": "2013-01-20T00:00:00Z"}, "as_of: .* lies before the champion's"),
        ({"as_of": END, "candidates": ["forest"]}, "candidates: .* has no forest"),
        ({"as_of": END, "trials": 1}, "trials: 1 is fewer"),
    ],
)
def test_a_form_filled_in_wrongly_names_the_field(trained: Settings, params: dict[str, Any], words: str) -> None:
    with pytest.raises(Stop, match=words):
        plan(trained, **params)


# -- promotion ---------------------------------------------------------------------------------------------------
def test_a_champion_that_changed_since_the_comparison_stops_the_release(trained: Settings, tmp_path: Path) -> None:
    copy_home(trained.home, tmp_path / "var")
    settings, given = Settings(home=tmp_path / "var", mlflow_uri=trained.mlflow_uri), results(trained)
    run = Run(settings, "train/late", settings.reports / "page.html")
    parts = (given["frame"], given["fitted"], {**given["evaluated"], "champion": 41})
    registered = {**given["registered"], "version": 42}
    with pytest.raises(Stop, match="compared with champion 41, live is 1"):
        promote.release(run, given["job"], *parts, registered, given["archive"], given["verdict"])
    assert book.current(book.connect(settings.ledger_url), "flights_on_time").champion == 1


def test_aliases_that_differ_from_the_ledger_are_repaired(trained: Settings) -> None:
    name, run = "flights_on_time", Run(trained, "train/test", trained.reports / "page.html")
    track.client(trained).delete_registered_model_alias(name, "champion")
    track.client(trained).set_registered_model_alias(name, "challenger", "1")
    assert common.mirror(run, name) == ["challenger", "champion"]
    assert track.get_aliases(trained, name) == {"champion": "1"}
    assert common.mirror(run, name) == []


# -- smoke -------------------------------------------------------------------------------------------------------
def test_a_version_is_rehearsed_anew_before_it_comes_back(trained: Settings, tmp_path: Path) -> None:
    settings = local(copy_home(trained.home, tmp_path / "var"))
    found = rollback.rehearse(
        run_of(settings, "rollback", "rehearse"), {"model": SPEC.name, "version": 1, "as_of": END}
    )
    assert found["passed"]
    assert found["rows"] > 1_000
    assert Path(found["archive"]["uri"]).is_file()
    last = book.history(book.connect(settings.ledger_url), SPEC.name)[-1]
    assert (last["kind"], last["run"]) == ("rehearsal", "rollback/test")


def test_one_per_cent_of_the_year_gives_sane_scores(trained: Settings) -> None:
    rows = data.read(trained, results(trained)["frame"])
    some = rows.sample(3_368, random_state=SPEC.seed).sort_values("sched_dep", ignore_index=True)
    spec = registry.load("flights_on_time").model_copy(update={"min_training_rows": 1_000})
    parts = data.split(spec, some)
    best = tune.plan(spec, ["xgboost"], 1, spec.seed)[0]
    x, y = data.matrix(parts.training, spec.features), data.labels(parts.training, spec.target)
    model = families.fit("xgboost", x, y, spec.features, best["params"], spec.seed)
    p = 1 / (1 + np.exp(-families.margin(model, data.matrix(parts.holdout, spec.features))))
    scored = evidence.metrics.score(
        data.labels(parts.holdout, spec.target), p, parts.holdout["local_date"].astype(str).to_numpy(), 0.95
    )
    auc, loss = scored["auc"], scored["log_loss"]
    assert auc is not None
    assert loss is not None
    assert 0.60 < auc.value < 0.85
    assert 0.25 < loss.value < 0.65
    assert isinstance(parts.holdout, pd.DataFrame)
