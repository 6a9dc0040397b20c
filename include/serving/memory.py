"""What a worker's process holds in memory, and what it may hold, in bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of control groups, version 2 and 1


class Memory(TypedDict):
    rss: int
    memory_limit: int  # of the container, else of the machine


def measure(groups: Path = Path("/sys/fs/cgroup")) -> Memory:
    """Resident memory of this process, and the least of its limits. Of Linux: what a Bento packs has no psutil."""
    page = os.sysconf("SC_PAGE_SIZE")
    limits = [page * os.sysconf("SC_PHYS_PAGES")]
    for name in _LIMITS:
        text = (groups / name).read_text().strip() if (groups / name).is_file() else ""
        limits += [int(text)] if text.isdigit() and int(text) > 0 else []  # "max": none
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return Memory(rss=page * resident, memory_limit=min(limits))
