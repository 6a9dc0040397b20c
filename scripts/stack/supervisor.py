"""supervisord: its configuration and the calls made to it over its private socket."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from include.files import write_text
from include.packed import SERVICE
from include.settings import ROOT
from scripts.stack.config import HOST, Stack, environment, socket_path

_BIN = Path(sys.executable).parent

_HEAD = """\
; Written by scripts/stack at every start: changes made here are lost.
[unix_http_server]
file = {socket}
chmod = 0700

[supervisord]
logfile = {logs}/supervisord.log
logfile_maxbytes = 5MB
logfile_backups = 2
pidfile = {folder}/supervisord.pid
childlogdir = {logs}
directory = {root}
umask = 077
silent = true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command = {command}
priority = {priority}
autorestart = true
startretries = 50
startsecs = 3
stopasgroup = true
killasgroup = true
stopwaitsecs = 8
redirect_stderr = true
stdout_logfile = {logs}/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 2
"""


class NotRunning(RuntimeError):
    """No supervisor answers for this stack."""


def programs(stack: Stack) -> dict[str, list[str]]:
    """Name and command line of each component. The ports are only ever opened on 127.0.0.1."""
    airflow = str(_BIN / "airflow")
    data = stack.home / "mlflow"
    return {
        "mlflow": [
            *(str(_BIN / "mlflow"), "server", "--host", HOST, "--port", str(stack.mlflow_port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{data / 'mlflow.db'}"),
            *("--artifacts-destination", str(data / "artifacts"), "--serve-artifacts"),
        ],
        "service": [
            *(sys.executable, "-m", "bentoml", "serve", SERVICE, "--production", "--api-workers", "1"),
            *("--host", HOST, "--port", str(stack.service_port)),
            *("--timeout-keep-alive", "75"),  # longer than clients keep a connection idle: they see no resets
        ],
        "evidently": [
            *(str(_BIN / "evidently"), "ui", "--host", HOST, "--port", str(stack.evidently_port)),
            *("--workspace", str(stack.settings.evidently.resolve())),
        ],
        "api-server": [airflow, "api-server", "--host", HOST, "--port", str(stack.port), "--workers", "1"],
        "scheduler": [airflow, "scheduler", "--skip-serve-logs"],
        "dag-processor": [airflow, "dag-processor"],
        "triggerer": [airflow, "triggerer", "--skip-serve-logs"],
    }


def on_demand(stack: Stack) -> dict[str, list[str]]:
    """Programs that only start when they are asked for, and belong to no stack's health."""
    return {"replay": [sys.executable, "-m", "scripts.demo.replay", stack.service_url]}


def write_config(stack: Stack) -> Path:
    """Write var/stack/supervisord.conf. It holds no secret: those are in the environment of supervisord."""
    names = {"socket": socket_path(stack), "logs": stack.logs, "folder": stack.folder, "root": ROOT}
    escaped = {name: str(path).replace("%", "%%") for name, path in names.items()}
    text = _HEAD.format(**escaped)
    for priority, (name, command) in enumerate(programs(stack).items(), start=1):
        line = shlex.join(command).replace("%", "%%")
        text += _PROGRAM.format(name=name, command=line, priority=priority, logs=escaped["logs"])
    for name, command in on_demand(stack).items():
        line = shlex.join(command).replace("%", "%%")
        text += _PROGRAM.format(name=name, command=line, priority=99, logs=escaped["logs"]) + "autostart = false\n"
    return write_text(stack.folder / "supervisord.conf", text)


def start(stack: Stack) -> None:
    """Start supervisord in the background; it starts the programs."""
    for folder in (stack.logs, stack.airflow_home, stack.home / "mlflow" / "artifacts"):
        folder.mkdir(parents=True, exist_ok=True)
    config = write_config(stack)
    command = [str(_BIN / "supervisord"), "-c", str(config)]
    null = subprocess.DEVNULL
    subprocess.run(command, env=environment(stack), cwd=ROOT, check=True, stdin=null, stdout=null)


def call(stack: Stack, method: str, *arguments: Any) -> Any:
    """Call supervisord's XML-RPC. Raises NotRunning."""
    transport = SupervisorTransport(None, None, f"unix://{socket_path(stack)}")
    proxy = ServerProxy("http://127.0.0.1", transport=transport, allow_none=True)
    try:
        return getattr(proxy.supervisor, method)(*arguments)
    except (OSError, Fault) as error:
        raise NotRunning(f"no supervisor answers at {socket_path(stack)}: {error}") from error
    finally:
        transport.close()


def is_running(stack: Stack) -> bool:
    try:
        return str(call(stack, "getState")["statename"]) == "RUNNING"
    except NotRunning:
        return False


def states(stack: Stack) -> dict[str, dict[str, Any]]:
    """What supervisord says of each program: statename, pid, description. Empty when it does not run."""
    try:
        found: list[dict[str, Any]] = call(stack, "getAllProcessInfo")
    except NotRunning:
        return {}
    return {info["name"]: info for info in found}


def ensure(stack: Stack, name: str) -> None:
    """Start a program unless it runs."""
    if states(stack).get(name, {}).get("statename") not in ("RUNNING", "STARTING"):
        call(stack, "startProcess", name, False)


def stop(stack: Stack) -> None:
    """Stop all programs side by side, then supervisord itself."""
    call(stack, "stopAllProcesses", True)
    call(stack, "shutdown")
