"""Numbered places where a process may be killed, so that tests can kill it there.

A crash point stands after each external write. In production `reached` compares one environment variable and returns.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

AT = "RATCHET_CRASH_AT"  # name of the point at which to die, at its first passing in a process
LOG = "RATCHET_CRASH_LOG"  # file that collects the names passed, one a line: how tests find all points


def reached(name: str) -> None:
    """Mark that the external write `name` has just been done, e.g. "ingest.facts.outcome"."""
    if log := os.environ.get(LOG):
        with Path(log).open("a", encoding="utf-8") as out:
            out.write(name + "\n")
    if os.environ.get(AT) == name:
        os.kill(os.getpid(), signal.SIGKILL)
