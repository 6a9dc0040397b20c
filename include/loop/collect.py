"""Step of the `collect` DAG: what the service has logged -> the lake's table of predictions, exactly once."""

from __future__ import annotations

from include.loop import common
from include.loop.common import Job
from include.loop.run import Run


def collect(run: Run) -> Job:
    """Take all closed segments into the lake."""
    return common.collect(run)
