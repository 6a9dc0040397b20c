"""The service's reader gives what Feast's own call gives, and what training will read of the same moment."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include import lake, times
from include.contracts import FEATURES, SCHEDULE, VIEWS
from include.features import online, store
from include.features.online import Reader, Row, StoreMissing
from include.settings import Settings
from tests.conftest import END as LAST
from tests.features.test_store import KEYS, SPEC, fill, records, window

BOOKED = ("minute_of_day", "weekday", "distance", "block_minutes", "slack_minutes", "carrier_code", "origin_code")
NAMES = [name for name in FEATURES if name not in BOOKED]


def soon(settings: Settings) -> pd.DataFrame:
    """Flights of the day that follows the materialization."""
    versions = lake.catalog(settings.lake)["versions"]
    flights = lake.read(settings.lake, SCHEDULE, versions[SCHEDULE.name]).to_pandas()
    return flights[(flights["sched_dep"] > times.parse(LAST)) & (flights["sched_dep"] < times.parse("2013-02-01"))]


def test_rows_are_those_of_feasts_own_call_alone_and_together(history: Settings) -> None:
    keys = records(soon(history))[:150]
    keys += [{**keys[0], "flight_id": "none", "dest": "XXX", "local_hour": 3}, keys[1]]
    due = store.online(history, keys, NAMES)
    together = Reader(history, NAMES).read(keys, 0.0)
    alone = Reader(history, NAMES)
    for i, row in enumerate(together):
        np.testing.assert_array_equal(np.array(alone.read([keys[i]], 0.0)[0].values), np.array(row.values))
        np.testing.assert_array_equal(np.array(row.values, dtype=np.float32), due[NAMES].iloc[i].to_numpy())
        for view, time in zip(VIEWS, row.times, strict=True):
            read = due[f"{view.name}__at"].iloc[i]
            assert time == (float("inf") if pd.isna(read) else read.timestamp()), view.name
    assert np.isinf(together[-2].times).any()
    assert Reader(history, NAMES).names == tuple(NAMES)


def test_at_the_moment_of_materialization_it_reads_what_training_reads(installation: Settings) -> None:
    for file in installation.feast.iterdir():
        file.unlink()
    fill(installation, "2013-01-22T19:00:00+00:00")
    at = times.parse("2013-01-22T19:00:00+00:00")
    offline = window(installation, at + timedelta(minutes=10), at + timedelta(minutes=70))
    assert len(offline) > 20
    found = np.array([row.values for row in Reader(installation, NAMES).read(records(offline), 0.0)], dtype=np.float32)
    np.testing.assert_array_equal(found, offline[NAMES].to_numpy(dtype=np.float32))
    assert set(NAMES) < set(SPEC.features)


def test_a_new_value_is_served_after_two_seconds_and_not_sooner(installation: Settings) -> None:
    reader, key = Reader(installation, NAMES), records(soon(installation))[0]
    before = reader.read([key], 10.0)[0]
    with sqlite3.connect(installation.feast / "online.db") as con:
        con.execute("DELETE FROM ratchet_flight_plan")
    con.close()
    assert reader.read([key], 11.9)[0].values[0] == before.values[0]
    assert np.isnan(reader.read([key], 12.0)[0].values[0])


def same(found: list[Row], due: list[Row]) -> None:
    for one, other in zip(found, due, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.times == other.times


def test_a_store_that_was_not_written_to_is_not_read_again(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, keys = Reader(installation, NAMES), records(soon(installation))[:20]
    before = reader.read(keys, 10.0)
    reads: list[str] = []
    real = reader._provider.online_read

    def counted(config: Any, view: Any, *more: Any) -> Any:
        reads.append(view.name)
        return real(config, view, *more)

    monkeypatch.setattr(reader._provider, "online_read", counted)
    same(reader.read(keys, 99.0), before)
    assert reads == []
    with sqlite3.connect(installation.feast / "online.db") as con:  # any write: it is not known whose rows it changed
        con.execute("DELETE FROM ratchet_route_daily WHERE 0 = 1")
        con.execute("CREATE TABLE other (id INTEGER)")
    con.close()
    same(reader.read(keys, 199.0), before)
    assert sorted(reads) == sorted(view.name for view in VIEWS)


def test_the_cache_is_bounded(history: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "_ROWS", 20)
    reader, keys = Reader(history, NAMES), records(soon(history))[:100]
    due = Reader(history, NAMES).read(keys, 0.0)
    for start in range(0, 100, 10):
        for found, row in zip(reader.read(keys[start : start + 10], 0.0), due[start : start + 10], strict=True):
            np.testing.assert_array_equal(found.values, row.values)
    assert all(len(view.kept) <= 30 for view in reader._views)


def test_before_the_first_materialization_nothing_is_made(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    key = dict.fromkeys(KEYS, "x") | {"flight": 1, "local_hour": 1}
    with pytest.raises(StoreMissing):
        Reader(settings, NAMES).read([key], 0.0)
    assert not (settings.feast / "online.db").exists()
