"""A run's page: what one DAG run has made, decided and left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa

from include import alerts, pages
from include.console.view import Gap, Link, RunPage, Step, Tone
from include.loop.console import Unknown, entries, kept, trained, version, words
from include.loop.console.kept import Tracking
from include.release.ledger import Outdated
from include.settings import Settings

_TASKS: Mapping[str, str] = {  # pages of tasks, in the order in which a person reads them
    "gate": "Gate",
    "check": "Great Expectations: the training frame",
    "rehearse": "Rehearsal of the Bento",
    "validate": "Great Expectations: what was delivered",
    "measure": "The look",
    "report": "Evidently's reports",
    "promote": "Promotion",
    "canary": "Canary",
    "shadow": "Shadow",
    "summary": "Batch scores",
    "affected": "What was affected",
    "rescore": "Scores made again",
    "clean": "What was removed",
}
_DECISIVE = (  # the kinds by which a run is told in one sentence
    *("rollback", "promotion", "rejected", "expired", "freeze", "thaw", "champion", "challenger", "gate", "monitor"),
    *("training-left-out", "request-dropped", "rescored", "scored", "rung", "canary", "approved", "approval", "shadow"),
)
_UNDER_WAY = ("shadow", "approval", "approved", "canary")  # after them more is to come
_WHOLE = ("monitor", "gate", "promotion", "rollback")  # kinds whose reason says by itself what was decided


def page(settings: Settings, dag_id: str, run_id: str, wall: datetime) -> RunPage:  # noqa: ARG001 — pages have one shape
    """What is known of a run; its id may be encoded once more, as Airflow's own templates do. Raises Unknown when
    nothing is: it has not come so far, or there is none."""
    gaps: list[Gap] = []
    for name in dict.fromkeys((run_id, unquote(run_id))):
        if "" in (dag_id, name) or "\0" in dag_id + name:
            continue
        run = f"{dag_id}/{name}"
        rows, connection = _rows(settings, run, gaps)
        reports = _reports(settings, run)
        try:
            if rows or reports or pages.folder(settings, dag_id, name, "x").parent.is_dir():
                return _page(settings, connection, run, rows, reports, gaps)
        except OSError:  # a name that is too long for any folder
            continue
        finally:
            if connection is not None:
                connection.close()
    raise Unknown(f"nothing is known of the run {run_id} of {dag_id}: it has decided and left nothing yet")


def _rows(settings: Settings, run: str, gaps: list[Gap]) -> tuple[list[Any], sa.Connection | None]:
    try:
        connection = entries.reader(entries.engine(settings))
        return entries.of_run(connection, run), connection
    except entries.NoLedger:
        return [], None
    except (Outdated, sa.exc.SQLAlchemyError) as error:
        gap = Gap("ledger", f"it does not answer ({type(error).__name__}): the run's decisions are not shown")
        gaps += [] if gap in gaps else [gap]
        return [], None


def _page(
    settings: Settings,
    connection: sa.Connection | None,
    run: str,
    rows: Sequence[Any],
    reports: Sequence[Link],
    gaps: list[Gap],
) -> RunPage:
    dag_id, _, run_id = run.partition("/")
    tracking = Tracking(settings)
    model = rows[-1].model if rows else settings.model
    number = next((row.version for row in reversed(rows) if row.version is not None), None)
    gate = next((row for row in reversed(rows) if row.kind == "gate"), None)
    entry = entries.entry(settings, gate.id) if gate is not None else None
    evidence = trained.evidence(settings, entry, tracking) if entry is not None else None
    outcome, tone = _outcome(settings, connection, run, rows, reports)
    noted = kept.beside(settings, run, "log", "links.json")
    mlflow_run = str(entry["evidence"].get("mlflow_run") or "") if entry is not None else ""
    mlflow = _mlflow(mlflow_run, noted, tracking)
    return RunPage(
        dag_id=dag_id,
        run_id=run_id,
        model=model,
        outcome=outcome,
        tone=tone,
        version=number,
        evidence=evidence,
        decisions=[words.decision(settings, row) for row in reversed(rows)],
        lineage=_lineage(settings, connection, run, model, number, mlflow_run, mlflow, tracking),
        causes=version.causes(connection, rows, run) if connection is not None else [],
        reports=reports,
        links=_links(run, model, number, mlflow),
        gaps=tuple(dict.fromkeys([*gaps, *tracking.gaps])),
    )


def _mlflow(run_id: str, noted: Any, tracking: Tracking) -> Link | None:
    url = tracking.run_url(run_id, noted if isinstance(noted, dict) else None) if run_id or noted else None
    return Link("MLflow run", url, "outside") if url else None


def _lineage(
    settings: Settings,
    connection: sa.Connection | None,
    run: str,
    model: str,
    number: int | None,
    mlflow_run: str,
    mlflow: Link | None,
    tracking: Tracking,
) -> list[Step]:
    """Only of trainings: what other runs work on is on the page of its version."""
    if not run.startswith("train/"):
        return []
    made = trained.manifest(settings, run, mlflow_run, tracking)
    found = entries.version(connection, model, number) if connection is not None and number is not None else None
    return trained.lineage(made, found[0] if found else None, mlflow, mlflow_run) if made or found else []


def _links(run: str, model: str, number: int | None, mlflow: Link | None) -> tuple[Link, ...]:
    found = [words.model_page(model), Link("Airflow run", alerts.link(run), "airflow"), mlflow]
    found += [words.version_page(model, number)] if number is not None else []
    return tuple(link for link in found if link is not None)


def _reports(settings: Settings, run: str) -> tuple[Link, ...]:
    """The pages that the run's tasks have left, those of mapped tasks one by one."""
    dag_id, _, run_id = run.partition("/")
    folder = pages.folder(settings, dag_id, run_id, "x").parent
    try:
        there = [entry.name for entry in folder.iterdir()]
    except OSError:
        return ()
    known = {task: place for place, task in enumerate(_TASKS)}
    tasks = sorted((unquote(name) for name in there), key=lambda task: (known.get(task, len(known)), task))
    found = (words.report(settings, run, task, _TASKS.get(task, task)) for task in tasks)
    return tuple(link for link in found if link is not None)


