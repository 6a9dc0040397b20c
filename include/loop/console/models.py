"""The index: one row a model, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from include import alerts, clock
from include.console import order
from include.console.view import (
    Airflow,
    Alert,
    Day,
    Frozen,
    Gap,
    Health,
    Index,
    Link,
    Progress,
    Question,
    Row,
    Traffic,
)
from include.contracts import OUTCOME
from include.loop.console import curve, entries, kept, released, words
from include.loop.console.entries import Known, Look, Move
from include.models import registry
from include.models.spec import Feed
from include.release.ledger import CANARY, Outdated, utc
from include.settings import Settings
from include.times import iso, parse

SHOWN = 28  # days of a row
_RETRAIN = "train"
_UNWATCHED = Health("unwatched", "Nobody has looked at it yet.", None, None, None)


@dataclass(frozen=True)
class Facts:
    """What one page knows of all models."""

    settings: Settings
    airflow: Airflow
    known: Known
    alerts: Mapping[str, Sequence[Alert]]
    frozen: Mapping[str, Any]
    requests: Mapping[str, Any]
    as_ofs: Mapping[tuple[str, int], str]
    now: str | None
    speed: float
    features_as_of: str | None
    labels_as_of: str | None


def names(settings: Settings) -> list[str]:
    """The models that this installation has a folder of, and those that its ledger knows."""
    try:
        known = entries.known(entries.engine(settings)).models
    except (entries.NoLedger, Outdated, sa.exc.SQLAlchemyError):
        known = frozenset()
    return sorted({*registry.names(), settings.model, *known})


def index(settings: Settings, airflow: Airflow, wall: datetime) -> Index:
    """All models, the worst first."""
    gaps: list[Gap] = []
    facts, connection = gather(settings, airflow, wall, gaps)
    with closing(connection):
        try:
            rows = [row(facts, connection, name, gaps) for name in names(settings)]
        except sa.exc.SQLAlchemyError as error:  # it went away while the page was made
            gaps.append(silent(error))
            rows = [row(facts, None, name, gaps) for name in names(settings)]
    return Index(order.worst_first(rows), facts.now, facts.speed, tuple(dict.fromkeys(gaps)))


# -- what all rows share -------------------------------------------------------------------------------------------
def gather(settings: Settings, airflow: Airflow, wall: datetime, gaps: list[Gap]) -> tuple[Facts, sa.Connection | None]:
    """What a page knows of all models, and a connection to the ledger, None where there is none; the caller's to
    close. What cannot be read is a gap."""
    now, speed = _clock(settings, wall, gaps)
    features, labels = _published(settings, gaps)
    known, connection = Known(), None
    frozen: Mapping[str, Any] = {}
    requests: Mapping[str, Any] = {}
    as_ofs: Mapping[tuple[str, int], str] = {}
    try:
        ledger = entries.engine(settings)
        known = entries.known(ledger)
        connection = entries.reader(ledger)
        frozen, requests = entries.freezes_now(connection), entries.requests_now(connection)
        as_ofs = _as_ofs(ledger, known.seen)
    except entries.NoLedger as error:
        gaps.append(Gap("ledger", f"{error}. The first training begins it"))
    except Outdated as error:
        gaps.append(Gap("ledger", f"{error}. The next run of any DAG does"))
    except sa.exc.SQLAlchemyError as error:
        gaps.append(silent(error))
    told = _alerts(settings, {*registry.names(), *known.models}, gaps)
    return (
        Facts(settings, airflow, known, told, frozen, requests, as_ofs, now, speed, features, labels),
        connection,
    )


def silent(error: Exception) -> Gap:
    return Gap("ledger", f"it does not answer ({type(error).__name__}): what it says of now is missing")


@contextmanager
def closing(connection: sa.Connection | None) -> Iterator[None]:
    try:
        yield
    finally:
        if connection is not None:
            connection.close()


@lru_cache(maxsize=4)
def _as_ofs(ledger: sa.Engine, seen: int) -> Mapping[tuple[str, int], str]:  # noqa: ARG001
    with entries.reader(ledger) as connection:
        return entries.as_ofs(connection)


def _clock(settings: Settings, wall: datetime, gaps: list[Gap]) -> tuple[str | None, float]:
    try:
        started = clock.load(settings.home / "clock.json")
    except clock.ClockNotStarted:
        gaps.append(
            Gap(
                "data time",
                "the data clock has not been started: `make up` starts it, `make demo` once its history is in",
            )
        )
    except (OSError, ValueError, KeyError) as error:
        gaps.append(Gap("data time", f"the clock's file cannot be read ({type(error).__name__})"))
    else:
        return iso(started.at(wall)), started.speed
    return None, settings.speed


def _published(settings: Settings, gaps: list[Gap]) -> tuple[str | None, str | None]:
    """Up to when the lake is published, and the newest outcome in what is."""
    # include.lake would bring pyarrow's datasets, and with them pandas, into the api-server
    catalog = kept.file(settings.lake / "catalog.json")
    if not isinstance(catalog, dict) or not catalog.get("as_of"):
        gaps.append(Gap("freshness", "nothing was ever published to the lake: run `ingest`"))
        return None, None
    version = (catalog.get("versions") or {}).get(OUTCOME.name)
    return catalog["as_of"], None if version is None else _newest_label(settings.lake / OUTCOME.name, int(version))


@lru_cache(maxsize=8)
def _newest_label(path: Path, version: int) -> str | None:
    """When the newest outcome of a version of the table was known, from the table's own statistics."""
    try:
        added = DeltaTable(str(path), version=version).get_add_actions(flatten=True)
        times = [time for time in added.column("max.known_at").to_pylist() if time is not None]
    except (DeltaError, OSError, KeyError, ValueError):
        return None
    return iso(max(times)) if times else None


