"""Worst first: the order in which a person should look at models. Pure, total, and the same for the same rows."""

from __future__ import annotations

from collections.abc import Iterable

from include.console.view import Row

BAD = ("incident", "rollback")
CALM, UNWATCHED = "healthy", "unwatched"
PAGE = "page"  # severity of an alert that wakes somebody
APPROVAL = "approval"  # stage of a challenger that waits for an answer

_LAST = float("inf")


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """The rows, the worst first; of equally bad ones the one that is so for longest, then by name."""
    return sorted(rows, key=lambda row: (rank(row), *_how_long(row), row.model))


def rank(row: Row) -> int:
    """How urgent a row is, 0 the most: it pages · cannot be judged · waits for an answer · asks for a training or has
    a notice · frozen · healthy · never looked at."""
    state = row.health.state
    if state in BAD or any(alert.severity == PAGE for alert in row.alerts):
        return 0
    if state not in (*BAD, CALM, UNWATCHED, "retrain"):
        return 1
    if waits(row):
        return 2
    if state == "retrain" or row.alerts:
        return 3
    if row.frozen is not None:
        return 4
    return 5 if state == CALM else 6


def waits(row: Row) -> bool:
    """Whether somebody must approve or reject."""
    return row.question is not None or (row.challenger is not None and row.challenger.stage == APPROVAL)


def _how_long(row: Row) -> tuple[float, str]:
    """Since when it is as bad as it is: wall time where known, then data time. Calm rows are not told apart."""
    place = rank(row)
    if place >= 5:
        return 0.0, ""
    if place == 4 and row.frozen is not None:
        return row.frozen.at.timestamp(), ""
    if place == 2:
        asked = [row.question.asked] if row.question else [row.challenger.since] if row.challenger else []
        return min((at.timestamp() for at in asked), default=_LAST), ""
    since = row.health.since_at if row.health.state not in (CALM, UNWATCHED) else None
    return since.timestamp() if since else _LAST, min((alert.time for alert in row.alerts), default="~")
