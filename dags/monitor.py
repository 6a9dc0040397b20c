"""Watch the champion: what it was asked, how it did on the labels known by now, and whether anybody must do something.

**Does:** takes in the prediction log, joins it with the labels that are known, and weighs the last days against what
the champion was trained on: the feed (values missing, stuck, out of scale, of another time or another flight, too few
requests), performance with its coverage and its worst slice, performance estimated before labels come, the service's
own levels, and a *skew audit*: the features of yesterday's answers, made again from the lake. Judges, in this order:

- *incident*: the data is broken. An alert; no training is asked for, and none begins by itself, until it is mended.
- *insufficient*: too few mature labels to say anything about the model.
- *rollback*: on the same flights the champion before was surely better. An alert: a person decides.
- *retrain*: age, surprise, or a drift of the score that persists. A request, which the governor may merge or drop.
- *healthy*.

Raw drift explains, it never triggers: it is beyond any limit in every healthy week (docs/monitoring.md).

**Runs:** daily, or on demand with an as-of. Evidently's report of the day, and of each new week, is in `report`, and in
Evidently's own UI.

**Run again:** the same window gives the same verdict; a request is asked for once, an alert told once.

**When it fails or alarms:**
- verdict *incident*: the *Report* of `measure` names the check and the feature. Look at the *Report* of `ingest`'s
  `validate`, at `audit` (does serving use what the lake has?), mend the feed, ingest the days again. The next look
  that finds nothing closes the incident, and says so.
- verdict *insufficient*: is the service asked? Does `ingest` still bring outcomes?
- verdict *rollback*: trigger `rollback` with the version that the alert names.
- `act` skipped: no training is asked for: there is no reason to, a person has been told instead, or the governor has
  dropped the request. The reason is in its log and in the ledger.
- an alert about *levels*: latency, load, memory, missing or stale features, errors, silence; see docs/monitoring.md.
- `plan` skipped: there is no champion yet.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, CronTriggerTimetable, dag

from dags.shared import COMMON, due, step, time_field
from include.contracts import ASSET_RETRAIN

RETRAIN = Asset(name="retrain", uri=ASSET_RETRAIN)


@dag(
    dag_id="monitor",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("30 6 * * *", timezone="UTC"),
    deadline=due(timedelta(hours=2)),
    **COMMON,
    tags=["ratchet", "monitoring"],
    params={"as_of": time_field("Judge with what was known then. Empty: the clock.")},
)
def monitor() -> None:
    job = step("monitor.plan")()
    collected = step("monitor.collect")(job)
    seen = step("monitor.window")(job)
    audited = step("monitor.audit")(job, seen)
    judged = step("monitor.measure")(job, seen, audited)
    collected >> seen
    step("monitor.report")(job, seen, judged)
    step("monitor.act", outlets=[RETRAIN])(job, judged)


monitor()
