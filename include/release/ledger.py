"""The ledger: every decision about a model, and what is live. Append-only; promotion is a compare-and-set.

SQLite by default (WAL, writers wait 30 s, transactions begin IMMEDIATE), PostgreSQL by URL. MLflow's aliases mirror
what stands here and are repaired from it, never the other way: they have no compare-and-set.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from include.contracts import Ref
from include.crashpoints import reached
from include.files import canonical_json, hash_text
from include.release.migrations import migrate as _migrate
from include.release.tables import (
    REVISION,
    decisions,
    deployments,
    freezes,
    request_causes,
    retrain_closures,
    retrain_requests,
    versions,
)

_READING = "ratchet_reading"
_REFS = ("frame", "bundle", "bento")
_ATTEMPTS = 5  # of an ask that met another one, or a closing
PROMOTIONS = ("champion", "promotion")  # kinds of decisions that a freeze forbids
WAITING, SHADOW, APPROVAL, CANARY = "waiting", "shadow", "approval", "canary"  # stages of a challenger


class Superseded(RuntimeError):
    """Another was first: what is live, or asked for, is no longer what this decision was taken on."""


class Frozen(RuntimeError):
    """The model is frozen: nothing of it is promoted until somebody lifts the freeze."""


class Outdated(RuntimeError):
    """The ledger's schema is not the one that this code reads and writes."""


class UnknownVersion(LookupError):
    """The ledger holds no such packaged version."""


@dataclass(frozen=True)
class Decision:
    """One entry. `key` identifies it across retries, e.g. "train/<run id>/gate": the first entry of a key stays."""

    key: str
    model: str
    kind: str  # gate, rehearsal, champion, challenger, shadow, canary, promotion, rollback …
    actor: str
    reason: str
    as_of: str
    version: int | None = None
    run: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """A packaged version of a model and where its parts lie."""

    model: str
    version: int
    mlflow_run: str
    configuration_hash: str
    as_of: str
    trained_until: str  # last local date that it was fitted or tuned on
    frame: Ref
    bundle: Ref
    bento: Ref
    code_hash: str | None = None  # of the service's code that it was rehearsed with (include/packed.py)


@dataclass(frozen=True)
class Deployment:
    """What is live. Generation 0: nothing was ever deployed.

    The challenger waits ("waiting", or "" in ledgers of old), is scored beside the champion ("shadow", "approval"), or
    also answers a `share` of the entities ("canary"). `release`: the release that put it there.
    """

    model: str
    generation: int
    champion: int | None
    challenger: int | None
    stage: str = ""
    share: float = 0.0
    release: int | None = None


@dataclass(frozen=True)
class Freeze:
    """The newest word on whether a model may be promoted."""

    frozen: bool
    actor: str
    reason: str


@dataclass(frozen=True)
class Request:
    """A request to train a model; `cause` is the one that it was opened for, `causes` tells all."""

    id: int
    model: str
    as_of: str
    cause: str
    actor: str
    run: str | None
    recorded_at: datetime  # wall time, UTC


@dataclass(frozen=True)
class Cause:
    """One reason for which a training was asked for. `kind`: age, surprise, score, person …, or other."""

    kind: str
    cause: str
    actor: str
    as_of: str
    run: str | None


def connect(url: str, migrate: bool = True) -> sa.Engine:
    """Open the ledger and bring its schema up to date. With `migrate` False an outdated one raises Outdated."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        if migrate and (database := make_url(url).database):
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    if (found := _revision(engine)) != REVISION:
        if not migrate:
            raise Outdated(f"the ledger's schema is {found or 'missing'}, this code needs {REVISION}: migrate it first")
        _migrate(engine)
    return engine


def _revision(engine: sa.Engine) -> str | None:
    with reader(engine) as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions, not the driver
    for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # a writer takes the lock at its beginning: what it reads then is still true when it writes
    reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def reader(ledger: sa.Engine) -> sa.Connection:
    """A connection that only reads: it waits for no writer, and none waits for it."""
    return ledger.connect().execution_options(**{_READING: True})


def record(ledger: sa.Engine, decision: Decision) -> int:
    """Enter a decision and return its id. A key that is there already returns the first entry's id, unchanged."""
    with ledger.begin() as connection:
        entry = _record(connection, decision)
    reached(f"ledger.{decision.kind}")
    return entry


