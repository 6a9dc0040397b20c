"""Step of the `freeze` DAG: forbid or allow that anything of the model is promoted."""

from __future__ import annotations

from typing import Any

from include.loop import common
from include.loop.run import Run, Stop
from include.release import ledger as book


def change(run: Run) -> dict[str, Any]:
    """Set or lift the freeze; who and why stand in the ledger."""
    model, frozen = run.settings.model, bool(run.params["frozen"])
    reason = str(run.params.get("reason") or "").strip()
    if not reason:
        raise Stop("reason: say why, it is what others will read; nothing was changed")
    job = {"model": model, "as_of": run.now()}
    kind = "freeze" if frozen else "thaw"
    book.freeze(common.ledger(run), common.decision(run, job, kind, reason, None, {}), frozen)
    return {"model": model, "frozen": frozen, "reason": reason}
