"""Airflow connections of the type Apprise as channels: what is down waits, what is broken says so, no token shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from include import alerts, delivery
from include.settings import ROOT, Settings

SECRET = "t0ken-that-nobody-may-read"
CLOSED = "json://127.0.0.1:1"
_RAISE = """
import logging, sys
from include.alerts import Alert, send
from include.settings import settings
from plugins.ratchet_alerts import deliver
logging.basicConfig(level=logging.DEBUG)
for severity in ("page", "notice"):
    send(settings(), Alert(severity, sys.argv[1], f"{severity} {sys.argv[1]}", "cause", "action", "now", severity))
print("messages:", deliver(settings()))
"""


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    """Address of a server, and what each of its paths was sent."""
    got: dict[str, list[dict[str, Any]]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.setdefault(self.path.split("/")[1], []).append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{listening.server_port}", got
    listening.shutdown()
    listening.server_close()


def raise_(home: Path, state: str, everything: list[str], pages: object) -> str:
    """Raise a page and a notice in a process of its own, and deliver; returns all that it has said."""
    extra = [{"path": f"{address}/{SECRET}"} for address in everything]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "RATCHET_"))} | {
        "AIRFLOW_HOME": str(home / "airflow"),
        "RATCHET_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_CONN_RATCHET_ALERTS": json.dumps({"conn_type": "apprise", "extra": {"config": extra}}),
        "AIRFLOW_CONN_RATCHET_PAGES": json.dumps({"conn_type": "apprise", "extra": pages}),
    }
    done = subprocess.run([sys.executable, "-c", _RAISE, state], env=env, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_connections_are_channels(tmp_path: Path, server: tuple[str, dict[str, list[dict[str, Any]]]]) -> None:
    address, got = server
    pages = {"config": {"path": f"{address}/pages/{SECRET}"}}
    said = raise_(tmp_path, "first", [f"{address}/one", CLOSED], pages)
    said += raise_(tmp_path, "second", [f"{address}/one", f"{address}/two"], {"wrong": SECRET})
    assert [one["title"] for one in got["one"]] == ["2 alerts: page first …", "2 alerts: page second …"]
    assert [one["title"] for one in got["two"]] == ["2 alerts: page second …"]  # new to it: what is open, not the past
    assert [(one["title"], one["type"]) for one in got["pages"]] == [("page first", "failure")]
    settings = Settings(home=tmp_path)
    assert [one["state"] for one in delivery.pending(settings, "ratchet_pages.0", only_pages=True)] == ["second"]
    assert "ratchet_alerts.1 did not take 2 alerts" in said
    assert "the connection ratchet_pages cannot be read" in said
    written = [path.read_text() for path in settings.alerts.parent.iterdir()]
    assert all(SECRET not in text for text in [said, *written])
    assert len(alerts.sent(settings)) == 4
