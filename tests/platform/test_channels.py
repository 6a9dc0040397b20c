"""Airflow connections of the type Apprise as channels: what is down waits, what is broken says so, no token shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from include import alerts, delivery
from include.settings import ROOT, Settings
from tests.receiving import receiving

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


def test_connections_are_channels(tmp_path: Path) -> None:
    with receiving() as receiver:
        one, two, pages = (receiver.address(path, "json") for path in ("/one", "/two", "/pages"))
        said = raise_(tmp_path, "first", [one, CLOSED], {"config": {"path": f"{pages}/{SECRET}"}})
        said += raise_(tmp_path, "second", [one, two], {"wrong": SECRET})
    titles = {path: [body["title"] for body in receiver.at(f"/{path}/{SECRET}")] for path in ("one", "two", "pages")}
    assert titles == {
        "one": ["2 alerts: page first …", "2 alerts: page second …"],
        "two": ["2 alerts: page second …"],  # new to it: what is open, not the past
        "pages": ["page first"],
    }
    assert receiver.at(f"/pages/{SECRET}")[0]["type"] == "failure"
    settings = Settings(home=tmp_path)
    assert [alert["state"] for alert in delivery.pending(settings, "ratchet_pages.0", only_pages=True)] == ["second"]
    assert "ratchet_alerts.1 did not take 2 alerts" in said
    assert "the connection ratchet_pages cannot be read" in said
    written = [path.read_text() for path in settings.alerts.parent.iterdir()]
    assert all(SECRET not in text for text in [said, *written])
    assert len(alerts.sent(settings)) == 4
