"""Freeze the model: nothing of it is promoted until the freeze is lifted.

**Does:** enters the freeze, or its lifting, in the ledger with who and why. The ledger itself refuses promotions while
it is set: a release goes on through shadow and canary and is held before its end. A rollback is always allowed.

**Runs:** on demand, with a reason.

**Run again:** a cleared run changes nothing; to change it again, trigger it again.

**When it fails:** the form lacks a reason. Nothing was changed.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

from dags.shared import COMMON, step


@dag(
    dag_id="freeze",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,  # nobody should have to unpause it in an emergency
    **COMMON,
    tags=["ratchet", "release"],
    params={
        "frozen": Param(True, type="boolean", description="On: nothing is promoted. Off: lift the freeze."),
        "reason": Param("", type="string", maxLength=500, description="Why. Others will read it."),
    },
)
def freeze() -> None:
    step("freeze.change")()


freeze()
