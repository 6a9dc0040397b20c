"""What is told of failed tasks and late runs: once, with a cause and what its runbook says, and that it is over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from include import alerts, failures
from include.failures import Task
from include.settings import ROOT, Settings

TIME = "2013-03-25T12:00:00+00:00"
PLAIN = Task("ingest", "r1", "land", attempt=3)
MAPPED = Task("train", "r1", "first_rung", index=0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def tell(settings: Settings, task: Task, error: str, of_the_run: bool = False) -> bool:
    alert = failures.failed(task, error, TIME)
    return not failures.is_told(alert, alerts.unresolved(settings), of_the_run) and alerts.send(settings, alert)


def succeed(settings: Settings, task: Task) -> list[str]:
    ended = list(failures.over(task, alerts.unresolved(settings)))
    return [group for group, title in ended if alerts.resolve(settings, group, title, TIME)]


def test_the_same_error_is_told_once_until_the_task_succeeds(settings: Settings) -> None:
    assert tell(settings, PLAIN, "IOError: batch 17 of 0a1b2c3d4e is gone\nmore")
    hour_later = replace(PLAIN, run_id="r2")
    assert not tell(settings, hour_later, "IOError: batch 18 of ffff000011 is gone")
    assert tell(settings, hour_later, "KeyError: 'weather'")
    assert succeed(settings, replace(PLAIN, task_id="facts")) == []
    assert succeed(settings, replace(PLAIN, run_id="r3")) == ["failed/ingest/land"]
    assert succeed(settings, replace(PLAIN, run_id="r3")) == []
    assert tell(settings, replace(PLAIN, run_id="r4"), "KeyError: 'weather'")


def test_fifty_mapped_failures_of_a_run_are_one_alert(settings: Settings) -> None:
    told = [tell(settings, replace(MAPPED, index=i), f"ValueError: {'abc'[i % 3]} is bad") for i in range(50)]
    assert told == [True] + [False] * 49
    assert succeed(settings, replace(MAPPED, index=50)) == []  # one that went well says nothing of those
    assert tell(settings, replace(MAPPED, attempt=2), "ValueError: a is bad")  # cleared, and it fails anew
    assert succeed(settings, replace(MAPPED, run_id="r2")) == ["failed/train/first_rung"]


def test_what_a_step_has_told_itself_is_not_told_again(settings: Settings) -> None:
    reason = "Rolled back: the canary erred."
    link = alerts.link("release/r1", "canary")
    alerts.send(settings, alerts.Alert("release/m", "7/rollback", "rolled back", reason, "Mend.", TIME, link=link))
    task = Task("release", "r1", "canary")
    assert not tell(settings, task, reason)
    assert not tell(settings, task, "", of_the_run=True)
    assert tell(settings, task, "OSError: disk full")
    assert tell(settings, replace(task, run_id="r2"), reason)  # another run's, of which nobody has told


def test_the_run_tells_of_a_task_that_was_killed_and_of_no_other(settings: Settings) -> None:
    assert tell(settings, PLAIN, "KeyError: 'weather'")
    assert not tell(settings, PLAIN, "", of_the_run=True)
    killed = replace(PLAIN, task_id="facts")
    assert tell(settings, killed, "", of_the_run=True)
    assert "killed" in alerts.sent(settings)[-1]["cause"]
    assert not tell(settings, replace(killed, run_id="r2"), "", of_the_run=True)
    assert tell(settings, MAPPED, "", of_the_run=True)
    assert tell(settings, replace(MAPPED, run_id="r2"), "", of_the_run=True)


def test_a_person_who_triggered_the_run_is_not_woken() -> None:
    assert failures.failed(PLAIN, "x", TIME).severity == alerts.PAGE
    assert failures.failed(replace(PLAIN, manual=True), "x", TIME).severity == alerts.NOTICE


def test_a_late_run_is_over_when_a_later_one_goes_on(settings: Settings) -> None:
    alert = failures.late("ingest", "r1", "2026-11-21T10:00:00Z", "running", TIME)
    assert alert is not None
    assert alerts.send(settings, alert)
    assert not alerts.send(settings, alert)
    assert failures.late("ingest", "r1", "2026-11-21T10:00:00Z", "failed", TIME) is None
    assert succeed(settings, PLAIN) == []
    assert succeed(settings, Task("train", "r2", "plan")) == []
    assert succeed(settings, replace(PLAIN, run_id="r2")) == ["run/ingest"]


@pytest.mark.parametrize(
    ("dag", "task", "says"),
    [
        ("ingest", "validate", "a batch as a whole is wrong"),
        ("ingest", "facts", "any other task"),
        ("release", "canary", "rolled back"),
        ("train", "release", "another champion went live"),
        ("collect", "collect", "any error"),
    ],
)
def test_advice_is_what_the_runbook_says_of_the_task(dag: str, task: str, says: str) -> None:
    doc = (ROOT / "docs" / "runbooks" / f"{dag}.md").read_text()
    assert says in failures.advice(doc, task)
    assert "\n" not in failures.advice(doc, task)


def test_without_a_runbook_there_is_advice_still() -> None:
    assert failures.advice("", "x") == "Look at its log, then clear it."
