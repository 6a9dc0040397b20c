"""Alerts about tasks that failed and runs that are late; pure. Airflow's callbacks ask (plugins/ratchet_alerts.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from include import alerts
from include.alerts import Alert

KILLED = "It ended without a word: killed, out of memory, stopped with its machine, or marked failed by hand."
_ANY = re.compile(r"[0-9a-f]{8,}|\d+")  # what differs between two times of the same error: numbers, hashes
_BULLET = re.compile(r"^- (.*(?:\n  .*)*)", re.M)
_LONGEST = 500  # characters of a cause


@dataclass(frozen=True)
class Task:
    """One try of one task."""

    dag_id: str
    run_id: str
    task_id: str
    index: int = -1  # of a mapped one
    attempt: int = 1
    manual: bool = False  # whether a person triggered the run
    doc: str = ""  # its DAG's

    @property
    def group(self) -> str:
        return f"failed/{self.dag_id}/{self.task_id}"

    @property
    def run_group(self) -> str:
        return f"run/{self.dag_id}"

    @property
    def link(self) -> str:
        return alerts.link(f"{self.dag_id}/{self.run_id}", self.task_id, self.index)


def failed(task: Task, error: str, time: str) -> Alert:
    """A task that failed for good. The same error again, in this run or a later one, is no news until the task has
    succeeded; of a mapped task all instances of one try are one matter. `error`: its text; empty: nobody knows."""
    cause = (error.strip().splitlines() or [KILLED])[0][:_LONGEST]
    return Alert(
        group=task.group,
        state=f"{task.run_id} try {task.attempt}" if task.index >= 0 else _ANY.sub("#", cause),
        title=f"{task.dag_id}: {task.task_id} failed",
        cause=cause,
        action=advice(task.doc, task.task_id),
        time=time,
        # who triggered a run by hand sits in front of it
        severity=alerts.NOTICE if task.manual else alerts.PAGE,
        runbook=task.dag_id,
        link=task.link,
    )


def late(dag_id: str, run_id: str, queued: str, state: str, time: str, manual: bool = False) -> Alert | None:
    """A run that has not ended at its deadline. Each late run is told of once. `queued`: wall time, ISO. None for one
    that failed before it, whose deadline Airflow keeps: that has been told of."""
    if state == "failed":
        return None
    return Alert(
        group=f"run/{dag_id}",
        state=run_id,
        title=f"{dag_id}: a run is late",
        cause=f"It was queued at {queued} (wall time) and is {state} after its deadline.",
        action="Nothing was stopped. See at which task it stands: one that waits for a slot, a pool or a retry, or one "
        "that takes longer than usual. If nothing runs at all, look at `make status`.",
        time=time,
        severity=alerts.NOTICE if manual else alerts.PAGE,
        runbook=dag_id,
        link=alerts.link(f"{dag_id}/{run_id}"),
    )


def is_told(alert: Alert, open_: Iterable[Mapping[str, Any]], of_the_run: bool = False) -> bool:
    """Whether what a failed task would say is open already: because its step has told it, in words of its own, with
    the same run and cause. `of_the_run`: it is the run's own callback that asks, which knows no cause: then any word
    of the task counts. A task that was killed has said none."""
    if of_the_run:
        mapped = "/mapped/" in alert.link
        return any(
            one["link"] == alert.link or (one["group"] == alert.group and not (mapped and one["state"] != alert.state))
            for one in open_
        )
    run = alert.link.split("/tasks/")[0]
    words = [one["cause"] for one in open_ if one["group"] != alert.group and one["link"].startswith(f"{run}/")]
    return any(alert.cause in cause for cause in words)


def over(task: Task, open_: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Groups that are over now that the task has succeeded, each with the words for it."""
    run = alerts.link(f"{task.dag_id}/{task.run_id}")
    for one in open_:
        here = one["link"] == run or one["link"].startswith(f"{run}/")
        # one instance of a mapped task says nothing of the others, and no task how late its own run will be
        if one["group"] == task.group and not (here and task.index >= 0):
            yield task.group, f"{task.dag_id}: {task.task_id} succeeded"
        elif one["group"] == task.run_group and not here:
            yield one["group"], f"{task.dag_id}: a later run goes on"


def advice(doc: str, task_id: str) -> str:
    """What a DAG's docs, its runbook, say to do when this task is red: its own bullet under "When it fails", else the
    one for any other task."""
    _, _, after = doc.partition("**When it fails")
    found = [" ".join(bullet.split()) for bullet in _BULLET.findall(after)]
    own = [
        text for text in found if re.match(rf"(`\w+`,? ?(or|and)? ?)*`{re.escape(task_id)}`(?! (skipped|says))", text)
    ]
    rest = [text for text in found if text.startswith("any ")]
    return (own or rest or ["Look at its log, then clear it."])[0]
