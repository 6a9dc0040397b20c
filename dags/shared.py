"""What the DAG files share: defaults, the run's as-of, and the folder of a task's page. No DAG in here."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, get_current_context

from include import clock, pages, times
from include.settings import Settings, settings

ORIGIN = datetime(2013, 1, 1)

DEFAULTS = {
    "owner": "ratchet",
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "execution_timeout": timedelta(minutes=30),
}

TIME = {"type": ["null", "string"], "format": "date-time"}


def time_param(text: str) -> Param:
    """A field for a data time, e.g. 2013-03-01T05:00:00Z; empty: the run's own."""
    return Param(None, description=text, **TIME)


def as_of(context: dict[str, Any], asked: str | None = None) -> str:
    """The instant whose knowledge this run may use, the same at each retry and clear.

    From the run's form, else what the caller found (the request that caused the run), else a backfill's own interval,
    else the clock at `run_after`.
    """
    given = context["params"].get("as_of") or asked
    if given:
        return times.iso(times.parse(given))
    run = context["dag_run"]
    if run.run_type == "backfill":
        return times.iso(run.data_interval_end)
    return times.iso(clock.load(settings().home / "clock.json").at(run.run_after))


def here() -> tuple[Settings, dict[str, Any], str]:
    """Settings, context and the run's name (dag/run id) of the task that calls."""
    context: dict[str, Any] = dict(get_current_context())
    return settings(), context, f"{context['dag'].dag_id}/{context['run_id']}"


def page() -> Path:
    """Where this task writes its page: linked from the task in Airflow."""
    context = get_current_context()
    ti = context["ti"]
    index = -1 if ti.map_index is None else ti.map_index
    return pages.folder(settings(), ti.dag_id, ti.run_id, ti.task_id, index) / "index.html"
