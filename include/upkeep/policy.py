"""What the policy says, purely: which versions are eligible, which things go. Knows no ledger and no disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from include.settings import Retention
from include.upkeep.inventory import Entry

Key = tuple[str, str]  # kind and key of an entry
Protected = Mapping[Key, str]  # -> for whom, in words; the key ALL means every thing of the kind
ALL = "*"


@dataclass(frozen=True)
class Standing:
    """A packaged version as the ledger knows it. Times are wall time, UTC."""

    model: str
    version: int
    entered: datetime
    reigned_until: datetime | None  # the end of its last time as champion; None: it never was
    role: str = ""  # now: champion, challenger, or part of an open release


@dataclass(frozen=True)
class Item:
    """One thing that goes. `reason` is a sentence; `touched` is the evidence under which it was planned."""

    kind: str
    path: str  # below home
    key: str
    bytes: int
    touched: datetime
    action: Literal["remove", "archive"]
    reason: str


def eligible(standings: Iterable[Standing], retention: Retention, now: datetime) -> dict[tuple[str, int], str]:
    """(model, version) -> why rollback and reproduction of it must go on working. Of the others nothing is promised."""
    known = list(standings)
    since = now - timedelta(days=retention.keep_days)
    kept: dict[tuple[str, int], str] = {}
    for s in known:
        rank = _rank(s, known)
        if s.role:
            why = s.role
        elif s.reigned_until is not None and s.reigned_until >= since:
            why = f"champion within {retention.keep_days} days"
        elif rank is not None and rank < retention.keep_champions:
            why = f"one of the last {retention.keep_champions} champions"
        elif s.entered >= since:
            why = f"younger than {retention.keep_days} days"
        else:
            continue
        kept[s.model, s.version] = why
    return kept


def _rank(standing: Standing, known: Iterable[Standing]) -> int | None:
    """How many champions of its model have reigned later; None: it never did."""
    mine = standing.reigned_until
    if mine is None:
        return None
    later = (s.reigned_until for s in known if s.model == standing.model and s.reigned_until is not None)
    return sum(until > mine for until in later)


def needed_by(protected: Protected, kind: str, key: str) -> str | None:
    """For whom a thing must stay, or None."""
    return protected.get((kind, key)) or protected.get((kind, ALL))


def plan(entries: Iterable[Entry], protected: Protected, retention: Retention, now: datetime) -> list[Item]:
    """What goes: what nobody is protected by and what is as old as its kind may get. The largest first."""
    items = []
    for entry in entries:
        limit, old = getattr(retention, entry.age), (now - entry.touched) / timedelta(days=1)
        if needed_by(protected, entry.kind, entry.key) or old < limit:
            continue
        items.append(
            Item(
                kind=entry.kind,
                path=entry.path,
                key=entry.key,
                bytes=entry.bytes,
                touched=entry.touched,
                action="archive" if entry.archived else "remove",
                reason=f"last written {old:.0f} days ago, {entry.age} are kept for {limit}; nobody needs it",
            )
        )
    return sorted(items, key=lambda i: (-i.bytes, i.path))
