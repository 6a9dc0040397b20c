"""A run's page: what it made and why, from the ledger, from its pages and from MLflow, whichever can be asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from include import pages
from include.console.view import Airflow
from include.files import canonical_json, hash_text, write_text
from include.loop.console import Unknown, model, run, version
from include.release import ledger as book
from include.release import releases
from include.release.ledger import Decision
from include.settings import Settings
from tests.console import planted
from tests.console.conftest import FakeTracking
from tests.console.planted import OURS, WALL

GOOD, BAD = (planted.training_of(OURS, n).split("/")[1] for n in (56, 14))  # promoted; refused


def forget_files(settings: Settings, dag_run: str) -> None:
    """What a run has left besides its entries goes, as `maintain` does it."""
    shutil.rmtree(planted.left_by(settings, dag_run, "x").parent)
    (settings.trainings / "evidence" / f"{hash_text(dag_run)[:16]}.json").unlink()


def enter(settings: Settings, name: str, kind: str, reason: str, number: int | None = None, **kept: object) -> None:
    about = Decision(f"{name}/{kind}", OURS, kind, "ada", reason, planted.as_of(59), number, name, dict(kept))
    book.record(book.connect(settings.ledger_url), about)


def page_of(settings: Settings, name: str, task: str) -> Path:
    dag_id, _, run_id = name.partition("/")
    return write_text(pages.folder(settings, dag_id, run_id, task) / pages.INDEX, "<!doctype html><title>t</title>")


def test_an_accepted_training(one: Settings) -> None:
    found = run.page(one, "train", GOOD, WALL)
    assert found.outcome.startswith("It made version 4, which became the challenger. Accepted as a refresh")
    assert (found.tone, found.version, found.model) == ("good", 4, OURS)
    assert [decision.kind for decision in found.decisions] == ["challenger", "rehearsal", "gate", "training"]
    assert found.evidence == version.page(one, OURS, 4, WALL).evidence
    assert [step.name for step in found.lineage][-2:] == ["Bundle", "Bento"]
    assert [link.text for link in found.reports] == ["Gate"]
    assert f"models/{OURS}/versions/4" in [link.href for link in found.links]


def test_a_refused_training_has_its_evidence_too(one: Settings) -> None:
    found = run.page(one, "train", BAD, WALL)
    assert found.outcome.startswith("Refused: log loss differs from the champion's by +0.0126")
    assert (found.tone, found.version) == ("warn", None)
    assert found.evidence is not None
    assert not found.evidence.accepted
    assert [check.name for check in found.evidence.checks if not check.passed] == ["non-inferior"]
    assert found.evidence.scores
    assert [step.name for step in found.lineage][-1] == "Bundle"


def test_run_ids_may_come_encoded_once_more(one: Settings) -> None:
    name = "train/asset_triggered__2026-11-21T17:30:06.842588+00:00_Lrz4oAs5"
    enter(one, name, "training-left-out", "The model is frozen.")
    run_id = name.split("/")[1]
    found = run.page(one, "train", quote(run_id, safe=""), WALL)
    assert found == run.page(one, "train", run_id, WALL)
    assert (found.run_id, found.outcome) == (run_id, "Training left out: The model is frozen.")


def test_a_training_that_has_not_come_to_the_gate_says_how_far_it_is(one: Settings) -> None:
    enter(one, "train/t1", "training", "The champion is old.", request=None)
    assert run.page(one, "train", "t1", WALL).outcome == (
        "A training began: The champion is old. It has not come to the gate."
    )
    page_of(one, "train/t1", "check")
    found = run.page(one, "train", "t1", WALL)
    assert "It has left Great Expectations: the training frame, and has not come to the gate." in found.outcome
    assert found.evidence is None


def test_an_accepted_training_that_was_not_released_says_so(one: Settings) -> None:
    enter(one, "train/t2", "gate", "Accepted as a refresh: it is well.", accepted=True, checks=[])
    found = run.page(one, "train", "t2", WALL)
    assert (found.outcome, found.tone) == (
        "Accepted as a refresh: it is well. But no version of it was released yet.",
        "warn",
    )


@pytest.mark.parametrize(
    ("name", "begins", "tone"),
    [
        (planted.look_of(OURS, 59), "Healthy: log loss is", "good"),
        (f"release/{OURS}_0056", "Promoted: every stage is complete", "good"),
        (f"release/{OURS}_0042", "Rolled back in the shadow", "bad"),
    ],
)
def test_runs_of_other_dags(one: Settings, name: str, begins: str, tone: str) -> None:
    dag_id, _, run_id = name.partition("/")
    found = run.page(one, dag_id, run_id, WALL)
    assert found.outcome.startswith(begins)
    assert (found.tone, found.lineage, found.evidence) == (tone, [], None)


def test_a_rollback_by_a_person_is_told_in_their_words(one: Settings) -> None:
    enter(one, "rollback/b1", "rollback", "back from version 4 to 2: it is too sure", 2)
    found = run.page(one, "rollback", "b1", WALL)
    assert (found.outcome, found.version) == ("Back from version 4 to 2: it is too sure", 2)


def test_a_freeze_and_a_run_that_left_only_pages(one: Settings) -> None:
    enter(one, "freeze/f1", "freeze", "holidays")
    assert run.page(one, "freeze", "f1", WALL).outcome == "Frozen: holidays"
    page_of(one, "ingest/i1", "validate")
    found = run.page(one, "ingest", "i1", WALL)
    assert found.outcome == "It entered no decision. It left: Great Expectations: what was delivered."
    assert [link.href for link in found.reports] == ["/ratchet/reports/ingest/i1/validate/"]


@pytest.mark.parametrize("run_id", ["nothing", "..", "a/b", "%2e%2e", "x" * 3000, "", "%00"])
def test_a_run_of_which_nothing_is_known(one: Settings, run_id: str) -> None:
    with pytest.raises(Unknown, match="nothing is known"):
        run.page(one, "train", run_id, WALL)


# -- MLflow --------------------------------------------------------------------------------------------------------
def lost_to(settings: Settings, tracking: FakeTracking) -> Settings:
    """The run's own files are gone; MLflow has what it was given."""
    name = f"train/{GOOD}"
    mlflow_run = hash_text(name)[:32]
    text = canonical_json(planted.evidence(2), indent=2) + "\n"
    tracking.artifacts[mlflow_run, "evidence.json"] = text
    tracking.artifacts[mlflow_run, "manifest.json"] = json.dumps(planted.manifest(name))
    forget_files(settings, name)
    return settings.model_copy(update={"mlflow_uri": tracking.url})


