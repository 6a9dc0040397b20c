"""A model's page, a version's and what was live: complete, in pages, and true to the ledger."""

from __future__ import annotations

from datetime import timedelta

import pytest

from include import pages
from include.console.view import Airflow, ModelPage
from include.contracts import FEATURES
from include.files import write_json
from include.loop.console import Unknown, live, model, models, version
from include.release import ledger as book
from include.release import releases
from include.release.ledger import Decision
from include.settings import Settings
from tests.console import planted
from tests.console.planted import OURS, WALL


def page(
    settings: Settings, name: str = OURS, before: int | None = None, kinds: frozenset[str] = frozenset()
) -> ModelPage:
    return model.page(settings, name, Airflow(), WALL, before, kinds)


def test_nobody_knows_it(one: Settings) -> None:
    for ask in (lambda: page(one, "nobody"), lambda: live.at(one, "nobody", WALL)):
        with pytest.raises(Unknown, match="nobody"):
            ask()
    with pytest.raises(Unknown, match="99"):
        version.page(one, OURS, 99, WALL)


def test_where_nothing_has_happened_there_is_a_page(empty: Settings) -> None:
    found = page(empty)
    assert (found.decisions, found.more, found.versions, found.days, found.duel) == ([], 0, [], (), None)
    assert "ledger" in {gap.what for gap in found.gaps}


def test_all_decisions_are_there_once_page_by_page_newest_first(empty: Settings) -> None:
    planted.plant(empty, days=200)
    told, before, left = [], None, None
    while True:
        found = page(empty, before=before)
        assert len(found.decisions) <= model.PAGE
        assert left is None or left == len(found.decisions) + found.more
        told += [decision.id for decision in found.decisions]
        before, left = told[-1], found.more
        if not found.more:
            break
    wanted = [
        entry["id"]
        for entry in book.history(book.connect(empty.ledger_url), OURS)
        if entry["kind"] not in ("audit", "rehearsal", "scored")
        and not (entry["kind"] == "monitor" and entry["reason"].startswith("Healthy"))
    ]
    assert told == wanted[::-1]
    assert len(told) > model.PAGE


def test_routine_entries_are_there_when_asked_for(one: Settings) -> None:
    assert not {"audit", "rehearsal"} & {decision.kind for decision in page(one).decisions}
    found = page(one, kinds=frozenset({"audit", "monitor"}))
    assert {decision.kind for decision in found.decisions} == {"audit", "monitor"}
    assert len(found.decisions) + found.more == 120


def test_decisions_are_told_in_words_with_the_way_to_their_evidence(one: Settings) -> None:
    told = {(decision.kind, decision.what): decision for decision in page(one).decisions}
    assert {("gate", "accepted by the gate"), ("gate", "refused by the gate"), ("rollback", "rolled back")} <= set(told)
    gate = told["gate", "refused by the gate"]
    assert (gate.tone, gate.version) == ("warn", None)
    run = planted.training_of(OURS, 14)
    assert [link.href for link in gate.links] == [
        f"/ratchet/reports/{run}/gate/",
        f"runs/{run}",
        f"/dags/train/runs/{run.split('/')[1]}",
    ]
    approved = told["approved", "approved"]
    assert (approved.actor, approved.tone, approved.links[-1].href) == (
        "ada",
        "good",
        f"models/{OURS}/versions/{approved.version}",
    )


def test_what_the_curve_marks_is_in_order(one: Settings) -> None:
    marks = page(one).marks
    assert [mark.id for mark in marks] == sorted(mark.id for mark in marks)
    assert {mark.what for mark in marks} >= {"first champion", "promoted to champion", "rolled back"}


def test_versions_say_what_they_were_and_whether_a_rollback_to_them_is_possible(one: Settings) -> None:
    entries = {entry.version: entry for entry in page(one).versions}
    assert sorted(entries, reverse=True) == [row.version for row in page(one).versions]
    assert [entries[n].role for n in (1, 2, 3, 4)] == ["", "", "", "champion"]
    assert [entries[n].was_champion for n in (1, 2, 3, 4)] == [True, True, False, True]
    assert [entries[n].gone for n in (1, 2, 3, 4)] == ["", "", "", ""]
    first = book.version(book.connect(one.ledger_url), OURS, 1)
    (one.frames / f"{first.frame['hash']}.parquet").unlink()
    assert page(one).versions[-1].gone == "training frame"


def test_drift_is_weighed_by_what_the_feature_means_to_the_model(one: Settings) -> None:
    found = page(one)
    assert {drift.feature for drift in found.drift} == set(FEATURES)
    weights = [(drift.psi or 0) * (drift.importance or 0) for drift in found.drift]
    assert weights == sorted(weights, reverse=True)
    assert found.drift[0].importance is not None
    assert found.drift_as_of == planted.as_of(59)
    assert [(by, value) for by, value, _, _ in found.slices] == [
        ("carrier", "MQ"),
        ("origin", "EWR"),
        ("carrier", "YV"),
    ]


def test_without_the_looks_files_the_rest_is_shown(one: Settings) -> None:
    (planted.left_by(one, planted.look_of(OURS, 59), "measure") / "evidence.json").unlink()
    found = page(one)
    assert (found.drift, found.slices) == ([], [])
    assert [gap.what for gap in found.gaps] == ["drift and slices"]
    assert found.decisions


