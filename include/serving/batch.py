"""Batch scoring: a frame's file in, rows of SCORES out, one record batch at a time, so that memory stays flat.

A row that the model must not see (a feature missing that may not be, a value out of its bounds) is refused: counted,
and named in a list. A model that answers with something that is no probability stops the scoring: nothing is written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from include import bundle, lake, times
from include.contracts import DAY, ENTITY, EVENT_TIME, KNOWN_AT, SCORES
from include.crashpoints import reached

BATCH = 16_384  # rows at a time: its features fit into a core's cache
BINS = 20  # of the probabilities' histogram
SCHEMA = lake.schema(SCORES)
_IDENTITY = (ENTITY, "sched_dep", EVENT_TIME, KNOWN_AT)
_DAY_US = 86_400_000_000
_ATTEMPTS = 5  # of a write that met another writer
_PARTITIONS = [DAY, "model"]
T = TypeVar("T")


class BadFrame(ValueError):
    """The file is no frame that this model can score; the message names the column."""


class BadScore(RuntimeError):
    """The model answered with something that is no probability: none of its scores is to be trusted."""


class Scorer(NamedTuple):
    """Who predicts, and from which probability on the answer is yes."""

    model: str
    version: int
    bundle: bundle.Bundle
    threshold: float


@dataclass
class Tally:
    """What became of a frame's rows. `days`: rows of each UTC day of departure; `refused`: why -> rows; `bins`:
    predictions in BINS equal parts of [0, 1]."""

    predicted: int = 0
    not_on_time: int = 0
    total: float = 0.0  # of the probabilities
    days: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    bins: np.ndarray = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    def add(self, p: np.ndarray, late: np.ndarray) -> None:
        self.predicted += len(p)
        self.not_on_time += int(late.sum())
        self.total += float(p.sum())
        self.bins += np.bincount(np.minimum((p * BINS).astype(np.int64), BINS - 1), minlength=BINS)

    @property
    def rows(self) -> int:
        return self.predicted + self.refused.total()

    def join(self, other: Tally) -> None:
        self.predicted += other.predicted
        self.not_on_time += other.not_on_time
        self.total += other.total
        self.days.update(other.days)
        self.refused.update(other.refused)
        self.bins += other.bins

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it, to be read by `load`."""
        counts = {"days": dict(self.days), "refused": dict(self.refused), "bins": self.bins.tolist()}
        return {"predicted": self.predicted, "not_on_time": self.not_on_time, "total": self.total, **counts}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Tally:
        counts = {"days": Counter(kept["days"]), "refused": Counter(kept["refused"])}
        bins = np.array(kept["bins"], dtype=np.int64)
        return cls(kept["predicted"], kept["not_on_time"], kept["total"], bins=bins, **counts)


# -- predicting ----------------------------------------------------------------------------------------------------
def score(frame: Path, scorer: Scorer, tally: Tally, refused: TextIO) -> Iterator[pa.RecordBatch]:
    """Rows of SCORES for a frame's file, in its order. Counts go to `tally`, a line for each refused row to `refused`.

    The file has flight_id, sched_dep, event_timestamp, known_at and the model's features (float32). Raises BadFrame
    and BadScore.
    """
    with pq.ParquetFile(frame) as file:
        names = scorer.bundle.features
        _check_schema(frame, file.schema_arrow, names)
        for batch in file.iter_batches(BATCH, columns=[*_IDENTITY, *names]):
            yield _scored(frame, batch, scorer, tally, refused)


def flights(frame: Path) -> pa.Array:
    """The flight ids of a frame's file."""
    return pq.read_table(frame, columns=[ENTITY])[ENTITY].combine_chunks()


