"""What the local stack is made of: ports, folders, secrets and the environment of its processes."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from include.files import canonical_json, read_json, write_json
from include.settings import ROOT, Settings

HOST = "127.0.0.1"
MARKER = "RATCHET_STACK"  # carried by every process of a stack: how `down` finds them, whoever their parent is
# name: role of Airflow's SimpleAuthManager; as `demo` the demo answers its first approval
USERS = {"admin": "admin", "operator": "op", "viewer": "viewer", "demo": "op"}
POOLS = {"lake": (1, "Tasks that write the lake's catalog or the online store: one at a time")}
_PORTS = ("port", "mlflow_port", "service_port", "evidently_port")
_LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 104 to 108


class BadPort(ValueError):
    """RATCHET_PORT, RATCHET_MLFLOW_PORT, RATCHET_SERVICE_PORT or RATCHET_EVIDENTLY_PORT is no port."""


@dataclass(frozen=True)
class Stack:
    """One local installation: where its state lies and which ports it listens on."""

    settings: Settings
    port: int = 8080
    mlflow_port: int = 5000
    service_port: int = 3000
    evidently_port: int = 8000
    dags: Path = ROOT / "dags"

    @property
    def home(self) -> Path:
        return self.settings.home.resolve()

    @property
    def folder(self) -> Path:
        return self.home / "stack"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{HOST}:{self.mlflow_port}"

    @property
    def service_url(self) -> str:
        return f"http://{HOST}:{self.service_port}"

    @property
    def evidently_url(self) -> str:
        return f"http://{HOST}:{self.evidently_port}"

    @property
    def ports(self) -> dict[str, tuple[str, int]]:
        """Variable that chooses it: what listens there, and its port."""
        return {
            "RATCHET_PORT": ("Airflow", self.port),
            "RATCHET_MLFLOW_PORT": ("MLflow", self.mlflow_port),
            "RATCHET_SERVICE_PORT": ("the prediction service", self.service_port),
            "RATCHET_EVIDENTLY_PORT": ("Evidently", self.evidently_port),
        }

    @property
    def state(self) -> Path:
        """Ports and socket of the last start, so that every later command talks to the same stack."""
        return self.folder / "stack.json"


def from_environment() -> Stack:
    """The stack that the environment asks for: RATCHET_HOME, RATCHET_DAGS and the ports."""
    return Stack(
        Settings(),
        _port("RATCHET_PORT", 8080),
        _port("RATCHET_MLFLOW_PORT", 5000),
        _port("RATCHET_SERVICE_PORT", 3000),
        _port("RATCHET_EVIDENTLY_PORT", 8000),
        Path(os.environ.get("RATCHET_DAGS") or ROOT / "dags").resolve(),
    )


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise BadPort(f"{name}={text!r} is no port: give a number from 1 to 65535")
    return int(text)


def running_ports(stack: Stack) -> Stack:
    """The same stack with the ports of its last start."""
    if not stack.state.exists():
        return stack
    kept = read_json(stack.state)
    return replace(stack, **{name: kept[name] for name in _PORTS if name in kept})


def remember(stack: Stack) -> None:
    write_json(stack.state, {name: getattr(stack, name) for name in _PORTS})


def socket_path(stack: Stack) -> Path:
    """The supervisor's socket. A deep clone's path is too long for one: then it lies in a private short folder."""
    path = stack.folder / "supervisor.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    note = stack.folder / "socket.json"
    if not note.exists() or not _is_private(Path(read_json(note)["folder"])):
        folder = Path("/tmp") / f"ratchet-{secrets.token_hex(6)}"  # noqa: S108 - made below for this user alone
        folder.mkdir(mode=0o700)
        write_json(note, {"folder": str(folder)})
    return Path(read_json(note)["folder"]) / "supervisor.sock"


def _is_private(folder: Path) -> bool:
    return folder.is_dir() and folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o077


# -- secrets: made once, readable by their owner alone ------------------------------------------------------------
def secret(stack: Stack, name: str) -> str:
    """A secret of this installation, made at its first use."""
    makers = {
        "jwt": lambda: secrets.token_urlsafe(64),
        "api": lambda: secrets.token_urlsafe(32),
        "evidently": lambda: secrets.token_urlsafe(32),
        "fernet": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "passwords.json": lambda: canonical_json({user: secrets.token_urlsafe(9) for user in USERS}),
    }
    path = secret_path(stack, name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        part = path.with_name(f".{name}-{os.getpid()}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(makers[name]())
        part.replace(path)
    return path.read_text(encoding="utf-8")


def secret_path(stack: Stack, name: str) -> Path:
    return stack.home / "secrets" / name


def passwords(stack: Stack) -> dict[str, str]:
    secret(stack, "passwords.json")
    found: dict[str, str] = read_json(secret_path(stack, "passwords.json"))
    return found


# -- the environment ----------------------------------------------------------------------------------------------
def environment(stack: Stack) -> dict[str, str]:
    """The whole environment of the stack's processes, secrets included. Settings of another Airflow are left out."""
    packages = ("AIRFLOW_", "MLFLOW_", "BENTOML_", "EVIDENTLY_", "SUPERVISOR_")
    foreign = (*packages, "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, **_common(stack), **_airflow(stack), **_secrets(stack), **_quiet()}


def _common(stack: Stack) -> dict[str, str]:
    return {
        MARKER: str(stack.home),
        "RATCHET_HOME": str(stack.home),
        "RATCHET_MLFLOW_URI": stack.mlflow_url,
        "RATCHET_PORT": str(stack.port),
        "RATCHET_MLFLOW_PORT": str(stack.mlflow_port),
        "RATCHET_SERVICE_PORT": str(stack.service_port),
        "RATCHET_SERVICE_URL": stack.service_url,
        "RATCHET_EVIDENTLY_PORT": str(stack.evidently_port),
        "RATCHET_EVIDENTLY_URL": stack.evidently_url,
        "BENTOML_HOME": str(stack.home / "bentoml"),
        "MLFLOW_TRACKING_URI": stack.mlflow_url,
        # the repository for `include`, config/ for airflow_local_settings
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "config")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        # a process that renames itself would write over its own environment, and with it over MARKER
        "SPT_NOENV": "1",
        # one thread a task: two cores are shared by three tasks, and threads do not survive Airflow's forks
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
    }


