"""A version's page: where it comes from, what the gate saw, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from include.console.view import Airflow, Evidence, Gap, Link, VersionPage
from include.loop.console import Unknown, entries, kept, models, trained, words
from include.loop.console.entries import Move
from include.loop.console.kept import Tracking
from include.loop.console.model import version_rows
from include.release.ledger import Version
from include.settings import Settings


def page(settings: Settings, name: str, number: int, wall: datetime) -> VersionPage:
    """All of a version. Raises Unknown."""
    gaps: list[Gap] = []
    facts, connection = models.gather(settings, Airflow(), wall, gaps)
    if connection is None:
        raise Unknown(f"there is no version {number} of {name}: the ledger cannot be read")
    with models.closing(connection):
        try:
            found = entries.version(connection, name, number)
        except sa.exc.SQLAlchemyError as error:
            raise Unknown(f"version {number} of {name} is not known: the ledger does not answer") from error
        if found is None:
            raise Unknown(f"the ledger holds no packaged version {number} of {name}")
        moves = facts.known.moves.get(name, ())
        models.days(facts, name, None, gaps)  # what its log loss is of
        return _page(settings, connection, found, moves, gaps)


def _page(
    settings: Settings,
    connection: sa.Connection,
    found: tuple[Version, datetime],
    moves: Sequence[Move],
    gaps: list[Gap],
) -> VersionPage:
    entry, _ = found
    name, number = entry.model, entry.version
    tracking, run = Tracking(settings), entries.made_by(connection, name, number)
    rows = entries.of_version(connection, name, number, run, left(moves, number))
    evidence = _evidence(settings, rows, run, tracking)
    if evidence is None:
        gaps.append(Gap("the gate's evidence", "no gate has seen this version"))
    made = trained.manifest(settings, run, entry.mlflow_run, tracking)
    url = tracking.run_url(entry.mlflow_run, kept.beside(settings, run, "log", "links.json"))
    mlflow = Link("MLflow run", url, "outside") if url else None
    if not made and not any(gap.what == "MLflow" for gap in tracking.gaps):  # while it is silent nobody knows
        gaps.append(Gap("lineage", "its manifest is neither beside the run's pages nor in MLflow"))
    return VersionPage(
        model=name,
        version=version_rows(settings, name, moves, [found])[0],
        evidence=evidence,
        decisions=[words.decision(settings, row) for row in rows],
        lineage=trained.lineage(made, entry, mlflow, entry.mlflow_run, lived(moves, number)),
        causes=causes(connection, rows, run),
        links=tuple(link for link in (*_of_run(settings, run), mlflow) if link is not None),
        gaps=tuple(dict.fromkeys([*gaps, *tracking.gaps])),
    )


def _evidence(settings: Settings, rows: Sequence[Any], run: str | None, tracking: Tracking) -> Evidence | None:
    gate = next((row for row in rows if row.kind == "gate" and row.run == run), None)
    return trained.evidence(settings, entries.entry(settings, gate.id), tracking) if gate is not None else None


def _of_run(settings: Settings, run: str | None) -> tuple[Link | None, ...]:
    if run is None:
        return ()
    tasks = {"gate": "Gate's report", "check": "Great Expectations result", "rehearse": "Rehearsal of the Bento"}
    pages = (words.report(settings, run, task, text) for task, text in tasks.items())
    return (*(replace(link, text="Training run") for link in words.links(settings, "", run, None)[:1]), *pages)


def left(moves: Sequence[Move], number: int) -> list[int]:
    """The decisions by which a version left what is live: some are about the version that took its place."""
    pairs = pairwise(moves)
    return [
        after.decision
        for before, after in pairs
        if number in (before.champion, before.challenger) and number not in (after.champion, after.challenger)
    ]


def lived(moves: Sequence[Move], number: int) -> str:
    """In which deployments a version was, in words of wall time."""
    told: list[str] = []
    before = ""
    for move in moves:
        now = "champion" if move.champion == number else ""
        if move.challenger == number:
            now = f"challenger ({move.stage or 'waiting'}{f' {move.share:.0%}' if move.share else ''})"
        if now != before:
            told.append(f"{now or 'left'} from {move.at:%Y-%m-%d %H:%M} UTC")
        before = now
    return "; ".join(told) or "never deployed"


def causes(connection: sa.Connection, rows: Sequence[Any], run: str | None) -> list[str]:
    """Who asked for a training, and why; without a request, what its run said when it began."""
    begun = next((row for row in rows if row.kind == "training" and row.run == run), None)
    if begun is None:
        return []
    number = entries.held(connection, begun.id).get("request")
    if number is None:
        return [f"by {begun.actor}, as of {begun.as_of}: {begun.reason}"]
    asked = entries.asked_by(connection, int(number))
    return [f"{cause.kind} by {cause.actor}, as of {cause.as_of}: {cause.cause}" for cause in asked]