def _record(connection: sa.Connection, decision: Decision) -> int:
    found = connection.scalar(sa.select(decisions.c.id).where(decisions.c.key == decision.key))
    if found is not None:
        return int(found)
    values = {k: v for k, v in vars(decision).items() if k != "evidence"}
    evidence = canonical_json(decision.evidence)
    row = decisions.insert().values(**values, evidence=evidence, evidence_hash=hash_text(evidence))
    return int(connection.execute(row.returning(decisions.c.id)).scalar_one())


def current(ledger: sa.Engine, model: str) -> Deployment:
    """What is live now."""
    with reader(ledger) as connection:
        return _current(connection, model)


def live_at(ledger: sa.Engine, model: str, wall: datetime) -> Deployment:
    """What was live at a wall time."""
    with reader(ledger) as connection:
        return _current(connection, model, deployments.c.recorded_at <= wall.astimezone(UTC).replace(tzinfo=None))


def _current(connection: sa.Connection, model: str, *conditions: Any) -> Deployment:
    query = sa.select(deployments).where(deployments.c.model == model, *conditions)
    row = connection.execute(query.order_by(deployments.c.generation.desc()).limit(1)).first()
    return Deployment(model, 0, None, None) if row is None else _deployment(row)


def _deployment(row: Any) -> Deployment:
    return Deployment(row.model, row.generation, row.champion, row.challenger, row.stage, row.share, row.release)


def deployed(ledger: sa.Engine, model: str) -> list[dict[str, Any]]:
    """Every deployment of a model, oldest first: its columns, and of its decision kind, actor, reason, as_of."""
    why = [decisions.c[name] for name in ("kind", "actor", "reason", "as_of", "run")]
    query = sa.select(deployments, *why).join(decisions, decisions.c.id == deployments.c.decision)
    with reader(ledger) as connection:
        rows = connection.execute(query.where(deployments.c.model == model).order_by(deployments.c.generation))
        return [dict(row._mapping) for row in rows]


def deploy(
    ledger: sa.Engine,
    seen: Deployment,
    decision: Decision,
    champion: int | None,
    challenger: int | None,
    stage: str = "",
    share: float = 0.0,
    release: int | None = None,
) -> Deployment:
    """Make `champion` and `challenger` live if what is live is still what was `seen`; else raise Superseded.

    The decision and the deployment are entered together or not at all. Repeating a decision (same key) that was
    carried out returns what it made. Raises Frozen for a promotion of a frozen model.
    """
    try:
        with ledger.begin() as connection:
            entry = _record(connection, decision)
            done = connection.execute(sa.select(deployments).where(deployments.c.decision == entry)).first()
            if done is None:
                if _current(connection, seen.model).generation != seen.generation:
                    raise Superseded(_lost(seen))
                if decision.kind in PROMOTIONS and (ice := _frozen(connection, seen.model)):
                    raise Frozen(f"{seen.model} is frozen by {ice.actor}: {ice.reason}; nothing was changed")
                made = Deployment(seen.model, seen.generation + 1, champion, challenger, stage, share, release)
                connection.execute(deployments.insert().values(**vars(made), decision=entry))
            else:
                made = _deployment(done)
    except sa.exc.IntegrityError as error:  # PostgreSQL: both inserted, one commits
        raise Superseded(_lost(seen)) from error
    reached(f"ledger.deploy.{decision.kind}")
    return made


def _lost(seen: Deployment) -> str:
    return f"{seen.model}: generation {seen.generation} is no longer the live one; nothing was changed, decide anew"


def add_version(ledger: sa.Engine, new: Version) -> None:
    """Enter a packaged version; entering it again changes nothing. Raises ValueError if it was entered otherwise."""
    values = {**vars(new), **{part: canonical_json(getattr(new, part)) for part in _REFS}}
    with suppress(sa.exc.IntegrityError), ledger.begin() as connection:
        connection.execute(versions.insert().values(**values))
    reached("ledger.version")
    entered = version(ledger, new.model, new.version)
    if entered != new:
        raise ValueError(f"version {new.version} of {new.model} stands in the ledger as {entered}, not as {new}")


