"""The service: answers by the versions that the ledger says are live, or by the one bundle that it was packed with.

    alone      neither RATCHET_HOME nor RATCHET_LEDGER_URI is set: a Bento on any machine serves the bundle in it
    following  one of them is: a thread looks at the ledger's deployment and swaps what is live, within a second

BentoML runs it: `python -m bentoml serve include.loop.serve:Ratchet` from the repository, or from a Bento's archive.
The edge of the process is here, and only here is the wall clock handed on.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from threading import Event, Thread
from typing import Any

import bentoml

from include import bundle, clock, packed
from include.files import read_json, write_json
from include.serving.app import App, in_front
from include.serving.metrics import Metrics
from include.serving.predict import STORED, Answering
from include.serving.recorder import Recorder
from include.serving.router import Live, Package, Router, describe, model, warm
from include.settings import ROOT, Settings

POLL = 0.25  # seconds between two looks at the ledger
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
REPORT = 30.0  # seconds between two writings of the status file when nothing has changed
RETRY = 10.0  # seconds between two attempts at a version that is broken

log = logging.getLogger("ratchet.serve")


def following() -> bool:
    """Whether this process belongs to an installation."""
    return any(os.environ.get(name) for name in ("RATCHET_HOME", "RATCHET_LEDGER_URI"))


class Alone:
    """Serves the bundle that lies beside the code in a Bento."""

    def __init__(self, folder: Path = ROOT) -> None:
        labels = read_json(folder / "identity.json")["labels"]
        self.router = Router(labels["model_name"], packed.code_hash())
        champion = model(self.router.name, int(labels["model_version"]), bundle.load(folder / "bundle"))
        self.router.live = Live(champion=warm(champion))
        metrics = Metrics(lambda: describe(self.router), dict)
        self.app = App(self.router, Answering(time.time, lambda wall: wall, metrics), metrics, str)

    def close(self) -> None:
        """Nothing is kept."""


class Following:
    """Serves what an installation's ledger says; its features are the installation's, its log goes there."""

    def __init__(self, settings: Settings) -> None:
        from include.features.online import Reader  # seconds of Feast, which a Bento alone does not pay

        self.settings = settings
        self.router = Router(settings.model, packed.code_hash())
        self.recorder = Recorder(settings.predictions, uuid.uuid4().hex[:12])
        self.note = "the ledger was not read yet"
        self._status = settings.home / "service" / f"{self.recorder.worker}.json"
        self._clock: clock.Clock | None = None
        self._engine: Any = None
        self._tried = self._reported = 0.0
        self._stop = Event()
        metrics = Metrics(lambda: describe(self.router), self.recorder.counts)
        reader = Reader(settings, STORED)
        answering = Answering(time.time, self._data_time, metrics, reader, self.recorder)
        self.app = App(self.router, answering, metrics, lambda: self.note)
        self.look()
        self._thread = Thread(target=self._follow, name="follow", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, then write what was put into the log."""
        self._stop.set()
        self._thread.join()
        self.recorder.close()
        self._status.unlink(missing_ok=True)

    def look(self) -> None:
        """Read the deployment and follow it. Never raises: what is live stays so while the ledger cannot be read."""
        before = (self.router.live, self.router.broken, self.note)
        try:
            self._look()
            self.note = ""
        except Exception as error:  # no ledger yet, an older schema, a database that restarts
            self.note = f"the ledger cannot be read: {type(error).__name__}: {error}"
        if before != (self.router.live, self.router.broken, self.note):
            self._tell()
        elif time.monotonic() - self._reported > REPORT:
            self._report()

    def _look(self) -> None:
        from include.release import ledger

        if self._clock is None and (file := self.settings.home / "clock.json").exists():
            self._clock = clock.load(file)
        if self._engine is None:
            self._engine = ledger.connect(self.settings.ledger_url, migrate=False)
        wanted = ledger.current(self._engine, self.router.name)
        again = self.router.broken and time.monotonic() - self._tried > RETRY
        if wanted.generation == self.router.live.generation and not again:
            return

        def package(version: int) -> Package:
            found = ledger.version(self._engine, self.router.name, version)
            return Package(found.bundle, found.code_hash)

        self._tried = time.monotonic()
        self.router.follow(wanted, package)

    def _follow(self) -> None:
        while not self._stop.wait(POLL):
            self.look()

    def _tell(self) -> None:
        state = {**describe(self.router), "note": self.note}
        log.warning("serving %s", state) if self.router.broken or self.note else log.info("serving %s", state)
        self._report()

    def _report(self) -> None:
        """What is served, where people, the monitor and the console find it."""
        from include.serving.memory import measure

        self._reported = time.monotonic()
        state = {**describe(self.router), "note": self.note, "pid": os.getpid(), "worker": self.recorder.worker}
        try:
            write_json(self._status, {**state, **measure()})
        except OSError as error:
            log.warning("the status file cannot be written: %s", error)

    def _data_time(self, wall: float) -> float:
        """Seconds since 1970 of data time; wall time itself where no clock was started."""
        kept = self._clock
        if kept is None:
            return wall
        return kept.anchor.timestamp() + kept.speed * max(wall - kept.start.timestamp(), 0.0)


def _end_with_parent() -> None:
    """Linux: SIGTERM when BentoML's supervising process dies, by whatever signal. Else its worker would go on beside
    the next one, answering with code that nobody watches."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


serving: dict[str, Any] = {}  # "http": the app, once the service is made


@bentoml.service(
    name="ratchet",
    workers=1,
    traffic={"timeout": 10},
    http={"host": "127.0.0.1"},  # BentoML's default is every interface
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
class Ratchet:
    """Loads, warms, then leaves the garbage collector little; ends by writing its log."""

    def __init__(self) -> None:
        _end_with_parent()
        self.mode = Following(Settings()) if following() else Alone()
        serving["http"] = self.mode.app
        # BentoML's timeout leaves a timer behind each request: by default the collector walks them all, again and again
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    @bentoml.on_shutdown
    def close(self) -> None:
        self.mode.close()


Ratchet.add_asgi_middleware(in_front, serving=serving)  # type: ignore[attr-defined]  # it is a Service now
