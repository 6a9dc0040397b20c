"""The training frame: one row a flight with its label and the features that serving would have had at its as-of."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include import files, lake, times
from include.contracts import ENTITY, EVENT_TIME, KNOWN_AT, OUTCOME, SCHEDULE, TARGET, VIEWS, Ref
from include.features import engine, store
from include.models.spec import ModelSpec
from include.settings import Settings

_KEYS = tuple(dict.fromkeys(key for view in VIEWS for key in view.keys))
_FIRST = next(view for view in VIEWS if view.cadence == "daily")


class NoHistory(LookupError):
    """Too little is ingested for a frame as of that time."""


def take_versions(settings: Settings) -> dict[str, int]:
    """The published version of every table that a frame reads. Raises NoHistory when something is unpublished."""
    published = lake.catalog(settings.lake)["versions"]
    names = [SCHEDULE.name, OUTCOME.name, *(view.table.name for view in VIEWS)]
    if missing := [name for name in names if name not in published]:
        raise NoHistory(f"tables {missing} were never published: run `ingest` first")
    return {name: published[name] for name in names}


def begins(settings: Settings, spec: ModelSpec, versions: dict[str, int], as_of: str) -> datetime:
    """From when on flights' as-of times count: the first whole day with history, or the model's own window."""
    first = lake.read(settings.lake, _FIRST.table, versions[_FIRST.table.name], columns=[EVENT_TIME])[EVENT_TIME]
    if not len(first):
        raise NoHistory(f"{_FIRST.table.name} has no rows: ingest at least two days before you train")
    begin = times.parse(times.day(min(first.to_pylist()))) + timedelta(days=1)
    window = spec.window_days
    return begin if window is None else max(begin, times.parse(as_of) - timedelta(days=window))


def build(
    settings: Settings, spec: ModelSpec, versions: dict[str, int], snapshot: Ref, as_of: str, start: str | None
) -> Ref:
    """Every flight whose label is ripe at `as_of`, with FRAME_IDENTITY and the spec's features (float32), as a file.

    Rows: as-of time (sched_dep - horizon) at or after `start` (None: where history begins), sched_dep at or before
    as_of - label_maturity, label known. Sorted by (sched_dep, flight_id). Equal content gives the equal file
    settings.frames/<hash>.parquet. Raises NoHistory when no row is left.
    """
    first = times.parse(start) if start else begins(settings, spec, versions, as_of)
    last = times.parse(as_of) - spec.label_maturity
    entities = _entities(settings, spec, versions, times.parse(as_of), (first + spec.horizon, last))
    entities = entities.filter(entities[TARGET].is_valid())
    if not entities.num_rows:
        raise NoHistory(f"no labelled flight has its as-of in [{times.iso(first)}, {times.iso(last - spec.horizon)}]")
    return _keep(settings, _join(settings, spec, snapshot, entities))


def build_window(
    settings: Settings, spec: ModelSpec, versions: dict[str, int], snapshot: Ref, as_of: str, start: str, end: str
) -> Ref:
    """As `build`, for monitoring: every flight with sched_dep in [start, end), its label null while it is not known."""
    span = (times.parse(start), times.parse(end) - timedelta(microseconds=1))
    entities = _entities(settings, spec, versions, times.parse(as_of), span)
    return _keep(settings, _join(settings, spec, snapshot, entities))


def build_scoring(
    settings: Settings,
    spec: ModelSpec,
    versions: dict[str, int],
    snapshot: Ref,
    as_of: str,
    start: str,
    end: str,
    made: pa.Table | None = None,
) -> Ref:
    """As `build_window`, for batch scoring: no label, and what was known at each row's own moment, which is as-of for
    a flight of the future and sched_dep - horizon for one of the past (see `moments`). It may have no rows.

    Columns: FRAME_IDENTITY without the label, `known_at` (= as_of), the features; null: no usable row, or nothing
    happened. `made` (flight_id, event_timestamp, known_at) names flights and their moments instead: scores that were
    made, to be made again; a flight that is not in the schedule as published at as_of is left out.
    """
    span = (times.parse(start), times.parse(end) - timedelta(microseconds=1))
    entities = _entities(settings, spec, versions, times.parse(as_of), span).drop_columns(TARGET)
    names = [*entities.column_names, KNOWN_AT]
    if made is None:
        now = pa.scalar(times.parse(as_of), entities.schema.field(EVENT_TIME).type)
        at = entities[EVENT_TIME]
        at = pc.if_else(pc.less(at, now), at, now)
        entities = entities.drop_columns(EVENT_TIME).append_column(EVENT_TIME, at)
        entities = entities.append_column(KNOWN_AT, pa.repeat(now, entities.num_rows))
    else:
        own = made.select([ENTITY, EVENT_TIME, KNOWN_AT])
        entities = entities.drop_columns(EVENT_TIME).join(own, keys=ENTITY, join_type="inner")
    return _keep(settings, _join(settings, spec, snapshot, entities.select(names)))


def moments(spec: ModelSpec, as_of: str, start: str, end: str) -> tuple[datetime, datetime]:
    """Between which instants the knowledge lies that scores of flights scheduled in [start, end) are made from."""
    now = times.parse(as_of)
    return min(times.parse(start) - spec.horizon, now), min(times.parse(end) - spec.horizon, now)


def load(frame: Ref, start: str | None = None, end: str | None = None) -> pd.DataFrame:
    """Rows of a frame with sched_dep in [start, end), in order."""
    rows = pd.read_parquet(frame["uri"])
    keep = pd.Series(True, index=rows.index)
    if start:
        keep &= rows["sched_dep"] >= times.parse(start)
    if end:
        keep &= rows["sched_dep"] < times.parse(end)
    return rows[keep].reset_index(drop=True)


def _entities(
    settings: Settings, spec: ModelSpec, versions: dict[str, int], as_of: datetime, span: tuple[datetime, datetime]
) -> pa.Table:
    """The flights scheduled in `span` (inclusive) as published at `as_of`, with the labels known by then."""
    days = (times.day(span[0]), times.day(span[1]))
    with engine.connect() as con:
        for table in (SCHEDULE, OUTCOME):
            engine.register(con, table.name, lake.read(settings.lake, table, versions[table.name], days, as_of))
        minutes = spec.horizon // timedelta(minutes=1)
        first, last = (f"{t:%F %T.%f}" for t in span)
        return engine.fetch(con, engine.text("entities_frame", minutes=minutes, first=first, last=last))


def _join(settings: Settings, spec: ModelSpec, snapshot: Ref, entities: pa.Table) -> pa.Table:
    """Entity rows and their features, in the frame's columns and order. Every row comes back, once."""
    keys = entities.select([*_KEYS, EVENT_TIME])
    joined = store.historical(settings, snapshot, keys, spec.features)
    features = pa.Table.from_pandas(joined[[ENTITY, *spec.features]], preserve_index=False)
    key = features[ENTITY].cast(entities.schema.field(ENTITY).type)  # without rows it would be of type null
    features = features.set_column(0, ENTITY, key)
    if features.num_rows != entities.num_rows:
        raise RuntimeError(f"Feast returned {features.num_rows} rows for {entities.num_rows} flights")
    schema = pa.schema([*entities.schema, *(pa.field(name, pa.float32()) for name in spec.features)])
    rows = entities.join(features, keys=ENTITY, join_type="left outer")
    rows = rows.select(schema.names).cast(schema)
    return rows.sort_by([("sched_dep", "ascending"), (ENTITY, "ascending")]).combine_chunks()


def _keep(settings: Settings, rows: pa.Table) -> Ref:
    return files.keep(settings.frames, ".parquet", lambda part: pq.write_table(rows, part))
