"""The service in processes of its own, following an installation, as `make up` starts it; and its client."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from include.packaging.server import HOST, free_port
from include.packed import SERVICE
from include.settings import ROOT


@dataclass
class Service:
    """A running service. Its answers are (status, JSON value)."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]
    _connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(HOST, self.port, timeout=15)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request on the connection that is kept. A body that is no bytes is sent as JSON."""
        connection = self._connections[0] if self._connections else self.connect()
        self._connections = [connection]
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        return response.status, json.loads(text) if "json" in (response.getheader("content-type") or "") else text

    def predict(self, flight: Mapping[str, Any], **more: Any) -> tuple[int, Any]:
        return self.ask("POST", "/predict", {"flight": flight, **more})

    def workers(self) -> list[psutil.Process]:
        """The processes below BentoML's supervisor; the one that answers is the last that was started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait(self, what: Callable[[], Any], seconds: float = 20.0) -> Any:
        """What `what` returns, once that is true. A refused connection is not."""
        return wait(what, seconds, lambda: self.log.read_text(errors="replace")[-3000:])


def wait(what: Callable[[], Any], seconds: float, said: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := what():
                return found
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() < deadline, f"not within {seconds} s; {said()}"
        time.sleep(0.01)


@contextmanager
def running(home: Path, seconds: float = 60.0, **environment: str) -> Iterator[Service]:
    """Serve the installation in `home`; yields as soon as it is alive, champion or not, and ends all processes."""
    port = free_port()
    (home / "bentoml").mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BENTOML", "RATCHET", "PYTHONDONTWRITE"))}
    ours = {"RATCHET_HOME": str(home), "BENTOML_HOME": str(home / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--production", "--host", HOST, "--port", str(port)]
    log = home / "service.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--api-workers", "1", "--timeout-keep-alive", "75"],
            cwd=ROOT,
            env={**kept, **ours, "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    service = Service(port, log, process)
    try:
        service.wait(lambda: service.ask("GET", "/healthz")[0] == 200, seconds)
        yield service
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the supervisor and with it its worker; whatever outlives that is killed."""
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in psutil.wait_procs(below, timeout=5)[1]:
        left.kill()