def _airflow(stack: Stack) -> dict[str, str]:
    home = stack.airflow_home
    options: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": stack.dags,
            "plugins_folder": ROOT / "plugins",
            "executor": "LocalExecutor",
            "parallelism": 3,
            "load_examples": False,
            "dags_are_paused_at_creation": True,
            "execution_api_server_url": f"{stack.url}/execution/",
            "simple_auth_manager_users": ",".join(f"{user}:{role}" for user, role in USERS.items()),
            "simple_auth_manager_passwords_file": secret_path(stack, "passwords.json"),
            # tasks are forked from the scheduler, which has the heavy libraries: config/airflow_local_settings.py
            **({"mp_start_method": "fork"} if sys.platform == "linux" else {}),
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout=30"},
        "scheduler": {
            "scheduler_idle_sleep_time": 0.1,  # the gap between two tasks of a chain: 1 s by default
            "task_instance_heartbeat_timeout": 120,
            "orphaned_tasks_check_interval": 60,
        },
        "dag_processor": {"refresh_interval": 30, "min_file_process_interval": 60, "parsing_processes": 1},
        "workers": {"execution_api_timeout": 30},
        "api": {"base_url": stack.url, "host": HOST, "port": stack.port, "instance_name": "Ratchet"},
        "logging": {
            "base_log_folder": home / "logs",
            "colored_console_log": False,
            "namespace_levels": "great_expectations=WARNING alembic=WARNING",  # hundreds of lines a start otherwise
        },
    }
    named = {
        f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
        for section, entries in options.items()
        for key, value in entries.items()
    }
    return {"AIRFLOW_HOME": str(home), **named}


def _secrets(stack: Stack) -> dict[str, str]:
    passwords(stack)
    return {
        "AIRFLOW__API_AUTH__JWT_SECRET": secret(stack, "jwt"),
        "AIRFLOW__API__SECRET_KEY": secret(stack, "api"),
        "AIRFLOW__CORE__FERNET_KEY": secret(stack, "fernet"),
        # what its HTTP API asks of those who write: nobody does, runs come as files
        "EVIDENTLY_SECRET": secret(stack, "evidently"),
    }


def _quiet() -> dict[str, str]:
    """No telemetry and no look-up of newer versions, of any package of the stack (Airflow 3.3 and Feast have none)."""
    return {
        "DO_NOT_TRACK": "1",  # Evidently, MLflow
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "BENTOML_DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # two processes instead of ten
        "GIT_PYTHON_REFRESH": "quiet",
    }
