"""The ledger as the console reads it. Entries never change, so what every page needs of all models is read once a
process and then only its end: the looks of the monitor and the deployments. Everything else is asked for by page.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from include.release import ledger as book
from include.release.ledger import reader, utc
from include.release.tables import decisions, deployments, freezes, releases, request_causes, versions
from include.release.tables import retrain_closures as closures
from include.release.tables import retrain_requests as requests
from include.settings import Settings

Row = TypeVar("Row")
_OVERLAP = 200  # entries that are read again: on PostgreSQL a lower id may be committed after a higher one
# by the first seven letters of the verdict's sentence
_STATES = {"Healthy": "healthy", "Insuffi": "insufficient", "Inciden": "incident", "Roll ba": "rollback"}
_STATES |= {"Retrain": "retrain"}
_HEALTHY = decisions.c.reason.like("Healthy%")
_SHORT = [c for c in decisions.c if c.name not in ("evidence", "evidence_hash", "key")]


@dataclass(frozen=True, order=True)
class Look:
    """One look of the monitor, in the order of data time and then of entry."""

    as_of: str
    id: int
    state: str
    version: int | None
    run: str | None
    at: datetime


@dataclass(frozen=True)
class Move:
    """One deployment with the decision that made it. `as_of` is data time, `at` wall time."""

    generation: int
    champion: int | None
    challenger: int | None
    stage: str
    share: float
    release: int | None
    decision: int
    kind: str
    as_of: str
    at: datetime


@dataclass(frozen=True)
class Known:
    """What is held of a ledger at one moment; nothing in it changes, what is entered later makes another one.
    `seen`: the newest entry. By model: looks in the order of data time, deployments in the order of generations."""

    seen: int = 0
    models: frozenset[str] = frozenset()
    looks: Mapping[str, Sequence[Look]] = field(default_factory=dict)
    moves: Mapping[str, Sequence[Move]] = field(default_factory=dict)


@dataclass
class _Held:
    known: Known = field(default_factory=Known)
    lock: threading.Lock = field(default_factory=threading.Lock)


class NoLedger(RuntimeError):
    """Nothing was ever decided here."""


# -- opening -------------------------------------------------------------------------------------------------------
def engine(settings: Settings) -> sa.Engine:
    """The ledger, opened once a process. Raises NoLedger, Outdated: a page neither makes nor migrates one."""
    url = make_url(settings.ledger_url)
    identity = 0
    if url.get_backend_name() == "sqlite" and url.database:
        try:
            identity = Path(url.database).stat().st_ino
        except FileNotFoundError:
            raise NoLedger("nothing was decided here yet: there is no ledger") from None
    return _engine(settings.ledger_url, identity)


@lru_cache(maxsize=8)
def _engine(url: str, identity: int) -> sa.Engine:  # noqa: ARG001 — a file that was replaced is another ledger
    return book.connect(url, migrate=False)


@lru_cache(maxsize=8)
def _held(ledger: sa.Engine) -> _Held:  # noqa: ARG001 — one for each
    return _Held()


def known(ledger: sa.Engine) -> Known:
    """What is held of a ledger, with what was entered meanwhile."""
    held = _held(ledger)
    with held.lock, reader(ledger) as connection:
        newest = int(connection.scalar(sa.select(sa.func.max(decisions.c.id))) or 0)
        before = held.known if newest >= held.known.seen else Known()  # fewer: another database took its place
        if newest != before.seen:
            before = _grown(connection, before, newest)
        held.known = before
        return before


def _grown(connection: sa.Connection, before: Known, newest: int) -> Known:
    after = before.seen - _OVERLAP
    models = set(connection.scalars(sa.select(decisions.c.model).distinct().where(decisions.c.id > after)))
    looks: dict[str, set[Look]] = {}
    for model, look in _looks(connection, after):
        looks.setdefault(model, set(before.looks.get(model, ()))).add(look)
    moves: dict[str, dict[int, Move]] = {}
    for model, move in _moves(connection, after):
        moves.setdefault(model, {old.generation: old for old in before.moves.get(model, ())})[move.generation] = move
    return Known(
        newest,
        before.models | models,
        {**before.looks, **{model: tuple(sorted(some)) for model, some in looks.items()}},
        {**before.moves, **{model: tuple(some[n] for n in sorted(some)) for model, some in moves.items()}},
    )


def _looks(connection: sa.Connection, after: int) -> Iterator[tuple[str, Look]]:
    begins = sa.func.substr(decisions.c.reason, 1, 7).label("begins")
    columns = (decisions.c[name] for name in ("id", "model", "version", "as_of", "run", "recorded_at"))
    query = sa.select(*columns, begins).where(decisions.c.kind == "monitor", decisions.c.id > after)
    for row in connection.execute(query):
        state = _STATES.get(row.begins, "insufficient")
        yield row.model, Look(row.as_of, row.id, state, row.version, row.run, utc(row.recorded_at))


def _moves(connection: sa.Connection, after: int) -> Iterator[tuple[str, Move]]:
    query = sa.select(deployments, decisions.c.kind, decisions.c.as_of)
    query = query.join(decisions, decisions.c.id == deployments.c.decision).where(decisions.c.id > after)
    for row in connection.execute(query):
        parts = (row.generation, row.champion, row.challenger, row.stage, row.share, row.release, row.decision)
        yield row.model, Move(*parts, row.kind, row.as_of, utc(row.recorded_at))


def first_of_newest(rows: Sequence[Row], key: Callable[[Row], Any]) -> Row:
    """Of the newest rows, as far back as `key` has been the same without a break, the first; `rows` is not empty."""
    newest = key(rows[-1])
    *_, first = takewhile(lambda row: key(row) == newest, reversed(rows))
    return first


# -- decisions -----------------------------------------------------------------------------------------------------
def entry(settings: Settings, number: int) -> dict[str, Any]:
    """One decision with its evidence, as the ledger's `latest` gives it; kept, for it never changes."""
    ledger = engine(settings)
    return _entry(ledger, number)


