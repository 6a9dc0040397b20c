"""What the steps of several DAGs share: the ledger, the live champion, and entries in the run's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa

from include import alerts, lake
from include.crashpoints import reached
from include.files import hash_text, hash_value, read_json, write_json
from include.loop.run import Run, Stop
from include.models.spec import ModelSpec
from include.release import ledger as book
from include.release.ledger import Decision, Version
from include.serving import collect as spool
from include.training import track

Job = dict[str, Any]


def kept(run: Run, make: Callable[[], Job]) -> Job:
    """What `make` returns, made once for a run and its form: cleared, a run works on what it was planned on."""
    name = hash_value([run.name, run.params, run.events])
    file = run.settings.home / "plans" / f"{name}.json"
    if not file.exists():
        write_json(file, make())
        reached("plan.file")
    plan: Job = read_json(file)
    return plan


def mirror(run: Run, model: str) -> list[str]:
    """Make MLflow's aliases say what the ledger says; returns those that had to be repaired."""
    live = book.current(ledger(run), model)
    wanted = {"champion": live.champion, "challenger": live.challenger}
    return track.set_aliases(run.settings, model, {k: None if v is None else str(v) for k, v in wanted.items()})


def collect(run: Run) -> Job:
    """Take what the service has logged into the lake. What was lost or refused raises an alert, whoever found it."""
    settings = run.settings
    taken: Job = dict(spool.collect(settings))
    for file in (settings.home / "service").glob("*.json"):  # the last words of workers that were killed
        if not (settings.predictions / file.stem).exists():
            file.unlink(missing_ok=True)
    kept = "Everything else is in the lake."
    if lost := spool.totals(settings)["lost"]:
        title = f"Prediction log: {lost} predictions in all were answered, but not written"
        cause = "They died with their process before they were written."
        _tell(run, "lost", str(lost), title, cause, f"{kept} Nothing to mend.")
    if refused := taken["refused"]:
        title = f"Prediction log: {refused} lines or files are no predictions"
        cause = f"They lie, each with its reason, in {settings.predictions / 'refused'}."
        _tell(run, "refused", f"{run.name}/{run.looked}", title, cause, f"{kept} Read the reasons.")
    return taken


def _tell(run: Run, what: str, state: str, title: str, cause: str, action: str) -> None:
    about = {"runbook": "collect", "link": link(run)}
    alert = alerts.Alert(f"log/{what}", state, title, cause, action, run.now(), alerts.NOTICE, **about)
    alerts.send(run.settings, alert)


def link(run: Run) -> str:
    """The path in Airflow of the task that this is, for alerts."""
    return alerts.link(run.name, unquote(run.page.parent.name))


def as_of(run: Run, asked: str | None = None) -> str:
    """The run's as-of, on published data. A form that asks for more than is published is refused; a schedule, whose
    hour may not be ingested yet, takes what is there."""
    wanted, published = run.as_of(asked), lake.catalog(run.settings.lake)["as_of"]
    if published is None:
        raise Stop("nothing was ever published: run `ingest` first")
    if wanted > published and run.params.get("as_of"):
        raise Stop(f"as_of: {wanted} lies after {published}, up to which data is published: run `ingest` first")
    return min(wanted, published)


def ledger(run: Run) -> sa.Engine:
    return book.connect(run.settings.ledger_url)


def champion(engine: sa.Engine, model: str) -> Version | None:
    live = book.current(engine, model).champion
    return None if live is None else book.version(engine, model, live)


def configuration(spec: ModelSpec, job: Job) -> str:
    return spec.configuration_hash(tuple(job["families"]))


def decision(run: Run, job: Job, kind: str, reason: str, version: int | None, evidence: Job) -> Decision:
    return Decision(
        # a retry says the same and is one entry; a cleared run that comes to another answer makes another entry
        key=f"{run.name}/{kind}/{hash_text(f'{version} {reason}')[:12]}",
        model=job["model"],
        kind=kind,
        actor=run.actor or run.name.split("/")[0],
        reason=reason,
        as_of=job["as_of"],
        version=version,
        run=run.name,
        evidence=evidence,
    )


def record(run: Run, job: Job, kind: str, reason: str, version: int | None, evidence: Job) -> None:
    book.record(ledger(run), decision(run, job, kind, reason, version, evidence))


def answer(run: Run, job: Job, outcome: str) -> None:
    if job["request"] is not None:
        book.close_request(ledger(run), job["request"], run.name, outcome)
