"""What the DAG files share: defaults, fields of forms, and `step`, which makes a task of a function of include.loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from airflow.sdk import Param, PokeReturnValue, get_current_context, task
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags.context import run_of
from include.loop.run import Skip, Stop
from include.settings import settings
from plugins.ratchet_alerts import RatchetNotifier, deliver, recovered

_LOOKS = 50  # failures that a wait outlives: a slow scheduler takes a look that is queued anew for one that failed
COMMON: dict[str, Any] = {
    "start_date": datetime(2013, 1, 1),  # backfills may reach back to where the data begins
    "catchup": False,
    "max_active_runs": 1,
    "on_failure_callback": RatchetNotifier(),  # of the run: a task that was killed calls nobody itself
    "default_args": {
        "owner": "ratchet",
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "execution_timeout": timedelta(minutes=30),
        "on_failure_callback": RatchetNotifier(),  # failed for good: a failure that is tried again is none
    },
}


def time_field(text: str) -> Param:
    """A form's field for a data time, e.g. 2013-03-01T05:00:00Z; it may stay empty."""
    return Param(None, description=text, type=["null", "string"], format="date-time")


def due(within: timedelta) -> DeadlineAlert:
    """An alert when a run has not ended so long after it was queued, whatever holds it up."""
    return DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, within, AsyncCallback(RatchetNotifier))


def step(function: str, **options: Any) -> Callable[..., Any]:
    """A task that runs include.loop.<function>, e.g. "ingest.plan", with the Run and the results of earlier tasks.

    The function is imported when the task runs, never when the file is parsed. What it returns goes to XCom, and into
    the events of the task's outlets.
    """

    def call(*results: Any) -> Any:
        return _perform(function, results)

    return task(task_id=function.split(".")[1], **options)(call)


def each(function: str, over: Any, *results: Any, task_id: str, **options: Any) -> Any:
    """The same, mapped: one task for each item of `over`, which the function gets last."""

    def call(item: Any, results: list[Any]) -> Any:
        return _perform(function, [*results, item])

    mapped = task(task_id=task_id, map_index_template="{{ label }}", **options)(call)
    return mapped.partial(results=list(results)).expand(item=over)


def watch(function: str, deadline: timedelta, **options: Any) -> Callable[..., Any]:
    """A task that asks include.loop.<function> again and again until it returns something, holding no slot meanwhile;
    the wait outlives a restart of the scheduler. `deadline` is the last resort: the function has its own."""

    def call(*results: Any) -> Any:
        result = _perform(function, results)
        return PokeReturnValue(result is not None, result)

    waits = task.sensor(
        task_id=function.split(".")[1],
        mode="reschedule",
        poke_interval=settings().look_seconds,
        timeout=deadline.total_seconds(),
        retries=_LOOKS,
        **options,
    )
    return waits(call)


def _perform(function: str, results: Sequence[Any]) -> Any:
    context: Any = get_current_context()
    module, name = function.split(".")
    work = getattr(import_module(f"include.loop.{module}"), name)
    try:
        result = work(run_of(context), *(_plain(r) for r in results))
        recovered(settings(), context)
    except Skip as reason:
        raise AirflowSkipException(str(reason)) from None
    except Stop as reason:
        raise AirflowFailException(str(reason)) from reason
    finally:
        deliver(settings())  # what the step has said, also one that stopped; what another left that died
    for outlet in context["task"].outlets:
        context["outlet_events"][outlet].extra = dict(result)
    if isinstance(result, dict):
        context["label"] = result.get("label", "")
    return result


def _plain(result: Any) -> Any:
    """Results of mapped tasks come as a lazy sequence."""
    return result if isinstance(result, (dict, str)) or result is None else list(result)
