"""The lake: Delta tables under one folder, read and written as Arrow tables.

A day is overwritten atomically; a Delta version is the version of a table's data. Readers do not follow each table's
newest version but the *catalog*: one small file, swapped when a run has written all of its tables. So a run that
dies half-way has changed nothing that anybody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from include.contracts import DAY, KNOWN_AT, Table
from include.files import hash_value, read_json, write_json

_TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
_ATTEMPTS = 5  # of a write that met another writer


class Catalog(TypedDict):
    """What is published: the version of each table, the newest as-of, and up to where ingest has left no hole."""

    versions: dict[str, int]
    as_of: str | None
    watermark: str | None


class Moved(RuntimeError):
    """Another run has published meanwhile."""


class Repeated(RuntimeError):
    """These rows have been appended before."""


class UnknownVersion(LookupError):
    """The table has no such version (never written, or vacuumed away)."""


def schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table. A column that is not in it is an error, never silently dropped."""
    return pa.schema([(name, _TYPES[kind]) for name, kind in table.columns.items()])


def path(lake: Path, table: Table) -> Path:
    return lake / table.name


def overwrite_days(lake: Path, table: Table, rows: pa.Table, days: Iterable[str]) -> int:
    """Make `rows` the whole content of the given days; other days stay. Returns the version that holds it.

    Rows are sorted by key, so equal content gives equal files. Raises ValueError for a wrong schema, a duplicate key
    or a row outside of `days`.
    """
    days = sorted(set(days))
    rows = rows.select(list(table.columns)).cast(schema(table))
    outside = set(pc.unique(rows[DAY]).to_pylist()) - set(days)
    if outside:
        raise ValueError(f"{table.name}: rows of days {sorted(outside)[:3]} are outside of the days being written")
    rows = rows.sort_by([(DAY, "ascending"), *((k, "ascending") for k in table.key)])
    distinct = rows.group_by([DAY, *table.key]).aggregate([]).num_rows
    if distinct != rows.num_rows:
        raise ValueError(f"{table.name}: {rows.num_rows - distinct} rows repeat a key {table.key}")
    if not days:
        return version(lake, table)
    where = f"{DAY} IN (" + ", ".join(f"'{d}'" for d in days) + ")"
    uri = str(path(lake, table))
    for attempt in range(_ATTEMPTS):
        try:
            if DeltaTable.is_deltatable(uri):
                write_deltalake(uri, rows, mode="overwrite", predicate=where, partition_by=[DAY])
            else:
                write_deltalake(uri, rows, mode="error", partition_by=[DAY])
            return version(lake, table)
        except (CommitFailedError, FileExistsError):
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def append(lake: Path, table: Table, rows: pa.Table, transactions: dict[str, int]) -> int:
    """Add rows, once: `transactions` says how far each writer has come with them (a number that grows). Returns the
    version that holds them.

    Raises Repeated, and adds nothing, when a writer had come as far before. Delta compares the numbers of concurrent
    commits only, those of commits that the snapshot held already are compared here: so both look at one snapshot.
    A column that the table does not have yet is added, null in older rows.
    """
    rows = rows.select(list(table.columns)).cast(schema(table))
    once = CommitProperties(app_transactions=[Transaction(app, number) for app, number in transactions.items()])
    uri = str(path(lake, table))
    for attempt in range(_ATTEMPTS):
        try:
            snapshot = _opened(uri, table)
            come = {app: snapshot.transaction_version(app) for app in transactions}
            again = {app: n for app, n in come.items() if n is not None and n >= transactions[app]}
            if again:
                raise Repeated(f"{table.name} holds these rows: it has come to {again}")
            write_deltalake(snapshot, rows, mode="append", schema_mode="merge", commit_properties=once)
            return version(lake, table)
        except DeltaError:  # of several kinds, when another writer was faster
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _opened(uri: str, table: Table) -> DeltaTable:
    """The table's newest snapshot; an empty table when there was none."""
    try:
        return DeltaTable(uri)
    except TableNotFoundError:
        return DeltaTable.create(uri, schema=schema(table), mode="ignore", partition_by=[DAY], name=table.name)


