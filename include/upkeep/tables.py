"""Upkeep of the lake's tables: days of many small files become one, files that nobody can ask for any more go.

Two of Delta's own rules are switched off first (`guard`). It drops the log of commits older than 30 days at every
hundredth commit, after which no older version can be opened, though all of its files are there; and it forgets after
a week when a file was replaced. Here a version goes by the policy alone, and never while it is pinned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from include.contracts import DAY
from include.crashpoints import reached

_DATA = re.compile(r"part-\d{5}-[0-9a-f-]{36}-c\d{3}\.(\w+\.)?parquet")
_LOG, _TOMBSTONES = "delta.enableExpiredLogCleanup", "delta.deletedFileRetentionDuration"


def describe(path: Path, pinned: Iterable[int], keep: timedelta, most: int) -> dict[str, Any]:
    """What a table holds and what its upkeep would do: {"files", "bytes", "crowded": days, "loose": files that would
    go, "loose_bytes", "pinned": versions that can be opened, "lost": pinned versions that cannot}."""
    table = DeltaTable(str(path))
    good, lost = _openable(path, pinned)
    sizes = [int(size) for size in _files(table)["size_bytes"]]
    loose = _loose(path, table, good, keep)
    return {
        "files": len(sizes),
        "bytes": sum(sizes),
        "crowded": len(_crowded(table, most)),
        "loose": len(loose),
        "loose_bytes": sum(_size(path / name) for name in loose),
        "pinned": good,
        "lost": lost,
    }


def guard(path: Path, keep: timedelta) -> bool:
    """Let the table's log be cleaned by nobody, and its replaced files be remembered as long as they are kept. Returns
    whether that had to be said."""
    table = DeltaTable(str(path))
    wanted = {_LOG: "false", _TOMBSTONES: f"interval {max(1, round(keep / timedelta(days=1)))} days"}
    if {name: table.metadata().configuration.get(name) for name in wanted} == wanted:
        return False
    table.alter.set_table_properties(wanted)
    reached("maintain.guarded")
    return True


def compact(path: Path, most: int) -> int:
    """Make one file of each partition that has more than `most`; returns how many had. The rows stay, in a new version,
    and readers of older ones keep theirs."""
    table = DeltaTable(str(path))
    crowded = _crowded(table, most)
    for partition in crowded:
        table.optimize.compact(partition_filters=[(name, "=", value) for name, value in partition])
        reached("maintain.compacted")
    return len(crowded)


def forget(path: Path, before: str) -> int:
    """Delete the rows of days before `before` (YYYY-MM-DD). Returns how many there were."""
    table = DeltaTable(str(path))
    gone = int(table.delete(f"{DAY} < '{before}'")["num_deleted_rows"] or 0)
    reached("maintain.forgotten")
    return gone


def vacuum(path: Path, pinned: Iterable[int], keep: timedelta) -> tuple[int, int]:
    """Delete the files that were replaced longer than `keep` ago and that no pinned version names. Returns how many,
    and their bytes. Files that no commit ever named go, too, when they are as old: a killed writer's. Delta says which;
    they are deleted here, since it would delete files that are none of its own as well."""
    loose = _loose(path, DeltaTable(str(path)), _openable(path, pinned)[0], keep)
    size = 0
    for name in loose:
        size += _size(path / name)
        (path / name).unlink(missing_ok=True)
        reached("maintain.vacuumed")
    return len(loose), size


def _loose(path: Path, table: DeltaTable, pinned: list[int], keep: timedelta) -> list[str]:
    hours = round(keep / timedelta(hours=1))
    found = table.vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True, keep_versions=pinned)
    both = (name for listed in found for name in dict.fromkeys((listed, unquote(listed))))
    return sorted(name for name in both if _is_deltas(path, name))


def _is_deltas(path: Path, name: str) -> bool:
    """A data file of the table's own, that is still there (Delta names those again that went before), and no link."""
    file = path / name
    steps = [file, *file.parents]
    inside = steps[: steps.index(path)] if path in steps else []
    return bool(_DATA.fullmatch(file.name) and inside and file.is_file() and not any(s.is_symlink() for s in inside))


def _openable(path: Path, pinned: Iterable[int]) -> tuple[list[int], list[int]]:
    """Pinned versions that are there, and those that are lost: Delta would refuse to vacuum for the latter's sake."""
    good, lost = [], []
    for version in sorted(set(pinned)):
        try:
            DeltaTable(str(path), version=version)
            good.append(version)
        except DeltaError:
            lost.append(version)
    return good, lost


def _files(table: DeltaTable) -> dict[str, list[Any]]:
    import pyarrow as pa

    found: dict[str, list[Any]] = pa.table(table.get_add_actions(flatten=True)).to_pydict()
    return found


def _crowded(table: DeltaTable, most: int) -> list[tuple[tuple[str, str], ...]]:
    names = table.metadata().partition_columns
    found = _files(table)
    partitions = Counter(zip(*(found[f"partition.{name}"] for name in names), strict=True))
    return sorted(tuple(zip(names, values, strict=True)) for values, count in partitions.items() if count > most)


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.lstat().st_size
    return 0
