"""Alerts: what a person should look at now. Kept in a file, and posted to a webhook where one is set."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from typing import Any

import httpx

from include.files import canonical_json
from include.settings import Settings

_SECONDS = 5.0


def send(settings: Settings, key: str, text: str, time: str) -> bool:
    """Raise an alert; the same `key` again is not sent twice. `time`: data time. Returns whether it is a new one.

    `text` says what happened, what was kept and what to do. A webhook that does not answer is logged, never an error:
    the alert stands in the file, and what it tells of stands in the ledger.
    """
    if any(alert["key"] == key for alert in sent(settings)):
        return False
    line = canonical_json({"key": key, "text": text, "time": time})
    settings.alerts.parent.mkdir(parents=True, exist_ok=True)
    with settings.alerts.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
    log = logging.getLogger("ratchet.alerts")
    log.error(text)
    if settings.alert_webhook:
        try:
            httpx.post(settings.alert_webhook, json={"text": text}, timeout=_SECONDS).raise_for_status()
        except httpx.HTTPError as error:
            log.error("the webhook did not take the alert: %s", error)
    return True


def sent(settings: Settings) -> list[dict[str, Any]]:
    """All alerts, oldest first: {key, text, time}."""
    if not settings.alerts.exists():
        return []
    found = []
    for line in settings.alerts.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):  # a line that was torn by a kill hides no other
            found.append(json.loads(line))
    return found