def _alerts(settings: Settings, models: set[str], gaps: list[Gap]) -> dict[str, list[Alert]]:
    """What is open of each model, pages first. What names no model is this installation's own model's."""
    try:
        open_ = alerts.unresolved(settings)
    except OSError as error:
        gaps.append(Gap("alerts", f"their file cannot be read ({type(error).__name__})"))
        return {}
    found: dict[str, list[Alert]] = {}
    for told in open_:
        named = told["group"].partition("/")[2]
        found.setdefault(named if named in models else settings.model, []).append(_alert(told))
    for some in found.values():
        some.sort(key=lambda alert: alert.time, reverse=True)
        some.sort(key=lambda alert: alert.severity != alerts.PAGE)
    return found


def _alert(told: Mapping[str, Any]) -> Alert:
    dag = told["runbook"]
    return Alert(
        title=told["title"],
        cause=told["cause"],
        action=told["action"],
        severity=told["severity"],
        time=told["time"],
        link=words.address("Look", told["link"]) if told["link"] else None,
        runbook=Link(f"Runbook of {dag}", f"/dags/{dag}", "airflow") if dag else None,
    )


# -- one row -------------------------------------------------------------------------------------------------------
def row(facts: Facts, connection: sa.Connection | None, name: str, gaps: list[Gap]) -> Row:
    """A model as the index shows it."""
    ours = name == facts.settings.model
    moves = facts.known.moves.get(name, ())
    looks = facts.known.looks.get(name, ())
    champion = moves[-1].champion if moves else None
    request = facts.requests.get(name)
    planned = facts.airflow.dags.get(_RETRAIN) if ours else None
    challenger = released.progress(facts.settings, connection, moves) if connection is not None else None
    ice = facts.frozen.get(name)
    if ice is not None and challenger is not None and challenger.stage == CANARY:
        challenger = replace(challenger, text=f"{challenger.text.partition(';')[0]}; not promoted while it is frozen")
    return Row(
        model=name,
        ours=ours,
        health=current(health(facts.settings, looks), champion),
        champion=champion,
        champion_since=_since(moves),
        age_days=_age(facts.now, facts.as_ofs.get((name, champion)) if champion is not None else None),
        challenger=challenger,
        days=days(facts, name, SHOWN, gaps),
        features_as_of=facts.features_as_of,
        labels_as_of=facts.labels_as_of,
        traffic=traffic(facts.settings, name, looks),
        alerts=tuple(facts.alerts.get(name, ())),
        question=_question(facts.airflow, challenger) if ours else None,
        frozen=_frozen(ice),
        request=str(request.cause) if request is not None else None,
        next_run=(_RETRAIN, planned.next_run) if planned and planned.next_run and not planned.paused else None,
        doing=_doing(facts.airflow) if ours else (),
    )


