"""up, down, status and logs of the local stack."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import httpx

from include.files import locked, read_json, write_text
from include.packed import code_hash
from include.release import ledger
from include.settings import ROOT
from scripts.stack import processes, supervisor
from scripts.stack.config import POOLS, Stack, environment, passwords, remember, running_ports

_NEED_BYTES = 2 * 1024**3
_READY_SECONDS = 240
_BROKEN = ("FATAL", "EXITED")

Say = Callable[[str], None]


class StackError(RuntimeError):
    """Something that a person has to settle; the message says what, and how."""


def up(stack: Stack, say: Say = print) -> Stack:
    """Start what does not run yet, wait until it answers. Returns the stack with the ports it runs on."""
    stack.folder.mkdir(parents=True, exist_ok=True)
    with locked(stack.folder / "lock"):  # one `up` or `down` at a time; a second one waits
        if supervisor.is_running(stack):
            running = running_ports(stack)
            if running.ports != stack.ports:
                say("It runs on the ports of its start; `make down` first to move it.")
            stack = running
            say("The stack is already running.")
            _restart_broken(stack)
            _restart_outdated(stack, say)
            wait_ready(stack, lambda _: None)
        else:
            _start(stack, say)
            wait_ready(stack, say)
        _make_pools(stack)
    return stack


def _start(stack: Stack, say: Say) -> None:
    if left := processes.end(stack):
        say(f"Ended {left} processes that an earlier start had left behind.")
    check_disk(stack)
    check_ports(stack)
    migrate(stack, say)
    ledger.connect(stack.settings.ledger_url).dispose()  # its schema is there before anybody asks it
    remember(stack)
    say("Starting Airflow (four processes), MLflow, the prediction service and Evidently …")
    supervisor.start(stack)


def check_disk(stack: Stack) -> None:
    free = shutil.disk_usage(stack.folder).free
    if free < _NEED_BYTES:
        raise StackError(
            f"The disk of {stack.home} has {free // 2**20} MB free; the stack needs {_NEED_BYTES // 2**30} GB.\n"
            "Nothing was started and nothing was changed. Free some space and run the same command again."
        )


def check_ports(stack: Stack) -> None:
    """Raise StackError that names each taken port, who holds it, and the variable that chooses another."""
    asked = [port for _, port in stack.ports.values()]
    if len(set(asked)) < len(asked):
        named = ", ".join(f"{variable}={port}" for variable, (_, port) in stack.ports.items())
        raise StackError(f"Two of the ports are the same: {named}. They must differ.")
    taken = [
        f"Port {port}, wanted for {use}, is taken{' by ' + who if (who := processes.holder(port)) else ''}.\n"
        f"  Choose another with {variable}=…, for example: {variable}={free_port(port)} make demo"
        for variable, (use, port) in stack.ports.items()
        if not processes.is_free(port)
    ]
    if taken:
        raise StackError("\n".join([*taken, "Nothing was started."]))


def free_port(near: int) -> int:
    return next((p for p in range(near + 1, min(near + 200, 65536)) if processes.is_free(p)), near)


def migrate(stack: Stack, say: Say) -> None:
    """Bring Airflow's database to the installed version; once a version."""
    stamp = stack.folder / "migrated"
    version = importlib.metadata.version("apache-airflow-core")
    if stamp.exists() and stamp.read_text() == version and (stack.airflow_home / "airflow.db").exists():
        return
    say("Preparing Airflow's database (first start, about half a minute) …")
    stack.airflow_home.mkdir(parents=True, exist_ok=True)
    log = stack.logs / "migrate.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).parent / "airflow"), "db", "migrate"]
    with log.open("wb") as out:
        done = subprocess.run(command, env=environment(stack), cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode:
        raise StackError(f"`airflow db migrate` failed; its words are in {log}:\n{tail(log, 15)}")
    write_text(stamp, version)


def _restart_broken(stack: Stack) -> None:
    for name, info in supervisor.states(stack).items():
        if name in supervisor.programs(stack) and info["statename"] in (*_BROKEN, "STOPPED"):
            supervisor.call(stack, "startProcess", name, False)


def _restart_outdated(stack: Stack, say: Say) -> None:
    """A service of yesterday's code takes no challenger that was rehearsed with today's: start it anew."""
    said = [read_json(file) for file in sorted((stack.home / "service").glob("*.json"))]
    if said and all(state["code_hash"] != code_hash() for state in said):
        say("The prediction service is older than its code: starting it anew.")
        supervisor.call(stack, "stopProcess", "service")
        supervisor.call(stack, "startProcess", "service", False)


def wait_ready(
    stack: Stack, say: Say = print, seconds: float = _READY_SECONDS, of: Collection[str] | None = None
) -> None:
    """Wait until all components, or those named, say that they are well. Raises StackError with the log's end."""
    deadline = time.monotonic() + seconds
    waited = set(of or health(stack))
    while waited:
        now_healthy = {name for name, well in health(stack).items() if well}
        for name in sorted(waited & now_healthy):
            say(f"  {name} is up")
        waited -= now_healthy
        for name, info in supervisor.states(stack).items():
            if info["statename"] == "FATAL":
                raise StackError(_broken(stack, name, "does not start"))
        if waited and time.monotonic() > deadline:
            raise StackError(_broken(stack, sorted(waited)[0], f"did not become ready in {seconds:.0f} s"))
        if waited:
            time.sleep(0.5)


def _broken(stack: Stack, name: str, what: str) -> str:
    log = stack.logs / f"{name}.log"
    return f"{name} {what}. The end of {log}:\n{tail(log, 15)}\nWhat runs stays up: `make status`, `make down`."


def health(stack: Stack) -> dict[str, bool]:
    """Whether each component answers and says that it is healthy."""
    found = dict.fromkeys(supervisor.programs(stack), False)
    with suppress(httpx.HTTPError):
        found["mlflow"] = httpx.get(f"{stack.mlflow_url}/health", timeout=5, trust_env=False).is_success
    with suppress(httpx.HTTPError):  # alive; it is ready only once there is a champion
        found["service"] = httpx.get(f"{stack.service_url}/livez", timeout=5, trust_env=False).is_success
    with suppress(httpx.HTTPError):  # it reads its workspace at the first question for what is in it, and then watches
        found["evidently"] = httpx.get(f"{stack.evidently_url}/api/projects", timeout=5, trust_env=False).is_success
    try:
        answer = httpx.get(f"{stack.url}/api/v2/monitor/health", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return found
    if answer.is_success:
        said = answer.json()
        found["api-server"] = True
        for name in ("scheduler", "dag-processor", "triggerer"):
            found[name] = (said.get(name.replace("-", "_")) or {}).get("status") == "healthy"
    return found


def token(stack: Stack, user: str = "admin") -> str:
    """A bearer token of Airflow's REST API."""
    body = {"username": user, "password": passwords(stack)[user]}
    answer = httpx.post(f"{stack.url}/auth/token", json=body, timeout=30, trust_env=False)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def _make_pools(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {token(stack)}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=30, trust_env=False) as client:
        for name, (slots, description) in POOLS.items():
            if client.get(f"/api/v2/pools/{name}").status_code == httpx.codes.NOT_FOUND:
                body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
                client.post("/api/v2/pools", json=body).raise_for_status()


def down(stack: Stack, say: Say = print) -> None:
    """Stop everything that `up` started, and what those processes started, also when the supervisor is dead."""
    if not stack.folder.exists():
        say("Nothing was ever started here.")
        return
    with locked(stack.folder / "lock"):
        running = bool(processes.of_stack(stack))
        try:
            supervisor.stop(stack)
            processes.wait_gone(stack, 10)
        except supervisor.NotRunning:
            pass
        left = processes.end(stack)
        if processes.of_stack(stack):
            raise StackError(f"Some processes do not end: {[p.pid for p in processes.of_stack(stack)]}")
        orphans = f" ({left} of them had to be ended one by one)" if left else ""
        say(f"Stopped{orphans}. Data and logs stay in {stack.home}." if running else "Nothing was running.")


def tail(path: Path, lines: int) -> str:
    if not path.exists():
        return f"(there is no {path})"
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 100_000, 0))
        return b"\n".join(file.read().splitlines()[-lines:]).decode(errors="replace")
