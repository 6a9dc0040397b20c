"""Clients in a process of their own that ask for predictions all the time, and what each answer was.

Run as a program: `python -m tests.serving.load <port> <file of bodies> <file of answers> <connections> <pause>`. It
asks until its standard input ends. A body and an answer is one line of JSON.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from include.packaging.server import HOST
from include.settings import ROOT

BROKEN = 0  # status of a request whose connection broke before its answer was there
TIMEOUT = 60.0  # seconds; a service that is started again lets its clients wait


class Seen(NamedTuple):
    """One request as its client saw it. Wall times, seconds since 1970; `opened`: the number of its connection."""

    sent: float
    received: float
    status: int
    version: int | None
    stage: str | None
    prediction_id: str | None
    opened: int


class Load:
    """The running clients; `seen` is what they were answered when it was last looked at, in order of `sent`."""

    def __init__(self, process: subprocess.Popen[bytes], answers: Path) -> None:
        self._process, self._file = process, answers.open()
        self._part = ""
        self._answered = 0
        self.seen: list[Seen] = []

    def look(self) -> int:
        """The number of answers so far, good or not."""
        *lines, self._part = (self._part + self._file.read()).split("\n")
        new = [Seen(*json.loads(line)) for line in lines]
        self._answered += sum(s.status != BROKEN for s in new)
        self.seen = sorted(self.seen + new) if new else self.seen
        return self._answered

    def wait(self, more: int, seconds: float = 60.0) -> None:
        """Until so many more requests are answered."""
        deadline = time.monotonic() + seconds
        wanted = self.look() + more
        while (count := self.look()) < wanted:
            assert time.monotonic() < deadline, f"{wanted - count} answers are missing after {seconds} s"
            time.sleep(0.01)

    def stop(self) -> list[Seen]:
        """End the clients, each after its answer; all that they were answered."""
        assert self._process.stdin is not None
        assert self._process.poll() is None, "the clients ended by themselves"
        self._process.stdin.close()
        assert self._process.wait(timeout=2 * TIMEOUT) == 0
        self.look()
        return self.seen

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._file.close()


@contextmanager
def load(
    port: int, flights: Sequence[Mapping[str, Any]], folder: Path, connections: int = 4, pause: float = 0.002
) -> Iterator[Load]:
    """Ask for the flights in turn, over and over; each connection waits `pause` seconds between two requests."""
    bodies, answers = folder / "bodies.jsonl", folder / "answers.jsonl"
    bodies.write_text("".join(json.dumps({"flight": flight}) + "\n" for flight in flights))
    answers.touch()
    arguments = [str(port), str(bodies), str(answers), str(connections), str(pause)]
    command = [sys.executable, "-m", "tests.serving.load", *arguments]
    clients = Load(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE), answers)
    try:
        yield clients
    finally:
        clients.close()


class Clients:
    """Connections that are kept, each asked by a thread; a broken one is opened again."""

    def __init__(self, port: int, bodies: list[bytes], out: TextIO, pause: float) -> None:
        self.port, self.bodies, self.out, self.pause = port, bodies, out, pause
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.opened = 0

    def ask(self, first: int) -> None:
        connection, number = None, 0
        for body in cycle(self.bodies[first:] + self.bodies[:first]):
            if self.ended.wait(self.pause):
                return
            if connection is None:
                connection, number = self.connect()
                if connection is None:
                    continue
            seen = _request(connection, body, number)
            with self.lock:
                self.out.write(json.dumps(seen) + "\n")
            if seen.status == BROKEN:
                connection.close()
                connection = None

    def connect(self) -> tuple[http.client.HTTPConnection | None, int]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=TIMEOUT)
        try:
            connection.connect()
        except OSError:  # nobody listens there now
            return None, 0
        connection.auto_open = 0  # a connection that the service closes is one that broke
        with self.lock:
            self.opened += 1
            return connection, self.opened


def _request(connection: http.client.HTTPConnection, body: bytes, number: int) -> Seen:
    sent = time.time()
    try:
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        value = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return Seen(sent, time.time(), BROKEN, None, None, None, number)
    received = time.time()
    version, stage, name = (value.get(key) for key in ("version", "stage", "prediction_id"))
    return Seen(sent, received, response.status, version, stage, name, number)


def main(port: str, bodies: str, answers: str, connections: str, pause: str) -> None:
    lines = Path(bodies).read_bytes().splitlines()
    with Path(answers).open("a", buffering=1) as out:
        clients = Clients(int(port), lines, out, float(pause))
        asking = [
            threading.Thread(target=clients.ask, args=(i * len(lines) // int(connections),))
            for i in range(int(connections))
        ]
        for thread in asking:
            thread.start()
        sys.stdin.read()
        clients.ended.set()
        for thread in asking:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
