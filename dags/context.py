"""What Airflow tells a task, as the Run that the functions of include.loop take."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from include import pages, times
from include.loop.run import Run, Stop
from include.settings import settings


def run_of(context: Any) -> Run:
    """Raises Stop for a form with a field that the DAG does not have."""
    run, ti = context["dag_run"], context["ti"]
    if unknown := sorted(set(run.conf or {}) - set(context["dag"].params)):
        known = ", ".join(context["dag"].params)
        raise Stop(f"the form has no field {', '.join(unknown)}; there are {known}. Nothing was done.")
    index = -1 if ti.map_index is None else ti.map_index
    events = [e for found in (context.get("triggering_asset_events") or {}).values() for e in found]
    span = (times.iso(run.data_interval_start), times.iso(run.data_interval_end)) if _backfill(run) else None
    return Run(
        settings=settings(),
        name=f"{ti.dag_id}/{ti.run_id}",
        page=pages.folder(settings(), ti.dag_id, ti.run_id, ti.task_id, index) / "index.html",
        params=dict(context["params"]),
        wall=times.iso(run.run_after),
        looked=times.iso(datetime.now(UTC)),
        actor=getattr(run, "triggering_user_name", None) or "",
        interval=span,
        events=tuple(dict(e.extra or {}) for e in events),
    )


def _backfill(run: Any) -> bool:
    return str(getattr(run.run_type, "value", run.run_type)) == "backfill"