@lru_cache(maxsize=512)
def _entry(ledger: sa.Engine, number: int) -> dict[str, Any]:
    with reader(ledger) as connection:
        row = connection.execute(sa.select(decisions).where(decisions.c.id == number)).one()
    return {**row._mapping, "evidence": json.loads(row.evidence), "recorded_at": utc(row.recorded_at)}


def page(
    connection: sa.Connection,
    model: str,
    limit: int,
    before: int | None = None,
    kinds: Collection[str] = (),
    routine: Collection[str] = (),
) -> tuple[list[Any], int]:
    """The newest decisions of a model that are older than `before`, without their evidence, and how many are older
    still. Of `kinds` alone; without any, `routine` kinds and looks that found all well are left out."""
    of = [decisions.c.model == model]
    if kinds:
        of.append(decisions.c.kind.in_(sorted(kinds)))
    else:
        of.append(decisions.c.kind.not_in(sorted(routine)))
        of.append(sa.or_(decisions.c.kind != "monitor", sa.not_(_HEALTHY)))
    if before is not None:
        of.append(decisions.c.id < before)
    rows = connection.execute(sa.select(*_SHORT).where(*of).order_by(decisions.c.id.desc()).limit(limit)).all()
    older = [*of, decisions.c.id < rows[-1].id] if rows else None
    more = connection.scalar(sa.select(sa.func.count()).where(*older)) if older and len(rows) == limit else 0
    return list(rows), int(more or 0)


def some(connection: sa.Connection, model: str, kinds: Collection[str], limit: int) -> list[Any]:
    """The newest decisions of some kinds, newest first."""
    of = (decisions.c.model == model, decisions.c.kind.in_(sorted(kinds)))
    return list(connection.execute(sa.select(*_SHORT).where(*of).order_by(decisions.c.id.desc()).limit(limit)))


def of_version(
    connection: sa.Connection, model: str, version: int, run: str | None, also: Collection[int] = ()
) -> list[Any]:
    """The decisions about a version, those of the run that made it and those of `also`, newest first, without looks
    that found all well."""
    well = sa.or_(decisions.c.kind.in_(("audit", "scored")), sa.and_(decisions.c.kind == "monitor", _HEALTHY))
    about = [sa.and_(decisions.c.version == version, sa.not_(well))]
    about += [decisions.c.run == run] if run else []
    about += [decisions.c.id.in_(sorted(also))] if also else []
    query = sa.select(*_SHORT).where(decisions.c.model == model, sa.or_(*about)).order_by(decisions.c.id.desc())
    return list(connection.execute(query.limit(200)))


