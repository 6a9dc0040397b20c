"""Immutable copies of the feature tables, for Feast to read: a folder of Parquet files named by their content."""

from __future__ import annotations

import contextlib
import tempfile
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include import files, lake, times
from include.contracts import EVENT_TIME, KNOWN_AT, VIEWS, Ref, View
from include.settings import Settings

_ROW_GROUP = 65_536


def take(settings: Settings, versions: dict[str, int], start: datetime, as_of: datetime) -> Ref:
    """The feature rows that entity rows in [start, as_of] may need, and that were usable at `as_of`.

    `versions` pins the tables. Equal rows give the same folder, whatever the versions are called. Raises
    UnknownVersion, or KeyError that names a table without a version.
    """
    tables = {v.name: rows(settings, versions, v, start - v.ttl, as_of, known_by=as_of) for v in VIEWS}
    return keep(settings, tables)


def rows(
    settings: Settings,
    versions: dict[str, int],
    view: View,
    start: datetime,
    end: datetime,
    known_by: datetime | None = None,
) -> pa.Table:
    """Rows of one view with event time in [start, end], without the partition column."""
    if view.table.name not in versions:
        raise KeyError(f"versions: {view.table.name} is missing; the published catalog has no such table yet")
    days = (times.day(start), times.day(end))
    table = lake.read(settings.lake, view.table, versions[view.table.name], days, known_by)
    at = table[EVENT_TIME]
    table = table.filter(pc.and_(pc.greater_equal(at, _scalar(start)), pc.less_equal(at, _scalar(end))))
    return table.select([*view.keys, EVENT_TIME, KNOWN_AT, *(f.name for f in view.features)])


def keep(settings: Settings, tables: dict[str, pa.Table]) -> Ref:
    """Write tables to the folder of their content, unless it is there already. Times stay in microseconds."""
    settings.snapshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=settings.snapshots) as work:
        part = Path(work) / "snapshot"
        part.mkdir()
        for name, table in tables.items():
            pq.write_table(table.combine_chunks(), part / f"{name}.parquet", row_group_size=_ROW_GROUP)
        digest = files.hash_folder(part)
        target = settings.snapshots / digest
        if not files.used_again(target):
            with contextlib.suppress(FileExistsError):  # another run made the same content meanwhile
                part.rename(target)
    return Ref(uri=str(target), version=digest[:12], hash=digest)


def newest(view: View, table: pa.Table) -> pa.Table:
    """Of each entity the row with the latest event time."""
    ordered = table.sort_by([(EVENT_TIME, "ascending")])
    ordered = ordered.append_column("row", pa.array(range(ordered.num_rows), pa.int64()))
    last = ordered.group_by(list(view.keys)).aggregate([("row", "max")])["row_max"]
    return ordered.take(last.combine_chunks().sort()).drop_columns("row")


def file(snapshot: Ref, view: View) -> Path:
    return Path(snapshot["uri"]) / f"{view.name}.parquet"


def _scalar(time: datetime) -> pa.Scalar:
    return pa.scalar(time, pa.timestamp("us", tz="UTC"))
