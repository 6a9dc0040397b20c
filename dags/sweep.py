"""What was missed: sends the event of a waiting request to train again, and alerts what is overdue.

**Does:** two things that hang on nothing but the ledger and the clock. *ring*: a request to train that no training has
taken up for 30 minutes has lost its event (a queued run is given that long), so it is sent again; then after one hour
more, two, four, up to once a day. While a data incident is open or the model is frozen, the request waits and no bell
is rung. *watch* raises an alert, once, and resolves it when it is over: for an approval
that expires within 12 hours; for a request that is open for more than a day; for `ingest` without a publication for 3
hours, `monitor` without a verdict or `score` without scores for 30 hours. What was never made once is not awaited.

**Runs:** hourly, or on demand.

**Run again:** at any time. A doubled event wakes a run of `train` that ends skipped: one training takes a request up.

**When it fails or alarms:**
- `ring` skipped: nothing was lost. Its reason says whether a request waits, and for what.
- an alert, *has been open since*: the alert says why. A run of `train` that failed: clear its failed task. `train` is
  paused: unpause it. Held back: mend the feed (`monitor`), lift the freeze (`freeze`), or train by hand (`train`).
- an alert, *is late*: look at the newest run of that DAG and at its runbook; it may only be paused.
- an alert, *is about to expire*: answer it under *Required Actions*, or let it expire and trigger `release` later.
- any other error: look at the log and clear the task.
"""

from __future__ import annotations

from airflow.sdk import Asset, CronTriggerTimetable, dag

from dags.shared import COMMON, step
from include.contracts import ASSET_RETRAIN

RETRAIN = Asset(name="retrain", uri=ASSET_RETRAIN)


@dag(
    dag_id="sweep",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("45 * * * *", timezone="UTC"),
    **COMMON,
    tags=["ratchet", "monitoring"],
)
def sweep() -> None:
    step("sweep.ring", outlets=[RETRAIN])()
    step("sweep.watch")()


sweep()