def _scored(frame: Path, batch: pa.RecordBatch, scorer: Scorer, tally: Tally, refused: TextIO) -> pa.RecordBatch:
    for name in _IDENTITY:
        if batch.column(name).null_count:
            raise BadFrame(f"{frame}: {name} is null in some row")
    features = scorer.bundle.schema["features"]
    table = matrix(batch, scorer.bundle.features)
    days = _days(batch.column("sched_dep"))
    tally.days.update({found["values"]: found["counts"] for found in pc.value_counts(days).to_pylist()})
    wrong = problems(features, table)
    if wrong.any():
        bad = wrong.any(axis=1)
        _refuse(features, batch.filter(pa.array(bad)), table[bad], wrong[bad], tally, refused)
        good = pa.array(~bad)
        batch, days, table = batch.filter(good), days.filter(good), table[~bad]
    p = bundle.predict(scorer.bundle, table) if len(table) else np.empty(0)
    sound = (p >= 0) & (p <= 1)  # NaN is neither
    if not sound.all():
        raise BadScore(f"version {scorer.version} of {scorer.model} answered {p[~sound][0]}: no probability")
    late = p >= scorer.threshold
    tally.add(p, late)
    return _rows(batch, days, scorer, p, late)


def _rows(batch: pa.RecordBatch, days: pa.Array, scorer: Scorer, p: np.ndarray, late: np.ndarray) -> pa.RecordBatch:
    columns = {
        DAY: days,
        "model": pa.repeat(scorer.model, len(p)),
        "version": pa.repeat(scorer.version, len(p)),
        "probability": pa.array(p),
        "not_on_time": pa.array(late),
        **{name: batch.column(name) for name in _IDENTITY},
    }
    arrays = [columns[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _days(at: pa.Array) -> pa.Array:
    """The UTC date of each time. Each distinct day is formatted once: formatting every row costs more than scoring."""
    days = at.cast(SCHEMA.field("sched_dep").type).view(pa.int64()).to_numpy() // _DAY_US
    distinct, which = np.unique(days, return_inverse=True)
    names = pa.array([str(np.datetime64(int(day), "D")) for day in distinct], pa.string())
    return names.take(pa.array(which))


def _check_schema(frame: Path, found: pa.Schema, features: Sequence[str]) -> None:
    if absent := [name for name in (*_IDENTITY, *features) if name not in found.names]:
        raise BadFrame(f"{frame} lacks {', '.join(absent)}")
    for name in features:
        if found.field(name).type != pa.float32():
            raise BadFrame(f"{frame}: {name} must be float32, is {found.field(name).type}")


def matrix(batch: pa.RecordBatch, names: Sequence[str]) -> np.ndarray:
    """The model's input, float32 [n, k]; null is NaN."""
    table = np.empty((batch.num_rows, len(names)), dtype=np.float32)
    for i, name in enumerate(names):
        table[:, i] = batch.column(name).to_numpy(zero_copy_only=False)
    return table


# -- checking ------------------------------------------------------------------------------------------------------
def problems(features: Sequence[Mapping[str, Any]], table: np.ndarray) -> np.ndarray:
    """Which values the model must not see, bool [n, k]: the rules of bundle.check_rows, for all rows at once."""
    limit = np.finfo(np.float32).max
    low = np.array([-limit if f["low"] is None else f["low"] for f in features], dtype=np.float32)
    high = np.array([limit if f["high"] is None else f["high"] for f in features], dtype=np.float32)
    wrong = ~((table >= low) & (table <= high))  # also NaN, which is within no bounds, and infinity
    nullable = np.array([bool(f["nullable"]) for f in features])
    if wrong.any():
        wrong &= ~(np.isnan(table) & nullable)
    return wrong


def _refuse(
    features: Sequence[Mapping[str, Any]],
    batch: pa.RecordBatch,
    table: np.ndarray,
    wrong: np.ndarray,
    tally: Tally,
    refused: TextIO,
) -> None:
    """Count and name each refused row by its first wrong feature."""
    columns = zip(batch.column(ENTITY).to_pylist(), batch.column("sched_dep").to_pylist(), strict=True)
    for (flight, at), values, first in zip(columns, table, wrong.argmax(axis=1), strict=True):
        why, shown = _why(features[first], values[first])
        refuse(tally, refused, flight, at, why, shown)


def refuse(tally: Tally, refused: TextIO, flight: str, at: datetime, why: str, shown: str = "") -> None:
    """Count a row that gets no prediction under `why` and name it in the list, with what was seen."""
    tally.refused[why] += 1
    refused.write(f"{flight}\t{times.iso(at)}\t{why}{shown}\n")


def _why(feature: Mapping[str, Any], value: np.float32) -> tuple[str, str]:
    if np.isnan(value):
        return f"{feature['name']} is missing", ""
    if np.isinf(value):
        return f"{feature['name']} is infinite", ""
    return f"{feature['name']} is not in [{feature['low']}, {feature['high']}]", f": {value:g}"


# -- the table -----------------------------------------------------------------------------------------------------
def open_table(folder: Path) -> DeltaTable:
    """The table SCORES of a lake, at its newest version; made when it is not there. A part is a day of a model."""
    uri = str(lake.path(folder, SCORES))
    if not DeltaTable.is_deltatable(uri):
        return DeltaTable.create(uri, schema=SCHEMA, mode="ignore", partition_by=_PARTITIONS)
    return DeltaTable(uri)


def overwrite(table: DeltaTable, model: str, start: datetime, end: datetime, batches: Iterable[pa.RecordBatch]) -> None:
    """Make `batches` all that the table holds of a model's flights scheduled in [start, end), in one commit.

    Other models and other times stay. Raises CommitFailedError when another writer has changed these rows since
    `table` was read, and DeltaError for a row outside of the span.
    """
    days = times.days_between(start, end)
    where = f"{DAY} >= '{days[0]}' AND {DAY} <= '{days[-1]}' AND model = '{model}'"
    if cut := [f"sched_dep {sign} '{t.isoformat()}'" for sign, t in ((">=", start), ("<", end)) if not _midnight(t)]:
        where = " AND ".join([where, *cut])  # only then: it makes Delta read what is there
    write_deltalake(table, pa.RecordBatchReader.from_batches(SCHEMA, iter(batches)), mode="overwrite", predicate=where)
    reached("score.write.commit")


def retrying(attempt: Callable[[], T]) -> T:
    """What `attempt` returns, begun anew when another writer was first."""
    for count in range(1, _ATTEMPTS):
        try:
            return attempt()
        except CommitFailedError:
            time.sleep(0.05 * count)
    return attempt()


def held(table: DeltaTable, model: str, span: tuple[datetime, datetime] | None = None) -> ds.Dataset:
    """What the table holds of a model, of flights scheduled in a span: nothing is read yet."""
    mine = ds.field("model") == model
    if span is not None:
        first, last = (pa.scalar(t, SCHEMA.field("sched_dep").type) for t in span)
        days = times.days_between(*span)
        mine = mine & (ds.field(DAY) >= days[0]) & (ds.field(DAY) <= days[-1])
        mine = mine & (ds.field("sched_dep") >= first) & (ds.field("sched_dep") < last)
    return table.to_pyarrow_dataset().filter(mine)


def affected(table: DeltaTable, model: str, version: int) -> tuple[list[str], int]:
    """The days that hold scores which a version made, in order, and how many such scores there are."""
    counts: Counter[str] = Counter()
    for some in held(table, model).filter(ds.field("version") == version).to_batches(columns=[DAY]):
        counts.update({found["values"]: found["counts"] for found in pc.value_counts(some.column(DAY)).to_pylist()})
    return sorted(counts), counts.total()


def made_by(table: DeltaTable, model: str, version: int, span: tuple[datetime, datetime]) -> pa.Table:
    """Flights scheduled in a span whose score a version made, with the moments of that score."""
    return held(table, model, span).filter(ds.field("version") == version).to_table(columns=list(_IDENTITY))


def kept_beside(
    table: DeltaTable, model: str, version: int, span: tuple[datetime, datetime]
) -> Iterator[pa.RecordBatch]:
    """The scores in a span that other versions made, in the table's schema, a record batch at a time."""
    others = held(table, model, span).filter(ds.field("version") != version)  # now, before the table is written
    return (b.cast(SCHEMA) for b in others.to_batches(columns=SCHEMA.names, batch_size=BATCH))


def _midnight(at: datetime) -> bool:
    return (at - times.parse(times.day(at))) == timedelta(0)
