"""What a worker's process holds in memory, and what it may hold, in bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of control groups, version 2 and 1


class Memory(TypedDict):
    rss: int
    memory_limit: int  # of the container, else of the machine


def measure(groups: Path = Path("/sys/fs/cgroup")) -> Memory:
    """Resident memory of this process, and the least of its limits."""
    import psutil  # not in a Bento that serves alone: nobody watches that one's memory here

    limits = [psutil.virtual_memory().total]
    for name in _LIMITS:
        text = (groups / name).read_text().strip() if (groups / name).is_file() else ""
        limits += [int(text)] if text.isdigit() and int(text) > 0 else []  # "max": none
    return Memory(rss=psutil.Process().memory_info().rss, memory_limit=min(limits))
