"""The few calls of Airflow's REST API that the demo makes, repeated when the server is busy or restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from scripts.stack import control
from scripts.stack.config import Stack

_ATTEMPTS = 8
ENDED = ("success", "failed")
T = TypeVar("T")


def connect(stack: Stack, user: str = "admin") -> httpx.Client:
    headers = {"Authorization": f"Bearer {_patiently(lambda _: control.token(stack, user))}"}
    return httpx.Client(base_url=f"{stack.url}/api/v2", headers=headers, timeout=30, trust_env=False)


def _patiently(call: Callable[[int], T]) -> T:
    """What the call returns, given the number of earlier attempts; made again when nobody answers, or with a 5xx."""
    for attempt in range(_ATTEMPTS):
        try:
            return call(attempt)
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            final = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
            if final or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(min(2**attempt * 0.25, 5))
    raise AssertionError("unreachable")


def get(client: httpx.Client, path: str, **params: Any) -> dict[str, Any] | None:
    """The answer, or None for a 404."""

    def call(_: int) -> dict[str, Any] | None:
        answer = client.get(path, params=params)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    return _patiently(call)


def run(client: httpx.Client, dag: str, run_id: str) -> dict[str, Any] | None:
    return get(client, f"/dags/{dag}/dagRuns/{run_id}")


def runs(client: httpx.Client, dag: str, **filters: Any) -> list[dict[str, Any]]:
    """Runs of a DAG, oldest first."""
    found = get(client, f"/dags/{dag}/dagRuns", order_by="run_after", limit=100, **filters)
    return (found or {}).get("dag_runs", [])


def tasks(client: httpx.Client, dag: str, run_id: str) -> list[dict[str, Any]]:
    found = get(client, f"/dags/{dag}/dagRuns/{run_id}/taskInstances", limit=100)
    return (found or {}).get("task_instances", [])


def result(client: httpx.Client, dag: str, run_id: str, task: str) -> Any:
    """What a task returned, or None if it returned nothing or did not run."""
    path = f"/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
    found = get(client, path)
    return None if found is None else found.get("value")


def exists(client: httpx.Client, dag: str) -> bool:
    return get(client, f"/dags/{dag}") is not None


def _send(client: httpx.Client, method: str, path: str, body: dict[str, Any]) -> None:
    """Write. All that is written here may be written twice: a run has a fixed name, and a conflict on a later attempt
    says that an earlier one has come through."""

    def call(attempt: int) -> None:
        answer = client.request(method, path, json=body)
        if not (attempt and answer.status_code == httpx.codes.CONFLICT):
            answer.raise_for_status()

    _patiently(call)


def unpause(client: httpx.Client, dag: str) -> None:
    _send(client, "PATCH", f"/dags/{dag}", {"is_paused": False})


def trigger(client: httpx.Client, dag: str, run_id: str, conf: dict[str, Any], note: str) -> None:
    body = {"dag_run_id": run_id, "logical_date": None, "conf": conf, "note": note}
    _send(client, "POST", f"/dags/{dag}/dagRuns", body)


def clear_failed(client: httpx.Client, dag: str, run_id: str) -> None:
    """Let a run's failed tasks, and those that waited for them, run again."""
    body = {"dry_run": False, "only_failed": True, "run_on_latest_version": True}
    _send(client, "POST", f"/dags/{dag}/dagRuns/{run_id}/clear", body)


def import_errors(client: httpx.Client) -> list[str]:
    found = get(client, "/importErrors") or {}
    return [f"{e['filename']}:\n{e['stack_trace']}" for e in found.get("import_errors", [])]


def questions(client: httpx.Client, dag: str, run_id: str) -> list[dict[str, Any]]:
    """Approvals of a run that nobody has answered yet."""
    found = get(client, f"/dags/{dag}/dagRuns/{run_id}/hitlDetails", response_received=False)
    return (found or {}).get("hitl_details", [])


def answer(client: httpx.Client, question: dict[str, Any], chosen: str, reason: str) -> None:
    """Answer an approval as the client's user."""
    ti = question["task_instance"]
    run = f"/dags/{ti['dag_id']}/dagRuns/{ti['dag_run_id']}"
    path = f"{run}/taskInstances/{ti['task_id']}/{ti['map_index']}/hitlDetails"
    body = {"chosen_options": [chosen], "params_input": {"reason": reason}}
    _send(client, "PATCH", path, body)
