"""Take flights and weather in, check them, and make them features.

**Does:** extracts an interval from the source, lands it raw in Delta, validates it with Great Expectations, writes
good rows to the fact tables and bad rows to `quarantine` with the rule each broke, computes features, publishes all
tables at once and brings the online store up to date.

**Runs:** hourly, taking [watermark, as-of), so a machine that slept leaves no hole. On demand: give `start` and `end`
(months load in one run). `airflow backfill create --dag-id ingest …` works for any span of data time.

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
from typing import Any

from airflow.sdk import Asset, CronTriggerTimetable, dag, task

from dags.shared import DEFAULTS, ORIGIN, as_of, here, page, time_param
from include.contracts import ASSET_FEATURES

FEATURES = Asset(name="features", uri=ASSET_FEATURES)
Written = dict[str, Any]


@task
def plan() -> Any:
    from include.loop import ingest

    settings, context, _ = here()
    given, run = context["params"], context["dag_run"]
    start, end = given["start"], given["end"]
    if run.run_type == "backfill":
        start, end = run.data_interval_start.isoformat(), run.data_interval_end.isoformat()
    return ingest.plan(settings, start, end, end or as_of(context))


@task(pool="lake")
def land(interval: Any) -> Written:
    from include.loop import ingest

    return ingest.land(here()[0], interval)


@task
def validate(interval: Any, landed: Written) -> Written:
    from include.loop import ingest

    return ingest.validate(here()[0], interval, landed, page())


@task(pool="lake")
def facts(interval: Any, landed: Written, checked: Written) -> Written:
    from include.loop import ingest

    return ingest.facts(here()[0], interval, landed, checked)


@task(pool="lake")
def features(interval: Any, written: Written) -> Written:
    from include.loop import ingest

    return ingest.features(here()[0], interval, written)


@task(pool="lake")
def publish(interval: Any, landed: Written, written: Written, built: Written) -> Written:
    from include.loop import ingest

    return ingest.publish(here()[0], interval, landed, written, built)


@task(pool="lake", outlets=[FEATURES])
def materialize() -> Any:
    from include.loop import ingest

    return ingest.materialize(here()[0])


@dag(
    dag_id="ingest",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 * * * *", timezone="UTC", interval=timedelta(hours=1)),
    start_date=ORIGIN,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["ratchet", "data"],
    params={
        "start": time_param("Start of the interval, data time. Empty: where the last run ended."),
        "end": time_param("End of the interval, not included. Empty: as-of."),
        "as_of": time_param("What may be known. Empty: the clock."),
    },
)
def ingest_dag() -> None:
    interval = plan()
    landed = land(interval)
    checked = validate(interval, landed)
    written = facts(interval, landed, checked)
    built = features(interval, written)
    publish(interval, landed, written, built) >> materialize()


ingest_dag()
