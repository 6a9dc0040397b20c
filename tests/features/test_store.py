"""Feast: a feature is one value, whether training or serving asks; the online store only moves forward."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from include import lake, times
from include.contracts import EVENT_TIME, KNOWN_AT, SCHEDULE, VIEWS, Ref
from include.features import frame, registry, snapshot, store
from include.models import registry as models
from include.settings import Settings
from tests.conftest import END as LAST  # as of which `history` was materialized

SPEC = models.load("flights_on_time")
KEYS = ["flight_id", "carrier", "flight", "origin", "dest", "local_hour"]


@pytest.fixture
def empty(installation: Settings) -> Settings:
    """An installation with an online store that holds nothing yet."""
    for file in installation.feast.iterdir():
        file.unlink()
    return installation


def fill(settings: Settings, as_of: str) -> Ref:
    return store.materialize(settings, lake.catalog(settings.lake)["versions"], as_of)


def window(settings: Settings, start: datetime, end: datetime) -> pd.DataFrame:
    """The frame's rows of flights whose prediction is made in [start, end)."""
    versions = frame.take_versions(settings)
    taken = snapshot.take(settings, versions, start, end + timedelta(hours=1))
    first, last = (times.iso(t + SPEC.horizon) for t in (start, end))
    return frame.load(frame.build_window(settings, SPEC, versions, taken, times.iso(end), first, last))


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(KEYS, values, strict=True)) for values in rows[KEYS].itertuples(index=False)]


def test_online_is_what_the_frame_says(empty: Settings) -> None:
    """Between two publications every flight to be predicted reads online what training will read of it later."""
    for hour in ("2013-01-20T09:00:00+00:00", "2013-01-22T00:00:00+00:00", "2013-01-22T19:00:00+00:00"):
        fill(empty, hour)
        at = times.parse(hour)
        offline = window(empty, at + timedelta(minutes=10), at + timedelta(minutes=70))
        assert len(offline) > 10
        online = store.online(empty, records(offline), SPEC.features, at + timedelta(minutes=70))
        for name in SPEC.features:
            np.testing.assert_array_equal(online[name].to_numpy(), offline[name].to_numpy(), err_msg=f"{hour} {name}")


def test_the_online_store_never_moves_back(installation: Settings) -> None:
    before = state(installation)
    kept = store.state(installation)
    assert kept is not None
    assert fill(installation, "2013-01-20T12:00:00+00:00") == kept["snapshot"]
    assert state(installation).equals(before)
    assert store.state(installation) == kept


def test_materializing_again_or_after_being_killed_gives_the_same(installation: Settings) -> None:
    before = state(installation)
    (installation.feast / "materialized.json").unlink()  # killed before the state was written
    (installation.feast / "applied.json").unlink()  # or while definitions were applied
    first = fill(installation, LAST)
    assert fill(installation, LAST) == first
    assert state(installation).equals(before)


def state(settings: Settings) -> pd.DataFrame:
    """What is online for some flights of the last day."""
    versions = lake.catalog(settings.lake)["versions"]
    flights = lake.read(settings.lake, SCHEDULE, versions[SCHEDULE.name]).to_pandas()
    soon = flights[(flights["sched_dep"] > times.parse(LAST)) & (flights["local_hour"] == 9)]
    return store.online(settings, records(soon), SPEC.features)


def test_rows_beyond_their_time_to_live_are_dropped(empty: Settings) -> None:
    fill(empty, "2013-01-10T12:00:00+00:00")
    gone = {"flight_id": "20130110-B6-727-JFK", "carrier": "B6", "flight": 727, "origin": "JFK", "dest": "BQN"}
    keys = [{**gone, "local_hour": 23}]
    assert store.online(empty, keys, ["minute_of_day"]).notna().all(axis=None)
    fill(empty, "2013-01-20T12:00:00+00:00")
    read = store.online(empty, keys, ["minute_of_day", "origin_queue"])
    assert read["minute_of_day"].isna().all()
    assert read["origin_queue"].notna().all()


def test_a_stale_value_counts_as_missing_when_the_moment_is_given(installation: Settings) -> None:
    keys = [{"flight_id": "x", "carrier": "B6", "flight": 727, "origin": "JFK", "dest": "BQN", "local_hour": 23}]
    names = ["origin_queue", "carrier_late_7d"]
    at = times.parse(LAST)
    assert store.online(installation, keys, names, at + timedelta(hours=3)).notna().all(axis=None)
    late = store.online(installation, keys, names, at + timedelta(hours=4))
    assert late["origin_queue"].isna().all()
    assert late["carrier_late_7d"].notna().all()
    assert late["origin_hourly__at"][0] == pd.Timestamp(LAST)


def test_definitions_are_applied_only_when_they_changed(installation: Settings) -> None:
    registry.shared(installation)
    marks = [installation.feast / "applied.json", installation.feast / "registry.db"]
    before = [mark.stat().st_mtime_ns for mark in marks]
    registry.shared(installation)
    assert [mark.stat().st_mtime_ns for mark in marks] == before


def test_a_feature_row_counts_from_its_publication_to_the_end_of_its_life(installation: Settings) -> None:
    """Handwritten rows of one view: published late, restated, expired; each moment sees what it could."""
    at = datetime(2013, 1, 5, 10, tzinfo=UTC)
    view = next(v for v in VIEWS if v.name == "dest_hourly")
    minutes = pa.array([at + timedelta(minutes=m) for m in (10, 120)], pa.timestamp("us", tz="UTC"))
    own = pa.table({"dest": ["BOS"] * 2, EVENT_TIME: pa.array([at, at], minutes.type), KNOWN_AT: minutes})
    own = own.append_column("dest_late_6h", pa.array([0.25, 0.75], pa.float32()))
    versions = frame.take_versions(installation)
    others = {v.name: snapshot.rows(installation, versions, v, at, at) for v in VIEWS}
    taken = snapshot.keep(installation, {**others, view.name: own})
    seen = {9: None, 10: 0.25, 60: 0.25, 120: 0.75, 180: 0.75, 181: None}
    moments = [at + timedelta(minutes=m) for m in seen]
    entities = pa.table({"dest": ["BOS"] * len(seen), EVENT_TIME: pa.array(moments, minutes.type)})
    found = store.historical(installation, taken, entities, ["dest_late_6h"]).sort_values(EVENT_TIME)
    assert found["dest_late_6h"].astype(object).where(found["dest_late_6h"].notna(), None).tolist() == list(
        seen.values()
    )


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(KeyError, match="no_such"):
        store.references(["no_such"])
