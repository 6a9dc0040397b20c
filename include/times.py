"""Data time as text and as days. One text form, so that texts compare as the times they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def iso(time: datetime) -> str:
    """The one text form of a time: UTC, whole seconds, e.g. 2013-03-01T05:00:00+00:00."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    return time.astimezone(UTC).replace(microsecond=0).isoformat()


def parse(text: str) -> datetime:
    """Read a time; one without a zone is UTC. Raises ValueError that shows the text."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time such as 2013-03-01T05:00:00+00:00") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def day(time: datetime) -> str:
    """The UTC date of a time, as the lake's partitions are named."""
    return time.astimezone(UTC).strftime("%Y-%m-%d")


def days_between(start: datetime, end: datetime) -> list[str]:
    """Every UTC date that [start, end) touches, in order."""
    first = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    count = 0 if end <= start else (end - first) // timedelta(days=1) + bool((end - first) % timedelta(days=1))
    return [day(first + timedelta(days=i)) for i in range(count)]
