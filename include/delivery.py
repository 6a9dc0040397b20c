"""Alerts reach their channels: at least once, in order, several at one moment as one message.

The file of alerts (include/alerts.py) is the outbox. Each channel remembers the last alert that it has taken, so one
that is down is behind, and loses nothing. Whoever comes by delivers what is pending: an alert of a step that died is
delivered by the next step that ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from include import alerts
from include.files import locked, read_json, write_json
from include.settings import Settings

SECONDS = 5.0  # that a channel may take
AGAIN = timedelta(minutes=1)  # wall time until one that did not answer is tried again: no step waits for it each time
MOST = 20  # alerts that one message tells in full

GOOD = "good"

_log = logging.getLogger("ratchet.alerts")


@dataclass(frozen=True)
class Message:
    """One or more alerts, pages first, as a channel sends them."""

    title: str
    text: str
    kind: str  # the loudest of its alerts: "page", "notice"; "good" news; or "resolved": good, and nothing is open now
    alerts: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Channel:
    """A way to somebody. `post` raises when the message was not taken; what it raises must hold no secret."""

    post: Callable[[Message], None]
    only_pages: bool = False


def deliver(settings: Settings, channels: Callable[[], Mapping[str, Channel]], wall: datetime, base: str = "") -> int:
    """Send each channel what it has not taken yet; returns how many messages were taken. Costs one stat and one small
    file where nothing is pending: `channels` is only asked then. Never raises for a channel that is down.

    `wall`: wall time, by which a channel that was down is left alone for a minute. `base`: Airflow's address.
    """
    taken = 0
    while _is_pending(settings, wall):
        with locked(settings.alerts.with_name("delivering.lock"), wait=False) as mine:
            if not mine:  # another process delivers at this moment; it looks again when it is done
                return taken
            taken += _deliver(settings, channels, wall, base)
    return taken


def pending(settings: Settings, channel: str, only_pages: bool = False) -> list[dict[str, Any]]:
    """What a channel has not taken, oldest first. One that is new is told what is open, not the whole past."""
    return _after(alerts.sent(settings), _state(settings)["channels"].get(channel), only_pages)


def message(told: Sequence[dict[str, Any]], base: str = "", still_open: bool = False) -> Message:
    """Alerts as one message; `told` is not empty. Of very many the first are told, and the number of the others.
    `still_open`: whether anything that this channel was told of is open now."""
    first = sorted(told, key=lambda alert: alert["severity"] != alerts.PAGE)  # stable: in order otherwise
    open_ = [alert for alert in first if alert["state"] != alerts.RESOLVED]
    loudest = open_[0]["severity"] if open_ else GOOD if still_open else alerts.RESOLVED
    parts = [alerts.text(alert, base) for alert in first[:MOST]]
    if len(first) > MOST:
        parts.append(f"… and {len(first) - MOST} more, in alerts.jsonl")
    head = alerts.text({**(open_ or first)[0], "cause": "", "action": "", "link": "", "runbook": ""})
    title = head if len(first) == 1 else f"{len(first)} alerts: {head} …"
    return Message(title, "\n\n".join(parts), loudest, tuple(first))


def webhook(address: str) -> Channel:
    """POSTs {"text": …, "alerts": [{group, state, title, …}]}; any status below 400 takes it."""

    def post(message: Message) -> None:
        import httpx  # not while a DAG file is parsed

        body = {"text": message.text, "alerts": list(message.alerts)}
        try:
            httpx.post(address, json=body, timeout=SECONDS).raise_for_status()
        except httpx.HTTPStatusError as error:  # not its text: the address may hold a token
            raise ConnectionError(f"the webhook answered {error.response.status_code}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionError(f"the webhook did not answer: {type(error).__name__}") from None

    return Channel(post)


# -- what each channel has taken -----------------------------------------------------------------------------------
def _deliver(settings: Settings, channels: Callable[[], Mapping[str, Channel]], wall: datetime, base: str) -> int:
    size, told, done = settings.alerts.stat().st_size, alerts.sent(settings), _state(settings)["channels"]
    taken, down = 0, False
    for name, channel in channels().items():
        waiting = _after(told, done.get(name), channel.only_pages)
        if waiting:
            still_open = bool(_for(alerts.still_open(told), channel.only_pages))
            try:
                channel.post(message(waiting, base, still_open))
            except Exception as error:  # a channel that is down fails no task, and holds up no other channel
                _log.warning("%s did not take %d alerts, which wait for it: %s", name, len(waiting), error)
                down = True
                continue
            taken += 1
        if told:
            done[name] = told[-1]["id"]
        if waiting:  # at once: a kill at the next channel repeats nothing to this one
            _write(settings, {"size": 0, "again": None, "channels": done})
    _write(settings, {"size": size, "again": (wall + AGAIN).isoformat() if down else None, "channels": done})
    return taken


def _after(told: list[dict[str, Any]], last: str | None, only_pages: bool) -> list[dict[str, Any]]:
    taken = next((i for i, alert in enumerate(told) if alert["id"] == last), None)
    return _for(alerts.still_open(told) if taken is None else told[taken + 1 :], only_pages)


def _for(told: list[dict[str, Any]], only_pages: bool) -> list[dict[str, Any]]:
    return [alert for alert in told if alert["severity"] == alerts.PAGE or not only_pages]


def _is_pending(settings: Settings, wall: datetime) -> bool:
    try:
        size = settings.alerts.stat().st_size
    except FileNotFoundError:
        return False
    state = _state(settings)
    if state["size"] != size:
        return True
    return state["again"] is not None and wall >= datetime.fromisoformat(state["again"])


def _state(settings: Settings) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(_file(settings))
        return found
    except (FileNotFoundError, ValueError):
        return {"size": 0, "again": None, "channels": {}}


def _write(settings: Settings, state: dict[str, Any]) -> None:
    write_json(_file(settings), state)


def _file(settings: Settings) -> Path:
    return settings.alerts.with_name("delivered.json")
