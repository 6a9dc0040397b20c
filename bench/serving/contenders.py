"""The contenders as processes: one worker each, all on one core, started together and asked in turn."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.serving.common import BUNDLE, PIPELINE
from include.packaging.server import HOST, free_port
from include.packed import SERVICE
from include.settings import ROOT

UVICORN = ("uvicorn", "--workers", "1", "--no-access-log", "--log-level", "warning")
BENTO = ("--production", "--api-workers", "1", "--timeout-keep-alive", "75")
START = 180.0  # seconds for a contender to be ready on a busy machine


@dataclass(frozen=True)
class Contender:
    """`command` follows `python -m`; {port} and {home} in it are filled in. `ready` is asked until it gives 200."""

    name: str
    command: tuple[str, ...]
    path: str = "/predict"
    envelope: str = "flight"
    ready: str = "/healthz"
    environment: tuple[tuple[str, str], ...] = ()


def uvicorn(name: str, app: str, **environment: str) -> Contender:
    command = (*UVICORN, "--host", HOST, "--port", "{port}", app)
    return Contender(name, command, environment=tuple(environment.items()))


def bento(name: str, service: str) -> Contender:
    return Contender(name, ("bentoml", "serve", service, "--host", HOST, "--port", "{port}", *BENTO), ready="/healthz")


USUAL = uvicorn("FastAPI + joblib pipeline", "bench.serving.tutorial:app", **{PIPELINE: "{home}/bench/usual.joblib"})
LEAN = uvicorn("the same, trees only", "bench.serving.tutorial:app", **{PIPELINE: "{home}/bench/same.joblib"})
MLFLOW = Contender(
    "mlflow models serve",
    tuple(f"mlflow models serve -m {{home}}/bench/mlflow -h {HOST} -p {{port}} -w 1 --env-manager local".split()),
    "/invocations",
    "dataframe_records",
    "/health",
)
BARE = uvicorn("bare ASGI + ONNX", "bench.serving.bare:app")
MOUNTED = bento("bare, mounted in Bento", "bench.serving.mounted:Bare")
OURS = bento("Ratchet", SERVICE)
ALL = (USUAL, LEAN, MLFLOW, BARE, MOUNTED, OURS)


@dataclass
class Running:
    contender: Contender
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def probability(self, body: bytes) -> float:
        """Of one flight. Raises RuntimeError with the answer that is none."""
        status, text = self.ask(self.contender.path, body)
        if status != 200:
            raise RuntimeError(f"{self.contender.name} answers {status}: {text[:500]!r}")
        value = json.loads(text)
        return float(value["predictions"][0] if "predictions" in value else value["probability"])

    def cpu(self) -> float:
        """Seconds that the process and all below it used, the kernel's included."""
        root = psutil.Process(self.process.pid)
        total = 0.0
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:2])
        return total

    def pin(self, core: int) -> None:
        """Keep every thread that there is on one core; those to come inherit it."""
        root = psutil.Process(self.process.pid)
        for process in (root, *root.children(recursive=True)):
            for thread in process.threads():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, {core})

    def wait(self, what: Callable[[], bool], seconds: float) -> None:
        """Until it is true. Raises RuntimeError with the end of the log."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(OSError, http.client.HTTPException):
                if what():
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.contender.name} did not become ready:\n{text}")
            time.sleep(0.05)


def start(contender: Contender, home: Path, folder: Path, bundle: str) -> Running:
    """Begin a contender; it is ready once `Running.wait` says so. Logs and BentoML's home are in `folder`."""
    port = free_port()
    filled = {"port": str(port), "home": str(home)}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BENTOML", "RATCHET", "PYTHONDONTWRITE"))}
    own = {
        "RATCHET_HOME": str(home),
        BUNDLE: bundle,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",  # MLflow looks for uvicorn
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        **{name: value.format(**filled) for name, value in contender.environment},
    }
    (folder / "bentoml").mkdir(parents=True, exist_ok=True)
    log = folder / f"{contender.name.replace(' ', '-')}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(**filled) for part in contender.command)],
            cwd=ROOT,
            env={**kept, **own},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return Running(contender, port, log, process)


@contextmanager
def running(contenders: tuple[Contender, ...], home: Path, folder: Path, bundle: str) -> Iterator[dict[str, Running]]:
    """All of them, ready, by name; ended with all their processes in any case."""
    made: list[Running] = []
    try:
        for contender in contenders:
            made.append(start(contender, home, folder, bundle))
        for one in made:
            one.wait(lambda one=one: one.ask(one.contender.ready)[0] == 200, START)  # type: ignore[misc]
        yield {one.contender.name: one for one in made}
    finally:
        for one in made:
            stop(one.process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and those below it; whatever outlives that is killed."""
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in psutil.wait_procs(below, timeout=5)[1]:
        left.kill()


def load(one: Running, bodies: Path, seconds: float, warm: float, core: int | None) -> dict[str, Any]:
    """Ask one contender; what bench/serving/load.py saw, and `cpu`: seconds that the contender used meanwhile."""
    command = [sys.executable, "-m", "bench.serving.load", str(one.port), one.contender.path, str(bodies)]
    command += ["--seconds", str(seconds), "--warm", str(warm), *(["--core", str(core)] if core is not None else [])]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "go":
            raise RuntimeError(f"the load on {one.contender.name} failed")
        others, used = _busy(), one.cpu()
        text = process.stdout.readline()
        found: Mapping[str, Any] = json.loads(text)
        used = one.cpu() - used
    others = _busy() - others - used - found["busy"] * found["seconds"]
    return {**found, "cpu": used, "others": max(others, 0.0) / found["seconds"]}


def _busy() -> float:
    """Seconds that all cores have worked, for whomever."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
