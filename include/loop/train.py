"""Steps of the `train` DAG up to the evidence: pin the data -> frame -> tune -> fit -> evaluate -> MLflow.

What follows, from the gate on, is in include/loop/promote.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np
import pandas as pd
import sqlalchemy as sa

from include import bundle, pages, quality
from include.contracts import Ref
from include.crashpoints import reached
from include.evaluation import evidence as evaluation
from include.features import frame as frames
from include.features import snapshot as snapshots
from include.files import hash_file, hash_text, read_json, write_json
from include.loop import common, governor
from include.loop.common import Job
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.release import ledger as book
from include.release.ledger import Request, Version
from include.times import iso, parse
from include.training import data, export, manifest, track, tune
from include.training import fit as fitting

_TIMED_ROWS = 500


# -- data --------------------------------------------------------------------------------------------------------
def plan(run: Run) -> Job:
    """What this run trains: as of when, for which request, on which published versions, with which trials.

    Skipped when it was woken in vain, or when the governor lets nothing be trained. A person is told, not held.
    """
    job = common.kept(run, lambda: _plan(run))
    governor.begun(run, job)
    return job


def _plan(run: Run) -> Job:
    name = run.settings.model
    spec, ledger = registry.load(name), common.ledger(run)
    # an experiment by hand, with a time or candidates of its own, answers nobody's request
    experiment = bool(run.params.get("as_of") or run.params.get("candidates"))
    request = book.open_request(ledger, name) if run.events or not experiment else None
    _woken_in_vain(run, ledger, request)
    # an event of another request may be among those that woke it: the request's own time counts
    as_of = common.as_of(replace(run, events=()) if request else run, request.as_of if request else None)
    champion = common.champion(ledger, name)
    if champion and as_of < champion.as_of:
        if request and request.as_of == as_of:  # somebody has trained by hand meanwhile
            told = f"version {champion.version}, the champion, is of {champion.as_of}: newer than what was asked for"
            book.close_request(ledger, request.id, run.name, told)
            raise Skip(f"request {request.id} of {as_of} needs no training: {told}")
        raise Stop(f"as_of: {as_of} lies before the champion's {champion.as_of}, which has seen the rows to compare on")
    families = run.params.get("candidates") or [c.family for c in spec.candidates]
    try:
        trials = tune.plan(spec, families, run.params.get("trials"), spec.seed)
    except tune.BadRequest as error:
        raise Stop(str(error)) from error
    try:
        versions = frames.take_versions(run.settings)
        start = frames.begins(run.settings, spec, versions, as_of)
    except frames.NoHistory as error:
        raise Stop(str(error)) from error
    note = run.params.get("note") or ""
    reason = governor.admitted(run, ledger, name, as_of, request, by_hand=bool(run.actor or experiment or note))
    return {
        "model": name,
        "as_of": as_of,
        "request": request.id if request else None,
        "cause": governor.cause_of(ledger, request) if request else note or "scheduled, or asked for by hand",
        "admitted": reason,
        "note": note,
        "families": families,
        "trials": trials,
        "versions": versions,
        "start": iso(start),
    }


def _woken_in_vain(run: Run, ledger: sa.Engine, request: Request | None) -> None:
    """Events may come doubled, late or in another order: the open request is what counts, and one training takes it up.

    One that was taken up by a run that failed is not tried again by an event, but by that run when it is cleared, by
    the weekly one, or by a person.
    """
    asked = [e["request"] for e in run.events if e.get("request") is not None]
    if not asked:
        return
    if request is None:
        by = {number: book.answered_by(ledger, number) or "nobody, it is not in the ledger" for number in asked}
        raise Skip("; ".join(f"request {number} was answered by {answer}" for number, answer in by.items()))
    if others := [name for name in governor.takers(ledger, request.model, request.id) if name != run.name]:
        raise Skip(f"request {request.id} was taken up by {others[-1]}: if that has failed, clear its failed task")


def snapshot(run: Run, job: Job) -> Ref:
    """An immutable copy of the pinned feature tables, of what was usable at as-of: training's offline store."""
    taken = snapshots.take(run.settings, job["versions"], parse(job["start"]), parse(job["as_of"]))
    reached("train.snapshot.folder")
    return taken


def frame(run: Run, job: Job, taken: Ref) -> Ref:
    """The point-in-time training frame, through Feast."""
    spec = registry.load(job["model"])
    try:
        built = frames.build(run.settings, spec, job["versions"], taken, job["as_of"], job["start"])
    except frames.NoHistory as error:
        raise Stop(str(error)) from error
    reached("train.frame.file")
    return built


def check(run: Run, job: Job, built: Ref) -> Job:
    """Is the frame something to learn from? Stops the run, with a page that names the feature, when not."""
    try:
        return quality.check_frame(run.settings, built, list(registry.load(job["model"]).features), run.page)
    except quality.CriticalFailure as error:
        raise Stop(str(error)) from error


# -- model -------------------------------------------------------------------------------------------------------
def trials(run: Run, job: Job, checked: Job) -> list[Job]:  # noqa: ARG001 — `checked` only orders the tasks
    """The first rung's trials."""
    return [{**trial, "rung": 0} for trial in job["trials"]]


