"""The engine of the features: SQL texts of features/sql, run by DuckDB over Arrow tables.

Times are naive UTC inside the engine, so that a text means the same on every engine; they get their zone back on the
way out. The texts aggregate first and join on equal keys, without ASOF, so that Spark can later run them as well.
"""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa

_TEXTS = Path(__file__).parent / "sql"
_NAIVE = pa.timestamp("us")
_UTC = pa.timestamp("us", tz="UTC")
_MEMORY = "2GB"


def connect() -> duckdb.DuckDBPyConnection:
    """A private in-memory database; what does not fit into its memory is an error, not a full machine."""
    return duckdb.connect(config={"memory_limit": _MEMORY, "threads": 2, "temp_directory": ""})


def text(name: str, **values: object) -> str:
    """The SQL of `name` with its $placeholders filled. Raises KeyError for one that is missing."""
    return string.Template(_read(name)).substitute(values)


@cache
def _read(name: str) -> str:
    return (_TEXTS / f"{name}.sql").read_text(encoding="utf-8")


def register(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Make `rows` readable as table `name`."""
    con.register(name, _with_zone(rows, _UTC, _NAIVE))


def define(con: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    """Keep the result of `sql` as table `name` of this connection."""
    con.execute(f'CREATE TABLE "{name}" AS {sql}')


def fetch(con: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The result of `sql`, its times UTC again."""
    return _with_zone(con.sql(sql).to_arrow_table(), _NAIVE, _UTC)


def _with_zone(rows: pa.Table, old: pa.DataType, new: pa.DataType) -> pa.Table:
    kinds = [new if field.type == old else field.type for field in rows.schema]
    return rows.cast(pa.schema(list(zip(rows.column_names, kinds, strict=True))))
