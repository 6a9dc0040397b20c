"""Steps of the `monitor` DAG: the prediction log and the labels known by now -> evidence -> verdict -> what is done.

plan -> collect -> window -> audit -> measure (verdict, page) -> report (Evidently) -> act (alert, request)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from include import alerts, bundle
from include.contracts import CLUSTER, ENTITY, EVENT_TIME, KNOWN_AT, TARGET
from include.crashpoints import reached
from include.features import frame as frames
from include.features import snapshot as snapshots
from include.files import read_json, write_json
from include.loop import common, governor
from include.loop.common import Job
from include.loop.run import Run, Skip, Stop
from include.metrics import Array
from include.models import registry
from include.models.spec import ModelSpec
from include.monitoring import evidence, history, page, skew, verdict
from include.monitoring import window as windows
from include.release import ledger as book
from include.release.ledger import Version
from include.serving import collect as spool
from include.times import iso, parse
from include.training import data

log = logging.getLogger("ratchet.monitor")

AUDITED = timedelta(hours=24)  # of predictions, a look
AUDIT_ROWS = 2_000
LOOKS = 30  # earlier looks that a verdict is told of
STATED = 28  # days of which a page tells what was said before
ENOUGH = 0.95  # coverage from which on a day's truth is held against its estimate
EVIDENCE, SUMMARY = "evidence.json", "summary.json"


# -- what is looked at ---------------------------------------------------------------------------------------------
def plan(run: Run) -> Job:
    """Which champion is looked at, on which window. Nothing to do while there is no champion."""
    return common.kept(run, lambda: _plan(run))


def _plan(run: Run) -> Job:
    name = run.settings.model
    ledger = common.ledger(run)
    live = common.champion(ledger, name)
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
        "predecessor": _predecessor(ledger, name),
        "start": iso(start),
        "versions": frames.take_versions(run.settings),
    }


def _predecessor(ledger: sa.Engine, model: str) -> int | None:
    """The champion before this one; None for the first."""
    champions = [row["champion"] for row in book.deployed(ledger, model) if row["champion"] is not None]
    earlier = [version for version in champions if version != champions[-1]]
    return earlier[-1] if earlier else None


def collect(run: Run, job: Job) -> Job:  # noqa: ARG001 — steps have one shape
    """Take in what the service has logged up to now."""
    return common.collect(run)


def window(run: Run, job: Job) -> Job:
    """One row a flight that was asked about, with what it was told and its label where that is known by now."""
    spec = registry.load(job["model"])
    built, summary = windows.build(
        run.settings, spec, job["version"], job["versions"], job["start"], job["as_of"], job["as_of"]
    )
    reached("monitor.window.file")
    file = write_json(run.page.parent / SUMMARY, summary)
    reached("monitor.window.summary")
    return {"rows": built, "summary": str(file), "predictions": summary["predictions"], "flights": summary["flights"]}


# -- the skew audit ------------------------------------------------------------------------------------------------
def audit(run: Run, job: Job, seen: Job) -> Job | None:
    """Are the features that answers were made with those that the lake has as of their time? None: nothing was asked.

    Of the last day's flights, at most AUDIT_ROWS by hash of their id.
    """
    spec = registry.load(job["model"])
    rows = windows.read(seen["rows"])
    rows = rows[rows[EVENT_TIME] >= parse(job["as_of"]) - AUDITED]
    order = pd.util.hash_pandas_object(rows[ENTITY], index=False).to_numpy().argsort(kind="stable")
    logged = rows.iloc[order[:AUDIT_ROWS]].sort_values([EVENT_TIME, ENTITY], ignore_index=True)
    if logged.empty:
        return None
    found = skew.compare(logged, _recomputed(run, spec, job, logged), spec.features)
    given = found["given"]
    reason = f"{found['mismatched']} of {found['rows']} rows have other features than the lake"
    reason += f"; of {given['rows']} that brought their features along, {given['mismatched']}"
    common.record(run, job, "audit", reason, job["version"], found)
    return found


def _recomputed(run: Run, spec: ModelSpec, job: Job, logged: pd.DataFrame) -> pd.DataFrame:
    """The features of the logged flights as the lake has them as of each one's moment."""
    first, last = logged[EVENT_TIME].min(), logged[EVENT_TIME].max()
    taken = snapshots.take(run.settings, job["versions"], first.to_pydatetime(), last.to_pydatetime())
    reached("monitor.audit.snapshot")
    made = pa.Table.from_pandas(
        logged[[ENTITY, EVENT_TIME]].assign(**{KNOWN_AT: logged[EVENT_TIME]}), preserve_index=False
    )
    flights = logged["sched_dep"]
    start, end = iso(flights.min().floor("s")), iso(flights.max().floor("s") + timedelta(seconds=1))
    versions = job["versions"]
    again = frames.build_scoring(run.settings, spec, versions, taken, job["as_of"], start, end, made)
    reached("monitor.audit.frame")
    return pd.read_parquet(again["uri"])


