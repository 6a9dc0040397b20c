"""The demo's traffic: people who ask the service about flights. Run it through the stack: `make demo` starts it.

- All the time: each flight of the published schedule is asked for when data time reaches its prediction moment, two
  hours before its departure. Its features come from Feast's online store.
- While a release looks for evidence (shadow, approved, canary): the flights of the week before the clock's start are
  asked for again and again, some dozens a second, with the features that serving had at each one's own moment, as the
  training side joins them. Their outcomes are known, so the release can judge.
- Once, for a chapter (`ask`): the flights of an interval, as they would have been asked for in their time, so that the
  monitor has a log to look at; on request with a feed that is broken.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import sqlalchemy as sa

from include import clock, lake, times
from include.contracts import ANSWER, ENTITY, EVENT_TIME, SCHEDULE, VIEWS
from include.features import frame as frames
from include.features import snapshot as snapshots
from include.files import read_json, write_json
from include.models import registry
from include.release import ledger as book
from include.release import releases
from include.serving import collect as spool
from include.settings import Settings

WEEK = timedelta(days=7)
RATE = 60.0  # requests a second while a release looks
_KEYS = ("carrier", "flight", "origin", "dest", "distance")
_IDLE = 1.0  # seconds between two looks at the ledger
_PACE = timedelta(minutes=1)  # of data time, between two looks at the schedule
_LOG_SECONDS = 60.0
_TOLD = 60.0  # seconds between two lines in the log


def prepare(settings: Settings) -> Path:
    """Write the replayed week's requests, in the order of their moments: home/demo/replay.json, one list."""
    target = settings.home / "demo" / "replay.json"
    if target.exists():
        return target
    rows = _rows(settings, settings.anchor - WEEK, settings.anchor)
    return write_json(target, _requests(settings, rows))


def ask(settings: Settings, url: str, start: datetime, end: datetime, fault: str = "") -> int:
    """Ask once about every flight scheduled in [start, end), at its own moment. Returns how many were answered.

    `fault`: a name of FAULTS, what is done to the features on their way. Raises RuntimeError when the service does not
    answer all of them.
    """
    rows, client = _rows(settings, start, end), Client(url)
    requests = _requests(settings, FAULTS[fault](rows) if fault else rows)
    begin = datetime.now(UTC)
    for request in requests:
        client.ask(request)
    if client.answered != {http.client.OK: len(requests)}:
        raise RuntimeError(f"{len(requests)} requests were answered, by status, {client.answered}")
    _await_log(settings, begin, len(requests))
    return len(requests)


def _await_log(settings: Settings, begin: datetime, count: int) -> None:
    """Wait until the lake holds so many answers given since `begin`: a worker closes its segment after some seconds."""
    deadline = time.monotonic() + _LOG_SECONDS
    while True:
        spool.collect(settings)
        rows = spool.read(settings, settings.model, columns=["wall", "role"]).to_pandas()
        if int(((rows["wall"] >= begin) & (rows["role"] == ANSWER)).sum()) >= count:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the log of predictions does not hold {count} answers after {_LOG_SECONDS:.0f} s")
        time.sleep(_IDLE)


def _stale_weather(rows: pd.DataFrame) -> pd.DataFrame:
    """Each airport's weather stands still at the first flight's: a station that repeats its last observation."""
    names = [f.name for view in VIEWS if view.name == "origin_weather" for f in view.features if f.name in rows]
    first = rows.groupby("origin")[names].transform("first")
    return rows.assign(**{name: first[name] for name in names})


FAULTS = {"stale weather": _stale_weather}


def _rows(settings: Settings, start: datetime, end: datetime) -> pd.DataFrame:
    """Flights with the features of their moments, in the order of these."""
    spec, versions = registry.load(settings.model), frames.take_versions(settings)
    known = settings.anchor
    taken = snapshots.take(settings, versions, start - spec.horizon, known)
    asked = (times.iso(known), times.iso(start), times.iso(end))
    rows = frames.load(frames.build_window(settings, spec, versions, taken, *asked)).sort_values(EVENT_TIME)
    flights = _schedule(settings, start, end)
    return rows.merge(flights[[ENTITY, "sched_arr", "distance"]], on=ENTITY, suffixes=("_known", ""))


