"""What the lake can take of a delivery. What it cannot is kept beside it, so that a rule can name what is wrong."""

from __future__ import annotations

import hashlib
import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include import lake
from include.contracts import DAY, Ref, Table
from include.files import replacing, used_again
from include.settings import Settings


def landable(table: Table, delivery: pa.Table, days: list[str]) -> pa.Table | None:
    """The rows that fit the raw table: its columns, the asked days, the first row of each key. None when a column is
    missing or of a type that would have to be guessed (text where a number is due)."""
    wanted = lake.schema(table)
    if not all(f.name in delivery.column_names and _safe(delivery.schema.field(f.name).type, f.type) for f in wanted):
        return None
    try:
        rows = delivery.select(wanted.names).cast(wanted)
    except pa.ArrowInvalid:  # a number with a fraction where a whole one is due
        return None
    rows = rows.filter(pc.is_in(rows[DAY], value_set=pa.array(days, pa.string())))
    numbered = rows.append_column("_place", pa.array(range(rows.num_rows), pa.int64()))
    first = numbered.group_by(list(table.key)).aggregate([("_place", "min")])["_place_min"]
    return rows if len(first) == rows.num_rows else rows.take(first)


def same(landed: pa.Table | None, delivery: pa.Table) -> bool:
    """Did everything of the delivery land?"""
    return (
        landed is not None
        and landed.num_rows == delivery.num_rows
        and set(landed.column_names) == set(delivery.column_names)
    )


def keep(settings: Settings, table: Table, delivery: pa.Table) -> Ref:
    """Keep a delivery as it came, in a file named by its content under home/deliveries."""
    buffer = io.BytesIO()
    pq.write_table(delivery, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = settings.home / "deliveries" / f"{table.name}-{digest[:16]}.parquet"
    if not used_again(path):
        with replacing(path) as part:
            part.write_bytes(buffer.getvalue())
    return Ref(uri=str(path), version=digest[:16], hash=digest)


def _safe(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Is the cast without guessing? Numbers to numbers, times to times, text to text, and nothing but nulls to all."""
    kinds = (pa.types.is_timestamp, lambda t: pa.types.is_string(t) or pa.types.is_large_string(t), _is_number)
    return pa.types.is_null(given) or any(kind(given) and kind(wanted) for kind in kinds)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