def test_what_the_run_has_left_is_not_asked_of_mlflow(one: Settings, tracking: FakeTracking) -> None:
    run.page(one.model_copy(update={"mlflow_uri": tracking.url}), "train", GOOD, WALL)
    assert not [path for path in tracking.asked if "artifact" in path]


def test_mlflow_has_what_the_run_has_not_any_more(one: Settings, tracking: FakeTracking) -> None:
    before = version.page(one, OURS, 4, WALL)
    settings = lost_to(one, tracking)
    found = version.page(settings, OURS, 4, WALL)
    assert found.evidence == before.evidence
    assert [step.text for step in found.lineage] == [step.text for step in before.lineage]
    assert found.gaps == ()
    (link,) = [link for link in found.links if link.text == "MLflow run"]
    assert link.href == f"{tracking.url}/#/experiments/7/runs/{hash_text(f'train/{GOOD}')[:32]}"
    asked = len(tracking.asked)
    version.page(settings, OURS, 4, WALL)
    assert len(tracking.asked) == asked  # what never changes is asked for once


def test_without_mlflow_the_page_says_so_once_and_shows_the_rest(one: Settings) -> None:
    forget_files(one, f"train/{GOOD}")
    found = version.page(one, OURS, 4, WALL)
    (silent,) = [gap for gap in found.gaps if gap.what == "MLflow"]
    assert "does not answer" in silent.why
    assert found.evidence is not None
    assert found.evidence.checks
    assert (found.evidence.scores, found.evidence.against) == ([], None)
    assert "Bento" in [step.name for step in found.lineage]
    assert found.decisions