def _requests(settings: Settings, rows: pd.DataFrame) -> list[dict[str, Any]]:
    features = list(registry.load(settings.model).features)
    return [_request(row, row[EVENT_TIME], features) for row in rows.to_dict("records")]


def _schedule(settings: Settings, start: datetime, end: datetime) -> pd.DataFrame:
    version = lake.catalog(settings.lake)["versions"][SCHEDULE.name]
    rows = lake.read(settings.lake, SCHEDULE, version, (times.day(start), times.day(end))).to_pandas()
    return rows[(rows["sched_dep"] >= start) & (rows["sched_dep"] < end)]


def _request(row: dict[str, Any], at: datetime | None = None, features: list[str] | None = None) -> dict[str, Any]:
    flight = {key: row[key] for key in _KEYS} | {key: row[key].isoformat() for key in ("sched_dep", "sched_arr")}
    if at is not None and features is not None:
        flight["at"] = at.isoformat()
        flight["features"] = {name: None if math.isnan(row[name]) else row[name] for name in features}
    return {"flight": flight}


class Client:
    """One connection to the service that is opened anew when it breaks. Counts what it was answered."""

    def __init__(self, url: str) -> None:
        self.address = urlsplit(url)
        self.connection: http.client.HTTPConnection | None = None
        self.answered: dict[int, int] = {}  # by status; 0: no answer

    def ask(self, request: dict[str, Any]) -> int:
        """The status; 0: nobody answered. A connection that the service closed while it was idle is opened anew."""
        status = self._ask(request) or self._ask(request)
        self.answered[status] = self.answered.get(status, 0) + 1
        return status

    def _ask(self, request: dict[str, Any]) -> int:
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address.hostname or "", self.address.port, timeout=10)
        try:
            body = json.dumps(request).encode()
            self.connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return 0


def run(settings: Settings, url: str) -> None:
    """Ask until the process is ended."""
    client, ledger = Client(url), book.connect(settings.ledger_url)
    replayed = itertools.cycle(read_json(prepare(settings)))
    world = _world(settings)
    told = 0.0
    while True:
        for request in next(world):
            client.ask(request)
        live = book.current(ledger, settings.model)
        stage = live.stage
        if _is_looking(ledger, live):
            _burst(client, replayed)
        else:
            time.sleep(_IDLE)
        if time.monotonic() - told > _TOLD:
            told = time.monotonic()
            print(f"stage {stage or 'none'}; answers by status: {client.answered}", flush=True)


def _is_looking(ledger: sa.Engine, live: book.Deployment) -> bool:
    """Whether a release wants evidence: also once it is approved, for the canary begins with another look, which may
    ask for more. While it waits for a person it does not: that may take days."""
    if live.stage == book.APPROVAL and live.release is not None:
        said = releases.approval(ledger, live.release)
        return said is not None and said.answer == releases.APPROVED
    return live.stage in (book.SHADOW, book.CANARY)


def _burst(client: Client, replayed: Iterator[dict[str, Any]]) -> None:
    """One second of replayed traffic, evenly paced; less when the service is slower than that."""
    begin = time.monotonic()
    for number in range(int(RATE)):
        time.sleep(max(begin + number / RATE - time.monotonic(), 0.0))
        if client.ask(next(replayed)) == 0:
            time.sleep(_IDLE)  # it restarts
            return


def _world(settings: Settings) -> Iterator[list[dict[str, Any]]]:
    """At each step the requests about flights whose prediction moment has come since the step before."""
    spec = registry.load(settings.model)
    since: datetime | None = None
    while True:
        now = clock.load(settings.home / "clock.json").at(datetime.now(UTC))
        begin = (since or now) + spec.horizon
        if now - (since or now) < _PACE and since is not None:
            yield []
            continue
        due = _schedule(settings, begin, now + spec.horizon)
        since = now
        yield [_request(row) for row in due.to_dict("records")]


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    if sys.argv[1:] == ["prepare"]:
        prepare(Settings())
    elif sys.argv[2:3] == ["ask"]:
        begin, until = (times.parse(text) for text in sys.argv[3:5])
        print(ask(Settings(), sys.argv[1], begin, until, *sys.argv[5:6]))
    else:
        run(Settings(), sys.argv[1])