def test_champion_against_challenger_as_the_newest_look_saw_them(one: Settings) -> None:
    ledger, run = book.connect(one.ledger_url), "release/r9"
    begun = releases.begin(ledger, OURS, 2, 4, planted.POLICY, planted.as_of(59), "release", run)
    seen = book.current(ledger, OURS)
    about = Decision("k", OURS, "shadow", "release", "Release 9 begins.", planted.as_of(59), 2, run)
    book.deploy(ledger, seen, about, 4, 2, "shadow", 0.0, begun.id)
    assert page(one).duel is None  # nobody has looked yet
    mean = {"value": 0.006, "error": 0.005, "blocks": 6.0, "flights": 400}
    numbers = {"stage": "shadow", "at": planted.as_of(59), "pairs": 634, "requests": 634.0, "flights": 400}
    numbers |= {"labelled": 100, "attempts": 634, "errors": 0, "loss": mean, "log_loss": None, "bias": None}
    numbers["log_loss"] = {"champion": 0.370, "challenger": 0.376}
    write_json(pages.folder(one, "release", "r9", "shadow") / "observation.json", numbers)
    found = page(one)
    assert found.duel is not None
    assert (found.duel.champion, found.duel.challenger, found.duel.requests, found.duel.labelled) == (4, 2, 634.0, 100)
    name, unit, ours, theirs, difference = found.duel.rows[0]
    assert (name, unit) == ("log loss", "nats")
    assert ours is not None
    assert theirs is not None
    assert difference is not None
    assert (ours.value, theirs.value, difference.value) == (0.370, 0.376, 0.006)
    assert difference.low == pytest.approx(0.006 - 2.5706 * 0.005, abs=1e-5)  # t of five degrees of freedom
    assert found.row.challenger is not None
    assert (found.row.challenger.done, found.row.challenger.of) == (100, 500)  # the need that is further behind
    assert found.row.challenger.text == "100 of 500 labelled flights"


# -- what was live ---------------------------------------------------------------------------------------------------
def test_what_was_live_is_what_the_ledger_says_at_any_moment(one: Settings) -> None:
    ledger = book.connect(one.ledger_url)
    for hours in range(0, 60 * 24, 7):
        when = WALL - timedelta(hours=hours, minutes=13)
        found, wanted = live.at(one, OURS, when), book.live_at(ledger, OURS, when)
        assert (found.champion, found.challenger, found.stage, found.share) == (
            wanted.champion,
            wanted.challenger,
            wanted.stage,
            wanted.share,
        )
    found = live.at(one, OURS, WALL)
    assert found.decision is not None
    assert (found.decision.kind, found.decision.version) == ("promotion", 4)


def test_before_the_first_model_nothing_was_live(one: Settings) -> None:
    found = live.at(one, OURS, WALL - timedelta(days=900))
    assert (found.champion, found.decision) == (None, None)


# -- a version -------------------------------------------------------------------------------------------------------
def test_a_version_tells_its_whole_story(one: Settings) -> None:
    found = version.page(one, OURS, 4, WALL)
    assert found.version == next(row for row in page(one).versions if row.version == 4)
    kinds = [decision.kind for decision in found.decisions]
    assert kinds == [
        *("promotion", "canary", "canary", "approved", "approval", "shadow", "challenger", "rehearsal", "gate"),
        "training",
    ]
    assert found.evidence is not None
    assert (found.evidence.accepted, found.evidence.against) == (True, 2)
    assert [metric for metric, _, _ in found.evidence.scores][:2] == ["log loss", "Brier score"]
    assert set(found.evidence.scores[0][2]) == {"challenger", "champion", "naive"}
    assert [value for _, value, _, _ in found.evidence.slices] == ["MQ", "EWR", "YV"]  # too small ones come last
    assert len(found.evidence.calibration["challenger"]) == 9
    assert [step.name for step in found.lineage] == [
        *("Tables", "Snapshot", "Training frame", "Code", "Lock", "Model", "Machine", "MLflow run", "Bundle", "Bento"),
        "Deployed",
    ]
    assert "outcome@1" in found.lineage[0].detail
    assert found.lineage[-1].text.startswith("challenger (waiting) from ")
    assert "champion from" in found.lineage[-1].text
    assert found.causes == [
        f"by admin, as of {planted.as_of(56)}: the champion is 14 days old. It is training 1 of 6 allowed in 30 days."
    ]


def test_looks_that_found_something_belong_to_a_versions_story(one: Settings) -> None:
    looks = [d for d in version.page(one, OURS, 1, WALL).decisions if d.kind == "monitor"]
    assert [(d.what, d.version, d.as_of) for d in looks] == [
        ("asked for a training", 1, planted.as_of(27)),
        ("asked for a training", 1, planted.as_of(13)),
    ]


def test_a_request_says_who_asked_for_a_version(one: Settings) -> None:
    ledger = book.connect(one.ledger_url)
    book.request_retrain(ledger, OURS, planted.as_of(59), "a new carrier", "ada", "monitor/x")
    request = book.open_request(ledger, OURS)
    assert request is not None
    for kind, number, kept in (("training", None, {"request": request.id}), ("challenger", 2, {})):
        about = Decision(f"q/{kind}", "other", kind, "train", "why", planted.as_of(59), number, "train/q", kept)
        book.record(ledger, about)
    entry = book.version(ledger, OURS, 2)
    from dataclasses import replace

    book.add_version(ledger, replace(entry, model="other"))
    assert version.page(one, "other", 2, WALL).causes == [f"other by ada, as of {planted.as_of(59)}: a new carrier"]


def test_pages_of_a_model_that_is_only_in_the_ledger(empty: Settings) -> None:
    planted.plant(empty, planted.names(2), days=20)
    assert "model_01" in models.names(empty)
    found = page(empty, "model_01")
    assert (found.row.ours, found.links, found.row.champion) == (False, (), 1)
    assert found.decisions
    assert found.days
