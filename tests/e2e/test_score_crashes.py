"""Killed after any external write of a batch scoring, or of a rescoring, and run again: the same scores, none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from include import lake
from include.contracts import SCORES
from include.files import write_json
from include.release import ledger as book
from include.settings import Settings
from tests.conftest import END, copy_home
from tests.e2e.chains import Step, fresh, local, results
from tests.e2e.test_crashes import kill_everywhere
from tests.e2e.test_score import release
from tests.packaging import tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # minutes: some fifteen kills and retries

SCORE: tuple[Step, ...] = (
    ("scoring", "score.plan", ()),
    ("parts", "score.partitions", ("scoring",)),
    ("scored", "each score.score", ("parts", "scoring")),
    ("summed", "score.summary", ("scoring", "scored")),
)
AGAIN: tuple[Step, ...] = (("again", "rollback.rescore", ("back",)),)
INTERVAL = {"start": "2013-01-02T06:00:00+00:00", "end": "2013-01-03T06:00:00+00:00", "as_of": END}


def versions(settings: Settings) -> list[int]:
    """Of every score that is there."""
    return sorted(lake.read(settings.lake, SCORES, lake.version(settings.lake, SCORES))["version"].to_pylist())


def kinds(settings: Settings) -> list[str]:
    return [d["kind"] for d in book.history(book.connect(settings.ledger_url), tiny.MODEL)]


def test_scoring_and_rescoring_survive_being_killed_anywhere(history: Settings, tmp_path: Path) -> None:
    settings = local(copy_home(history.home, tmp_path / "var"))
    release(settings)
    points = kill_everywhere(settings, tmp_path, SCORE, INTERVAL)
    assert set(points) == {
        *("plan.file", "score.part.snapshot", "score.part.frame", "score.write.commit", "score.part.refused"),
        *("score.summary.refused", "score.summary.page", "ledger.scored"),
    }
    done = results(settings)["summed"]
    assert fresh(versions, settings) == [1] * done["scored"]
    back = {"model": tiny.MODEL, "as_of": END, "bad": 1, "version": 2}  # as the rollback plans it
    write_json(settings.home / "results.json", {**results(settings), "back": back})
    points = kill_everywhere(settings, tmp_path, AGAIN, {})
    assert set(points) == {
        *("rescore.planned", "rescore.snapshot", "rescore.frame", "score.write.commit", "rescore.refused"),
        *("rescore.page", "ledger.rescored"),
    }
    assert results(settings)["again"]["rows"] == done["scored"]
    assert fresh(versions, settings) == [2] * done["scored"]
    assert fresh(kinds, settings) == ["champion", "scored", "rescored"]
