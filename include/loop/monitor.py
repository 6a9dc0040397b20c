"""Steps of the `monitor` DAG: the champion's latest window -> evidence and reports -> verdict -> a request to train."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from include import bundle
from include.contracts import Ref
from include.crashpoints import reached
from include.features import frame as frames
from include.features import snapshot as snapshots
from include.files import write_json
from include.loop import common
from include.loop.common import Job
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.monitoring import evidence, page, report, verdict
from include.release import ledger as book
from include.times import iso, parse
from include.training import data


def plan(run: Run) -> Job:
    """Which champion is looked at, on which window. Nothing to do while there is no champion."""
    return common.kept(run, lambda: _plan(run))


def _plan(run: Run) -> Job:
    name = run.settings.model
    live = common.champion(common.ledger(run), name)
    if live is None:
        raise Skip(f"{name} has no champion yet: nothing to watch")
    common.mirror(run, name)
    as_of = common.as_of(run)
    if as_of < live.as_of:
        raise Stop(f"as_of: {as_of} lies before the champion's own {live.as_of}")
    start = parse(as_of) - timedelta(days=registry.load(name).triggers.window_days)
    return {
        "model": name,
        "as_of": as_of,
        "version": live.version,
        "start": iso(start),
        "versions": frames.take_versions(run.settings),
    }


def window(run: Run, job: Job) -> Ref:
    """The window's flights with the features that serving had at each one's moment; labels as known at as-of."""
    spec, start = registry.load(job["model"]), parse(job["start"])
    taken = snapshots.take(run.settings, job["versions"], start - spec.horizon, parse(job["as_of"]))
    reached("monitor.window.snapshot")
    made = frames.build_window(run.settings, spec, job["versions"], taken, job["as_of"], job["start"], job["as_of"])
    reached("monitor.window.frame")
    return made


def measure(run: Run, job: Job, built: Ref) -> dict[str, Any]:
    """Score, compare with what the champion was trained on, judge. Page, Evidently's report and ledger entry."""
    spec = registry.load(job["model"])
    live = book.version(common.ledger(run), job["model"], job["version"])
    model = bundle.load(live.bundle)
    rows = data.read(run.settings, built)
    reference = data.split(spec, data.read(run.settings, live.frame)).training
    p, reference_p = (bundle.predict(model, data.matrix(part, model.features)) for part in (rows, reference))
    found = evidence.collect(
        spec,
        rows,
        p,
        reference,
        reference_p,
        version=str(live.version),
        trained_as_of=live.as_of,
        as_of=job["as_of"],
    )
    judged = verdict.judge(spec.triggers, found)
    summary = report.write(spec, rows, p, reference, reference_p, run.page.parent, found)
    reached("monitor.measure.evidently")
    write_json(run.page.parent / "evidence.json", found)
    page.write(judged, found, run.page)
    reached("monitor.measure.page")
    kept = {**judged.model_dump(mode="json"), "evidently": summary}
    common.record(run, job, "monitor", judged.reason, live.version, kept)
    return {"state": judged.state, "reason": judged.reason, "coverage": found["performance"]["coverage"]}


def request(run: Run, job: Job, judged: Job) -> dict[str, Any]:
    """Ask for a training when the verdict is to retrain: a row in the ledger, of which the asset event is the bell."""
    if judged["state"] != "retrain":
        raise Skip(judged["reason"])
    ledger, rest = common.ledger(run), timedelta(days=registry.load(job["model"]).triggers.cooldown_days)
    last = book.last_request(ledger, job["model"], but=run.name)
    if last and book.answered_by(ledger, last.id) and parse(job["as_of"]) < parse(last.as_of) + rest:
        raise Skip(f"{judged['reason']} But request {last.id} of {last.as_of} lies less than {rest.days} days back.")
    asked = book.request_retrain(ledger, job["model"], job["as_of"], judged["reason"], "monitor", run.name)
    return {"request": asked.id, "as_of": asked.as_of, "cause": asked.cause}