def appended(lake: Path, table: Table, apps: Iterable[str]) -> dict[str, int]:
    """How far each of the writers has come with `append`; who never wrote is left out."""
    uri = str(path(lake, table))
    if not DeltaTable.is_deltatable(uri):
        return {}
    snapshot = DeltaTable(uri)
    come = {app: snapshot.transaction_version(app) for app in apps}
    return {app: number for app, number in come.items() if number is not None}


def version(lake: Path, table: Table) -> int:
    """The newest version of a table. Raises UnknownVersion when it was never written."""
    return _at(lake, table, None).version()


def _at(lake: Path, table: Table, version: int | None) -> DeltaTable:
    """A version of a table, None: the newest. Raises UnknownVersion."""
    try:
        return DeltaTable(str(path(lake, table)), version=version)
    except TableNotFoundError as error:
        raise UnknownVersion(f"{table.name} has never been written under {lake}") from error
    except Exception as error:  # deltalake raises several kinds for a version that is gone
        raise UnknownVersion(f"{table.name} has no version {version} under {lake}: {error}") from error


def files(
    lake: Path, table: Table, days: tuple[str, str] | None = None, at: int | None = None, expected: bool = True
) -> list[str]:
    """The Parquet files of version `at` (None: the newest) that hold `days` (first, last; inclusive), for an engine
    that reads them itself. Their rows lack the partition's column, and columns younger than them.

    Raises UnknownVersion; of a table that was never written too, unless it is not `expected`: then there are none.
    """
    if not expected and not DeltaTable.is_deltatable(str(path(lake, table))):
        return []
    opened = _at(lake, table, at)
    if days is None:
        return sorted(opened.file_uris())
    return sorted(opened.file_uris(file_pruning_predicate=f"{DAY} >= '{days[0]}' AND {DAY} <= '{days[1]}'"))


def read(
    lake: Path,
    table: Table,
    at: int,
    days: tuple[str, str] | None = None,
    known_by: datetime | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of version `at`, sorted by key; of `days` (first, last; inclusive), known at `known_by` or before."""
    source = _at(lake, table, at).to_pyarrow_dataset()
    keep: Any = None
    if days is not None:
        keep = (ds.field(DAY) >= days[0]) & (ds.field(DAY) <= days[1])
    if known_by is not None:
        known = ds.field(KNOWN_AT) <= pa.scalar(known_by, type=_TYPES["timestamp"])
        keep = known if keep is None else keep & known
    names = list(columns or table.columns)
    wanted = list(dict.fromkeys([*names, DAY, *table.key]))
    rows = source.to_table(columns=wanted, filter=keep).select(wanted)
    rows = rows.cast(pa.schema([schema(table).field(n) for n in wanted]))
    return rows.sort_by([(DAY, "ascending"), *((k, "ascending") for k in table.key)]).select(names)


def catalog(lake: Path) -> Catalog:
    """What is published now. Empty at the beginning."""
    file = lake / "catalog.json"
    if not file.exists():
        return Catalog(versions={}, as_of=None, watermark=None)
    kept: Catalog = read_json(file)
    return kept


def publish(
    lake: Path, versions: dict[str, int], as_of: str, start: str, end: str, planned_on: str | None = None
) -> Catalog:
    """Swap the catalog: these versions become visible, all at once. Publishing the same twice changes nothing.

    `planned_on`: hash of the catalog on which the run was planned. Raises Moved, and changes nothing, when another run
    has published since: two runs that overlap would hide each other's rows. `as_of` never moves back. The watermark
    moves to `end` only when `start` leaves no hole behind it.
    """
    old = catalog(lake)
    watermark = old["watermark"]
    if watermark is None or start <= watermark < end:
        watermark = end
    new = Catalog(
        versions={**old["versions"], **versions},
        as_of=max(as_of, old["as_of"] or as_of),
        watermark=watermark,
    )
    if new != old:
        if planned_on is not None and planned_on != hash_value(old):
            raise Moved("another ingest has published since this one was planned; nothing of this one is visible")
        write_json(lake / "catalog.json", new)
    return new


def row_keys(table: Table, rows: pa.Table) -> list[str]:
    """The key of each row as one text, by which quarantine names it; an empty part is written as ?."""
    parts = [rows[k].to_pylist() for k in table.key]
    return [" ".join(_key_part(value) for value in values) for values in zip(*parts, strict=True)]


def _key_part(value: Any) -> str:
    if value is None:
        return "?"
    return value.isoformat() if isinstance(value, datetime) else str(value)
