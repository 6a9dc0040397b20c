"""The chapters of releases: the run that has the challenger, the approval that the demo answers, how it must end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from include import clock
from include.settings import ROOT
from scripts.demo import airflow
from scripts.demo.follow import EVENT_SECONDS, POLL, DemoFailed, Played, Say, failure, follow, seconds
from scripts.demo.story import Chapter
from scripts.stack import supervisor
from scripts.stack.config import Stack, environment

NOT_NEEDED = "not needed"
WAITS = "waits for you"
_PLANT_SECONDS = 120
_WHY = "the demo's first release: its shadow is complete and every check holds"


def play(client: httpx.Client, stack: Stack, chapter: Chapter, before: Played | None, say: Say) -> Played:
    """Bring one release to where its chapter wants it."""
    if chapter.live:
        _go_live(stack)
    version = _plant(stack) if chapter.plant else _made(client, before)
    if version is None:
        say("   there is no challenger to release")
        return Played(chapter, chapter.run_id, NOT_NEEDED, 0.0, before=False)
    run_id, old = _run_of(client, stack, chapter, version, say)

    def asked() -> bool:
        return chapter.ends == "waits" and bool(airflow.questions(client, "release", run_id))

    def approve() -> bool:
        if chapter.approve:
            for question in airflow.questions(client, "release", run_id):
                with airflow.connect(stack, chapter.approve) as somebody:
                    airflow.answer(somebody, question, "Approve", _WHY)
                say(f"   approved by {chapter.approve}: {_WHY}")
        return asked()

    ended = follow(client, "release", run_id, (lambda _: None) if old else say, approve)
    state = ended["state"] if ended["state"] in airflow.ENDED else WAITS
    if old:
        say(f"   already there from an earlier demo ({run_id}: {state})")
    if not old and state != {"waits": WAITS}.get(chapter.ends, chapter.ends):
        raise DemoFailed(f"It should have ended as {chapter.ends}.\n{failure(client, stack, 'release', run_id)}")
    return Played(chapter, run_id, state, seconds(ended), old, version)


def _go_live(stack: Stack) -> None:
    """From here on data time goes on from the anchor with the wall clock, and the service is asked about flights."""
    settings = stack.settings
    clock.start(settings.home / "clock.json", datetime.now(UTC), settings.anchor, settings.speed)
    supervisor.ensure(stack, "replay")


def _plant(stack: Stack) -> int:
    command = [sys.executable, "-m", "scripts.demo.plant", datetime.now(UTC).isoformat()]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(stack), capture_output=True, text=True, timeout=_PLANT_SECONDS
    )
    if done.returncode:
        raise DemoFailed(f"The bad challenger could not be planted:\n{done.stderr[-2000:]}")
    return int(json.loads(done.stdout.splitlines()[-1])["version"])


def _made(client: httpx.Client, before: Played | None) -> int | None:
    """The challenger that the chapter before has made; None when its gate refused it."""
    released = None if before is None else airflow.result(client, before.chapter.dag, before.run_id, "release")
    return int(released["version"]) if released else None


def _run_of(client: httpx.Client, stack: Stack, chapter: Chapter, version: int, say: Say) -> tuple[str, bool]:
    """The run that has this version's release, and whether it had ended before. Whoever started it: an asset event, the
    schedule or, when there is none within a minute (Airflow does not rule out that an event is lost), the demo."""
    deadline, triggered = time.monotonic() + EVENT_SECONDS, False
    while True:
        for run in reversed(airflow.runs(client, "release")):
            plan: dict[str, Any] = airflow.result(client, "release", run["dag_run_id"], "plan") or {}
            if plan.get("version") == version:
                return run["dag_run_id"], run["state"] in airflow.ENDED
        mine = airflow.run(client, "release", chapter.run_id) if triggered else None
        if mine and mine["state"] == "failed":
            raise DemoFailed(failure(client, stack, "release", chapter.run_id))
        late = time.monotonic() > deadline
        if triggered and late:
            raise DemoFailed(
                f"No run of `release` has taken up version {version}: `make logs NAME=scheduler` says more."
            )
        if not triggered and (chapter.conf is not None or late):
            if late:
                say(
                    "   no run appeared within a minute; starting one: the challenger is in the ledger, nothing is lost"
                )
            airflow.trigger(client, "release", chapter.run_id, chapter.conf or {}, chapter.title)
            triggered, deadline = True, time.monotonic() + EVENT_SECONDS
        time.sleep(POLL)
