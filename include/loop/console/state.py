"""Whether anything that a page shows may have changed: a few counts and the ages of a few files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa

from include import pages
from include.files import hash_value
from include.loop.console import curve, entries
from include.release.ledger import Outdated
from include.release.tables import approvals, decisions, freezes, releases, request_causes, versions
from include.release.tables import retrain_closures as closures
from include.settings import Settings

_COUNTED = (versions, closures, approvals)  # tables without a number of their own
_NUMBERED = (decisions, freezes, releases, request_causes)
_QUERY = sa.select(
    *(sa.select(sa.func.max(table.c.id)).scalar_subquery() for table in _NUMBERED),
    *(sa.select(sa.func.count()).select_from(table).scalar_subquery() for table in _COUNTED),
)


def fingerprint(settings: Settings) -> str:
    """Another text when anything that a page shows may have changed: entries of the ledger, alerts, the lake, what
    runs have left. What only Airflow knows is not in it, nor is the time."""
    parts: list[object] = [settings.model, settings.ledger_url]
    try:
        ledger = entries.engine(settings)
        with entries.reader(ledger) as connection:
            parts += list(connection.execute(_QUERY).one())
            parts += [_looked(settings, run) for run in _under_way(ledger)]
    except entries.NoLedger:
        parts.append("no ledger")
    except (Outdated, sa.exc.SQLAlchemyError) as error:
        parts.append(type(error).__name__)
    files = (settings.alerts, settings.lake / "catalog.json", settings.home / "clock.json")
    parts += [_stamp(file) for file in files]
    parts += [curve.stamp(settings), _stamps(settings.reports)]
    return hash_value(parts)[:32]


def _under_way(ledger: sa.Engine) -> Iterator[str]:
    """The runs of the releases that are under way: they look every few seconds, and enter nothing while they wait."""
    for moves in entries.known(ledger).moves.values():
        if moves[-1].challenger is not None and moves[-1].release is not None:
            run = _run_of(ledger, moves[-1].release)
            if run:
                yield run


@lru_cache(maxsize=1024)
def _run_of(ledger: sa.Engine, release: int) -> str | None:
    with entries.reader(ledger) as connection:
        run: str | None = connection.scalar(sa.select(releases.c.run).where(releases.c.id == release))
    return run


def _looked(settings: Settings, run: str) -> list[int]:
    dag_id, _, run_id = run.partition("/")
    return [_stamp(pages.folder(settings, dag_id, run_id, task))[0] for task in ("shadow", "canary")]


def _stamps(folder: Path) -> list[tuple[str, int]]:
    """The DAGs whose runs have begun a page since."""
    try:
        return sorted((entry.name, entry.stat().st_mtime_ns) for entry in folder.iterdir())
    except OSError:
        return []


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
