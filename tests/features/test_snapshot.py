"""A snapshot is what its content is: immutable, pinned, and without a row that was not usable yet."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from include import files, lake
from include.contracts import EVENT_TIME, KNOWN_AT, VIEWS
from include.features import frame, snapshot
from include.settings import Settings

START, AS_OF = datetime(2013, 1, 15, tzinfo=UTC), datetime(2013, 1, 18, 14, 5, tzinfo=UTC)


def test_rows_are_usable_and_within_the_views_time_to_live(installation: Settings) -> None:
    taken = snapshot.take(installation, frame.take_versions(installation), START, AS_OF)
    for view in VIEWS:
        rows = pq.read_table(Path(taken["uri"]) / f"{view.name}.parquet")
        assert pc.max(rows[KNOWN_AT]).as_py() <= AS_OF
        assert START - view.ttl <= pc.min(rows[EVENT_TIME]).as_py() <= START
        assert {rows.schema.field(name).type for name in (EVENT_TIME, KNOWN_AT)} == {pa.timestamp("us", tz="UTC")}
    hourly = pq.read_table(Path(taken["uri"]) / "origin_hourly.parquet")
    assert pc.max(hourly[EVENT_TIME]).as_py().hour == 13, "the row of 14:00 is usable at 14:10 only"


def test_equal_rows_are_the_same_snapshot_whatever_the_version_is_called(installation: Settings) -> None:
    versions = frame.take_versions(installation)
    taken = snapshot.take(installation, versions, START, AS_OF)
    for view in VIEWS:
        rows = lake.read(installation.lake, view.table, versions[view.table.name])
        days = pc.unique(rows["ds"]).to_pylist()
        versions[view.table.name] = lake.overwrite_days(installation.lake, view.table, rows, days)
    assert snapshot.take(installation, versions, START, AS_OF) == taken
    assert files.hash_folder(Path(taken["uri"])) == taken["hash"]
    kept = {p.name for p in installation.snapshots.iterdir()}
    assert not any(name.startswith(".") for name in kept)


def test_other_rows_are_another_snapshot(installation: Settings) -> None:
    versions = frame.take_versions(installation)
    taken = snapshot.take(installation, versions, START, AS_OF)
    later = snapshot.take(installation, versions, START, AS_OF.replace(hour=15))
    assert later["hash"] != taken["hash"]


def test_newest_keeps_one_row_an_entity_nulls_included() -> None:
    view = VIEWS[1]
    times = [datetime(2013, 1, 1, hour, tzinfo=UTC) for hour in (1, 3, 2, 1)]
    rows = pa.table({"origin": ["JFK", "JFK", "JFK", "EWR"], EVENT_TIME: times, "temp": [1.0, None, 2.0, 4.0]})
    assert snapshot.newest(view, rows).select(["origin", "temp"]).sort_by("origin").to_pylist() == [
        {"origin": "EWR", "temp": 4.0},
        {"origin": "JFK", "temp": None},
    ]


def test_a_table_without_a_version_is_named(installation: Settings) -> None:
    versions = frame.take_versions(installation)
    del versions["features_dest_daily"]
    with pytest.raises(KeyError, match="features_dest_daily"):
        snapshot.take(installation, versions, START, AS_OF)
