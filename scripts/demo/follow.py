"""Follow a run, showing each task as it ends; and say what happened when it failed."""

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
POLL = 0.5
EVENT_SECONDS = 60
_RUN_SECONDS = 1800
_PATIENCE = 20  # seconds without news after which the demo says what it waits for
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
    version: int | None = None  # that a release was about


def follow(
    client: httpx.Client, dag: str, run_id: str, say: Say, enough: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Show tasks as they end, until the run has ended, or there is `enough`. Raises DemoFailed after half an hour."""
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
        if state and (state["state"] in airflow.ENDED or enough()):
            return state
        if time.monotonic() - news > _PATIENCE:
            news = time.monotonic()
            running = ", ".join(sorted({t["task_id"] for t in found if t["state"] == "running"})) or "the scheduler"
            say(f"   … {running} ({time.monotonic() - begin:.0f} s)")
        if time.monotonic() - begin > _RUN_SECONDS:
            raise DemoFailed(f"{dag} {run_id} has not ended after half an hour; `make logs` shows what goes on.")
        time.sleep(POLL)


def _line(task: dict[str, Any]) -> str:
    name = task["task_id"]
    if task["map_index"] >= 0:
        name += f"[{task.get('rendered_map_index') or task['map_index']}]"
    words = {"up_for_retry": "failed, is tried again", "upstream_failed": "not run"}
    seconds = f"{task['duration']:6.1f} s" if task["duration"] is not None else ""
    return f"   {name:<34}{words.get(task['state'], task['state']):<12}{seconds}"


def seconds(run: dict[str, Any]) -> float:
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


def failure(client: httpx.Client, stack: Stack, dag: str, run_id: str) -> str:
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