# -- in one sentence -----------------------------------------------------------------------------------------------
def _outcome(
    settings: Settings, connection: sa.Connection | None, run: str, rows: Sequence[Any], reports: Sequence[Link]
) -> tuple[str, Tone]:
    """What became of the run, and how that looks."""
    decisive = [row for row in rows if row.kind in _DECISIVE]
    if not decisive:
        return _unfinished(rows, reports), "quiet"
    if run.startswith("train/"):
        return _trained(settings, connection, run, decisive)
    row = ([row for row in decisive if row.kind != "rescored"] or decisive)[-1]  # its scores follow a rollback
    told = words.decision(settings, row, search=False)
    if row.kind in _WHOLE:
        return f"{row.reason[:1].upper()}{row.reason[1:]}", told.tone
    number = f" (version {row.version})" if row.version is not None else ""
    outcome = f"{told.what[:1].upper()}{told.what[1:]}{number}: {row.reason}"
    if row.kind in _UNDER_WAY and connection is not None and (end := _ended(settings, connection, run, row.model)):
        return f"{outcome}. Its release is over: {end}", "quiet"
    return outcome, told.tone


def _ended(settings: Settings, connection: sa.Connection, run: str, model: str) -> str:
    """By what another decision has ended a run's release; empty while it is under way."""
    moves = entries.known(entries.engine(settings)).moves.get(model, ())
    own = entries.release_of(connection, run)
    places = [i for i, move in enumerate(moves) if own is not None and move.release == own]
    if not places or places[-1] == len(moves) - 1:
        return ""
    after = entries.by_id(connection, moves[places[-1] + 1].decision)
    return "" if after is None else str(after.reason)


def _trained(
    settings: Settings, connection: sa.Connection | None, run: str, decisive: Sequence[Any]
) -> tuple[str, Tone]:
    row = decisive[-1]
    told = words.decision(settings, row, search=False)
    closed = entries.closed_by(connection, run) if connection is not None else []
    answered = "".join(f" It answered request {one.request}." for one in closed)
    if row.kind in ("champion", "challenger"):
        how = "is the first champion" if row.kind == "champion" else "became the challenger"
        return f"It made version {row.version}, which {how}. {row.reason}{answered}", "good"
    if row.kind == "gate" and row.reason.startswith("Accepted"):
        then = closed[-1].outcome if closed else "no version of it was released yet"
        return f"{row.reason} But {then}.{answered}", "warn"
    if row.kind == "gate":
        return f"{row.reason} Nothing was registered; what is live stays.{answered}", told.tone
    return (
        f"{row.reason}{answered}" if row.kind in _WHOLE else f"Training left out: {row.reason}{answered}"
    ), told.tone


def _unfinished(rows: Sequence[Any], reports: Sequence[Link]) -> str:
    begun = next((row for row in rows if row.kind == "training"), None)
    pages_ = ", ".join(link.text for link in reports)
    if begun is not None:
        far = f"It has left {pages_}, and" if pages_ else "It"
        return f"A training began: {begun.reason} {far} has not come to the gate."
    return f"It entered no decision. It left: {pages_}." if pages_ else "It entered no decision and left no page."
