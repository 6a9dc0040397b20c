"""Releases and approvals in the ledger: one challenger's way towards champion, and who let it pass."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from include.crashpoints import reached
from include.files import canonical_json
from include.release.ledger import reader
from include.release.tables import approvals, releases

APPROVED, REJECTED, EXPIRED = "approved", "rejected", "expired"


@dataclass(frozen=True)
class Release:
    """`policy`: the spec's rollout when the release began, which it keeps to its end."""

    id: int
    model: str
    version: int
    champion: int
    policy: dict[str, Any]
    as_of: str
    actor: str
    run: str


@dataclass(frozen=True)
class Approval:
    answer: str  # approved, rejected, expired
    actor: str
    reason: str


class UnknownRelease(LookupError):
    """The ledger holds no such release."""


def begin(
    ledger: sa.Engine, model: str, version: int, champion: int, policy: dict[str, Any], as_of: str, actor: str, run: str
) -> Release:
    """Enter a release; a run enters one, and finds it again when it is repeated."""
    values = {"model": model, "version": version, "champion": champion, "as_of": as_of, "actor": actor, "run": run}
    with suppress(sa.exc.IntegrityError), ledger.begin() as connection:
        connection.execute(releases.insert().values(**values, policy=canonical_json(policy)))
    reached("release.begin")
    found = of_run(ledger, run)
    if found is None:
        raise UnknownRelease(f"release of run {run} was not entered")
    return found


def get(ledger: sa.Engine, number: int) -> Release:
    """A release. Raises UnknownRelease."""
    found = _find(ledger, releases.c.id == number)
    if found is None:
        raise UnknownRelease(f"the ledger holds no release {number}")
    return found


def of_run(ledger: sa.Engine, run: str) -> Release | None:
    """The release that a run has begun, or None."""
    return _find(ledger, releases.c.run == run)


def _find(ledger: sa.Engine, condition: Any) -> Release | None:
    with reader(ledger) as connection:
        row = connection.execute(sa.select(releases).where(condition)).first()
    if row is None:
        return None
    parts = {k: v for k, v in row._mapping.items() if k != "recorded_at"}
    return Release(**{**parts, "policy": json.loads(parts["policy"])})


def answer(ledger: sa.Engine, release: int, given: str, actor: str, reason: str) -> Approval:
    """Enter the answer of a release's approval; the first one stays."""
    with suppress(sa.exc.IntegrityError), ledger.begin() as connection:
        values = {"release": release, "answer": given, "actor": actor, "reason": reason}
        connection.execute(approvals.insert().values(**values))
    reached("release.answer")
    found = approval(ledger, release)
    if found is None:
        raise UnknownRelease(f"the approval of release {release} was not entered")
    return found


def approval(ledger: sa.Engine, release: int) -> Approval | None:
    """The answer that was given, or None while nobody has."""
    with reader(ledger) as connection:
        row = connection.execute(sa.select(approvals).where(approvals.c.release == release)).first()
    return None if row is None else Approval(row.answer, row.actor, row.reason)
