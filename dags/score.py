"""Score flights in a batch: tomorrow's schedule, or any past interval.

**Does:** takes the flights scheduled in the interval as they were published at as-of, builds their features through
Feast (as of the departure less the model's horizon, or of the run when that is earlier: a future flight gets what is
known now, a past one what was known then), predicts with the champion's bundle and writes Delta table `scores`: one
row a flight with probability, version and as-of. One mapped task a week, of longer spans when there would be more
than 64. Tomorrow is New York's next day.

**Runs:** daily at 21:00 UTC for tomorrow; on demand with `start` and `end`, as-of, and any packaged version. Not
ended two hours after it was queued: an alert.

**Run again:** the flights of the interval are written again, as a whole, to the same rows. Scores of other models and
of other flights stay. What was overwritten is in the table's earlier versions.

**When it fails or warns:**
- `summary` green, its *Report* in amber: flights were refused (a feature is missing or out of its bounds), each is
  listed with the reason; or no flight is published on some day. Look at the *Report* of `ingest`'s `validate`.
- `summary` red: not one flight could be scored, or none is published. Most often the interval lies before the first
  features, or after what is published: run `ingest`.
- `score` red with *no probability*: the version answered NaN or worse, and nothing was written. Roll it back.
- `plan` skipped: there is no champion yet. `plan` red: the form is wrong, it names the field.
- any other task: look at its log, then clear it; parts that are done are done again to the same rows.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag

from dags.shared import COMMON, due, each, step, time_field


@dag(
    dag_id="score",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 21 * * *", timezone="UTC"),
    deadline=due(timedelta(hours=2)),
    **COMMON,
    tags=["ratchet", "serving"],
    params={
        "start": time_field("First scheduled departure, data time. Empty, as `end`: New York's next day."),
        "end": time_field("End of the scheduled departures, not included."),
        "as_of": time_field("Use what was known then. Empty: the clock."),
        "version": Param(None, type=["null", "integer"], minimum=1, description="Version. Empty: the champion."),
        "reason": Param("", type="string", maxLength=500, description="Why; kept in the ledger."),
    },
)
def score() -> None:
    job = step("score.plan")()
    parts = step("score.partitions")(job)
    scored = each("score.score", parts, job, task_id="score")
    step("score.summary")(job, scored)


score()
