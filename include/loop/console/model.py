"""A model's page: every decision over what became of it, champion against challenger, drift, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy as sa

from include.console.view import Airflow, Decision, Drift, Gap, Link, ModelPage, Number, VersionRow
from include.loop.console import Unknown, curve, entries, kept, models, released, trained, words
from include.loop.console.entries import Look, Move
from include.loop.console.kept import Tracking
from include.loop.console.models import Facts
from include.loop.gone import gone
from include.release.ledger import Version
from include.settings import Settings

PAGE = 50  # decisions
_MARKED = 500  # decisions that a curve shows at the most, the newest


def page(
    settings: Settings,
    name: str,
    airflow: Airflow,
    wall: datetime,
    before: int | None = None,
    kinds: frozenset[str] = frozenset(),
) -> ModelPage:
    """All of a model. `before` and `kinds` turn and filter the page of decisions; without kinds the routine ones are
    left out. Raises Unknown."""
    if name not in models.names(settings):
        raise Unknown(f"there is no model {name!r}, neither in include/models nor in the ledger")
    gaps: list[Gap] = []
    facts, connection = models.gather(settings, airflow, wall, gaps)
    with models.closing(connection):
        try:
            return _page(facts, connection, name, before, kinds, gaps)
        except sa.exc.SQLAlchemyError as error:  # it went away while the page was made
            return _page(facts, None, name, before, kinds, [*gaps, models.silent(error)])


def _page(
    facts: Facts,
    connection: sa.Connection | None,
    name: str,
    before: int | None,
    kinds: frozenset[str],
    gaps: list[Gap],
) -> ModelPage:
    settings = facts.settings
    looks, moves = facts.known.looks.get(name, ()), facts.known.moves.get(name, ())
    tracking = Tracking(settings)
    days = models.days(facts, name, None, gaps)
    rows = versions(facts, connection, name) if connection is not None else []
    decisions, more = _decisions(settings, connection, name, before, kinds)
    seen = _evidence(settings, looks, gaps)
    drift = _drift(settings, connection, name, seen, tracking, gaps)
    row = models.row(facts, connection, name, gaps)
    return ModelPage(
        row=row,
        days=days,
        decisions=decisions,
        more=more,
        marks=_marks(settings, connection, name),
        versions=rows,
        duel=released.duel(settings, connection, moves) if connection is not None else None,
        drift=drift,
        drift_as_of=looks[-1].as_of if drift else None,
        slices=_slices(seen),
        links=_links(settings, name, looks) if row.ours else (),
        now=facts.now,
        speed=facts.speed,
        gaps=tuple(dict.fromkeys([*gaps, *tracking.gaps])),
    )


# -- decisions -----------------------------------------------------------------------------------------------------
def _decisions(
    settings: Settings, connection: sa.Connection | None, name: str, before: int | None, kinds: frozenset[str]
) -> tuple[list[Decision], int]:
    if connection is None:
        return [], 0
    rows, more = entries.page(connection, name, PAGE, before, kinds, words.ROUTINE)
    return [words.decision(settings, row) for row in rows], more


def _marks(settings: Settings, connection: sa.Connection | None, name: str) -> list[Decision]:
    """What the curve shows, oldest first, without a search for pages."""
    if connection is None:
        return []
    rows = entries.some(connection, name, words.MARKS, _MARKED)
    return [words.decision(settings, row, search=False) for row in reversed(rows)]


# -- versions ------------------------------------------------------------------------------------------------------
def versions(facts: Facts, connection: sa.Connection, name: str) -> list[VersionRow]:
    """A model's packaged versions, newest first."""
    return version_rows(facts.settings, name, facts.known.moves.get(name, ()), entries.versions_of(connection, name))


def version_rows(
    settings: Settings, name: str, moves: Sequence[Move], found: Sequence[tuple[Version, datetime]]
) -> list[VersionRow]:
    """Some versions of a model, each with when it was entered, and what has become of them."""
    champions = {move.champion for move in moves}
    try:
        losses = curve.overall(settings, name)
    except Exception:  # the curve itself has said so
        losses = {}
    return [
        VersionRow(
            version=entry.version,
            as_of=entry.as_of,
            trained_until=entry.trained_until,
            at=at,
            role=_role(moves, entry.version),
            was_champion=entry.version in champions,
            gone=gone(settings, entry),
            log_loss=losses.get(entry.version),
            rolled_back=_rolled_back(moves, entry.version),
        )
        for entry, at in found
    ]


