"""Play the chapters through the running scheduler, showing each task as it ends. Safe to run again at any time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from scripts.demo import airflow
from scripts.demo.story import Chapter
from scripts.stack import control
from scripts.stack.config import Stack

Say = Callable[[str], None]
_POLL = 0.5
_PARSE_SECONDS = 120
_RUN_SECONDS = 1800
_EVENT_SECONDS = 60
_PATIENCE = 20  # seconds without news after which the demo says what it waits for
NOT_NEEDED = "not needed"
_DONE = ("success", "failed", "skipped", "upstream_failed", "removed")


class DemoFailed(RuntimeError):
    """A run failed, or never came. The message is for a person: what, where, what was kept, what to do."""


@dataclass(frozen=True)
class Played:
    chapter: Chapter
    run_id: str
    state: str
    seconds: float
    before: bool  # an earlier demo had done it


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
        time.sleep(_POLL)


def play(client: httpx.Client, stack: Stack, chapter: Chapter, before: Played | None, say: Say) -> Played:
    """Bring one chapter to its end: start its run, or find it, or clear what failed of it."""
    say(f"\n{chapter.key.split('_')[0]}. {chapter.title}  [{chapter.dag}]")
    airflow.unpause(client, chapter.dag)
    found = airflow.run(client, chapter.dag, chapter.run_id)
    if chapter.conf is None and found is None:
        if before is None or airflow.result(client, before.chapter.dag, before.run_id, "request") is None:
            say("   nobody asked for it")
            return Played(chapter, chapter.run_id, NOT_NEEDED, 0.0, before=False)
        found = _awaited(client, chapter, before, say)
    if found and found["state"] == "success":
        say(f"   already done in an earlier demo ({found['dag_run_id']})")
        return Played(chapter, found["dag_run_id"], "success", _seconds(found), before=True)
    if found and found["state"] == "failed":
        say(f"   {found['dag_run_id']} had failed: clearing what failed of it")
        airflow.clear_failed(client, chapter.dag, found["dag_run_id"])
    elif found is None:
        airflow.trigger(client, chapter.dag, chapter.run_id, chapter.conf or {}, chapter.title)
    run_id = found["dag_run_id"] if found else chapter.run_id
    ended = follow(client, chapter.dag, run_id, say)
    if ended["state"] != "success":
        raise DemoFailed(_failure(client, stack, chapter.dag, run_id))
    return Played(chapter, run_id, ended["state"], _seconds(ended), before=False)


def _awaited(client: httpx.Client, chapter: Chapter, cause: Played, say: Say) -> dict[str, Any] | None:
    """The run that the previous chapter's asset event made. None when the event was lost, which Airflow does not rule
    out: the request stands in the ledger, and any run of the DAG serves it."""
    since = (airflow.run(client, cause.chapter.dag, cause.run_id) or {}).get("start_date") or ""
    deadline = time.monotonic() + _EVENT_SECONDS
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
        time.sleep(_POLL)


def follow(client: httpx.Client, dag: str, run_id: str, say: Say) -> dict[str, Any]:
    """Show tasks as they end, until the run has ended. Raises DemoFailed after half an hour."""
    begin = news = time.monotonic()
    told: set[tuple[str, int, int, str]] = set()
    while True:
        state = airflow.run(client, dag, run_id)
        found = airflow.tasks(client, dag, run_id)
        for task in sorted(found, key=lambda t: t["end_date"] or ""):
            key = (task["task_id"], task["map_index"], task["try_number"], task["state"])
            if task["state"] in (*_DONE, "up_for_retry") and key not in told:
                told.add(key)
                news = time.monotonic()
                say(_line(task))
        if state and state["state"] in airflow.ENDED:
            return state
        if time.monotonic() - news > _PATIENCE:
            news = time.monotonic()
            running = ", ".join(sorted({t["task_id"] for t in found if t["state"] == "running"})) or "the scheduler"
            say(f"   … {running} ({time.monotonic() - begin:.0f} s)")
        if time.monotonic() - begin > _RUN_SECONDS:
            raise DemoFailed(f"{dag} {run_id} has not ended after half an hour; `make logs` shows what goes on.")
        time.sleep(_POLL)


def _line(task: dict[str, Any]) -> str:
    name = task["task_id"]
    if task["map_index"] >= 0:
        name += f"[{task.get('rendered_map_index') or task['map_index']}]"
    words = {"up_for_retry": "failed, is tried again", "upstream_failed": "not run"}
    seconds = f"{task['duration']:6.1f} s" if task["duration"] is not None else ""
    return f"   {name:<34}{words.get(task['state'], task['state']):<12}{seconds}"


def _seconds(run: dict[str, Any]) -> float:
    return round(float(run.get("duration") or 0.0), 1)


def _words(log: Path, lines: int = 8) -> str:
    """The end of a task's log as text: Airflow keeps one JSON object a line."""
    words = []
    for line in control.tail(log, 40).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            words.append(line)
            continue
        words.append(f"{entry.get('level', '')}: {entry.get('event', '')}")
        words += [f"  {e['exc_type']}: {e['exc_value']}" for e in entry.get("error_detail") or []]
    return "\n".join(words[-lines:])


def _failure(client: httpx.Client, stack: Stack, dag: str, run_id: str) -> str:
    failed = [task for task in airflow.tasks(client, dag, run_id) if task["state"] == "failed"]
    lines = [f"{dag} {run_id} failed."]
    for task in failed[:3]:
        index = f"map_index={task['map_index']}/" if task["map_index"] >= 0 else ""
        folder = stack.airflow_home / "logs" / f"dag_id={dag}" / f"run_id={run_id}" / f"task_id={task['task_id']}"
        log = folder / index / f"attempt={task['try_number']}.log"
        lines += [f"\nTask {task['task_id']}, the end of its log:", _words(log), f"All of it: {log}"]
    lines += [
        "\nWhat earlier tasks wrote was kept; nothing half-done is visible to anybody. The stack stays up.",
        f"Look at the run: {stack.url}/dags/{dag}/runs/{run_id}",
        "Then `make demo` again: it clears what failed and goes on from there.",
    ]
    return "\n".join(lines)
