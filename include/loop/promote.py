"""Steps of the `train` DAG from the gate on: verdict -> register -> package -> rehearse -> champion or challenger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from include import pages
from include.contracts import Ref
from include.crashpoints import reached
from include.evaluation import gate as rules
from include.evaluation import page as gate_page
from include.files import read_json, write_json
from include.loop import common
from include.loop.common import Job
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.packaging import bento
from include.packaging import page as rehearsal_page
from include.packaging import rehearse as rehearsal
from include.packed import code_hash
from include.release import ledger as book
from include.release.ledger import Decision, Version
from include.training import data, track
from include.training import fit as fitting


# -- verdict -----------------------------------------------------------------------------------------------------
def gate(run: Run, job: Job, fitted: Job, evaluated: Job, logged: Job) -> Job:
    """Decide, and put the decision where people and machines find it: page, MLflow, ledger."""
    spec, found = registry.load(job["model"]), read_json(Path(evaluated["uri"]))
    verdict = rules.decide(spec.gate, found)
    gate_page.write(verdict, found, run.page, {c["feature"]: c["mean_abs"] for c in fitted["contributions"]})
    reached("train.gate.page")
    machine = write_json(run.page.parent / "verdict.json", verdict.model_dump(mode="json"))
    files = {"verdict.json": machine, "verdict.html": run.page, "evidence.json": Path(evaluated["uri"])}
    track.log_files(run.settings, logged["run_id"], files)
    track.close_run(run.settings, logged["run_id"])
    pages.write_links(run.page, {"MLflow run": logged["url"]})
    kept = {
        "evidence": evaluated["hash"],
        "mlflow_run": logged["run_id"],
        "checks": [c.model_dump(mode="json") for c in verdict.checks],
    }
    common.record(run, job, "gate", verdict.reason, None, {"accepted": verdict.accepted, "rule": verdict.rule, **kept})
    if not verdict.accepted:
        common.answer(run, job, verdict.reason)
    failed = [c.name for c in verdict.failed]
    return {"accepted": verdict.accepted, "rule": verdict.rule, "reason": verdict.reason, "failed": failed}


def register(run: Run, job: Job, fitted: Job, logged: Job, verdict: Job) -> Job:
    """A model version for what passed the gate. A refusal ends the run here, green."""
    if not verdict["accepted"]:
        raise Skip(verdict["reason"])
    live = common.champion(common.ledger(run), job["model"])
    if live and live.bundle["hash"] == fitted["bundle"]["hash"] and live.mlflow_run != logged["run_id"]:
        same = f"version {live.version}, the champion, to the byte: there is nothing to release"
        common.answer(run, job, same)
        raise Skip(f"the training gave {same}")
    tags = {"as_of": job["as_of"], "bundle": fitted["bundle"]["hash"], "verdict": verdict["reason"][:4000]}
    version = int(track.register(run.settings, logged["run_id"], job["model"], tags))
    return {"version": version, "run_id": logged["run_id"], "url": logged["url"]}


# -- package and release -----------------------------------------------------------------------------------------
def package(run: Run, job: Job, fitted: Job, registered: Job) -> Ref:
    """The Bento: the service's code, this bundle, labels that lead back."""
    labels = {"mlflow_run_id": registered["run_id"], "as_of": job["as_of"], "run": run.name}
    return bento.build(run.settings, fitted["bundle"], job["model"], str(registered["version"]), labels)


def rehearse(run: Run, job: Job, built: Ref, fitted: Job, registered: Job, archive: Ref) -> Job:
    """Serve the Bento from its archive and see that it does what training did. Stops the release when not."""
    spec = registry.load(job["model"])
    rows = data.split(spec, data.read(run.settings, built)).holdout
    expected = pd.read_parquet(fitted["predictions"]["uri"])[fitting.PROBABILITY].to_numpy()
    report, failed, reason = rehearsed(run, job, archive, registered["version"], rows, expected)
    if failed:
        raise Stop(f"the package failed its rehearsal ({', '.join(failed)}): {reason}; not released")
    return {"passed": True, "checks": len(report["checks"]), "rows": report["rows"], "latency_ms": report["latency_ms"]}


def rehearsed(
    run: Run, job: Job, archive: Ref, version: int, rows: pd.DataFrame, expected: np.ndarray
) -> tuple[Job, list[str], str]:
    """A rehearsal with its page and its entry in the ledger: the report, the names of failed checks, and why."""
    report = rehearsal.rehearse(run.settings, archive, rows, expected)
    rehearsal_page.write(report, run.page)
    reached(f"{run.name.split('/')[0]}.rehearse.page")
    failed = [c for c in report["checks"] if not c["passed"]]
    reason = failed[0]["reason"] if failed else f"{len(report['checks'])} checks passed on {report['rows']} rows"
    kept = {"passed": report["passed"], "checks": report["checks"]}
    common.record(run, job, "rehearsal", reason, version, kept)
    return report, [c["name"] for c in failed], reason


def release(
    run: Run, job: Job, built: Ref, fitted: Job, evaluated: Job, registered: Job, archive: Ref, verdict: Job
) -> Job:
    """Make it champion if there was none, else the challenger, which supersedes one that waits. Answer the request."""
    ledger, version = common.ledger(run), registered["version"]
    spec = registry.load(job["model"])
    book.add_version(
        ledger,
        Version(
            model=job["model"],
            version=version,
            mlflow_run=registered["run_id"],
            configuration_hash=common.configuration(spec, job),
            as_of=job["as_of"],
            trained_until=fitted["split"]["validation"]["last"],
            frame=built,
            bundle=fitted["bundle"],
            bento=archive,
            code_hash=code_hash(),
        ),
    )
    kind = "champion" if evaluated["champion"] is None else "challenger"
    decision = common.decision(run, job, kind, verdict["reason"], version, {"evidence": evaluated["hash"]})
    live = _deploy(ledger, decision, evaluated["champion"])
    common.mirror(run, job["model"])
    common.answer(run, job, f"version {version} is {kind}")
    return {"model": job["model"], "version": version, "as": kind, "generation": live.generation, "as_of": job["as_of"]}


def _deploy(ledger: sa.Engine, decision: Decision, judged_against: int | None) -> book.Deployment:
    seen = book.current(ledger, decision.model)
    if seen.champion == decision.version:  # a retry, or the whole run cleared: it is live already
        return seen
    if seen.champion != judged_against:
        raise Stop(
            f"the gate compared with champion {judged_against}, live is {seen.champion} by now; "
            "nothing was released: clear `evaluate` and what follows"
        )
    if judged_against is None:
        return book.deploy(ledger, seen, decision, champion=decision.version, challenger=None)
    waits = book.WAITING  # a challenger that was there, waiting or half-way, is superseded
    return book.deploy(ledger, seen, decision, champion=seen.champion, challenger=decision.version, stage=waits)
