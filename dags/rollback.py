"""Go back to an earlier version of the model, and see what the bad one has done.

**Does:** packages the earlier version with today's code and rehearses it from its archive; makes it champion, ending
any release that is under way; lists every prediction that the bad version has answered since it went live (the blast
radius, a file and a page); scores the batch predictions that it made again with the restored version.

**Runs:** on demand, with a reason. Without a version: the champion before this one. With the version that is champion:
its challenger leaves, the champion stays.

**Run again:** the ledger has one entry a run; a cleared task finds it.

**When it fails:**
- `plan` red: the form names a version that is not packaged, or is champion already; or there is no earlier one.
- `rehearse` red: that version does not serve what it was trained to. Nothing was changed: choose another.
- `restore` red: somebody else changed what is live at the same moment. Look, then clear it.
- `affected` or `rescore` red: what is live is already restored. Look at the log, then clear the task.
"""

from __future__ import annotations

from airflow.sdk import Asset, Param, dag

from dags.shared import COMMON, step
from include.contracts import ASSET_CHAMPION

CHAMPION = Asset(name="champion", uri=ASSET_CHAMPION)


@dag(
    dag_id="rollback",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,  # nobody should have to unpause it in an emergency
    **COMMON,
    tags=["ratchet", "release"],
    params={
        "version": Param(None, type=["null", "integer"], minimum=1, description="Empty: the champion before this one."),
        "reason": Param("", type="string", maxLength=500, description="Why. Others will read it."),
    },
)
def rollback() -> None:
    job = step("rollback.plan")()
    rehearsed = step("rollback.rehearse")(job)
    restored = step("rollback.restore", outlets=[CHAMPION])(job, rehearsed)
    restored >> [step("rollback.affected")(job), step("rollback.rescore")(job)]


rollback()
