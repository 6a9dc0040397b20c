"""A feed that is broken as a whole stops the run, names the expectation, and leaves what was served as it was."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from include import lake
from include.contracts import RAW_TABLES
from include.sources import ingest

START, END = "2013-03-05T05:00:00+00:00", "2013-03-07T17:00:00+00:00"
Delivery = dict[str, pd.DataFrame]


def drop(feed: str, column: str) -> Any:
    return lambda d: d.update({feed: d[feed].drop(columns=column)})


def as_text(feed: str, column: str) -> Any:
    return lambda d: d.update({feed: d[feed].assign(**{column: d[feed][column].astype(str)})})


def half(feed: str) -> Any:
    return lambda d: d.update({feed: d[feed].iloc[::2]})


def none(feed: str) -> Any:
    return lambda d: d.update({feed: d[feed].iloc[:0]})


def empty_day(feed: str, day: str) -> Any:
    return lambda d: d.update({feed: d[feed][d[feed]["ds"] != day]})


def doubled(feed: str) -> Any:
    return lambda d: d.update({feed: pd.concat([d[feed], d[feed]], ignore_index=True)})


def shifted_delays(d: Delivery) -> None:
    d["raw_movements"] = d["raw_movements"].assign(dep_delay=d["raw_movements"]["dep_delay"] + 1)


BROKEN = {
    "missing column": (drop("raw_weather", "pressure"), "raw_weather.columns_present: missing: pressure"),
    "missing key": (drop("raw_movements", "flight_id"), "raw_movements.columns_present: missing: flight_id"),
    "missing time": (drop("raw_schedule", "sched_dep"), "raw_schedule.columns_present: missing: sched_dep"),
    "number as text": (as_text("raw_movements", "dep_delay"), "raw_movements.dep_delay_type: observed object"),
    "time as text": (as_text("raw_schedule", "sched_arr"), "raw_schedule.sched_arr_type: observed object"),
    "year as text": (as_text("raw_schedule", "year"), "raw_schedule.year_type: observed object"),
    "no movements": (none("raw_movements"), "feed_volume.movements_arrive"),
    "no movements of a day": (empty_day("raw_movements", "2013-03-06"), "feed_volume.movements_arrive"),
    "half of the movements": (half("raw_movements"), "feed_volume.movements_complete"),
    "half of the schedule": (half("raw_schedule"), "feed_volume.flights_a_day"),
    "no schedule of a day": (empty_day("raw_schedule", "2013-03-08"), "feed_volume.schedule_published"),
    "every row twice": (doubled("raw_movements"), "break a critical rule, more than 5%: not_repeated"),
    "a systematic error": (shifted_delays, "break a critical rule, more than 5%: dep_identity"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_feed_stops_the_run(checked: Any, name: str) -> None:
    plant, message = BROKEN[name]
    c = checked(START, END, plant)
    assert message in c.stopped
    for said in ("Nothing of this run was published", "Repair the feed", str(c.page)):
        assert said in c.stopped
    page = c.page.read_text()
    assert "Feeds: stopped" in page
    assert message.split(":")[0].split(".")[-1] in page
    assert lake.catalog(c.settings.lake)["versions"] == {}


def test_a_new_column_is_told_and_does_no_harm(checked: Any) -> None:
    c = checked(START, END, lambda d: d.update({"raw_weather": d["raw_weather"].assign(snow=0.0)}))
    assert any("raw_weather.no_new_columns" in sentence for sentence in c.result["warnings"])
    made = ingest.write_facts(c.settings, c.interval, c.landed, c.result)
    assert lake.read(c.settings.lake, RAW_TABLES[2], c.landed["versions"]["raw_weather"]).num_rows > 200
    assert made["versions"]["weather"] == 0


def test_whole_numbers_where_fractions_may_come_are_no_fault(checked: Any) -> None:
    c = checked(START, END, lambda d: d.update({"raw_schedule": d["raw_schedule"].astype({"distance": "int64"})}))
    assert c.result["success"]
    assert "delivered" not in c.landed


def test_lost_weather_is_told_and_flights_go_on(checked: Any) -> None:
    c = checked(START, END, none("raw_weather"))
    assert any("feed_volume.weather_arrives" in sentence for sentence in c.result["warnings"])
    assert c.result["success"]


def test_the_first_hour_of_all_has_no_movement_and_is_good(checked: Any) -> None:
    c = checked("2013-01-01T05:00:00+00:00", "2013-01-01T06:00:00+00:00")
    assert c.result["success"]
    assert c.result["rows"]["raw_movements"] == 0
    assert c.result["rows"]["raw_schedule"] > 2_000


def test_the_last_hours_have_no_weather_and_are_good(checked: Any) -> None:
    c = checked("2014-01-01T05:00:00+00:00", "2014-01-02T00:00:00+00:00")
    assert c.result["success"]
    assert c.result["quarantined"] == {"raw_schedule": 0, "raw_movements": 0, "raw_weather": 0}


def test_a_blizzard_is_told_and_is_good(checked: Any) -> None:
    c = checked("2013-02-08T05:00:00+00:00", "2013-02-09T23:00:00+00:00")
    assert any("feed_volume.cancelled_share" in sentence for sentence in c.result["warnings"])
    assert c.result["success"]
