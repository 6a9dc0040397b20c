"""Alerts: what a person should look at now. A file holds them all, in order, and is the outbox of every channel.

An alert belongs to a *group*, one matter that a person would handle as one (a release, a failed task, a feed), and
says in which *state* that matter is. The group's last line decides: the same state again is not told again, another
one is, and a matter that is over is told once. How they reach somebody is include/delivery.py's subject.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from typing import IO, Any, Literal
from urllib.parse import quote

from include.files import canonical_json, hash_text
from include.settings import Settings

PAGE: Literal["page"] = "page"  # somebody should look now
NOTICE: Literal["notice"] = "notice"  # somebody should know today
RESOLVED = "resolved"  # the state of a group that is over

_log = logging.getLogger("ratchet.alerts")


@dataclass(frozen=True)
class Alert:
    """What happened, why, and what to do about it."""

    group: str  # the matter, e.g. "release/7" or "failed/ingest/land"
    state: str  # what is the case with it; the same again is no news. "resolved" is `resolve`'s alone
    title: str  # one line: what happened
    cause: str  # why, as far as it is known
    action: str  # what was kept, and what to do
    time: str  # data time, ISO
    severity: Literal["page", "notice"] = PAGE
    runbook: str = ""  # the DAG whose docs are the runbook
    link: str = ""  # where to look: a path in Airflow, see `link`, or a whole address


def send(settings: Settings, alert: Alert) -> bool:
    """Raise an alert: into the file, on disk when this returns, and into the log. False: the group's last alert said
    the same state, and nothing is told twice. Processes may do this at the same moment; one of them is told True."""
    for name in ("group", "state", "title", "time"):
        if not getattr(alert, name).strip():
            raise ValueError(f"{name}: an alert without one cannot be told from others; nothing was sent")
    if alert.severity not in (PAGE, NOTICE):
        raise ValueError(f"severity: {alert.severity!r} is neither {PAGE!r} nor {NOTICE!r}; nothing was sent")
    if alert.state == RESOLVED:
        raise ValueError(f"state: {RESOLVED!r} is what `resolve` says; nothing was sent")
    with _alone(settings) as file:
        before = _read(file)
        last = _last(before, alert.group)
        if last is not None and last["state"] == alert.state:
            return False
        _append(file, before, alert)
    _log.log(logging.ERROR if alert.severity == PAGE else logging.WARNING, text(asdict(alert)))
    return True


def resolve(settings: Settings, group: str, title: str, time: str, link: str = "") -> bool:
    """Say once that the matter is over, as loudly as it was raised. `link`: where it was seen to be; empty: the
    alert's own. False: it was never raised, or is over already."""
    if not settings.alerts.exists():
        return False
    with _alone(settings) as file:
        before = _read(file)
        last = _last(before, group)
        if last is None or last["state"] == RESOLVED:
            return False
        kept = {name: last[name] for name in ("severity", "runbook", "link")} | ({"link": link} if link else {})
        over = Alert(group, RESOLVED, title, "", "", time, **kept)
        _append(file, before, over)
    _log.info(text(asdict(over)))
    return True


def sent(settings: Settings) -> list[dict[str, Any]]:
    """All alerts, oldest first: the fields of Alert, and `id`, by which channels remember what they have told."""
    if not settings.alerts.exists():
        return []
    with settings.alerts.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return _read(file)


def unresolved(settings: Settings) -> list[dict[str, Any]]:
    """The last alert of each group that is not over, oldest first."""
    return still_open(sent(settings))


def mentions(settings: Settings, groups: Iterable[str]) -> bool:
    """Whether any of the groups was ever told of: cheap, for those that ask at each step."""
    if not settings.alerts.exists():
        return False
    held = settings.alerts.read_bytes()
    return any(canonical_json(group).encode() in held for group in groups)


def still_open(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of alerts in order, those that are the last word of their group, and not that it is over."""
    last = {alert["group"]: alert for alert in told}
    return [alert for alert in told if last[alert["group"]] is alert and alert["state"] != RESOLVED]


def text(alert: dict[str, Any], base: str = "") -> str:
    """An alert as people read it. `base`: Airflow's address, which makes its path a link."""
    if alert["state"] == RESOLVED:
        return f"Resolved: {alert['title']}"
    lines = [alert["title"], alert["cause"], alert["action"]]
    if alert["link"]:
        lines.append(f"Look: {absolute(alert['link'], base)}")
    if alert["runbook"]:
        where = absolute(f"/dags/{quote(alert['runbook'], safe='')}", base)
        lines.append(f"Runbook: docs/runbooks/{alert['runbook']}.md, or {where}, Docs")
    return "\n".join(line for line in lines if line)


def link(run: str, task: str = "", index: int = -1) -> str:
    """The path in Airflow of a run ("dag id/run id"), or of one of its tasks."""
    dag_id, _, run_id = run.partition("/")
    path = f"/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
    if task:
        path += f"/tasks/{quote(task, safe='')}"
        path += f"/mapped/{index}" if index >= 0 else ""
    return path


def absolute(link: str, base: str) -> str:
    """A link that can be followed from anywhere, where Airflow's address is known."""
    return f"{base.rstrip('/')}{link}" if base and link.startswith("/") else link


# -- the file ----------------------------------------------------------------------------------------------------
@contextmanager
def _alone(settings: Settings) -> Iterator[IO[bytes]]:
    """The file, for this process alone: who decides whether an alert is news must see the one before it."""
    settings.alerts.parent.mkdir(parents=True, exist_ok=True)
    with settings.alerts.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _read(file: IO[bytes]) -> list[dict[str, Any]]:
    file.seek(0)
    wanted = {field.name for field in fields(Alert)} | {"id"}
    found = []
    for line in file.read().decode("utf-8", errors="replace").split("\n"):
        with suppress(ValueError):  # a line that was torn by a kill hides no other
            alert = json.loads(line)
            if isinstance(alert, dict) and wanted <= set(alert):
                found.append(alert)
    return found


def _last(before: list[dict[str, Any]], group: str) -> dict[str, Any] | None:
    return next((alert for alert in reversed(before) if alert["group"] == group), None)


def _append(file: IO[bytes], before: list[dict[str, Any]], alert: Alert) -> None:
    content = asdict(alert)
    # in it the id before: the same words said again later have another
    content["id"] = hash_text(canonical_json([before[-1]["id"] if before else "", content]))[:16]
    line = canonical_json(content).encode() + b"\n"
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":  # a torn line ends here, and takes nothing with it
            line = b"\n" + line
    file.write(line)
    file.flush()
    os.fsync(file.fileno())
