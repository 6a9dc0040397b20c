"""Tables: a pinned version stays readable, whatever Delta's own rules are; others go; rows never change."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from include.upkeep import tables

NONE, DAY = timedelta(0), timedelta(days=1)


def write(path: Path, number: int, day: str = "2013-01-01", mode: Any = "overwrite", checkpoints: int = 100) -> None:
    rows: Any = pa.table({"ds": [day], "x": [number]})
    every = {"delta.checkpointInterval": str(checkpoints)}
    write_deltalake(str(path), rows, mode=mode, partition_by=["ds"], configuration=every)


def read(path: Path, version: int | None = None) -> list[int]:
    found: list[int] = DeltaTable(str(path), version=version).to_pyarrow_table()["x"].to_pylist()
    return sorted(found)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve versions, each of which replaced the one before."""
    for number in range(12):
        write(tmp_path / "t", number)
    return tmp_path / "t"


def test_pinned_versions_survive_and_others_go(table: Path) -> None:
    described = tables.describe(table, [3, 7], NONE, 20)
    assert (described["files"], described["loose"], described["pinned"]) == (1, 9, [3, 7])
    assert tables.describe(table, [3, 7], DAY, 20)["loose"] == 0  # all of them are young
    files, size = tables.vacuum(table, [3, 7], NONE)
    assert (files, size) == (9, described["loose_bytes"])
    assert (read(table, 3), read(table, 7), read(table)) == ([3], [7], [11])
    with pytest.raises(FileNotFoundError):
        read(table, 4)
    assert tables.vacuum(table, [3, 7], NONE) == (0, 0)


def test_a_pin_that_is_lost_is_told_and_hinders_nothing(table: Path) -> None:
    described = tables.describe(table, [3, 99], NONE, 20)
    assert (described["pinned"], described["lost"]) == ([3], [99])
    assert tables.vacuum(table, [3, 99], NONE)[0] == 10
    assert read(table, 3) == [3]


def _a_month_later(table: Path) -> None:
    """All of the log is older than Delta keeps it, then enough commits for another checkpoint."""
    then = time.time() - 60 * 86_400
    for file in (table / "_delta_log").iterdir():
        os.utime(file, (then, then))
    for number in range(12):
        write(table, 100 + number)


def test_the_log_of_a_pinned_version_is_kept(tmp_path: Path) -> None:
    for guarded in (False, True):
        path = tmp_path / str(guarded)
        for number in range(3):
            write(path, number, checkpoints=10)
        if guarded:
            assert tables.guard(path, 30 * DAY)
            assert not tables.guard(path, 30 * DAY)  # said already
        for number in range(10):
            write(path, number)
        _a_month_later(path)
        if guarded:
            assert read(path, 2) == [2]
        else:  # what would have happened: when this fails, Delta has changed, and `guard` may go
            with pytest.raises(DeltaError):
                read(path, 2)


def test_crowded_days_become_one_file_and_older_versions_stay(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for number in range(5):
        write(path, number, "2013-01-01", "append")
        write(path, 10 + number, f"2013-02-0{number + 1}", "append")
    before = DeltaTable(str(path)).version()
    assert tables.describe(path, [], DAY, 4)["crowded"] == 1
    assert tables.compact(path, 4) == 1
    assert tables.compact(path, 4) == 0
    assert tables.describe(path, [], DAY, 4)["files"] == 6
    assert read(path) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    tables.vacuum(path, [before], NONE)
    assert read(path, before) == read(path)


def test_a_killed_writers_files_go_when_they_are_old(table: Path) -> None:
    data = next((table / "ds=2013-01-01").iterdir()).name
    orphan = table / "ds=2013-01-01" / data.replace(data[11:15], "0000")
    strange = table / "ds=2013-01-01" / "notes.txt", table / "mine.parquet"
    for file in (orphan, *strange):
        file.write_bytes(b"half")
    (table / "ds=2013-01-02").symlink_to(table / "ds=2013-01-01")
    assert tables.vacuum(table, [], DAY) == (0, 0)
    then = time.time() - 3 * 86_400
    for file in (orphan, *strange):
        os.utime(file, (then, then))
    assert tables.vacuum(table, [], DAY) == (1, 4)
    assert not orphan.exists()
    assert all(file.exists() for file in strange)


def test_days_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for number in range(1, 6):
        write(path, number, f"2013-01-0{number}", "append")
    assert tables.forget(path, "2013-01-03") == 2
    assert tables.forget(path, "2013-01-03") == 0
    assert read(path) == [3, 4, 5]