def version(ledger: sa.Engine, model: str, number: int) -> Version:
    """A packaged version. Raises UnknownVersion."""
    query = sa.select(versions).where(versions.c.model == model, versions.c.version == number)
    with reader(ledger) as connection:
        row = connection.execute(query).first()
    if row is None:
        raise UnknownVersion(f"the ledger holds no packaged version {number} of {model}")
    parts = {k: v for k, v in row._mapping.items() if k != "recorded_at"}
    return Version(**{**parts, **{part: json.loads(parts[part]) for part in _REFS}})


def freeze(ledger: sa.Engine, decision: Decision, frozen: bool) -> None:
    """Freeze a model, or lift the freeze, for the reason and in the name that the decision gives."""
    with ledger.begin() as connection:
        before = connection.scalar(sa.select(decisions.c.id).where(decisions.c.key == decision.key))
        if before is None:
            _record(connection, decision)
            values = {"model": decision.model, "frozen": frozen, "actor": decision.actor, "reason": decision.reason}
            connection.execute(freezes.insert().values(**values))
    reached("ledger.freeze")


def frozen(ledger: sa.Engine, model: str) -> Freeze | None:
    """The freeze that is set on a model, or None."""
    with reader(ledger) as connection:
        return _frozen(connection, model)


def _frozen(connection: sa.Connection, model: str) -> Freeze | None:
    query = sa.select(freezes).where(freezes.c.model == model).order_by(freezes.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    return Freeze(True, row.actor, row.reason) if row is not None and row.frozen else None


def history(ledger: sa.Engine, model: str) -> list[dict[str, Any]]:
    """All decisions about a model, oldest first; `recorded_at` is wall time, `as_of` data time."""
    query = sa.select(decisions).where(decisions.c.model == model).order_by(decisions.c.id)
    with reader(ledger) as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def latest(ledger: sa.Engine, model: str, kind: str) -> dict[str, Any] | None:
    """The newest decision of a kind about a model, by data time and then by entry; its evidence is read."""
    query = sa.select(decisions).where(decisions.c.model == model, decisions.c.kind == kind)
    with reader(ledger) as connection:
        row = connection.execute(query.order_by(decisions.c.as_of.desc(), decisions.c.id.desc()).limit(1)).first()
    return None if row is None else _read(row)


def of_kind(ledger: sa.Engine, model: str, kind: str) -> list[dict[str, Any]]:
    """All decisions of a kind about a model, oldest entry first; their evidence is read."""
    query = sa.select(decisions).where(decisions.c.model == model, decisions.c.kind == kind)
    with reader(ledger) as connection:
        return [_read(row) for row in connection.execute(query.order_by(decisions.c.id))]


def _read(row: Any) -> dict[str, Any]:
    return {**row._mapping, "evidence": json.loads(row.evidence), "recorded_at": utc(row.recorded_at)}


def utc(recorded: datetime) -> datetime:
    """A `recorded_at` as the database gives it, in UTC: SQLite keeps no zone."""
    return recorded.replace(tzinfo=UTC) if recorded.tzinfo is None else recorded.astimezone(UTC)


# -- requests --------------------------------------------------------------------------------------------------------
def request_retrain(ledger: sa.Engine, model: str, as_of: str, cause: str, actor: str, run: str | None) -> Request:
    """Ask for a training. While a request of the model is open the cause joins it: one open a model."""
    for _ in range(_ATTEMPTS):
        if (mine := request_of(ledger, model, run)) is not None:
            return mine  # a retry; it may have been served meanwhile
        found = open_request(ledger, model)
        seen = None if found is None else found.id
        with suppress(Superseded):
            return enter_request(ledger, seen, model, as_of, [("other", cause)], actor, run)
    raise Superseded(f"{model}: its requests come and go while one is being made; nothing was asked, ask again")


def enter_request(
    ledger: sa.Engine,
    seen: int | None,
    model: str,
    as_of: str,
    causes: Sequence[tuple[str, str]],
    actor: str,
    run: str | None,
) -> Request:
    """Open a request for `causes` (kind, cause), or add them to the open request `seen`; else raise Superseded.

    The request and its causes are entered together or not at all. A kind that the run has brought before stays as it
    was.
    """
    if not causes:
        raise ValueError("causes: a training is asked for without a reason; nothing was entered")
    why = {"as_of": as_of, "actor": actor, "run": run}
    try:
        with ledger.begin() as connection:
            # counted before it is looked whether one is open: one that comes and goes in between takes this ordinal
            counting = sa.select(sa.func.count()).where(retrain_requests.c.model == model)
            ordinal = connection.scalar(counting)
            if seen is not None:  # PostgreSQL: whoever closes it waits, or is waited for
                connection.execute(sa.select(retrain_requests).where(retrain_requests.c.id == seen).with_for_update())
            found = _open_request(connection, model)
            if (None if found is None else found.id) != seen:
                raise Superseded(_asked_meanwhile(model, seen))
            if found is None:
                opened = {"model": model, "ordinal": ordinal, "cause": causes[0][1], **why}
                connection.execute(retrain_requests.insert().values(**opened))
                found = _open_request(connection, model)
            assert found is not None
            brought = sa.select(request_causes.c.kind).where(
                request_causes.c.request == found.id, request_causes.c.run == run
            )
            before = set(connection.scalars(brought))
            for kind, cause in causes:
                if kind not in before:
                    connection.execute(request_causes.insert().values(request=found.id, kind=kind, cause=cause, **why))
    except sa.exc.IntegrityError as error:  # PostgreSQL: another asked at the same moment
        raise Superseded(_asked_meanwhile(model, seen)) from error
    reached("ledger.request")
    return found


def _asked_meanwhile(model: str, seen: int | None) -> str:
    was = "none" if seen is None else f"request {seen}"
    return f"{model}: {was} was open, and no longer is what is open; nothing was entered, decide anew"


def request_of(ledger: sa.Engine, model: str, run: str | None) -> Request | None:
    """The newest request, open or closed, that a run has opened or brought a cause to."""
    if run is None:
        return None
    brought = sa.select(request_causes.c.request).where(request_causes.c.run == run)
    of = (retrain_requests.c.model == model, retrain_requests.c.id.in_(brought))
    query = sa.select(retrain_requests).where(*of).order_by(retrain_requests.c.id.desc()).limit(1)
    with reader(ledger) as connection:
        row = connection.execute(query).first()
    return None if row is None else _request(row)


def causes(ledger: sa.Engine, request: int) -> list[Cause]:
    """Why a training was asked for, in the order in which it was said."""
    query = sa.select(request_causes).where(request_causes.c.request == request).order_by(request_causes.c.id)
    with reader(ledger) as connection:
        return [Cause(row.kind, row.cause, row.actor, row.as_of, row.run) for row in connection.execute(query)]


def open_request(ledger: sa.Engine, model: str) -> Request | None:
    """The open request of a model, if there is one."""
    with reader(ledger) as connection:
        return _open_request(connection, model)


def last_request(ledger: sa.Engine, model: str, but: str) -> Request | None:
    """The latest request of a model, open or closed, that another run than `but` has made."""
    of = (retrain_requests.c.model == model, sa.func.coalesce(retrain_requests.c.run, "") != but)
    query = sa.select(retrain_requests).where(*of).order_by(retrain_requests.c.id.desc()).limit(1)
    with reader(ledger) as connection:
        row = connection.execute(query).first()
    return None if row is None else _request(row)


def _open_request(connection: sa.Connection, model: str) -> Request | None:
    closed = sa.select(retrain_closures.c.request)
    query = sa.select(retrain_requests).where(retrain_requests.c.model == model, retrain_requests.c.id.not_in(closed))
    row = connection.execute(query).first()
    return None if row is None else _request(row)


def _request(row: Any) -> Request:
    return Request(row.id, row.model, row.as_of, row.cause, row.actor, row.run, utc(row.recorded_at))


def close_request(ledger: sa.Engine, request: int, run: str, outcome: str) -> None:
    """Close a request with what became of it. The first closing stays."""
    with suppress(sa.exc.IntegrityError), ledger.begin() as connection:
        connection.execute(retrain_closures.insert().values(request=request, run=run, outcome=outcome))
    reached("ledger.closure")


def answered_by(ledger: sa.Engine, request: int) -> str | None:
    """The run that closed a request, or None while it is open."""
    query = sa.select(retrain_closures.c.run).where(retrain_closures.c.request == request)
    with reader(ledger) as connection:
        run: str | None = connection.scalar(query)
    return run
