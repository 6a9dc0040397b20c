"""Play the chapters through the running scheduler. Safe to run again at any time."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import httpx

from include.settings import ROOT
from scripts.demo import airflow, release
from scripts.demo.follow import EVENT_SECONDS, POLL, DemoFailed, Played, Say, failure, follow, seconds
from scripts.demo.story import Chapter
from scripts.stack.config import Stack, environment

_PARSE_SECONDS = 120
_ASK_SECONDS = 300


def wait_for_dags(client: httpx.Client, dags: set[str], say: Say) -> None:
    """Wait until Airflow has read the DAG files. Raises DemoFailed with the import errors, if there are any."""
    deadline, told = time.monotonic() + _PARSE_SECONDS, False
    while missing := {dag for dag in dags if not airflow.exists(client, dag)}:
        if time.monotonic() > deadline:
            errors = "\n".join(airflow.import_errors(client)) or "it reports no import error"
            raise DemoFailed(f"Airflow has not read the DAGs {', '.join(sorted(missing))}: {errors}")
        if not told:
            say("Waiting for Airflow to read the DAG files …")
            told = True
        time.sleep(POLL)


def play(client: httpx.Client, stack: Stack, chapter: Chapter, before: Played | None, say: Say) -> Played:
    """Bring one chapter to its end: start its run, or find it, or clear what failed of it."""
    say(f"\n{chapter.key.split('_')[0]}. {chapter.title}  [{chapter.dag}]")
    if chapter.dag == "release":
        return release.play(client, stack, chapter, before, say)
    found = airflow.run(client, chapter.dag, chapter.run_id)
    asked = before is not None and airflow.result(client, before.chapter.dag, before.run_id, "act") is not None
    if found is None and ((chapter.quiet and asked) or (chapter.conf is None and not asked)):
        say("   not needed: a training is asked for" if chapter.quiet else "   nobody asked for it")
        return Played(chapter, chapter.run_id, release.NOT_NEEDED, 0.0, before=False)
    if chapter.conf is None and found is None:
        assert before is not None
        found = _awaited(client, chapter, before, say)
    if found and found["state"] == "success":
        say(f"   already done in an earlier demo ({found['dag_run_id']})")
        return Played(chapter, found["dag_run_id"], "success", seconds(found), before=True)
    if found and found["state"] == "failed":
        say(f"   {found['dag_run_id']} had failed: clearing what failed of it")
        airflow.clear_failed(client, chapter.dag, found["dag_run_id"])
    elif found is None:
        if chapter.asks:
            say(f"   {ask(stack, *chapter.asks, chapter.fault)}")
        airflow.trigger(client, chapter.dag, chapter.run_id, chapter.conf or {}, chapter.title)
    run_id = found["dag_run_id"] if found else chapter.run_id
    ended = follow(client, chapter.dag, run_id, say)
    if ended["state"] != "success":
        raise DemoFailed(failure(client, stack, chapter.dag, run_id))
    return Played(chapter, run_id, ended["state"], seconds(ended), before=False)


def ask(stack: Stack, begin: str, end: str, fault: str = "") -> str:
    """Have the service asked, over HTTP, about the flights between these times, with a feed that has this fault.
    Again does no harm. Returns what was done, in words; raises DemoFailed."""
    command = [sys.executable, "-m", "scripts.demo.replay", stack.service_url, "ask", begin, end]
    done = subprocess.run(
        [*command, *([fault] if fault else [])],
        cwd=ROOT,
        env=environment(stack),
        capture_output=True,
        text=True,
        timeout=_ASK_SECONDS,
    )
    if done.returncode:
        raise DemoFailed(
            f"The service could not be asked about the flights from {begin} to {end}:\n"
            f"{done.stderr[-2000:]}\n`make logs NAME=service` says more; `make demo` again goes on."
        )
    how = f", with a broken feed ({fault})" if fault else ""
    return f"{done.stdout.splitlines()[-1]} questions were answered by the service{how}"


def _awaited(client: httpx.Client, chapter: Chapter, cause: Played, say: Say) -> dict[str, Any] | None:
    """The run that the previous chapter's asset event made. None when the event was lost, which Airflow does not rule
    out: the request stands in the ledger, and any run of the DAG serves it."""
    since = (airflow.run(client, cause.chapter.dag, cause.run_id) or {}).get("start_date") or ""
    deadline = time.monotonic() + EVENT_SECONDS
    while True:
        made = airflow.runs(client, chapter.dag, run_type="asset_triggered")
        later = [run for run in made if run["run_after"] >= since]
        if later:
            if later[0]["state"] != "success":
                say(f"   {later[0]['dag_run_id']} appeared by itself")
            return later[0]
        if time.monotonic() > deadline:
            say("   no run appeared within a minute; starting one: the request is in the ledger, so nothing is lost")
            return None
        time.sleep(POLL)
