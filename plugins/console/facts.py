"""What Airflow knows that the console shows: read from its database in the api-server, which is where this runs.

Only this project's DAGs are asked for, in four short queries, at most every two seconds whoever reads.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import func, select

from include.console.view import Airflow, DagState, Question
from plugins.console import DAGS

_SECONDS = 2.0
_UNDER_WAY = (DagRunState.QUEUED, DagRunState.RUNNING)
_ASKING = (TaskInstanceState.AWAITING_INPUT, TaskInstanceState.DEFERRED)

Asked = tuple[str, str, int]  # run id, task id, map index


@dataclass(frozen=True)
class Facts:
    """`assigned`: ids of the users that alone may answer a question; a question without any may be answered by all
    who may answer at all."""

    airflow: Airflow = field(default_factory=Airflow)
    assigned: Mapping[Asked, frozenset[str]] = field(default_factory=dict)


_kept: tuple[float, Facts] | None = None
_one = threading.Lock()


def facts() -> Facts:
    """What Airflow knows now, or knew two seconds ago."""
    global _kept
    with _one:  # whoever comes while another reads waits for what that one finds
        if _kept is None or time.monotonic() - _kept[0] > _SECONDS:
            _kept = (time.monotonic(), _read())
        return _kept[1]


def forget() -> None:
    """After something was changed: the next page shows it."""
    global _kept
    _kept = None


def state_of(dag_id: str, run_id: str) -> str | None:
    """The state of one run, None for one that Airflow does not have. Its own tabs may encode an id once more."""
    query = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id.in_({run_id, unquote(run_id)}))
    with create_session(scoped=False) as session:
        found = session.scalar(query)
    return None if found is None else str(getattr(found, "value", found))


def _read() -> Facts:
    with create_session(scoped=False) as session:
        running = _running(session)
        failed = _failed(session)
        known = select(DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun_create_after).where(
            DagModel.dag_id.in_(DAGS), DagModel.is_stale.is_(False)
        )
        dags = {
            dag: DagState(dag, paused, due, tuple(running[dag]), failed.get(dag))
            for dag, paused, due in session.execute(known.order_by(DagModel.dag_id))
        }
        questions, assigned = _questions(session)
    return Facts(Airflow(dags, questions), assigned)


def _running(session: Any) -> defaultdict[str, list[str]]:
    query = select(DagRun.dag_id, DagRun.run_id).where(DagRun.dag_id.in_(DAGS), DagRun.state.in_(_UNDER_WAY))
    found = defaultdict(list)
    for row in session.execute(query.order_by(DagRun.id)):
        found[row.dag_id].append(row.run_id)
    return found


def _failed(session: Any) -> dict[str, str]:
    """The newest run of each DAG, of those whose newest run failed."""
    newest = select(func.max(DagRun.id)).where(DagRun.dag_id.in_(DAGS)).group_by(DagRun.dag_id)
    query = select(DagRun.dag_id, DagRun.run_id).where(DagRun.id.in_(newest), DagRun.state == DagRunState.FAILED)
    return {row.dag_id: row.run_id for row in session.execute(query)}


def _questions(session: Any) -> tuple[tuple[Question, ...], dict[Asked, frozenset[str]]]:
    """The questions of `release` that wait, oldest first, and who alone may answer them."""
    query = (
        select(
            *(TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index),
            *(HITLDetail.subject, HITLDetail.body, HITLDetail.created_at, HITLDetail.assignees),
        )
        .join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
        .where(TaskInstance.dag_id == "release", TaskInstance.state.in_(_ASKING), HITLDetail.responded_at.is_(None))
        .order_by(HITLDetail.created_at)
    )
    rows = list(session.execute(query))
    questions = tuple(Question(r.run_id, r.task_id, r.map_index, r.subject, r.body or "", r.created_at) for r in rows)
    alone = {
        (r.run_id, r.task_id, r.map_index): frozenset(str(user["id"]) for user in r.assignees)
        for r in rows
        if r.assignees
    }
    return questions, alone
