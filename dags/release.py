"""Release a challenger: shadow, approval, canary, promotion; or out again, by itself.

**Does:** lets the challenger score all traffic beside the champion (*shadow*), asks a person where the model's spec
says so (*approval*), lets it answer a growing share of the entities (*canary*), and makes it champion. Each look
collects the prediction log, joins the labels known by now, and judges: quality on pairs of both versions' scores of
the same requests, the canary on errors, latency and sanity. Judged bad, it is rolled back at once: the task is red and
says why, its *Report* shows every check, the ledger has the entry, an alert is raised, and the champion answers
everything. A stage whose time is over with too little traffic is *on hold*: an alert, and it waits on; it promotes
nothing.

**Runs:** when training has made a challenger, and hourly for one whose event was lost. On demand for the challenger, or
for any packaged version. Waiting stages hold no worker slot and outlive a restart of the scheduler.

**Answer an approval:** *Required Actions* of the task `approval`, or of the menu *Browse*. Unanswered, it expires.

**Run again:** a cleared task finds what stands in the ledger and moves nothing twice. A release whose challenger was
superseded ends skipped; the newer one's release begins.

**When it fails:**
- `shadow` or `canary` red, *rolled back*: read the *Report*. The champion is untouched. Mend and train anew.
- an alert, *on hold*: too few requests or labels. It goes on by itself when more come; to end it, trigger `rollback`
  to the version that is champion.
- `answered` red: the approval expired. Trigger this DAG with the version to ask again.
- an alert, *frozen*: every stage is complete. Lift it with `freeze`; the canary goes on and promotes then.
- `shadow` or `canary` red for another reason, or marked failed: the challenger keeps its stage and nobody looks until
  the next hourly run takes it up again, from the shadow on. Clear the task, or end it by `rollback`.
- a release that ended while its approval was open (superseded, or by `rollback`): the question stays. Answer it,
  *Reject*; until then no other release begins.
- any other task: look at its log, then clear it.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, dag

from dags.shared import COMMON, step, watch
from include.contracts import ASSET_CHALLENGER, ASSET_CHAMPION
from include.models import registry
from include.settings import settings

CHALLENGER = Asset(name="challenger", uri=ASSET_CHALLENGER)
CHAMPION = Asset(name="champion", uri=ASSET_CHAMPION)
POLICY = registry.load(settings().model).rollout
LAST_RESORT = timedelta(days=60)  # the rollout has deadlines of its own, in data time


@dag(
    dag_id="release",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("20 * * * *", timezone="UTC"), assets=CHALLENGER),
    **COMMON,
    tags=["ratchet", "release"],
    params={
        "version": Param(None, type=["null", "integer"], minimum=1, description="Empty: the challenger that waits."),
        "note": Param("", type="string", maxLength=500, description="Why; kept with the run."),
    },
)
def release() -> None:
    job = step("release.plan")()
    shadowed = watch("release.shadow", LAST_RESORT)(job)
    asked = step("release.ask")(job, shadowed)
    approval = HITLOperator(
        task_id="approval",
        subject="{{ ti.xcom_pull(task_ids='ask')['subject'] }}",
        body="{{ ti.xcom_pull(task_ids='ask')['text'] }}",
        options=["Approve", "Reject"],
        defaults="Reject",  # what an expired one counts as; the ledger says "expired"
        params={"reason": Param("", type="string", maxLength=500, description="Why; kept in the ledger.")},
        response_timeout=timedelta(hours=POLICY.approval_hours),
    )
    asked >> approval
    passed = step("release.answered", trigger_rule="none_failed_min_one_success")(job, approval.output)
    tried = watch("release.canary", LAST_RESORT)(job)
    [shadowed, approval] >> passed >> tried
    tried >> step("release.promote", outlets=[CHAMPION])(job)


release()
