"""What is said before anything starts, and that nothing of a stack outlives it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from include.settings import Settings
from scripts.stack import control, processes
from scripts.stack.config import HOST, MARKER, Stack


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield int(server.getsockname()[1])


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(tmp_path: Path, taken: int) -> None:
    stack = Stack(Settings(home=tmp_path / "var"), mlflow_port=taken)
    stack = Stack(stack.settings, port=control.free_port(20000), mlflow_port=taken)
    with pytest.raises(control.StackError) as error:
        control.up(stack)
    text = str(error.value)
    assert f"Port {taken}, wanted for MLflow" in text
    assert f"process {os.getpid()}" in text
    assert "RATCHET_MLFLOW_PORT=" in text
    assert "Nothing was started" in text
    assert not processes.of_stack(stack)
    assert not stack.airflow_home.exists()


def test_both_on_one_port(stack: Stack) -> None:
    with pytest.raises(control.StackError, match="must differ"):
        control.check_ports(Stack(stack.settings, stack.port, stack.port))


def test_a_full_disk(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300 * 2**20))
    with pytest.raises(control.StackError, match=r"300 MB free.*\n.*nothing was changed"):
        control.up(stack)
    assert not stack.airflow_home.exists()


def test_processes_are_found_and_ended_whoever_their_parent_is(stack: Stack, tmp_path: Path) -> None:
    """A grandchild whose parent is gone, in a session of its own, deaf to SIGTERM: as after kill -9 of a supervisor."""
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    parent = (
        "import subprocess, sys;"
        f"p = subprocess.Popen([sys.executable, '-c', {deaf!r}], start_new_session=True, stdout=-1, stderr=-3);"
        "p.stdout.readline(); print(p.pid)"
    )
    env = {**os.environ, MARKER: str(stack.home)}
    done = subprocess.run([sys.executable, "-c", parent], env=env, capture_output=True, text=True, check=True)
    orphan = int(done.stdout)
    other = Stack(Settings(home=tmp_path / "other"))
    assert processes.end(other) == 0
    assert [p.pid for p in processes.of_stack(stack)] == [orphan]
    assert processes.end(stack, grace=0.5) == 1
    assert processes.of_stack(stack) == []


def test_down_of_what_never_ran(stack: Stack) -> None:
    said: list[str] = []
    control.down(stack, said.append)
    stack.folder.mkdir(parents=True)
    control.down(stack, said.append)
    assert said == ["Nothing was ever started here.", "Nothing was running."]


def test_tail_reads_the_end_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(str(i) for i in range(100_000)))
    assert control.tail(log, 2) == "99998\n99999"
    assert "there is no" in control.tail(tmp_path / "none", 2)
