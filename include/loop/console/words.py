"""Decisions in words, with where to look: each kind of the ledger's entries, as people would say it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from include import alerts, pages
from include.console.view import Decision, Link, Tone
from include.loop.console import kept
from include.release.ledger import utc
from include.settings import Settings

REPORTS = "/ratchet/reports"  # where plugins/ratchet_reports.py serves the pages of tasks
# kind: what it means, how it looks, the tasks whose page is its evidence
_WORDS: dict[str, tuple[str, Tone, tuple[str, ...]]] = {
    "training": ("training began", "quiet", ("check",)),
    "gate": ("judged by the gate", "quiet", ("gate",)),  # see _gate
    "training-left-out": ("training left out", "warn", ()),
    "request-dropped": ("request for a training dropped", "warn", ()),
    "rung": ("rung again for a training", "warn", ()),
    "rehearsal": ("package rehearsed", "quiet", ("rehearse",)),
    "champion": ("first champion", "good", ("gate",)),
    "challenger": ("waits as challenger", "quiet", ("gate",)),
    "shadow": ("shadow began", "quiet", ("shadow",)),
    "approval": ("asked for an approval", "warn", ("shadow",)),
    "approved": ("approved", "good", ("shadow",)),
    "rejected": ("rejected", "warn", ("shadow",)),
    "expired": ("approval expired", "bad", ("shadow",)),
    "canary": ("canary went on", "quiet", ("canary", "shadow")),
    "promotion": ("promoted to champion", "good", ("promote", "canary")),
    "rollback": ("rolled back", "bad", ("promote", "canary", "shadow", "rehearse")),
    "freeze": ("frozen", "warn", ()),
    "thaw": ("freeze lifted", "quiet", ()),
    "scored": ("flights scored", "quiet", ("summary",)),
    "rescored": ("scores made again", "warn", ("rescore",)),
    "monitor": ("looked at", "quiet", ("measure",)),  # see _look
    "audit": ("features audited", "quiet", ()),
}
ROUTINE = ("audit", "rehearsal", "scored")  # left out unless asked for, as are looks that found all well
MARKS = ("gate", "champion", "promotion", "rollback", "rejected", "expired", "freeze", "thaw", "rescored")
KINDS = tuple(_WORDS)


def _gate(reason: str) -> tuple[str, Tone]:
    accepted = reason.startswith("Accepted")
    return ("accepted by the gate", "good") if accepted else ("refused by the gate", "warn")


def _look(reason: str) -> tuple[str, Tone]:
    found: dict[str, tuple[str, Tone]] = {
        "Incident": ("found a data incident", "bad"),
        "Roll back": ("found the champion worse than its predecessor", "bad"),
        "Retrain": ("asked for a training", "warn"),
        "Insufficient": ("found too few labels to judge by", "warn"),
        "Healthy": ("found healthy", "good"),
    }
    return next((told for begins, told in found.items() if reason.startswith(begins)), ("looked at", "quiet"))


_BY_REASON: dict[str, Callable[[str], tuple[str, Tone]]] = {"gate": _gate, "monitor": _look}


def decision(settings: Settings, row: Any, search: bool = True) -> Decision:
    """An entry of the ledger (a row of `decisions`, its evidence is not needed) as a page shows it. `search`: with
    a link to the task's page, for which the disk is asked."""
    what, tone, tasks = _WORDS.get(row.kind, (row.kind.replace("-", " "), "quiet", ()))
    if row.kind in _BY_REASON:
        what, tone = _BY_REASON[row.kind](row.reason)
    if row.kind == "rollback" and str(row.run).startswith("rollback/"):  # a person's: it names what is gone back to
        what = "stays champion, its challenger left" if row.reason.startswith("release of") else "is champion again"
    return Decision(
        id=row.id,
        kind=row.kind,
        what=what,
        tone=tone,
        version=row.version,
        actor=row.actor,
        reason=row.reason,
        as_of=row.as_of,
        at=utc(row.recorded_at),
        run=row.run,
        links=links(settings, row.model, row.run, row.version, tasks if search else ()),
    )


# -- where to look -------------------------------------------------------------------------------------------------
def links(
    settings: Settings, model: str, run: str | None, version: int | None, tasks: tuple[str, ...] = ()
) -> tuple[Link, ...]:
    """The evidence first: a task's page, the run here and in Airflow, the version."""
    found = []
    if run and "/" in run:
        found += [link for task in tasks if (link := report(settings, run, task))][:1]
        found += _outside(settings, run) if tasks else []
        found += [run_page(run), Link("Airflow run", alerts.link(run), "airflow")] if _of_airflow(run) else []
    return (*found, *([version_page(model, version)] if version is not None else []))


def _outside(settings: Settings, run: str) -> list[Link]:
    """A training's run in MLflow, a look's reports by Evidently: as far as the run has noted them."""
    if run.startswith("monitor/"):
        return [link for link in [report(settings, run, "report", "Evidently report")] if link]
    noted = kept.beside(settings, run, "log", pages.LINKS) if run.startswith("train/") else None
    url = str(noted.get("MLflow run", "")) if isinstance(noted, dict) else ""
    return [Link("MLflow run", url, "outside")] if url.startswith(("http://", "https://")) else []


def _of_airflow(run: str) -> bool:
    """Whether a run's name is one of a DAG's; "demo/plant" is not."""
    return run.partition("/")[0] in DAGS


DAGS = ("collect", "freeze", "ingest", "maintain", "monitor", "release", "rollback", "score", "sweep", "train")


def report(settings: Settings, run: str, task: str, text: str = "Report", index: int = -1) -> Link | None:
    """The page of a run's task; None where there is none (any more)."""
    dag_id, _, run_id = run.partition("/")
    folder = pages.folder(settings, dag_id, run_id, task, index)
    if not any((folder / name).is_file() for name in (pages.INDEX, pages.INDEX + ".gz")):
        return None
    parts = (dag_id, run_id, task, *([str(index)] if index >= 0 else []))
    return Link(text, f"{REPORTS}/{'/'.join(quote(part, safe='') for part in parts)}/", "report")


def run_page(run: str, text: str = "Run") -> Link:
    dag_id, _, run_id = run.partition("/")
    return Link(text, f"runs/{quote(dag_id, safe='')}/{quote(run_id, safe='')}")


def version_page(model: str, version: int) -> Link:
    return Link(f"Version {version}", f"models/{quote(model, safe='')}/versions/{version}")


def model_page(model: str) -> Link:
    return Link(model, f"models/{quote(model, safe='')}")


def address(text: str, href: str) -> Link:
    """A link of an alert: a path in Airflow, or a whole address."""
    return Link(text, href, "airflow" if href.startswith("/") else "outside")
