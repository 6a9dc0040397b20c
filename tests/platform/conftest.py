"""Stacks of their own for tests: own folder, own free ports, ended afterwards whatever happens."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from include.settings import ROOT, Settings
from scripts.stack import control, processes, supervisor
from scripts.stack.config import HOST, USERS, Stack, environment
from tests.console.planted import plant

DAG = '''
"""A DAG for tests of the platform."""
from airflow.sdk import dag, task

@dag(schedule=None)
def sample():
    @task
    def hello() -> str:
        return "hello"

    @task
    def many(i: int) -> int:
        return i

    hello()
    many.expand(i=[0, 1, 2, 3])

sample()
'''


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held at once so that they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def ports() -> tuple[int, int, int, int]:
    """Ports of Airflow, MLflow, the service and Evidently."""
    first, second, third, fourth = free_ports(4)
    return first, second, third, fourth


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack that was never started."""
    return Stack(Settings(home=tmp_path / "var"), *ports())


def make_stack(folder: Path) -> Stack:
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "sample.py").write_text(DAG)
    return Stack(Settings(home=folder / "var"), *ports(), folder / "dags")


MORE_USERS = {"person": "user", "guest": ""}  # may trigger runs, and no more; knows the password, and may do nothing
THE_MODELS = ("train", "release", "monitor", "rollback", "freeze")  # DAGs that the console is about


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Airflow's api-server alone, with this project's plugins, on a migrated database; nothing ever runs there."""
    stack = make_stack(tmp_path_factory.mktemp("api"))
    for name in THE_MODELS:
        shutil.copy(ROOT / "dags" / f"{name}.py", stack.dags)
    stack.folder.mkdir(parents=True)
    control.migrate(stack, lambda _: None)
    airflow = [str(Path(sys.executable).parent / "airflow"), "dags", "reserialize"]
    subprocess.run(airflow, env=environment(stack), cwd=ROOT, check=True, capture_output=True)
    users = ",".join(f"{user}:{role}" for user, role in {**USERS, **MORE_USERS}.items())
    env = {**environment(stack), "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users}
    command = supervisor.programs(stack)["api-server"]
    with (stack.folder / "api.log").open("wb") as log:
        server = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)
        try:
            control.wait_ready(stack, lambda _: None, of={"api-server"})
            yield stack
        finally:
            processes.end(stack)
            server.wait()


@pytest.fixture(scope="session")
def planted_server(api_server: Stack) -> Stack:
    """The same, over a month of decisions that nobody has waited for."""
    plant(api_server.settings, days=30, wall=datetime.now(UTC))
    return api_server


Visit = Callable[[str | None], httpx.Client]


@pytest.fixture(scope="session")
def visit(api_server: Stack) -> Iterator[Visit]:
    """A client of the api-server, logged in as one of the users, or as nobody."""
    opened: dict[str | None, httpx.Client] = {}

    def client(user: str | None) -> httpx.Client:
        if user not in opened:
            headers = {"Authorization": f"Bearer {control.token(api_server, user)}"} if user else {}
            opened[user] = httpx.Client(base_url=api_server.url, headers=headers, timeout=30, trust_env=False)
        return opened[user]

    yield client
    for one in opened.values():
        one.close()
