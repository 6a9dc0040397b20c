"""Each rule on rows finds the row that breaks it, and no other: one real span with every defect planted at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include import lake
from include.contracts import FACTS, QUARANTINE
from include.sources import ingest

START, END = "2013-02-25T05:00:00+00:00", "2013-03-07T17:00:00+00:00"  # without a defect of its own that is critical
HOUR, DAY = pd.Timedelta(hours=1), pd.Timedelta(days=1)
Change = dict[str, Any] | Callable[[pd.Series], dict[str, Any]]

SCHEDULE: dict[str, Change] = {
    "origin_known": {"origin": "PHL"},
    "carrier_code": {"carrier": "U"},
    "dest_code": {"dest": "Boston"},
    "leaves_elsewhere": lambda r: {"dest": r["origin"]},
    "distance_possible": {"distance": 17.0},
    "sched_dep_is_clock": {"sched_dep_time": 1275},
    "sched_arr_is_clock": {"sched_arr_time": 2460},
    "sched_dep_agrees": lambda r: {"day": r["day"] + 1},
    "sched_arr_agrees": lambda r: {"sched_arr": r["sched_arr"] + pd.Timedelta(minutes=7)},
    "time_hour_agrees": lambda r: {"time_hour": r["time_hour"] + HOUR},
    "published_before_departure": lambda r: {"known_at": r["sched_dep"] + HOUR},
    "block_minutes_possible": lambda r: {"sched_arr": r["sched_arr"] + DAY},
    "scheduled_mph_possible": lambda r: {"sched_arr": r["sched_dep"] + pd.Timedelta(hours=r["distance"] / 700)},
    "day_agrees": lambda r: {"sched_dep": r["sched_dep"] + DAY},
    "in_days_asked": {"ds": "2013-06-01"},
    "known_by_as_of": {"known_at": pd.Timestamp(END) + HOUR},
    "known_at_present": {"known_at": pd.NaT},
    "flight_id_present": {"flight_id": None},
    "carrier_known": {"carrier": "ZZ"},
    "flight_number": {"flight": 12345},
    "distance_of_route": lambda r: {"distance": r["distance"] + 20},
    "scheduled_mph_slow": lambda r: {"sched_arr": r["sched_dep"] + pd.Timedelta(minutes=840)},
}
MOVEMENTS: dict[str, Change] = {
    "in_schedule": {"flight_id": "20130306-XX-1-EWR"},
    "schedule_agrees": lambda r: {"sched_dep": r["sched_dep"] - HOUR},
    "day_agrees": lambda r: {"ds": "2013-03-05" if r["ds"] != "2013-03-05" else "2013-03-06"},
    "dep_time_is_clock": {"dep_time": 1299.0},
    "arr_time_is_clock": {"arr_time": 2599.0},
    "dep_identity": lambda r: {"dep_delay": r["dep_delay"] + 1},
    "arr_identity": lambda r: {"arr_delay": r["arr_delay"] - 1},
    "departure_complete": {"dep_delay": None},
    "arrival_after_departure": {"dep_time": None, "dep_delay": None},
    "arrival_complete": {"air_time": None},
    "dep_delay_possible": {"dep_delay": 2000.0},
    "arr_delay_possible": {"arr_delay": -500.0},
    "air_time_possible": {"air_time": 2.0},
    "mph_possible": lambda r: {"air_time": r["distance"] / 651 * 60},
    "ground_minutes_possible": {"air_time": 600.0},
    "distance_possible": {"distance": 9000.0},
    "known_by_as_of": {"known_at": pd.Timestamp(END) + HOUR},
    "flight_id_present": {"flight_id": None},
    "known_at_present": {"known_at": pd.NaT},
    "in_days_asked": {"ds": "2013-06-01"},
    "tailnum_form": {"tailnum": "D942DN"},
    "tailnum_of_departed": {"tailnum": None},
    "dep_time_2400": {"dep_time": 2400.0},
    "arr_time_2400": {"arr_time": 2400.0},
    "mph_slow": {"air_time": 700.0},
    "dep_delay_early": {"dep_delay": -31.0},
    "dep_delay_long": {"dep_delay": 721.0},
}
WEATHER: dict[str, Change] = {
    "origin_known": {"origin": "PHL"},
    "on_the_hour": lambda r: {"observed_at": r["observed_at"] + pd.Timedelta(minutes=20)},
    "known_an_hour_later": lambda r: {"known_at": r["known_at"] - HOUR},
    "day_agrees": lambda r: {"ds": "2013-03-05" if r["ds"] != "2013-03-05" else "2013-03-06"},
    "in_days_asked": {"ds": "2013-06-01"},
    "known_by_as_of": {"known_at": pd.Timestamp(END) + HOUR},
    "observed_at_present": {"observed_at": pd.NaT},
    "origin_present": {"origin": None},
    "temp_possible": {"temp": 200.0},
    "dewp_possible": {"dewp": -99.0},
    "humid_possible": {"humid": 104.0},
    "wind_possible": {"wind_speed": 1048.36},
    "gust_possible": {"wind_gust": 500.0},
    "precip_possible": {"precip": -0.1},
    "pressure_possible": {"pressure": 101.3},
    "visib_possible": {"visib": 10.5},
    "dewp_below_temp": lambda r: {"dewp": r["temp"] + 1},
    "temp_of_neighbours": lambda r: {"temp": r["temp"] + 40},
    "dewp_of_neighbours": lambda r: {"dewp": r["dewp"] - 40},
    "wind_dir_possible": {"wind_dir": 400.0},
    "gust_above_wind": lambda r: {"wind_gust": r["wind_speed"] - 1},
    "pressure_of_neighbours": lambda r: {"pressure": r["pressure"] + 20},
    "humid_agrees": lambda r: {"humid": max(r["humid"] - 30, 1.0)},
    "calm_has_no_direction": {"wind_dir": 0.0, "wind_speed": 8.0, "wind_gust": None},
    "temp_present": {"temp": None},
}
PLANTS = {"raw_schedule": SCHEDULE, "raw_movements": MOVEMENTS, "raw_weather": WEATHER}
CASES = [(feed, rule) for feed, plants in PLANTS.items() for rule in plants]


def candidates(feed: str, rows: pd.DataFrame) -> pd.Index:
    """Rows far from each other that have every value, so that each breaks only what is planted."""
    if feed == "raw_weather":
        full = rows[(rows["origin"] == "JFK") & (rows["wind_speed"] > 4)].dropna(subset=["pressure", "temp"])
        return full.index[:: max(len(full) // (len(WEATHER) + 1), 1)]
    full = rows if feed == "raw_schedule" else rows.dropna()
    return full.index[:: len(full) // (len(PLANTS[feed]) + 1)]


class Planted:
    def __init__(self, home: Path, check: Any) -> None:
        self.where: dict[tuple[str, str], int] = {}
        self.touched: set[str] = set()  # flights whose schedule was changed
        self.given: dict[str, pd.DataFrame] = {}
        self.checked = check(home, START, END, self.plant)

    def plant(self, delivery: dict[str, pd.DataFrame]) -> None:
        for feed, plants in PLANTS.items():
            rows = delivery[feed]
            for (rule, change), place in zip(plants.items(), candidates(feed, rows), strict=False):
                given = change(rows.loc[place]) if callable(change) else change
                if feed == "raw_schedule":
                    self.touched.add(str(rows.loc[place, "flight_id"]))
                for column, value in given.items():
                    rows.loc[place, column] = value
                self.where[feed, rule] = int(rows.index.get_indexer(pd.Index([place]))[0])
        for feed in ("raw_schedule", "raw_weather"):
            rows = delivery[feed]
            delivery[feed] = pd.concat([rows, rows.iloc[[1]]], ignore_index=True)  # once more the same
            argued = rows.iloc[[2]].assign(**({"distance": 999.0} if feed == "raw_schedule" else {"visib": 0.5}))
            delivery[feed] = pd.concat([delivery[feed], argued], ignore_index=True)
            self.where[feed, "not_repeated"], self.where[feed, "not_contradicted"] = len(rows), len(rows) + 1
        self.given = delivery


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, check_class: Any) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"), check_class)


@pytest.fixture(scope="module")
def found(planted: Planted) -> dict[tuple[str, str], tuple[str, tuple[int, ...]]]:
    """(feed, rule) -> its severity and the positions that it names, from the same frames that the check judged."""
    from include.quality import frames, validation
    from include.quality.checking import delivered
    from include.times import parse

    c = planted.checked
    raw = {t.name: frames.to_pandas(delivered(c.settings, t, c.landed)) for t in ingest.RAW_TABLES}
    context = frames.Context(tuple(c.landed["days"]), parse(c.interval["as_of"]), raw["raw_schedule"])
    built = {t.name: frames.build(t, raw[t.name], context) for t in ingest.RAW_TABLES}
    results = validation.run(built)
    return {(f.suite, f.rule): (f.severity, f.rows) for findings in results.values() for f in findings}


def test_the_run_goes_on(planted: Planted) -> None:
    assert planted.checked.stopped == ""


@pytest.mark.parametrize(("feed", "rule"), CASES)
def test_a_planted_defect_is_named(planted: Planted, found: dict[Any, Any], feed: str, rule: str) -> None:
    severity, rows = found[feed, rule]
    place = planted.where[feed, rule]
    assert place in rows
    named = planted.checked.bad
    quarantined = ((named["feed"] == feed) & (named["rule"] == rule)).any()
    assert quarantined == (severity == "critical")


@pytest.mark.parametrize("feed", ["raw_schedule", "raw_weather"])
def test_copies(planted: Planted, found: dict[Any, Any], feed: str) -> None:
    """The same row twice: the second goes. Two that differ: both go."""
    assert found[feed, "not_repeated"][1] == (planted.where[feed, "not_repeated"],)
    assert found[feed, "not_contradicted"][1] == (2, planted.where[feed, "not_contradicted"])


def test_only_planted_rows_are_quarantined(planted: Planted, found: dict[Any, Any]) -> None:
    for feed in PLANTS:
        places = {place for (where, _), place in planted.where.items() if where == feed}
        named = {
            row
            for (where, _), (severity, rows) in found.items()
            if where == feed and severity == "critical"
            for row in rows
        }
        beside = named - places - ({2} if feed != "raw_movements" else set())  # 2: the first of the two that differ
        if feed == "raw_movements":  # a flight whose schedule was changed has a movement that does not agree with it
            rows = planted.given["raw_movements"].iloc[sorted(beside)]
            assert set(rows["flight_id"]) <= planted.touched
        else:
            assert not beside, feed


def test_good_rows_become_facts_and_bad_rows_quarantine(planted: Planted) -> None:
    c = planted.checked
    made = ingest.write_facts(c.settings, c.interval, c.landed, c.result)
    bad = c.bad
    kept = lake.read(c.settings.lake, QUARANTINE, made["versions"]["quarantine"]).to_pandas()
    assert len(kept) == len(bad) > 60
    assert kept["row"].str.startswith("{").all()
    assert kept["reason"].str.len().min() > 10
    feeds = {"schedule": ["raw_schedule"], "weather": ["raw_weather"]}
    for table in FACTS:
        broken = set(bad[bad["feed"].isin(feeds.get(table.name, ["raw_schedule", "raw_movements"]))]["row_key"])
        rows = lake.read(c.settings.lake, table, made["versions"][table.name])
        assert rows.num_rows > 100
        assert not broken & set(lake.row_keys(table, rows)), table.name


def test_twice_the_same(planted: Planted) -> None:
    from include import quality

    c = planted.checked
    assert quality.check(c.settings, c.interval, c.landed, c.page) == c.result


REAL = [
    ("2013-02-12", "raw_weather", "EWR 2013-02-12T08:00:00+00:00", "wind_possible"),
    ("2013-05-09", "raw_weather", "JFK 2013-05-09T02:00:00+00:00", "temp_of_neighbours"),
    ("2013-05-25", "raw_movements", "20130525-DL-1499-LGA", "mph_possible"),
    ("2013-07-27", "raw_schedule", "20130727-US-1632-EWR", "distance_possible"),
]


@pytest.mark.parametrize(("day", "feed", "key", "rule"), REAL)
def test_the_real_defects_of_the_year(checked: Any, day: str, feed: str, key: str, rule: str) -> None:
    c = checked(f"{day}T00:00:00+00:00", f"{pd.Timestamp(day) + DAY:%Y-%m-%d}T05:00:00+00:00")
    assert (feed, key, rule) in set(c.bad[["feed", "row_key", "rule"]].itertuples(index=False, name=None))
    assert c.bad["row_key"].nunique() == 1
