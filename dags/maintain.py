"""Keep the installation small: what is old and needed by nobody goes, tables are compacted, idle things are named.

**Does:** takes stock of everything under `var/` that it knows, and lets go, by age and kind (`RATCHET_RETENTION__…`,
see docs/retention.md): work of trainings, candidates that never became a version, old Bentos, frames, snapshots,
windows, plans, logs, Evidently's snapshots. Reports are packed into `var/archive/` first. What an eligible version
needs for rollback or reproduction stays, whatever its age: champion, challenger, the last champions, young versions.
Then tables: days of many small files become one, and files go that no young or pinned version refers to. Last, it says
which features, views and models nobody uses.

**Runs:** Sundays at 04:30 UTC, and then it cleans. On demand it only says what would go, unless the form says
otherwise (`dry_run` off).

**Run again:** at any time, also after a kill in the middle: what was begun is ended first. What has gone is gone; a
thing that was written to, or came to be needed, since the plan stays.

**When it fails or tells:**
- The *Report* of `plan` shows what would go, how much and why, and what is kept for whom. Change the policy, not the
  files.
- `plan` or `clean` red: MLflow or the ledger did not say what eligible versions need. Nothing has gone. Start it
  (`make up`), then clear the task.
- `plan` says that a pinned version is *lost*: it was vacuumed by somebody else. The frame is still there, so the
  version can be reproduced; the frame could not be built anew.
- `plan` says that MLflow has no manifest of a version: nobody can say which snapshot and versions of tables it needs,
  so no snapshot goes and no table is vacuumed while it is eligible. Was its run deleted? Is this the right MLflow?
- `clean` and `compact` skipped: it was a dry run.
- a notice names features or models that nobody uses: nothing was changed, take them out or leave them.
- a report is missing: unpack `var/archive/<month>/<dag>/<run>.tar.gz` in `var/`.
"""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable, Param, dag

from dags.shared import COMMON, step


@dag(
    dag_id="maintain",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("30 4 * * 0", timezone="UTC"),
    **COMMON,
    tags=["ratchet", "operations"],
    params={
        "dry_run": Param(
            None,
            type=["null", "boolean"],
            description="On: only say what would go. Off: clean. Empty: a scheduled run cleans, any other only says.",
        ),
    },
)
def maintain() -> None:
    job = step("maintain.plan")()
    cleaned = step("maintain.clean")(job)
    # the pool has one slot: no ingest writes the lake meanwhile
    step("maintain.compact", pool="lake")(job, cleaned)
    step("maintain.idle")()


maintain()
