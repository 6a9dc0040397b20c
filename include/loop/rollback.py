"""Steps of the `rollback` DAG: an earlier version, rehearsed anew, is champion again; what the bad one has done."""

from __future__ import annotations

from datetime import UTC

import pyarrow.compute as pc
import pyarrow.parquet as pq

from include import alerts, bundle, files, times
from include.crashpoints import reached
from include.loop import common, promote, score
from include.loop.common import Job
from include.loop.gone import gone
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.packaging import bento
from include.release import affected_page
from include.release import ledger as book
from include.release.ledger import Deployment
from include.serving import collect as spool
from include.training import data


def plan(run: Run) -> Job:
    """Which version is left for which. The plan is kept: a cleared run does not go back one more version."""
    return common.kept(run, lambda: _plan(run))


def _plan(run: Run) -> Job:
    ledger, name = common.ledger(run), run.settings.model
    reason = str(run.params.get("reason") or "").strip()
    if not reason:
        raise Stop("reason: say why, it is what others will read; nothing was changed")
    deployed = book.deployed(ledger, name)
    bad = deployed[-1]["champion"] if deployed else None
    if bad is None:
        raise Stop(f"{name} has no champion: there is nothing to go back from")
    asked, challenger = run.params.get("version"), deployed[-1]["challenger"]
    if asked == bad and challenger:
        bad = challenger  # the champion stays, its challenger leaves
    good = asked or _before(run, deployed, bad)
    if good is None:
        raise Stop(f"version: {name} never had another champion than version {bad}; name a packaged one")
    if good == bad:
        raise Stop(f"version: {good} is the champion already; nothing was changed")
    try:
        entry = book.version(ledger, name, good)
    except book.UnknownVersion as error:
        raise Stop(f"version: {error}; nothing was changed") from error
    if good not in {row["champion"] for row in deployed}:
        raise Stop(
            f"version: {good} was never champion; a rollback goes back, `release` is the way on. Nothing was changed"
        )
    if lost := gone(run.settings, entry):
        raise Stop(
            f"version: {good} has lost its {lost}; docs/retention.md says how long they are kept. Name a later "
            "champion. Nothing was changed"
        )
    return {"model": name, "version": good, "bad": bad, "reason": reason, "as_of": run.now()}


def _before(run: Run, deployed: list[Job], bad: int) -> int | None:
    """The champion before the bad one first became it: not one that was left for being bad itself."""
    newest, triggered = deployed[-1], times.parse(run.wall) if run.wall else None
    if newest["kind"] == "rollback" and triggered and newest["recorded_at"].replace(tzinfo=UTC) > triggered:
        raise Stop(
            f"version {bad} became champion by a rollback after this one was triggered: look, and if it is bad too, "
            "trigger this DAG anew, best with a version. Nothing was changed"
        )
    first = next(i for i, row in enumerate(deployed) if row["champion"] == bad)
    earlier = [row["champion"] for row in deployed[:first] if row["champion"] is not None]
    return earlier[-1] if earlier else None


def rehearse(run: Run, job: Job) -> Job:
    """Package the version with the code that serves today and rehearse it on the holdout it was judged on."""
    spec, entry = registry.load(job["model"]), book.version(common.ledger(run), job["model"], job["version"])
    labels = {"mlflow_run_id": entry.mlflow_run, "as_of": entry.as_of, "run": run.name}
    archive = bento.build(run.settings, entry.bundle, job["model"], str(job["version"]), labels)
    rows = data.split(spec, data.read(run.settings, entry.frame)).holdout
    model = bundle.load(entry.bundle)
    expected = bundle.predict(model, data.matrix(rows, model.features))
    report, failed, reason = promote.rehearsed(run, job, archive, job["version"], rows, expected)
    if failed:
        raise Stop(f"version {job['version']} failed its rehearsal: {reason}; nothing was changed, choose another")
    return {"passed": True, "archive": archive, "rows": report["rows"]}


def restore(run: Run, job: Job, rehearsed: Job) -> Job:
    """Make the version champion. A release under way ends: its challenger was measured against the bad one."""
    ledger = common.ledger(run)
    live = book.current(ledger, job["model"])
    ends = live.champion == job["version"]  # a challenger's release: the champion stays
    what = f"release of version {job['bad']} ended" if ends else f"back from version {job['bad']} to {job['version']}"
    reason = f"{what}: {job['reason']}"
    if live.champion != job["version"] or live.challenger == job["bad"]:
        if job["bad"] not in (live.champion, live.challenger):
            raise Stop(f"version {live.champion} is champion by now, not {job['bad']}: look, and trigger this DAG anew")
        decision = common.decision(run, job, "rollback", reason, job["version"], {"archive": rehearsed["archive"]})
        live = _deploy(run, live, decision, job)
    common.mirror(run, job["model"])
    _alert(run, job, what)
    return {"model": job["model"], "version": job["version"], "before": job["bad"], "generation": live.generation}


def _alert(run: Run, job: Job, what: str) -> None:
    """In the group of the model's releases: the next promotion ends it."""
    title = f"{job['model']}: {what}"
    cause = f"{job['reason']} (by {run.actor or 'rollback'})"
    action = (
        f"Version {job['version']} answers everything. See the Report of `affected` for what version {job['bad']} said."
    )
    about: Job = {"runbook": "rollback", "link": common.link(run)}
    group, state = f"release/{job['model']}", f"{run.name}/rollback"
    alerts.send(run.settings, alerts.Alert(group, state, title, cause, action, job["as_of"], **about))


def _deploy(run: Run, live: Deployment, decision: book.Decision, job: Job) -> Deployment:
    try:
        return book.deploy(common.ledger(run), live, decision, champion=job["version"], challenger=None)
    except book.Superseded as error:
        raise Stop(f"{error}: clear this task to go back from what is live now") from error


def affected(run: Run, job: Job) -> Job:
    """The blast radius: every prediction that the bad version has answered, as a file and a page."""
    common.collect(run)
    made = spool.made_by(run.settings, job["model"], job["bad"])
    target = run.page.parent / "affected.parquet"
    with files.replacing(target) as part:
        pq.write_table(made, part)
    reached("rollback.affected.file")
    affected_page.write(made, job, run.page)
    flights = pc.count_distinct(made["flight_id"]).as_py() if made.num_rows else 0
    return {"predictions": made.num_rows, "flights": flights, "uri": str(target)}


def rescore(run: Run, job: Job) -> Job:
    """Score the batch predictions of the bad version again, with the restored one."""
    done = score.rescore(run, job, bad=job["bad"], good=job["version"])
    if not done["rows"]:
        raise Skip(f"version {job['bad']} has made no batch predictions")
    return done