# -- the verdict ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Sides:
    """The window [n] and what the champion was trained on [m], each with the champion's scores."""

    spec: ModelSpec
    live: Version
    window: pd.DataFrame
    p: Array
    reference: pd.DataFrame
    reference_p: Array


def _sides(run: Run, job: Job, seen: Job) -> _Sides:
    spec = registry.load(job["model"])
    live = book.version(common.ledger(run), job["model"], job["version"])
    rows, model = windows.read(seen["rows"]), bundle.load(live.bundle)
    reference = data.split(spec, data.read(run.settings, live.frame)).training
    reference_p = bundle.predict(model, data.matrix(reference, model.features))
    return _Sides(spec, live, rows, _scores(model, rows), reference, reference_p)


def measure(run: Run, job: Job, seen: Job, audited: Job | None) -> Job:
    """Weigh the window against what the champion was trained on, and judge. Page and ledger entry."""
    ledger, sides = common.ledger(run), _sides(run, job, seen)
    spec, live = sides.spec, sides.live
    found = evidence.collect(
        spec,
        sides.window,
        sides.p,
        sides.reference,
        sides.reference_p,
        read_json(Path(seen["summary"])),
        version=str(live.version),
        trained_as_of=live.as_of,
        as_of=job["as_of"],
        unseen_after=live.trained_until,
        workers=_workers(run),
        log=spool.totals(run.settings),
        rival=_rival(ledger, job, sides),
        audit=audited,
    )
    history.state(run.settings, job["model"], live.version, job["as_of"], history.rows(found["performance"]))
    reached("monitor.measure.history")
    found["history"] = _stated(run, job, spec)
    judged = verdict.judge(spec, found, looks(ledger, job["model"], job["as_of"]))
    file = write_json(run.page.parent / EVIDENCE, found)
    reached("monitor.measure.evidence")
    page.write(judged, found, run.page, run.settings.evidently_url)
    reached("monitor.measure.page")
    common.record(run, job, "monitor", judged.reason, live.version, judged.model_dump(mode="json"))
    return {
        "state": judged.state,
        "reason": judged.reason,
        "coverage": found["performance"]["coverage"],
        "causes": {f.name: f.reason for f in judged.causes()},
        "levels": {f.name: f.reason for f in judged.levels},
        "evidence": str(file),
    }


def _scores(model: bundle.Bundle, rows: pd.DataFrame) -> Array:
    """The champion's score of each flight: as logged, or made now of the logged features where it was not asked."""
    p = rows["probability"].to_numpy(np.float64).copy()
    absent = np.isnan(p)
    if absent.any():
        p[absent] = bundle.predict(model, data.matrix(rows[absent], model.features))
    return p


def _stated(run: Run, job: Job, spec: ModelSpec) -> Job:
    """What this look and those before it have said of the last days, and what their first estimates were worth."""
    first = (parse(job["as_of"]) - timedelta(days=STATED)).date().isoformat()
    told = history.read(run.settings, spec, as_of=job["as_of"], days=(first, job["as_of"][:10]))
    return {"days": told, "errors": history.errors(told, ENOUGH)}


def _workers(run: Run) -> list[Job]:
    """What the service's living workers last said of themselves."""
    return [read_json(file) for file in sorted((run.settings.home / "service").glob("*.json"))]


def _rival(ledger: sa.Engine, job: Job, sides: _Sides) -> Job | None:
    """How the champion before would have done on the same flights; None when there is none, or it is gone."""
    if job["predecessor"] is None:
        return None
    try:
        before = book.version(ledger, job["model"], job["predecessor"])
        model = bundle.load(before.bundle)
    except (book.UnknownVersion, bundle.BadBundle):  # removed by `maintain`, or never there
        return None
    unseen = max(sides.live.trained_until, before.trained_until)
    judged = sides.window["mature"] & (sides.window[CLUSTER] > unseen)
    rows, p = sides.window[judged], sides.p[judged.to_numpy()]
    other = bundle.predict(model, data.matrix(rows, model.features)) if len(rows) else p
    found = evidence.rival(rows[TARGET].to_numpy(np.float64, na_value=np.nan), p, other, rows[CLUSTER].to_numpy())
    return {**found, "version": before.version}


