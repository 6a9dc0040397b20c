"""Take flights and weather in, check them, and make them features.

**Does:** extracts an interval from the source, lands it raw in Delta, validates it with Great Expectations, writes
good rows to the fact tables and bad rows to `quarantine` with the rule each broke, computes features, publishes all
tables at once and brings the online store up to date.

**Runs:** hourly, taking [watermark, as-of), so a machine that slept leaves no hole. On demand: give `start` and `end`
(months load in one run). `airflow backfill create --dag-id ingest --max-active-runs 1 …` works for any span of data
time; of two runs that overlap, the second to publish stops and says so. On SQLite the command may meet the scheduler
and say "database is locked": then nothing was created, give it again. A run that has not ended an hour after it was
queued raises an alert.

**Run again** (clear, retry, trigger the same interval): the same days are written again, to the same content. An
interval of the past is taken in with what is known by now, so nothing that was known is forgotten.

**When it fails:**
- `validate` red: a batch as a whole is wrong (missing column, no rows where flights were scheduled …). The task's
  *Report* link says which expectation and what was observed. Nothing was published; what was served before is still
  served. Mend the feed and clear the task `land`.
- `plan` says *exhausted*: the source has no data after its end. Nothing to mend: the year is over.
- any other task: look at its log, then clear it; every step may be repeated.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, CronTriggerTimetable, dag

from dags.shared import COMMON, due, step, time_field
from include.contracts import ASSET_FEATURES

FEATURES = Asset(name="features", uri=ASSET_FEATURES)


@dag(
    dag_id="ingest",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 * * * *", timezone="UTC", interval=timedelta(hours=1)),
    deadline=due(timedelta(hours=1)),
    **COMMON,
    tags=["ratchet", "data"],
    params={
        "start": time_field("Start of the interval, data time. Empty: where the last run ended."),
        "end": time_field("End of the interval, not included. Empty: as-of."),
        "as_of": time_field("What may be known. Empty: the clock."),
    },
)
def ingest() -> None:
    # the pool has one slot: two runs never write the lake at the same moment
    interval = step("ingest.plan")()
    landed = step("ingest.land", pool="lake")(interval)
    checked = step("ingest.validate")(interval, landed)
    facts = step("ingest.facts", pool="lake")(interval, landed, checked)
    features = step("ingest.features", pool="lake")(interval, facts)
    published = step("ingest.publish", pool="lake")(interval, landed, facts, features)
    step("ingest.materialize", pool="lake", outlets=[FEATURES])(published)


ingest()