def _rolled_back(moves: Sequence[Move], version: int) -> bool:
    """Whether a rollback ended its last reign."""
    ends = [after for before, after in pairwise(moves) if before.champion == version != after.champion]
    return bool(ends) and ends[-1].kind == "rollback"


def _role(moves: Sequence[Move], version: int) -> str:
    live = moves[-1] if moves else None
    if live is None:
        return ""
    return "champion" if live.champion == version else "challenger" if live.challenger == version else ""


# -- what the newest look saw --------------------------------------------------------------------------------------
def _evidence(settings: Settings, looks: Sequence[Look], gaps: list[Gap]) -> Mapping[str, Any]:
    if not looks:
        return {}
    found = kept.beside(settings, looks[-1].run, "measure", "evidence.json")
    if isinstance(found, dict):
        return found
    gaps.append(Gap("drift and slices", "the newest look's numbers are gone: `maintain` packs them into var/archive"))
    return {}


def _drift(
    settings: Settings,
    connection: sa.Connection | None,
    name: str,
    seen: Mapping[str, Any],
    tracking: Tracking,
    gaps: list[Gap],
) -> list[Drift]:
    """Each feature of the newest look, the most important drift first."""
    told = seen.get("drift") or ()
    if not told:
        return []
    weights = _importance(settings, connection, name, seen, tracking)
    if not weights:
        gaps.append(Gap("importance of features", "the champion's training has not kept it, or it cannot be reached"))
    found = [
        Drift(
            feature=one["feature"],
            psi=one.get("psi"),
            importance=weights.get(one["feature"]),
            mean=one.get("mean"),
            reference_mean=one.get("reference_mean"),
            nulls=one.get("nulls"),
            reference_nulls=one.get("reference_nulls"),
        )
        for one in told
    ]
    return sorted(found, key=lambda d: (-(d.psi or 0) * (d.importance or 0), -(d.psi or 0), d.feature))


def _importance(
    settings: Settings,
    connection: sa.Connection | None,
    name: str,
    seen: Mapping[str, Any],
    tracking: Tracking,
) -> dict[str, float]:
    """Of the features of the version that was looked at, as its training found them."""
    version = seen.get("version")
    if connection is None or version is None:
        return {}
    found = entries.version(connection, name, int(version))
    if found is None:
        return {}
    run = entries.made_by(connection, name, int(version))
    return trained.importance(trained.manifest(settings, run, found[0].mlflow_run, tracking))


def _slices(seen: Mapping[str, Any]) -> list[tuple[str, str, int, Number]]:
    """Log loss above the champion's own expectation, the surest worst first."""
    parts = ((seen.get("performance") or {}).get("slices")) or ()
    return trained.slices(parts, "surprise", lambda above: above.value - 1.0 if above.low is None else above.low)


# -- links ---------------------------------------------------------------------------------------------------------
def _links(settings: Settings, name: str, looks: Sequence[Look]) -> tuple[Link, ...]:
    found: list[Link | None] = []
    if looks and looks[-1].run:
        found += [
            words.report(settings, looks[-1].run, "measure", "Newest look"),
            words.report(settings, looks[-1].run, "report", "Evidently report"),
        ]
    if checked := _newest(settings, "ingest", "validate"):
        found.append(words.report(settings, checked, "validate", "Great Expectations result"))
    if settings.evidently_url:
        found.append(Link("Evidently", settings.evidently_url, "outside"))
    if settings.mlflow_uri.startswith(("http://", "https://")):
        found.append(Link("MLflow", settings.mlflow_uri.rstrip("/") + f"/#/models/{quote(name)}", "outside"))
    found += [Link(f"{dag} in Airflow", f"/dags/{dag}", "airflow") for dag in ("train", "release", "monitor")]
    return tuple(link for link in found if link is not None)


def _newest(settings: Settings, dag_id: str, task: str) -> str | None:
    """The newest run of a DAG that has left a page of a task."""
    try:
        runs = sorted((settings.reports / dag_id).iterdir(), key=lambda f: f.stat().st_mtime_ns, reverse=True)
    except OSError:
        return None
    return next((f"{dag_id}/{unquote(run.name)}" for run in runs[:50] if Path(run, task).is_dir()), None)
