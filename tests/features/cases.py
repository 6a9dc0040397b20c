"""Real facts of some January days, and the same facts with the future changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.contracts import VIEWS

AS_OF = datetime(2013, 1, 23, 15, tzinfo=UTC)
DAYS = ["2013-01-20", "2013-01-21", "2013-01-22", "2013-01-23"]
DAYS_OF = {view.name: DAYS for view in VIEWS}


def scramble(table: pa.Table, after: datetime, seed: int = 1) -> pa.Table:
    """The table with each row that becomes known after `after` changed, and once more as a row that was not there."""
    later = pc.greater(table["known_at"], pa.scalar(after, pa.timestamp("us", tz="UTC")))
    kept, future = table.filter(pc.invert(later)), table.filter(later)
    order = pa.array(np.random.default_rng(seed).permutation(future.num_rows))
    changed = future
    for name, kind in zip(future.column_names, future.schema.types, strict=True):
        if pa.types.is_floating(kind) or name in ("late", "not_on_time"):
            changed = _set(changed, name, pc.subtract(pa.scalar(1, kind), future[name].take(order)))
    return pa.concat_tables([kept, changed, _new(changed)])


def _new(future: pa.Table) -> pa.Table:
    if "flight_id" in future.column_names:
        return _set(future, "flight_id", pc.binary_join_element_wise(future["flight_id"], pa.scalar("x"), "-"))
    name = "observed_at" if "observed_at" in future.column_names else "event_timestamp"
    return _set(future, name, pc.add(future[name], pa.scalar(timedelta(minutes=7), pa.duration("us"))))


def _set(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)
