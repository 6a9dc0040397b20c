"""Start a Bento from its archive in processes of their own on 127.0.0.1, talk to it, and end it in any case."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.packaging import leash
from include.packaging.bento import environment

HOST = "127.0.0.1"
_TIMEOUT = 15.0  # seconds for one answer
_STARTUP_FAILED = "Application startup failed"  # uvicorn's words; BentoML's supervisor notices ten seconds later


class NotReady(RuntimeError):
    """The service ended or did not become ready in time; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Server:
    port: int
    home: Path
    started_in: float  # seconds from import of the archive to ready

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(HOST, self.port, timeout=_TIMEOUT)

    def log(self) -> str:
        return _tail(read_log(self.home))


@contextmanager
def serving(archive: Path, tag: str, home: Path, deadline: float) -> Iterator[Server]:
    """Import `archive` into the scratch BentoML home `home`, serve it, yield when it is ready, then end and remove it.

    What an earlier, killed attempt left in `home` is ended first. Raises NotReady.
    """
    home = home.resolve()
    leash.stop(home)
    shutil.rmtree(home, ignore_errors=True)
    env = environment(home)
    # without a container's mark the supervisor would start a broken worker again and again, until the deadline
    env["BENTOML_CONTAINERIZED"] = "true"
    port = free_port()
    bentoml = [sys.executable, "-I", "-m", "bentoml"]
    serve = [*bentoml, "serve", tag, "--production", "--host", HOST, "--port", str(port), "--api-workers", "1"]
    commands = [[*bentoml, "import", str(archive.resolve())], serve]
    begin = time.monotonic()
    holder = subprocess.Popen(
        [sys.executable, "-I", leash.__file__, str(home), json.dumps(commands)],
        env=env,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_ready(holder, port, home, begin + deadline)
        yield Server(port, home, time.monotonic() - begin)
    finally:
        _release(holder, home)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def read_log(home: Path) -> str:
    log = home / "service.log"
    return log.read_text(errors="replace") if log.exists() else "(no log)"


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:])


def ask(connection: http.client.HTTPConnection, body: bytes, path: str = "/score") -> tuple[int, Any]:
    """POST: status and JSON value (None when the answer is no JSON). Raises OSError, HTTPException."""
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, None


def is_ready(port: int, timeout: float = 1.0) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait_until_ready(holder: subprocess.Popen[bytes], port: int, home: Path, deadline: float) -> None:
    while not is_ready(port):
        said = read_log(home)
        if (code := holder.poll()) is not None:
            raise NotReady(f"the service ended with code {code} before it was ready; its log ends:\n{_tail(said)}")
        if _STARTUP_FAILED in said:
            raise NotReady(f"the service failed to start; its log ends:\n{_tail(said)}")
        if time.monotonic() > deadline:
            raise NotReady(f"the service was not ready at its deadline; its log ends:\n{_tail(said)}")
        time.sleep(0.05)


def _release(holder: subprocess.Popen[bytes], home: Path) -> None:
    """Let the leash end the service; end whatever is left if the leash itself is gone or hangs."""
    with suppress(OSError):
        holder.communicate(leash.ORDERLY, timeout=20)
    if holder.poll() is None:
        holder.kill()
        holder.wait()
    leash.stop(home)
    shutil.rmtree(home, ignore_errors=True)
