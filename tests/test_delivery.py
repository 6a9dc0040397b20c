"""Delivery against a real HTTP server: at least once, in order, together; a channel that is down loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from include import alerts, delivery
from include.alerts import Alert
from include.delivery import Channel, Message
from include.settings import ROOT, Settings

TIME = "2013-03-25T12:00:00+00:00"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
BAD = Alert(
    "feed/weather", "stale", "The weather is stale", "No row for 9 h.", "Mend the feed.", TIME, runbook="ingest"
)
ALL, PAGES = "all", "pages"


@dataclass
class Receiver:
    """A server that keeps what it is sent, and answers `status`."""

    url: str = ""
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if state.status < 400:
                state.got.append(body)
            self.send_response(state.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/hook/s3cret"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def deliver(settings: Settings, receiver: Receiver, after: float = 0.0) -> int:
    channels = {"webhook": delivery.webhook(receiver.url)}
    return delivery.deliver(settings, lambda: channels, NOW + timedelta(seconds=after), "http://airflow:8080")


def test_a_repeat_sends_nothing_a_change_sends_its_end_sends_once(settings: Settings, receiver: Receiver) -> None:
    for state in ("stale", "stale", "gone", "gone"):
        alerts.send(settings, replace(BAD, state=state))
        deliver(settings, receiver)
        deliver(settings, receiver)
    for _ in range(2):
        alerts.resolve(settings, BAD.group, "The weather is fresh", TIME)
        deliver(settings, receiver)
    assert [[alert["state"] for alert in one["alerts"]] for one in receiver.got] == [["stale"], ["gone"], ["resolved"]]
    first = receiver.got[0]["text"]
    for said in ("The weather is stale", "No row for 9 h.", "Mend the feed.", "http://airflow:8080/dags/ingest"):
        assert said in first
    assert receiver.got[-1]["text"] == "Resolved: The weather is fresh"


def test_what_is_pending_at_one_moment_is_one_message_pages_first(settings: Settings, receiver: Receiver) -> None:
    alerts.send(settings, replace(BAD, group="a", title="A", severity="notice"))
    alerts.send(settings, replace(BAD, group="b", title="B"))
    alerts.send(settings, replace(BAD, group="c", title="C"))
    assert deliver(settings, receiver) == 1
    (one,) = receiver.got
    assert [alert["title"] for alert in one["alerts"]] == ["B", "C", "A"]
    assert one["text"].index("B") < one["text"].index("C") < one["text"].index("A")


@pytest.mark.parametrize("status", [500, 404, None])
def test_a_channel_that_is_down_delays_and_loses_nothing(
    settings: Settings, receiver: Receiver, status: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    up = receiver.url
    alerts.send(settings, replace(BAD, group="before"))
    deliver(settings, receiver)
    if status is None:
        receiver.url = "http://127.0.0.1:1/hook/s3cret"  # nobody listens there
    else:
        receiver.status = status
    alerts.send(settings, BAD)
    alerts.send(settings, replace(BAD, state="gone"))
    assert deliver(settings, receiver, 0) == 0
    receiver.status, receiver.url = 200, up
    assert deliver(settings, receiver, 30) == 0  # left alone for a minute: no step waits for it again and again
    assert deliver(settings, receiver, 90) == 1
    assert deliver(settings, receiver, 180) == 0
    assert [[alert["state"] for alert in one["alerts"]] for one in receiver.got] == [["stale"], ["stale", "gone"]]
    assert "did not take 2 alerts" in caplog.text
    written = [path.read_text() for path in settings.alerts.parent.iterdir()]
    assert all("s3cret" not in text for text in [caplog.text, *written])


def test_one_channel_that_is_down_holds_up_no_other(settings: Settings, receiver: Receiver) -> None:
    def down(_: Message) -> None:
        raise ConnectionError("down")

    channels = {"first": Channel(down), "webhook": delivery.webhook(receiver.url)}
    alerts.send(settings, BAD)
    for minute in range(3):
        delivery.deliver(settings, lambda: channels, NOW + timedelta(minutes=2 * minute))
    assert len(receiver.got) == 1
    assert len(delivery.pending(settings, "first")) == 1
    assert delivery.pending(settings, "webhook") == []


def test_pages_alone_go_where_somebody_sleeps(settings: Settings) -> None:
    got: dict[str, list[Message]] = {ALL: [], PAGES: []}
    channels = {ALL: Channel(got[ALL].append), PAGES: Channel(got[PAGES].append, only_pages=True)}
    alerts.send(settings, replace(BAD, group="a", severity="notice"))
    for group in "bc":
        alerts.send(settings, replace(BAD, group=group))
    delivery.deliver(settings, lambda: channels, NOW)
    for group in "abc":
        alerts.resolve(settings, group, f"{group} is over", TIME)
        delivery.deliver(settings, lambda: channels, NOW)
    assert [[alert["group"] for alert in one.alerts] for one in got[PAGES]] == [["b", "c"], ["b"], ["c"]]
    # its incident may be closed when nothing that it was told of is open, not before
    assert [one.kind for one in got[PAGES]] == ["page", "good", "resolved"]
    assert [one.kind for one in got[ALL]] == ["page", "good", "good", "resolved"]


def test_a_new_channel_is_told_what_is_open_not_the_past(settings: Settings, receiver: Receiver) -> None:
    for i in range(30):
        alerts.send(settings, replace(BAD, state=str(i)))
    alerts.send(settings, replace(BAD, group="over"))
    alerts.resolve(settings, "over", "over", TIME)
    assert [alert["state"] for alert in delivery.pending(settings, "webhook")] == ["29"]
    settings.alerts.with_name("delivered.json").write_text("{torn")
    assert deliver(settings, receiver) == 1


def test_very_many_are_still_one_message_that_a_channel_can_take(settings: Settings, receiver: Receiver) -> None:
    for i in range(50):
        alerts.send(settings, replace(BAD, group=str(i), title=f"alert {i}"))
    deliver(settings, receiver)
    (one,) = receiver.got
    assert "and 30 more" in one["text"]
    assert len(one["alerts"]) == 50


def test_where_nothing_is_pending_no_channel_is_even_asked_for(settings: Settings, receiver: Receiver) -> None:
    def never() -> dict[str, Channel]:
        raise AssertionError

    assert delivery.deliver(settings, never, NOW) == 0
    alerts.send(settings, BAD)
    deliver(settings, receiver)
    assert delivery.deliver(settings, never, NOW) == 0


_DELIVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from include import alerts, delivery
from include.settings import Settings
settings = Settings(home=Path(sys.argv[1]))
for i in range(15):
    alerts.send(settings, alerts.Alert(sys.argv[3], str(i), "t", "", "", "now"))
    channels = {"webhook": delivery.webhook(sys.argv[2])}
    delivery.deliver(settings, lambda: channels, datetime(2026, 11, 21, tzinfo=UTC))
"""


def test_processes_that_deliver_at_the_same_moment_send_each_alert_once(settings: Settings, receiver: Receiver) -> None:
    command = [sys.executable, "-c", _DELIVER, str(settings.home), receiver.url]
    running = [subprocess.Popen([*command, str(i)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) for i in range(3)]
    assert [one.wait() for one in running] == [0, 0, 0]
    got = [alert["id"] for one in receiver.got for alert in one["alerts"]]
    assert got == [alert["id"] for alert in alerts.sent(settings)]
    assert len(got) == 45
