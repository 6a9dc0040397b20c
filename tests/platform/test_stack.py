"""The whole stack, started for real: it comes up on loopback only, restarts what dies, and leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from scripts.stack import control, processes, supervisor
from scripts.stack.config import Stack
from tests.platform.conftest import make_stack

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Stack]:
    stack = make_stack(tmp_path)
    try:
        yield control.up(stack, lambda _: None)
    finally:
        processes.end(stack)


def wait(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_life(started: Stack) -> None:
    """Up, listening where it should, up again, a dead component, a dead supervisor, down."""
    assert all(control.health(started).values())
    listening = [
        connection.laddr
        for process in processes.of_stack(started)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {started.port, started.mlflow_port, started.evidently_port} <= {address.port for address in listening}

    body = {"name": "nobody's"}
    assert httpx.post(f"{started.evidently_url}/api/v2/projects", json=body, trust_env=False).status_code == 403
    assert httpx.get(f"{started.evidently_url}/api/projects", trust_env=False).json() == []

    said: list[str] = []
    before = {p.pid for p in processes.of_stack(started)}
    control.up(started, said.append)
    assert "The stack is already running." in said
    assert {p.pid for p in processes.of_stack(started)} == before

    first = supervisor.states(started)["dag-processor"]["pid"]
    psutil.Process(first).kill()
    wait(lambda: supervisor.states(started)["dag-processor"]["pid"] not in (0, first))

    psutil.Process(int((started.folder / "supervisord.pid").read_text())).kill()
    assert processes.of_stack(started)
    control.down(started, said.append)
    assert processes.of_stack(started) == []
    assert processes.is_free(started.port)
    assert processes.is_free(started.mlflow_port)
    assert processes.is_free(started.evidently_port)
