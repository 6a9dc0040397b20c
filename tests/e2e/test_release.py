"""The release's steps against a real ledger, log and lake: each move once, whatever is repeated; real flights, real
outcomes, and scores of a made-up quality."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include import alerts, times
from include.files import write_json
from include.loop import freeze, release, rollback
from include.loop.run import Skip, Stop
from include.models import registry
from include.models.spec import Rollout
from include.release import ledger as book
from include.release import releases
from include.serving.recorder import Recorder
from include.settings import Settings
from include.training import track
from tests.conftest import copy_home, once
from tests.e2e.releasing import (
    ASKED,
    MODEL,
    Installation,
    decided,
    in_shadow,
    kinds,
    live,
    local,
    of,
    prepare,
    run,
    serve,
)


@pytest.fixture(scope="module")
def prepared(history: Settings, shared_folder: Path) -> Settings:
    """January, a registered model with three versions, and a ledger whose champion is version 1."""
    settings = local(shared_folder / "release")
    once(shared_folder, "release", lambda: prepare(history, settings))
    return settings


@pytest.fixture
def world(prepared: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """A copy with challenger 2, which waits."""
    monkeypatch.chdir(tmp_path)
    return of(local(copy_home(prepared.home, tmp_path / "var")))


def test_a_good_challenger_becomes_champion_step_by_step(world: Installation) -> None:
    job = in_shadow(world)
    assert in_shadow(world) == job
    assert (live(world).stage, live(world).challenger) == (book.SHADOW, 2)
    assert release.shadow(run(world, "shadow"), job) is None
    serve(world)
    shadowed = release.shadow(run(world, "shadow", 0.1), job)
    assert shadowed is not None
    asked = release.ask(run(world, "ask", 0.1), job, shadowed)
    assert release.ask(run(world, "ask", 0.1), job, shadowed) == asked
    assert "version 2" in asked["subject"]
    assert "labelled" in asked["text"]
    assert (live(world).stage, live(world).share) == (book.APPROVAL, 0.0)
    for _ in range(2):
        assert release.answered(run(world, "answered", 0.2), job, ASKED)["actor"] == "ann"
    assert release.canary(run(world, "canary", 0.3), job) is None
    shares = [live(world).share]
    while release.canary(run(world, "canary", 0.4), job) is None:
        assert len(shares) < 5
        serve(world, every=1)
        if live(world).share != shares[-1]:
            shares.append(live(world).share)
    assert shares == list(registry.load(MODEL).rollout.steps)
    for _ in range(2):
        done = release.promote(run(world, "promote", 0.5), job)
        assert (done["version"], done["before"]) == (2, 1)
    assert live(world) == book.Deployment(MODEL, 7, 2, None, "", 0.0, job["release"])
    assert track.get_aliases(world.settings, MODEL) == {"champion": "2"}
    before = ["champion", "challenger", "shadow", "approval", "approved"]
    assert kinds(world) == [*before, "canary", "canary", "promotion"]
    said = [row for row in book.history(book.connect(world.settings.ledger_url), MODEL) if row["kind"] == "approved"]
    assert [(row["actor"], row["reason"]) for row in said] == [("ann", "looks good")]
    with pytest.raises(Skip, match="is champion"):
        release.canary(run(world, "canary", 0.6), job)


def test_a_bad_challenger_leaves_by_itself_and_the_run_says_why(world: Installation) -> None:
    job = in_shadow(world)
    serve(world, shift=1.5, every=2)
    for _ in range(2):  # a retry after a kill ends as red as the look that took it out
        with pytest.raises(Stop, match="Rolled back in the shadow"):
            release.shadow(run(world, "shadow", 0.1), job)
    assert (live(world).champion, live(world).challenger, live(world).stage) == (1, None, "")
    assert kinds(world)[-1] == "rollback"
    page = (world.settings.reports / "release/r1/shadow/index.html").read_text()
    assert "rolled back" in page
    (alert,) = alerts.sent(world.settings)
    assert "version 2" in alert["title"]
    assert "Rolled back" in alert["cause"]
    assert alert["link"] == "/dags/release/runs/r1/tasks/shadow"
    assert track.get_aliases(world.settings, MODEL) == {"champion": "1"}


def test_a_challenger_that_errs_leaves_before_it_has_answered_anybody(world: Installation) -> None:
    job = in_shadow(world)
    serve(world, error="boom")
    with pytest.raises(Stop, match="fail"):
        release.shadow(run(world, "shadow", 0.1), job)
    assert live(world).challenger is None


def test_what_the_service_cannot_load_leaves(world: Installation) -> None:
    job = in_shadow(world)
    worker = Recorder(world.settings.predictions, "worker")  # lives: the word of a dead one does not count
    state = {"generation": live(world).generation, "broken": {"2": "hash differs"}, "worker": worker.worker}
    write_json(world.settings.home / "service" / f"{worker.worker}.json", state)
    with pytest.raises(Stop, match="hash differs"):
        release.shadow(run(world, "shadow", 0.1), job)
    worker.close()


@pytest.mark.parametrize(
    ("answer", "ends", "kind"),
    [
        ({**ASKED, "chosen_options": ["Reject"]}, Skip, "rejected"),
        ({"chosen_options": ["Reject"], "params_input": {}, "responded_by_user": None}, Stop, "expired"),
    ],
)
def test_without_an_approval_it_leaves(
    world: Installation, answer: dict[str, Any], ends: type[Exception], kind: str
) -> None:
    job = in_shadow(world)
    serve(world)
    shadowed = release.shadow(run(world, "shadow", 0.1), job)
    assert shadowed is not None
    release.ask(run(world, "ask", 0.1), job, shadowed)
    with pytest.raises(ends, match=kind):
        release.answered(run(world, "answered", 0.2), job, answer)
    assert (live(world).champion, live(world).challenger) == (1, None)
    said = releases.approval(book.connect(world.settings.ledger_url), job["release"])
    assert said is not None
    assert said.answer == kind
    told = [(alert["severity"], alert["state"].split("/")[-1]) for alert in alerts.sent(world.settings)]
    assert told == [("notice", "asked"), ("page", "expired") if kind == "expired" else ("notice", alerts.RESOLVED)]


def test_a_newer_challenger_supersedes_it(world: Installation) -> None:
    job = in_shadow(world)
    ledger = book.connect(world.settings.ledger_url)
    book.deploy(ledger, live(world), decided("challenger", 3), 1, 3, stage=book.WAITING)
    with pytest.raises(Skip, match="version 3 is the challenger"):
        release.shadow(run(world, "shadow", 0.1), job)
    assert live(world).challenger == 3
    newer = release.plan(run(world, "plan", name="release/r2"))
    assert (newer["version"], live(world).stage) == (3, book.SHADOW)
    with pytest.raises(Skip):
        release.shadow(run(world, "shadow", 0.1), job)
    assert in_shadow(world) == job  # cleared: it stays over
    assert live(world).release == newer["release"]


def test_nothing_is_promoted_while_frozen(world: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = registry.load(MODEL).model_copy(update={"rollout": Rollout(approval=False, steps=(1.0,))})
    monkeypatch.setattr(registry, "load", lambda _: spec)
    job = in_shadow(world)
    freeze.change(run(world, "change", name="freeze/f1", frozen=True, reason="holidays"))
    serve(world)
    passed = release.shadow(run(world, "shadow", 0.1), job)
    assert passed is not None
    with pytest.raises(Skip, match="no approval"):
        release.ask(run(world, "ask", 0.1), job, passed)
    assert (live(world).stage, live(world).share) == (book.CANARY, 1.0)
    serve(world)
    assert release.canary(run(world, "canary", 0.2), job) is None
    (alert,) = alerts.sent(world.settings)
    assert "frozen by freeze: holidays" in alert["cause"]
    with pytest.raises(Stop, match=r"frozen by freeze: holidays.*Nothing was promoted"):
        release.promote(run(world, "promote", 0.2), job)
    assert live(world).champion == 1
    freeze.change(run(world, "change", name="freeze/f2", frozen=False, reason="over"))
    seen = release.canary(run(world, "canary", 0.2), job)
    assert seen is not None
    assert release.promote(run(world, "promote", 0.2), job)["version"] == 2


def test_nothing_that_is_marked_as_done_stands_in_for_its_evidence(world: Installation) -> None:
    """An operator may mark any task a success: nothing goes on that has not shown what it must, or was not approved."""
    job = in_shadow(world)
    serve(world, every=1)
    for step, says in ((release.canary, "shadow is not complete"), (release.promote, "canary has not begun")):
        with pytest.raises(Stop, match=says):
            step(run(world, "marked", 0.1), job)
    with pytest.raises(Stop, match="clear the task `shadow`"):
        release.ask(run(world, "ask", 0.1), job, {})
    ledger = book.connect(world.settings.ledger_url)
    book.deploy(ledger, live(world), decided("canary", 2), 1, 2, stage=book.CANARY, share=0.25, release=job["release"])
    serve(world, every=1)
    with pytest.raises(Stop, match=r"approval.*Nothing was promoted"):
        release.promote(run(world, "promote", 0.2), job)
    assert live(world).champion == 1


def test_too_little_traffic_at_the_deadline_holds_and_tells_once(world: Installation) -> None:
    job = in_shadow(world)
    late = registry.load(MODEL).rollout.shadow_max_hours + 1
    for _ in range(2):
        assert release.shadow(run(world, "shadow", late), job) is None
    assert live(world).stage == book.SHADOW
    (alert,) = alerts.sent(world.settings)
    assert "hold" in alert["title"]
    serve(world)
    assert release.shadow(run(world, "shadow", late), job) is not None


@pytest.mark.parametrize(("version", "says"), [(1, "champion already"), (9, "no packaged version 9")])
def test_a_form_filled_in_wrongly_names_its_field(world: Installation, version: int, says: str) -> None:
    with pytest.raises(Stop, match=f"version: .*{says}"):
        release.plan(run(world, "plan", version=version))
    assert live(world).stage == book.WAITING


def test_without_a_challenger_there_is_nothing_to_do(world: Installation) -> None:
    ledger = book.connect(world.settings.ledger_url)
    book.deploy(ledger, live(world), decided("rollback", 1), 1, None)
    with pytest.raises(Skip, match="no challenger"):
        release.plan(run(world, "plan"))
    assert in_shadow(world, version=3)["version"] == 3  # but any packaged version may be asked for


def test_a_freeze_needs_a_reason(world: Installation) -> None:
    with pytest.raises(Stop, match="reason"):
        freeze.change(run(world, "change", name="freeze/f1", frozen=True, reason=" "))
    assert book.frozen(book.connect(world.settings.ledger_url), MODEL) is None


# -- rollback ----------------------------------------------------------------------------------------------------
def back(world: Installation, task: str, **params: Any) -> Any:
    return run(world, task, 1.0, "rollback/b1", **{"reason": "it is wrong", **params})


def promoted(world: Installation) -> None:
    """Version 2 is champion, and has answered."""
    in_shadow(world)
    ledger = book.connect(world.settings.ledger_url)
    book.deploy(ledger, live(world), decided("canary", 2), 1, 2, stage=book.CANARY, share=1.0, release=1)
    serve(world)
    book.deploy(ledger, live(world), decided("promotion", 2), 2, None)


def test_a_rollback_restores_and_lists_what_the_bad_version_answered(world: Installation) -> None:
    promoted(world)
    job = rollback.plan(back(world, "plan"))
    assert (job["version"], job["bad"]) == (1, 2)
    for _ in range(2):
        done = rollback.restore(back(world, "restore"), job, {"archive": {}})
        assert (done["version"], done["before"]) == (1, 2)
    assert rollback.plan(back(world, "plan")) == job  # cleared, it does not go back one more
    assert (live(world).champion, live(world).challenger) == (1, None)
    assert kinds(world).count("rollback") == 1
    found = rollback.affected(back(world, "affected"), job)
    assert found["predictions"] == found["flights"] == len(world.flights.iloc[::5])
    rows = pq.read_table(found["uri"])
    assert set(rows["version"].to_pylist()) == {2}
    assert f"{found['predictions']:,}" in (world.settings.reports / "rollback/b1/affected/index.html").read_text()
    (alert,) = alerts.sent(world.settings)
    assert "it is wrong" in alert["cause"]
    assert track.get_aliases(world.settings, MODEL) == {"champion": "1"}


def test_a_rollback_to_the_champion_ends_its_challengers_release(world: Installation) -> None:
    job = in_shadow(world)
    left = rollback.plan(back(world, "plan", version=1))
    assert (left["version"], left["bad"]) == (1, 2)
    rollback.restore(back(world, "restore"), left, {"archive": {}})
    assert (live(world).champion, live(world).challenger) == (1, None)
    with pytest.raises(Skip, match="over"):
        release.shadow(run(world, "shadow"), job)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"reason": ""}, "reason"),
        ({"version": 7}, "version: .*no packaged version 7"),
        ({}, "version: .*never had another"),
    ],
)
def test_a_rollback_that_cannot_be_says_why(world: Installation, params: dict[str, Any], says: str) -> None:
    with pytest.raises(Stop, match=says):
        rollback.plan(back(world, "plan", **params))
    assert live(world).champion == 1


def test_a_second_click_does_not_bring_the_bad_version_back(world: Installation) -> None:
    promoted(world)
    job = rollback.plan(back(world, "plan"))
    rollback.restore(back(world, "restore"), job, {"archive": {}})
    second = replace(back(world, "plan"), name="rollback/b2")
    with pytest.raises(Stop, match="by a rollback after this one was triggered"):
        rollback.plan(second)
    later = times.iso(datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(Stop, match="never had another"):  # and version 2, which was left, is no way back either
        rollback.plan(replace(second, wall=later))
    assert live(world).champion == 1
