"""Watch the champion: how it does on what has become known, what has drifted, and whether it should be trained anew.

**Does:** rebuilds the point-in-time features of the last days' flights, scores them with the champion's own bundle,
measures performance on the labels that are known (coverage is stated), runs Evidently's drift report against what the
champion was trained on, and judges: healthy, retrain, incident (a feed broke: mend it, do not train on it) or
insufficient (too few labels to say anything). Only `retrain` asks for a training: a row in the ledger, one open a
model, and the asset event that wakes `train`. Raw drift explains, it never triggers.

**Runs:** daily, or on demand with an as-of.

**Run again:** the same window gives the same verdict, and an open request is not asked twice.

**When it fails or alarms:**
- `measure` green, `request` skipped: nothing to do. The *Report* of `measure` shows the numbers and why.
- verdict *incident*: the *Report* names the features that broke. Look at the *Report* of `ingest`'s `validate`, mend
  the feed, ingest the days again. No training was asked for.
- `plan` skipped: there is no champion yet.
"""

from __future__ import annotations

from airflow.sdk import Asset, CronTriggerTimetable, dag

from dags.shared import COMMON, step, time_field
from include.contracts import ASSET_RETRAIN

RETRAIN = Asset(name="retrain", uri=ASSET_RETRAIN)


@dag(
    dag_id="monitor",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("30 6 * * *", timezone="UTC"),
    **COMMON,
    tags=["ratchet", "monitoring"],
    params={"as_of": time_field("Judge with what was known then. Empty: the clock.")},
)
def monitor() -> None:
    job = step("monitor.plan")()
    window = step("monitor.window")(job)
    measured = step("monitor.measure")(job, window)
    step("monitor.request", outlets=[RETRAIN])(job, measured)


monitor()
