"""Step of the `collect` DAG: what the service has logged -> the lake's table of predictions, exactly once."""

from __future__ import annotations

from typing import Any

from include import alerts
from include.loop.run import Run
from include.serving import collect as spool


def collect(run: Run) -> dict[str, Any]:
    """Take all closed segments into the lake. Predictions that were lost or refused raise an alert, once."""
    taken: dict[str, Any] = dict(spool.collect(run.settings))
    if taken["lost"] or taken["refused"]:
        text = (
            f"Prediction log: {taken['lost']} predictions were answered but died with their process before they were "
            f"written; {taken['refused']} lines or files are no predictions and lie in "
            f"{run.settings.predictions / 'refused'}. "
            "Everything else is in the lake. See the runbook of `collect`."
        )
        alerts.send(run.settings, f"{run.name}/lost", text, run.now())
    return taken
