"""The load: a closed loop of raw keep-alive HTTP/1.1 connections, in a process of its own.

    python -m bench.serving.load PORT PATH BODIES --seconds 5      # BODIES: one JSON body a line

Each connection sends its next request as soon as it has its answer; bodies are taken in turn. Prints "go" when the
warm-up is over, then one line of JSON: {requests, seconds, errors: {why: count}, p50, p99, worst (ms), busy}. `busy` is
the share of a core that this process used: near 1, it measured itself. Only the standard library: it must be light.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds for the last answers


class Client:
    """One connection: `text` is what came of its answer, `sent` when its request went out (None: none is out)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.text = b""
        self.sent: float | None = None
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection((HOST, self.port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        self.text = b""
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> str | None:
        """The status once the answer is whole, else None. Raises ConnectionError, ValueError for no HTTP."""
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("closed")
        self.text = data if not self.text else self.text + data
        end = self.text.find(b"\r\n\r\n")
        if end < 0 or len(self.text) < end + 4 + _length(self.text[:end]):
            return None
        return self.text[9:12].decode()


def _length(head: bytes) -> int:
    place = head.lower().find(b"\r\ncontent-length:")
    if place < 0:
        raise ValueError("an answer without content-length")
    return int(head[place + 17 :].split(b"\r\n", 1)[0])


class Load:
    """`connections` clients in one loop; `run` for so many seconds and returns what was seen."""

    def __init__(self, port: int, path: str, bodies: list[bytes], connections: int) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\nContent-Length: "
        self.requests = cycle([head.encode() + f"{len(body)}\r\n\r\n".encode() + body for body in bodies])
        self.clients = [Client(port) for _ in range(connections)]
        self.poll = select.poll()
        self.by_number: dict[int, Client] = {}
        for client in self.clients:
            self._watch(client)
        self.seen: list[tuple[float, float]] = []  # when an answer came, and how long it took
        self.errors: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Send for so long, then wait for what is still out."""
        until = time.perf_counter() + seconds
        for client in self.clients:
            client.send(next(self.requests))
        out = len(self.clients)
        while out:
            ready = self.poll.poll(1000)
            if time.perf_counter() > until + PATIENCE:
                self.errors["no answer"] += out
                return
            for number, _ in ready:
                client = self.by_number[number]
                if not self._answered(client):
                    continue
                if time.perf_counter() < until:
                    client.send(next(self.requests))
                else:
                    client.sent = None
                    out -= 1

    def _answered(self, client: Client) -> bool:
        assert client.sent is not None
        try:
            status = client.receive()
        except (OSError, ValueError) as error:
            self.errors[type(error).__name__] += 1
            self.poll.unregister(client.socket)
            client.socket.close()
            client.connect()
            self._watch(client)
            return True
        if status is None:
            return False
        now = time.perf_counter()
        if status == "200":
            self.seen.append((now, now - client.sent))
        else:
            self.errors[status] += 1
        return True

    def _watch(self, client: Client) -> None:
        self.by_number[client.socket.fileno()] = client
        self.poll.register(client.socket, select.POLLIN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--warm", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--core", type=int, help="stay on this core")
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    load = Load(asked.port, asked.path, asked.bodies.read_bytes().splitlines(), asked.connections)
    load.run(asked.warm)
    load.seen.clear()
    load.errors.clear()
    print("go", flush=True)
    began, used = time.perf_counter(), time.process_time()
    load.run(asked.seconds)
    took = time.perf_counter() - began
    times = sorted(seconds * 1000 for _, seconds in load.seen)
    found = {
        "requests": len(times),
        "seconds": took,
        "errors": dict(load.errors),
        "p50": times[len(times) // 2] if times else float("nan"),
        "p99": times[int(len(times) * 0.99)] if times else float("nan"),
        "worst": times[-1] if times else float("nan"),
        "busy": (time.process_time() - used) / took,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