def test_an_altered_artifact_is_not_shown_as_what_the_gate_saw(one: Settings, tracking: FakeTracking) -> None:
    settings = lost_to(one, tracking)
    mlflow_run = hash_text(f"train/{GOOD}")[:32]
    tracking.artifacts[mlflow_run, "evidence.json"] = tracking.artifacts[mlflow_run, "evidence.json"].replace(
        "48", "41"
    )
    found = version.page(settings, OURS, 4, WALL)
    assert [gap.what for gap in found.gaps] == ["evidence.json"]
    assert "hash differs" in found.gaps[0].why
    assert found.evidence is not None
    assert found.evidence.scores == []


def test_an_altered_file_of_the_run_is_not_shown_either(one: Settings) -> None:
    file = one.trainings / "evidence" / f"{hash_text(f'train/{GOOD}')[:16]}.json"
    file.write_text(file.read_text().replace("48", "41"))
    found = version.page(one, OURS, 4, WALL)
    assert found.evidence is not None
    assert found.evidence.scores == []


def test_mlflow_that_has_lost_a_run_is_not_mlflow_being_down(one: Settings, tracking: FakeTracking) -> None:
    settings = lost_to(one, tracking)
    tracking.artifacts.clear()
    found = version.page(settings, OURS, 4, WALL)
    assert {gap.what for gap in found.gaps} == {
        "evidence.json of the training's run",
        "manifest.json of the training's run",
        "lineage",
    }
    assert all("404" in gap.why for gap in found.gaps if gap.what != "lineage")


# -- after a rollback ------------------------------------------------------------------------------------------------
@pytest.fixture
def gone_back(one: Settings) -> Settings:
    """A person has gone back to version 1 while version 9 was in its shadow, and its scores were made again."""
    ledger = book.connect(one.ledger_url)
    live = book.current(ledger, OURS)
    begun = releases.begin(ledger, OURS, 9, live.champion or 0, {}, planted.as_of(60), "release", "release/nine")
    about = (planted.as_of(60), 9, "release/nine")
    shadow = Decision("nine/shadow", OURS, "shadow", "release", "Release of version 9 begins.", *about)
    live = book.deploy(ledger, live, shadow, live.champion, 9, "shadow", release=begun.id)
    why = f"back from version {live.champion} to 1: it is bad"
    about = (planted.as_of(60), 1, "rollback/console__1")
    back = Decision("back", OURS, "rollback", "ada", why, *about)
    book.deploy(ledger, live, back, 1, None)
    book.record(ledger, Decision("again", OURS, "rescored", "ada", "0 scores made again", *about))
    return one


def test_a_rollback_is_told_not_what_followed(gone_back: Settings) -> None:
    found = run.page(gone_back, "rollback", "console__1", WALL)
    assert found.outcome.startswith("Back from version ")
    assert [d.what for d in found.decisions if d.kind == "rollback"] == ["is champion again"]


def test_a_release_that_another_decision_has_ended_says_so(gone_back: Settings) -> None:
    found = run.page(gone_back, "release", "nine", WALL)
    assert "Its release is over: back from version" in found.outcome


def test_a_version_tells_how_it_left(gone_back: Settings) -> None:
    left = next(m.champion for m in reversed(_moves(gone_back)) if m.champion != 1)
    assert left is not None
    found = version.page(gone_back, OURS, left, WALL)
    assert "it is bad" in found.decisions[0].reason + found.decisions[1].reason
    assert found.version.rolled_back
    assert not version.page(gone_back, OURS, 1, WALL).version.rolled_back
    rows = {row.version: row.rolled_back for row in model.page(gone_back, OURS, Airflow(), WALL).versions}
    assert rows[left]
    assert not rows[1]


def _moves(settings: Settings) -> list[book.Deployment]:
    rows = book.deployed(book.connect(settings.ledger_url), OURS)
    return [book.Deployment(OURS, row["generation"], row["champion"], row["challenger"]) for row in rows]
