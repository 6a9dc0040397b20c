"""Delivery against a real HTTP server: at least once, in order, together; a channel that is down loses nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include import alerts, delivery
from include.alerts import Alert
from include.delivery import Channel, Message
from include.settings import ROOT, Settings
from tests.receiving import Receiver, receiving

TIME = "2013-03-25T12:00:00+00:00"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
BAD = Alert(
    "feed/weather", "stale", "The weather is stale", "No row for 9 h.", "Mend the feed.", TIME, runbook="ingest"
)
ALL, PAGES = "all", "pages"
HOOK = "/hook/s3cret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as state:
        yield state


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def deliver(settings: Settings, receiver: Receiver, after: float = 0.0) -> int:
    channels = {"webhook": delivery.webhook(receiver.address(HOOK))}
    return delivery.deliver(settings, lambda: channels, NOW + timedelta(seconds=after), "http://airflow:8080")


def test_a_repeat_sends_nothing_a_change_sends_its_end_sends_once(settings: Settings, receiver: Receiver) -> None:
    for state in ("stale", "stale", "gone", "gone"):
        alerts.send(settings, replace(BAD, state=state))
        deliver(settings, receiver)
        deliver(settings, receiver)
    for _ in range(2):
        alerts.resolve(settings, BAD.group, "The weather is fresh", TIME)
        deliver(settings, receiver)
    assert [[alert["state"] for alert in one["alerts"]] for one in receiver.at(HOOK)] == [
        ["stale"],
        ["gone"],
        ["resolved"],
    ]
    first = receiver.at(HOOK)[0]["text"]
    for said in ("The weather is stale", "No row for 9 h.", "Mend the feed.", "http://airflow:8080/dags/ingest"):
        assert said in first
    assert receiver.at(HOOK)[-1]["text"] == "Resolved: The weather is fresh"


def test_what_is_pending_at_one_moment_is_one_message_pages_first(settings: Settings, receiver: Receiver) -> None:
    alerts.send(settings, replace(BAD, group="a", title="A", severity="notice"))
    alerts.send(settings, replace(BAD, group="b", title="B"))
    alerts.send(settings, replace(BAD, group="c", title="C"))
    assert deliver(settings, receiver) == 1
    (one,) = receiver.at(HOOK)
    assert [alert["title"] for alert in one["alerts"]] == ["B", "C", "A"]
    assert one["text"].index("B") < one["text"].index("C") < one["text"].index("A")


@pytest.mark.parametrize("status", [500, 404, None])
def test_a_channel_that_is_down_delays_and_loses_nothing(
    settings: Settings, receiver: Receiver, status: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    up = receiver.port
    alerts.send(settings, replace(BAD, group="before"))
    deliver(settings, receiver)
    if status is None:
        receiver.port = 1  # nobody listens there
    else:
        receiver.status = status
    alerts.send(settings, BAD)
    alerts.send(settings, replace(BAD, state="gone"))
    assert deliver(settings, receiver, 0) == 0
    receiver.status, receiver.port = 200, up
    assert deliver(settings, receiver, 30) == 0  # left alone for a minute: no step waits for it again and again
    assert deliver(settings, receiver, 90) == 1
    assert deliver(settings, receiver, 180) == 0
    assert [[alert["state"] for alert in one["alerts"]] for one in receiver.at(HOOK)] == [["stale"], ["stale", "gone"]]
    assert "did not take 2 alerts" in caplog.text
    written = [path.read_text() for path in settings.alerts.parent.iterdir()]
    assert all("s3cret" not in text for text in [caplog.text, *written])


def test_one_channel_that_is_down_holds_up_no_other(settings: Settings, receiver: Receiver) -> None:
    def down(_: Message) -> None:
        raise ConnectionError("down")

    channels = {"first": Channel(down), "webhook": delivery.webhook(receiver.address(HOOK))}
    alerts.send(settings, BAD)
    for minute in range(3):
        delivery.deliver(settings, lambda: channels, NOW + timedelta(minutes=2 * minute))
    assert len(receiver.at(HOOK)) == 1
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
    (one,) = receiver.at(HOOK)
    assert "and 30 more" in one["text"]
    assert len(one["alerts"]) == 50


def test_where_nothing_is_pending_no_channel_is_even_asked_for(settings: Settings, receiver: Receiver) -> None:
    def never() -> dict[str, Channel]:
        raise AssertionError

    assert delivery.deliver(settings, never, NOW) == 0
    alerts.send(settings, BAD)
    deliver(settings, receiver)
    assert delivery.deliver(settings, never, NOW) == 0


def test_what_is_raised_while_another_delivers_goes_out_with_it(settings: Settings) -> None:
    """Who finds the delivery taken leaves at once, and waits for nobody: the one that has it looks again."""
    got: list[list[str]] = []

    def post(message: Message) -> None:
        got.append([alert["state"] for alert in message.alerts])
        if len(got) < 3:
            alerts.send(settings, replace(BAD, state=str(len(got))))
            assert delivery.deliver(settings, lambda: {}, NOW) == 0

    alerts.send(settings, BAD)
    assert delivery.deliver(settings, lambda: {"channel": Channel(post)}, NOW) == 3
    assert got == [["stale"], ["1"], ["2"]]


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
    address = receiver.address(HOOK)
    alerts.send(settings, BAD)  # so that the channel is known: a new one is told what is open, not what has passed
    assert delivery.deliver(settings, lambda: {"webhook": delivery.webhook(address)}, NOW) == 1
    command = [sys.executable, "-c", _DELIVER, str(settings.home), address]
    running = [subprocess.Popen([*command, str(i)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) for i in range(3)]
    assert [one.wait() for one in running] == [0, 0, 0]
    got = [alert["id"] for one in receiver.at(HOOK) for alert in one["alerts"]]
    assert got == [alert["id"] for alert in alerts.sent(settings)]
    assert len(got) == 46
