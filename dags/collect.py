"""Take what the prediction service has logged into the lake, each prediction exactly once.

**Does:** moves closed segments of the service's log (`var/predictions/<worker>/`) into the Delta table `predictions`,
with the segment's number in the same commit, so that nothing is taken twice. A worker that died is recovered: its last
segment up to the last whole line; what its counters say beyond that is reported as lost.

**Runs:** every ten minutes, and whenever a release looks at its challenger. On demand. Not ended
half an hour after it was queued: an alert.

**Run again:** at any time, also while another run is at it.

**When it fails or alarms:**
- an alert says that predictions were lost: a worker was killed within a fifth of a second after it had answered. They
  were answered; what was answered is not known. Nothing to mend.
- an alert says that segments were refused: their files lie in `var/predictions/refused` with the reason beside each.
- any error: look at the log and clear the task. The log keeps what was not taken.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag

from dags.shared import COMMON, due, step


@dag(
    dag_id="collect",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("*/10 * * * *", timezone="UTC"),
    deadline=due(timedelta(minutes=30)),
    **COMMON,
    tags=["ratchet", "serving"],
)
def collect() -> None:
    step("collect.collect")()


collect()