def of_run(connection: sa.Connection, run: str) -> list[Any]:
    """The decisions that a run has entered, oldest first, with their evidence."""
    return list(connection.execute(sa.select(decisions).where(decisions.c.run == run).order_by(decisions.c.id)))


def held(connection: sa.Connection, number: int) -> dict[str, Any]:
    """The evidence of one decision."""
    query = sa.select(decisions.c.evidence).where(decisions.c.id == number)
    found: dict[str, Any] = json.loads(connection.execute(query).scalar_one())
    return found


def by_id(connection: sa.Connection, number: int) -> Any | None:
    return connection.execute(sa.select(*_SHORT).where(decisions.c.id == number)).first()


# -- the rest ------------------------------------------------------------------------------------------------------
def freezes_now(connection: sa.Connection) -> dict[str, Any]:
    """The freeze that is set on each model that is frozen: a row of `freezes`."""
    last = sa.select(sa.func.max(freezes.c.id)).group_by(freezes.c.model)
    rows = connection.execute(sa.select(freezes).where(freezes.c.id.in_(last)))
    return {row.model: row for row in rows if row.frozen}


def requests_now(connection: sa.Connection) -> dict[str, Any]:
    """The open retrain request of each model that has one."""
    query = sa.select(requests).where(requests.c.id.not_in(sa.select(closures.c.request)))
    return {row.model: row for row in connection.execute(query)}


def versions_of(connection: sa.Connection, model: str) -> list[tuple[book.Version, datetime]]:
    """A model's packaged versions, newest first, and when each was entered."""
    query = sa.select(versions).where(versions.c.model == model).order_by(versions.c.version.desc())
    return [_version(row) for row in connection.execute(query)]


def version(connection: sa.Connection, model: str, number: int) -> tuple[book.Version, datetime] | None:
    """One packaged version and when it was entered."""
    query = sa.select(versions).where(versions.c.model == model, versions.c.version == number)
    row = connection.execute(query).first()
    return None if row is None else _version(row)


def made_by(connection: sa.Connection, model: str, number: int) -> str | None:
    """The run that has made a version: the one that brought it in as champion or challenger."""
    of = (decisions.c.model == model, decisions.c.version == number, decisions.c.kind.in_(("champion", "challenger")))
    run: str | None = connection.scalar(sa.select(decisions.c.run).where(*of).order_by(decisions.c.id).limit(1))
    return run


def as_ofs(connection: sa.Connection) -> dict[tuple[str, int], str]:
    """As of when each version of all models was trained."""
    rows = connection.execute(sa.select(versions.c.model, versions.c.version, versions.c.as_of))
    return {(row.model, row.version): row.as_of for row in rows}


def _version(row: Any) -> tuple[book.Version, datetime]:
    parts = {k: v for k, v in row._mapping.items() if k != "recorded_at"}
    refs = {part: json.loads(parts[part]) for part in ("frame", "bundle", "bento")}
    return book.Version(**{**parts, **refs}), utc(row.recorded_at)


def release_of(connection: sa.Connection, run: str) -> int | None:
    """The number of the release that a run has begun; None: it has begun none."""
    number: int | None = connection.scalar(sa.select(releases.c.id).where(releases.c.run == run))
    return number


def release(connection: sa.Connection, number: int) -> Any | None:
    """A release, its policy read."""
    return connection.execute(sa.select(releases).where(releases.c.id == number)).first()


def asked_by(connection: sa.Connection, request: int) -> list[Any]:
    """Why a training was asked for, in the order in which it was said."""
    query = sa.select(request_causes).where(request_causes.c.request == request).order_by(request_causes.c.id)
    return list(connection.execute(query))


def closed_by(connection: sa.Connection, run: str) -> list[Any]:
    """The requests that a run has answered, and how."""
    return list(connection.execute(sa.select(closures).where(closures.c.run == run)))
