"""A whole running stack as `make demo` leaves it to a new user: a fresh clone, its own environment, its own ports."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from include.files import read_json
from include.settings import ROOT, Settings
from scripts.stack.config import Stack, running_ports

# A clone in which `make demo` was run, and runs on: the tests look at it and change it, instead of making another
CLONE = "RATCHET_DEMO_CLONE"


@dataclass(frozen=True)
class Demo:
    folder: Path
    stack: Stack

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return make(self.folder, *arguments, **{name: str(port) for name, (_, port) in self.stack.ports.items()})

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.stack.home / "demo" / "report.json")
        return found

    @property
    def chapters(self) -> dict[str, dict[str, Any]]:
        return {part["chapter"]: part for part in self.report["chapters"]}


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    """Clone into the folder and play the demo there; at the end `make down`, which leaves no process behind."""
    if given := os.environ.get(CLONE):
        yield Demo(Path(given), running_ports(Stack(Settings(home=Path(given) / "var"))))
        return
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    airflow, mlflow, service, evidently = _free_ports(4)
    made = Demo(folder, Stack(Settings(home=folder / "var"), airflow, mlflow, service, evidently))
    try:
        first = made.make("demo")
        assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
        assert made.report["open"]["airflow"] in first.stdout
        yield made
    finally:
        down = made.make("down")
    assert down.returncode == 0, down.stdout + down.stderr
    left = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])]
    assert left == []


def make(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    ours = ("RATCHET_", "AIRFLOW", "PYTEST", "VIRTUAL_ENV", "PYTHONPATH")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env={**outside, **more}, capture_output=True, text=True, check=False)


def _free_ports(count: int) -> list[int]:
    """Different ones: each is held until all are found."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def wait(true: Callable[[], Any], seconds: float = 400) -> Any:
    """What `true` returns as soon as it is something; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found
