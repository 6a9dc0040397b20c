"""Killed after any external write of any step of a release and run again, it leaves what it would have left anyway."""

from __future__ import annotations

from pathlib import Path

import pytest

from include import alerts
from include.files import write_json
from include.release import ledger as book
from include.settings import Settings
from tests.conftest import END, copy_home, once
from tests.e2e.chains import Step, results
from tests.e2e.releasing import ASKED, MODEL, Installation, live, local, of, prepare, serve
from tests.e2e.test_crashes import kill_everywhere

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # minutes: some sixty kills and retries

PLAN: Step = ("job", "release.plan", ())
SHADOW: Step = ("shadowed", "release.shadow", ("job",))
ASK: Step = ("asked", "release.ask", ("job", "shadowed"))
ANSWERED: Step = ("answered", "release.answered", ("job", "answer"))
CANARY: Step = ("seen", "release.canary", ("job",))
PROMOTE: Step = ("promoted", "release.promote", ("job",))


@pytest.fixture
def world(history: Settings, shared_folder: Path, tmp_path: Path) -> Installation:
    prepared = local(shared_folder / "release")
    once(shared_folder, "release", lambda: prepare(history, prepared))
    return of(local(copy_home(prepared.home, tmp_path / "var")))


def test_a_release_survives_being_killed_anywhere(world: Installation, tmp_path: Path) -> None:
    def kill(step: Step) -> list[str]:
        return kill_everywhere(world.settings, tmp_path, (step,), {"as_of": END})

    points = kill(PLAN)
    serve(world)
    points += kill(SHADOW) + kill(ASK)
    write_json(world.settings.home / "results.json", {**results(world.settings), "answer": ASKED})
    points += kill(ANSWERED) + kill(CANARY)
    assert (live(world).stage, live(world).share) == (book.CANARY, 0.05)
    while results(world.settings)["seen"] is None:
        serve(world, every=1)
        points += kill(CANARY)
    points += kill(PROMOTE)
    assert book.current(book.connect(world.settings.ledger_url), MODEL).champion == 2
    wanted = {"release.begin", "release.answer", "release.look.page", "ledger.deploy.shadow", "ledger.deploy.canary"}
    assert {*wanted, "ledger.deploy.promotion"} <= set(points)
    assert len(points) >= 20


def test_a_rollback_survives_being_killed_anywhere(world: Installation, tmp_path: Path) -> None:
    kill_everywhere(world.settings, tmp_path, (PLAN,), {"as_of": END})
    serve(world, shift=1.5, every=2)
    points = kill_everywhere(world.settings, tmp_path, (SHADOW,), {"as_of": END})
    assert "ledger.deploy.rollback" in points
    assert "Rolled back" in results(world.settings)["shadowed"]["ended"]  # also in the retry after the last kill
    assert len(alerts.sent(world.settings)) == 1
    assert (live(world).champion, live(world).challenger) == (1, None)