def trial(run: Run, job: Job, built: Ref, item: Job) -> Job:
    """One trial on one rung."""
    result = tune.run(run.settings, registry.load(job["model"]), built, item, item["rung"])
    return {**result, "label": f"{item['trial']} {result['loss']:.4f}"}


def cut(run: Run, job: Job, results: list[Job]) -> list[Job]:  # noqa: ARG001 — steps have one shape
    """The trials that go on to the last rung, on all rows."""
    return [{**kept, "rung": 1} for kept in tune.cut(registry.load(job["model"]), results)]


def fit(run: Run, job: Job, built: Ref, results: list[Job]) -> Job:
    """Fit the winner on all rows before the holdout, and export the exact form that would ship."""
    spec, chosen = registry.load(job["model"]), tune.choose(results)
    fitted = fitting.fit(run.settings, spec, built, chosen)
    made = export.export(run.settings, spec, built, fitted, job["as_of"], job["families"])
    return {**fitted, "bundle": made, "tuned_loss": chosen["loss"]}


def evaluate(run: Run, job: Job, built: Ref, fitted: Job) -> Job:
    """Score challenger, champion and a naive baseline on the holdout. A retry replaces the run's evidence."""
    spec = registry.load(job["model"])
    parts = data.split(spec, data.read(run.settings, built))
    champion = common.champion(common.ledger(run), job["model"])
    found = evaluation.collect(
        spec,
        parts.holdout,
        pd.read_parquet(fitted["predictions"]["uri"])[fitting.PROBABILITY].to_numpy(),
        None if champion is None else _scored(champion, parts.holdout),
        evaluation.baseline(parts.training, parts.holdout, spec.target),
        common.configuration(spec, job),
        *_cost(fitted["bundle"], data.matrix(parts.holdout, spec.features)),
        trained_until=fitted["split"]["validation"]["last"],
    )
    path = write_json(run.settings.trainings / "evidence" / f"{hash_text(run.name)[:16]}.json", found)
    reached("train.evaluate.evidence")
    return {"uri": str(path), "hash": hash_file(path), "champion": None if champion is None else champion.version}


def log(run: Run, job: Job, taken: Ref, built: Ref, fitted: Job, evaluated: Job) -> Job:
    """All of the training into one MLflow run, found again by its DAG run however often this is repeated."""
    settings, spec = run.settings, registry.load(job["model"])
    tags = {"as_of": job["as_of"], "cause": job["cause"], "note": job["note"], "bundle": fitted["bundle"]["hash"]}
    run_id = track.open_run(settings, job["model"], run.name, tags)
    made = manifest.build(
        spec,
        run=run.name,
        as_of=job["as_of"],
        families=job["families"],
        versions=job["versions"],
        snapshot=taken,
        frame=built,
        fitted=cast(fitting.Fitted, fitted),
        bundle=fitted["bundle"],
    )
    file = write_json(run.page.parent / track.MANIFEST, made)
    sources = [track.Source(name=n, digest=str(v), uri=f"{n}@{v}", context="lake") for n, v in job["versions"].items()]
    for name, ref in (("snapshot", taken), ("frame", built)):
        sources.append(track.Source(name=name, digest=ref["hash"], uri=ref["uri"], context="training"))
    track.log_training(
        settings,
        run_id,
        job["as_of"],
        fitted["bundle"],
        {"family": fitted["family"], **fitted["params"], "seed": spec.seed},
        _metrics(read_json(Path(evaluated["uri"]))),
        sources,
        {track.MANIFEST: file, track.PREDICTIONS: Path(fitted["predictions"]["uri"])},
        tags,
    )
    pages.write_links(run.page, {"MLflow run": track.run_url(settings, run_id)})
    reached("train.log.links")
    return {"run_id": run_id, "url": track.run_url(settings, run_id)}


def _scored(champion: Version, holdout: pd.DataFrame) -> Job:
    loaded = bundle.load(champion.bundle)
    known = [f for f in loaded.features if f in holdout.columns]
    # a champion that cannot be scored is evidence too: the gate refuses
    p = bundle.predict(loaded, data.matrix(holdout, loaded.features)) if known == loaded.features else None
    kept = {"configuration_hash": champion.configuration_hash, "trained_until": champion.trained_until}
    return {"p": p, "version": champion.version, **kept}


def _cost(made: Ref, rows: np.ndarray) -> tuple[float, float]:
    """p99 in ms of one row through the bundle's model, and the bundle's size in MB."""
    loaded = bundle.load(made)
    times = []
    for i in range(_TIMED_ROWS):
        row = rows[i % len(rows)][None, :]
        started = perf_counter()
        bundle.predict(loaded, row)
        times.append((perf_counter() - started) * 1e3)
    size = sum(p.stat().st_size for p in loaded.path.rglob("*") if p.is_file())
    return float(np.quantile(times, 0.99)), size / 1e6


def _metrics(found: Job) -> Job:
    """Scores with intervals, as MLflow's metrics: challenger's own, champion's and baseline's with a prefix."""
    sides = {"": found["challenger"]["scores"], "baseline_": found["baseline"]}
    if isinstance(found["champion"], dict):
        sides["champion_"] = found["champion"]["scores"]
    flat = {prefix + name: score for prefix, scores in sides.items() for name, score in (scores or {}).items()}
    return {**flat, "difference": found["difference"], "latency_ms": found["latency_ms"], "size_mb": found["size_mb"]}
