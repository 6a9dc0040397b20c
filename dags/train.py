"""Train a challenger and let it earn its place: it ships only if the gate against the champion lets it.

**Does:** pins the data (a snapshot of published versions), builds the point-in-time frame through Feast, checks it,
tunes by successive halving with one mapped task a trial, fits, logs to MLflow, gates against the champion on rows that
neither has seen; then, if accepted, registers, packages as a Bento, rehearses that Bento from its archive and makes it
challenger (or champion, when there is none yet).

**Runs:** weekly, or when the asset `retrain` says that somebody asks (the ledger's open request says who and why), or
on demand: as-of, candidates, number of trials, note. Whoever comes first trains for the open request; an event that
comes doubled, late or after that ends skipped, and a lost one is sent again by `sweep`. Six hours after it was queued
a run that has not ended raises an alert.

**Left out:** `plan` is skipped, with the reason in the ledger, while a data incident is open (see `monitor`) or the
model is frozen; the weekly one also when the spec's budget of trainings is spent. A request then stays open and waits.
A person who triggers it trains anyway: the plan and the ledger say against what, and it counts towards the budget. With
an as-of or candidates in the form it is an experiment, which answers no request.

**A refusal is no failure.** The run is green with a skipped tail; the *Report* of `gate` shows each check with its
interval, and the reason stands in the ledger. Nothing that is live has changed.

**Run again:** the MLflow run, the model version and the Bento of this DAG run are found again, not made twice.

**When it fails:**
- `check` red: the frame is not what a model may learn from; its *Report* names the feature. Look at `ingest`.
- `rehearse` red: the package does not serve what was trained; its *Report* says which check. Nothing was released.
- `release` red: another champion went live since the comparison. Clear `evaluate` and what follows.
- any other task: look at its log, then clear it. A request stays open until a training has answered it: this run once
  it is cleared, the weekly one, or one that a person triggers. Events do not try it a second time.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, dag

from dags.shared import COMMON, due, each, step, time_field
from include.contracts import ASSET_CHALLENGER, ASSET_RETRAIN

RETRAIN = Asset(name="retrain", uri=ASSET_RETRAIN)
CHALLENGER = Asset(name="challenger", uri=ASSET_CHALLENGER)
FAMILIES = ["logistic", "xgboost"]


@dag(
    dag_id="train",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 12 * * 1", timezone="UTC"), assets=RETRAIN),
    deadline=due(timedelta(hours=6)),
    **COMMON,
    tags=["ratchet", "model"],
    params={
        "as_of": time_field("Use what was known then. Empty: what the request says, else the clock."),
        "candidates": Param(
            [],
            type="array",
            items={"type": "string"},
            examples=FAMILIES,
            description="Families to tune. Empty: all of the spec's. Fewer make another configuration.",
        ),
        "trials": Param(8, type="integer", minimum=1, maximum=200, description="Trials of the first rung."),
        "note": Param("", type="string", maxLength=500, description="Why; kept in MLflow and the ledger."),
    },
)
def train() -> None:
    job = step("train.plan")()
    snapshot = step("train.snapshot")(job)
    frame = step("train.frame")(job, snapshot)
    checked = step("train.check")(job, frame)
    trials = step("train.trials")(job, checked)
    first = each("train.trial", trials, job, frame, task_id="first_rung")
    final = each("train.trial", step("train.cut")(job, first), job, frame, task_id="final_rung")
    fitted = step("train.fit")(job, frame, final)
    evaluated = step("train.evaluate")(job, frame, fitted)
    logged = step("train.log")(job, snapshot, frame, fitted, evaluated)
    verdict = step("promote.gate")(job, fitted, evaluated, logged)
    registered = step("promote.register")(job, fitted, logged, verdict)
    archive = step("promote.package")(job, fitted, registered)
    rehearsed = step("promote.rehearse")(job, frame, fitted, registered, archive)
    released = step("promote.release", outlets=[CHALLENGER])(
        job, frame, fitted, evaluated, registered, archive, verdict
    )
    rehearsed >> released


train()