def health(settings: Settings, looks: Sequence[Look]) -> Health:
    """The verdict of the newest look, by data time: a late look at older data overrides nothing."""
    if not looks:
        return _UNWATCHED
    newest, first = looks[-1], entries.first_of_newest(looks, lambda look: look.state)
    try:
        entry = entries.entry(settings, newest.id)
    except (sa.exc.SQLAlchemyError, entries.NoLedger, Outdated):  # the page says so
        entry = {"evidence": {}, "reason": f"The newest look found: {newest.state}. The ledger does not say more now."}
    findings = sorted(
        entry["evidence"].get("findings", ()), key=lambda f: (not f.get("persistent"), not f.get("fired"))
    )
    return Health(
        version=newest.version,
        state=str(entry["evidence"].get("state", newest.state)),
        reason=str(entry["reason"]),
        as_of=newest.as_of,
        at=newest.at,
        run=newest.run,
        findings=tuple(findings),
        since=first.as_of,
        since_at=first.at,
    )


def current(found: Health, champion: int | None) -> Health:
    """A verdict about the data holds whoever is champion; one about a model dies with its reign."""
    if champion is None or found.version in (None, champion) or found.state == "incident":
        return found
    reason = f"Version {champion} went live after the newest look, which was at version {found.version}."
    return replace(found, state="unwatched", reason=reason, since=None, since_at=None)


def _question(airflow: Airflow, challenger: Progress | None) -> Question | None:
    """The question of the release that is under way; else one that a release has left behind."""
    run = challenger.run if challenger else None
    asked = [replace(q, over=f"release/{q.run_id}" != run) for q in airflow.questions]
    return min(asked, key=lambda question: question.over, default=None)


def days(facts: Facts, name: str, last: int | None, gaps: list[Gap]) -> Sequence[Day]:
    try:
        return curve.days(facts.settings, name, facts.known.moves.get(name, ()), last)
    except Exception as error:  # deltalake raises several kinds for a table that is broken
        gaps.append(Gap("performance", f"the lake's table cannot be read ({type(error).__name__}: {error})"))
        return ()


def traffic(settings: Settings, name: str, looks: Sequence[Look]) -> Traffic | None:
    """The recent hours as the newest look counted them; None before any, or when its files are packed away."""
    summary = kept.beside(settings, looks[-1].run, "window", "summary.json") if looks else None
    recent = summary.get("recent") if isinstance(summary, dict) else None
    if not recent:
        return None
    answers, failed = int(recent.get("predictions") or 0), int(recent.get("errors") or 0)
    attempts = answers + failed - int(recent.get("failed_answers") or 0)
    latency = recent.get("latency_ms") or {}
    return Traffic(
        requests=float(recent.get("requests") or 0),
        hours=_hours(name),
        p50_ms=latency.get("p50"),
        p99_ms=latency.get("p99"),
        failed=failed / attempts if attempts else None,
        stale=int(recent.get("stale") or 0) / answers if answers else None,
        last=recent.get("last"),
    )


@lru_cache(maxsize=256)
def _hours(name: str) -> float:
    return registry.load(name).feed.recent_hours if name in registry.names() else Feed().recent_hours


def _since(moves: Sequence[Move]) -> datetime | None:
    """When the champion became it."""
    if not moves or moves[-1].champion is None:
        return None
    return entries.first_of_newest(moves, lambda move: move.champion).at


def _age(now: str | None, as_of: str | None) -> float | None:
    return (parse(now) - parse(as_of)) / timedelta(days=1) if now and as_of else None


def _frozen(ice: Any | None) -> Frozen | None:
    return None if ice is None else Frozen(ice.actor, ice.reason, utc(ice.recorded_at))


def _doing(airflow: Airflow) -> tuple[Link, ...]:
    return tuple(
        Link(f"{dag.dag_id}: {run}", alerts.link(f"{dag.dag_id}/{run}"), "airflow")
        for dag in airflow.dags.values()
        for run in dag.running
    )