def looks(ledger: sa.Engine, model: str, before: str) -> list[dict[str, Any]]:
    """What fired at earlier looks, oldest first: the newest of each day of data time before `before`'s. Looks at one
    day are looks at the same flights, and none confirms another."""
    entries = {entry["as_of"]: entry for entry in book.of_kind(ledger, model, "monitor")}
    days = {as_of[:10]: entries[as_of] for as_of in sorted(entries) if as_of[:10] < before[:10]}
    return [_fired(entry) for entry in days.values()][-LOOKS:]


def _fired(entry: Mapping[str, Any]) -> dict[str, Any]:
    findings = entry["evidence"].get("findings", ())
    return {
        "version": entry["version"],
        "as_of": entry["as_of"],
        "fired": [f["name"] for f in findings if f.get("fired")],
    }


# -- Evidently ------------------------------------------------------------------------------------------------------
def report(run: Run, job: Job, seen: Job, judged: Job) -> Job:
    """Evidently's reports of the last day and of the week, beside this task and in Evidently's own UI."""
    from include.monitoring import report as reports  # seconds of imports, for this task alone
    from include.monitoring import workspace

    sides, found = _sides(run, job, seen), read_json(Path(judged["evidence"]))
    told: Job = {}
    summaries = []
    for span in reports.SPANS:
        of = (sides.spec, sides.window, sides.p, sides.reference, sides.reference_p)
        made = reports.make(*of, found, span, sides.live.trained_until)
        if made is None:
            continue
        summary = reports.write(made, run.page.parent)
        reached("monitor.report.file")
        workspace.add(run.settings, made.snapshot)
        summaries.append(summary)
        told[span] = {"period": summary["period"], "drifted_share": summary["drifted_share"]}
    reports.index(summaries, run.page, run.settings.evidently_url)
    reached("monitor.report.page")
    return told


# -- what is done about it -----------------------------------------------------------------------------------------
def act(run: Run, job: Job, judged: Job) -> Job:
    """Alert, and ask for a training, where the verdict says so: a row in the ledger, the asset event is its bell."""
    _alert(run, job, judged)
    if judged["state"] != "retrain":
        raise Skip(judged["reason"])
    answer = governor.ask(run, job["model"], job["as_of"], list(judged["causes"].items()), "monitor")
    if answer["outcome"] == "drop":
        raise Skip(f"{judged['reason']} {answer['reason']}")
    return answer


def _alert(run: Run, job: Job, judged: Job) -> None:
    """One matter of each kind and model: a verdict that needs a person, and levels that are beyond their limits.

    Only the newest look by data time speaks: the governor goes by it too."""
    model, now, where = job["model"], run.now(), alerts.link(run.name, "measure")
    newest = book.latest(common.ledger(run), model, "monitor")
    if newest is not None and newest["as_of"] > job["as_of"]:
        log.warning("no alert is raised or ended: the look at %s is later than this one", newest["as_of"])
        return
    shared = {"time": now, "runbook": "monitor", "link": where}
    state, levels = judged["state"], judged["levels"]
    if state in _ACTIONS:
        told = alerts.Alert(
            group=f"verdict/{model}",
            state=f"{state} of version {job['version']}: {', '.join(judged['causes'])}",
            title=f"{model}: {_TITLES[state]}",
            cause=judged["reason"],
            action=_ACTIONS[state],
            severity=alerts.NOTICE if state == "insufficient" else alerts.PAGE,
            **shared,
        )
        alerts.send(run.settings, told)
    else:
        over = f"{model}: the verdict is {state} now. {judged['reason']}"
        alerts.resolve(run.settings, f"verdict/{model}", over, now, where)
    if levels:
        told = alerts.Alert(
            group=f"levels/{model}",
            state=f"version {job['version']}: {', '.join(levels)}",
            title=f"{model}: beyond their limits: {', '.join(levels)}",
            cause="; ".join(levels.values()) + ".",
            action="Nothing was changed. The page of `measure` has each level beside its limit.",
            severity=alerts.NOTICE,
            **shared,
        )
        alerts.send(run.settings, told)
    else:
        over = f"{model}: all levels are within their limits again."
        alerts.resolve(run.settings, f"levels/{model}", over, now, where)


_TITLES = {
    "incident": "a data incident",
    "insufficient": "too few labels to judge by",
    "rollback": "the champion is worse than the one before it",
}
_ACTIONS = {
    "incident": (
        "No training is asked for, and none begins by itself, until a later look finds the feed mended. Mend the feed, "
        "take in the days again with `ingest`; the service goes on answering."
    ),
    "insufficient": (
        "Nothing is judged, and nothing is trained on the labels that came early. Is the service asked, and does "
        "`ingest` still bring outcomes?"
    ),
    "rollback": "The champion goes on answering. Trigger `rollback` with the version that is named.",
}
