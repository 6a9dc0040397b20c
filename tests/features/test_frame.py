"""The training frame: no row lost, no value from the future, the same bytes for the same knowledge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from include import files, lake, times
from include.contracts import ENTITY, EVENT_TIME, FACTS, FRAME_IDENTITY, KNOWN_AT, OUTCOME, TARGET, VIEWS, Ref
from include.features import frame, snapshot
from include.models import registry
from include.settings import Settings
from tests.features.cases import scramble

AS_OF = "2013-01-21T15:00:00+00:00"
SPEC = registry.load("flights_on_time")


def build(settings: Settings, versions: dict[str, int], as_of: str = AS_OF, start: str | None = None) -> Ref:
    first = times.parse(start) if start else frame.begins(settings, SPEC, versions, as_of)
    taken = snapshot.take(settings, versions, first, times.parse(as_of))
    return frame.build(settings, SPEC, versions, taken, as_of, start)


@pytest.fixture(scope="module")
def built(history: Settings) -> Ref:
    return build(history, frame.take_versions(history))


@pytest.fixture(scope="module")
def rows(built: Ref) -> pl.DataFrame:
    return pl.read_parquet(built["uri"])


@pytest.fixture(scope="module")
def flights(history: Settings) -> pl.DataFrame:
    """Every flight that belongs into the frame, by the definition of what belongs."""
    versions = lake.catalog(history.lake)["versions"]
    schedule, outcome = (
        pl.from_arrow(lake.read(history.lake, t, versions[t.name])) for t in FACTS if t.name in ("schedule", "outcome")
    )
    assert isinstance(schedule, pl.DataFrame)
    assert isinstance(outcome, pl.DataFrame)
    labels = outcome.filter(pl.col(KNOWN_AT) <= times.parse(AS_OF)).select(ENTITY, TARGET)
    ripe = pl.col("sched_dep") <= times.parse(AS_OF) - timedelta(hours=12)
    history_began = pl.col("sched_dep") - timedelta(hours=2) >= datetime(2013, 1, 2, tzinfo=UTC)
    return schedule.filter(ripe & history_began).join(labels, on=ENTITY).sort("sched_dep", ENTITY)


def test_every_ripe_flight_is_there_once_and_no_other(rows: pl.DataFrame, flights: pl.DataFrame) -> None:
    assert rows[ENTITY].to_list() == flights[ENTITY].to_list()
    assert rows[TARGET].to_list() == flights[TARGET].to_list()
    assert (rows["sched_dep"] - rows[EVENT_TIME]).unique().to_list() == [timedelta(hours=2)]


def test_the_frame_has_its_columns_in_order_and_features_are_float32(built: Ref) -> None:
    schema = pq.read_schema(built["uri"])
    assert schema.names == [*FRAME_IDENTITY, *SPEC.features]
    assert {schema.field(name).type for name in SPEC.features} == {pa.float32()}
    assert files.hash_file(Path(built["uri"])) == built["hash"]
    assert Path(built["uri"]).stem == built["hash"]


def test_it_equals_an_as_of_join_written_independently(history: Settings, rows: pl.DataFrame) -> None:
    versions = frame.take_versions(history)
    joined = rows.select(FRAME_IDENTITY).sort(EVENT_TIME)
    for view in VIEWS:
        table = pl.from_arrow(lake.read(history.lake, view.table, versions[view.table.name]))
        assert isinstance(table, pl.DataFrame)
        feature_rows = table.drop("ds").rename({EVENT_TIME: "at"}).sort(KNOWN_AT)
        joined = joined.join_asof(
            feature_rows, left_on=EVENT_TIME, right_on=KNOWN_AT, by=list(view.keys), check_sortedness=False
        )
        usable = pl.col("at") >= pl.col(EVENT_TIME) - view.ttl
        names = [f.name for f in view.features]
        joined = joined.with_columns(pl.when(usable).then(pl.col(n)).alias(n) for n in names).drop("at", KNOWN_AT)
    joined = joined.sort("sched_dep", ENTITY)
    for name in SPEC.features:
        assert rows[name].eq_missing(joined[name]).all(), name


def test_nothing_known_after_as_of_changes_a_byte(installation: Settings, built: Ref) -> None:
    """Change every row of every table that becomes known later, and add as many: the frame is the same file."""
    versions = frame.take_versions(installation)
    tables = [t for t in FACTS if t.name in versions] + [view.table for view in VIEWS]
    for table in tables:
        old = lake.read(installation.lake, table, versions[table.name])
        new = scramble(old, times.parse(AS_OF))
        assert not new.equals(old)
        versions[table.name] = lake.overwrite_days(installation.lake, table, new, pc.unique(old["ds"]).to_pylist())
    assert build(installation, versions)["hash"] == built["hash"]


def test_a_change_that_was_known_does_change_the_frame(installation: Settings, built: Ref) -> None:
    """The test above can fail."""
    versions = frame.take_versions(installation)
    table = VIEWS[2].table
    old = lake.read(installation.lake, table, versions[table.name])
    new = scramble(old, times.parse(AS_OF) - timedelta(days=2))
    versions[table.name] = lake.overwrite_days(installation.lake, table, new, pc.unique(old["ds"]).to_pylist())
    assert build(installation, versions)["hash"] != built["hash"]


def test_a_row_restated_later_does_not_serve_an_earlier_moment(installation: Settings, rows: pl.DataFrame) -> None:
    """A row that describes an old hour but was published two hours after it counts from then on only."""
    versions = frame.take_versions(installation)
    table = next(view.table for view in VIEWS if view.name == "origin_hourly")
    old = lake.read(installation.lake, table, versions[table.name])
    late = old.set_column(3, KNOWN_AT, pc.add(old[KNOWN_AT], pa.scalar(timedelta(minutes=100), pa.duration("us"))))
    late = late.set_column(2, EVENT_TIME, pc.add(old[EVENT_TIME], pa.scalar(timedelta(minutes=1), pa.duration("us"))))
    late = late.set_column(8, "origin_queue", pa.array(np.full(late.num_rows, 499, "float32")))
    both = pa.concat_tables([old, late.select(old.column_names)])
    versions[table.name] = lake.overwrite_days(installation.lake, table, both, pc.unique(old["ds"]).to_pylist())
    restated = pl.read_parquet(build(installation, versions)["uri"])
    assert restated["origin_queue"].equals(rows["origin_queue"]), "the hour's own row is newer by the time it counts"


def test_a_window_keeps_flights_whose_label_is_not_known(history: Settings) -> None:
    versions = frame.take_versions(history)
    start, end = "2013-01-21T00:00:00+00:00", "2013-01-21T18:00:00+00:00"
    taken = snapshot.take(history, versions, times.parse(start) - SPEC.horizon, times.parse(AS_OF))
    window = frame.load(frame.build_window(history, SPEC, versions, taken, AS_OF, start, end))
    assert window["sched_dep"].min() >= times.parse(start)
    assert window["sched_dep"].max() < times.parse(end)
    young = window["sched_dep"] > times.parse(AS_OF)
    assert young.any()
    assert window.loc[young, TARGET].isna().all()
    assert window.loc[window["sched_dep"] < times.parse("2013-01-21T03:00:00+00:00"), TARGET].notna().all()


def test_a_flight_without_a_label_is_left_out_and_no_other(installation: Settings, rows: pl.DataFrame) -> None:
    versions = frame.take_versions(installation)
    day = lake.read(installation.lake, OUTCOME, versions[OUTCOME.name], ("2013-01-10", "2013-01-10"))
    versions[OUTCOME.name] = lake.overwrite_days(installation.lake, OUTCOME, day.slice(5), ["2013-01-10"])
    fewer = pl.read_parquet(build(installation, versions)["uri"])
    assert set(rows[ENTITY]) - set(fewer[ENTITY]) == set(day[ENTITY].to_pylist()[:5])
    assert not fewer[TARGET].null_count()


def test_load_takes_a_span_of_scheduled_departures(built: Ref) -> None:
    some = frame.load(built, "2013-01-10T00:00:00+00:00", "2013-01-11T00:00:00+00:00")
    assert set(some["sched_dep"].dt.day) == {10}
    assert len(frame.load(built)) > len(some)


def test_too_little_history_says_so(history: Settings, tmp_path: Path) -> None:
    with pytest.raises(frame.NoHistory, match="run `ingest` first"):
        frame.take_versions(Settings(home=tmp_path))
    with pytest.raises(frame.NoHistory, match="no labelled flight"):
        build(history, frame.take_versions(history), "2013-01-02T06:00:00+00:00")
