"""Spans, landing and facts: doing it late, twice, in pieces or after a SIGKILL gives the same tables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include import lake
from include.contracts import FACTS, OUTCOME, QUARANTINE, RAW_MOVEMENTS, RAW_TABLES, SCHEDULE, Interval
from include.settings import ROOT, Settings
from include.sources import ingest, nycflights
from include.times import iso

START, END = "2013-02-08T05:00:00+00:00", "2013-02-09T17:00:00+00:00"
TABLES = (*RAW_TABLES, *FACTS, QUARANTINE)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def run(settings: Settings, start: str | None, end: str | None, as_of: str, checked: Any = None) -> Interval:
    interval = ingest.plan(settings, start, end, as_of)
    landed = ingest.land(settings, interval)
    made = ingest.write_facts(settings, interval, landed, checked or {})
    versions = {**landed["versions"], **made["versions"]}
    lake.publish(settings.lake, versions, interval["as_of"], interval["start"], interval["end"])
    return interval


def state(settings: Settings, days: tuple[str, str] | None = None) -> dict[str, pa.Table]:
    versions = lake.catalog(settings.lake)["versions"]
    return {table.name: lake.read(settings.lake, table, versions[table.name], days) for table in TABLES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The tables of one uninterrupted run over the span, in the blizzard of February."""
    settings = Settings(home=tmp_path_factory.mktemp("whole"))
    run(settings, START, END, END)
    return state(settings)


def test_in_pieces_as_at_once(settings: Settings, whole: dict[str, pa.Table]) -> None:
    edges = [START, "2013-02-08T06:00:00+00:00", "2013-02-08T14:30:00+00:00", "2013-02-09T00:00:00+00:00", END]
    run(settings, edges[0], edges[1], edges[1])
    for end in edges[2:]:
        run(settings, None, None, end)  # each goes on at the watermark
    assert state(settings) == whole


def test_twice_as_once(settings: Settings, whole: dict[str, pa.Table]) -> None:
    run(settings, START, END, END)
    run(settings, START, END, END)
    assert state(settings) == whole


def test_old_days_again_forget_nothing(settings: Settings, whole: dict[str, pa.Table]) -> None:
    run(settings, START, END, END)
    again = run(settings, START, "2013-02-08T08:00:00+00:00", END)
    assert again["as_of"] == END
    assert state(settings) == whole


def test_every_row_is_touched_when_its_last_entry_comes(settings: Settings) -> None:
    """Also the flight that landed 32.7 hours after its scheduled departure."""
    flights = nycflights._flights()
    last = flights[["departed_at", "arrived_at", "arrival_late_at"]].max(axis=1)
    oldest = flights["ds"].groupby(last.dt.floor("h")).min()
    for hour, day in zip(pd.DatetimeIndex(oldest.index).to_pydatetime(), oldest, strict=True):
        span = Interval(start=iso(hour), end=iso(hour + timedelta(hours=1)), as_of=iso(hour))
        assert day in ingest.touched_days(settings, span), hour


CRASHES = [*(f"ingest.land.{t.name}" for t in RAW_TABLES), *(f"ingest.facts.{t.name}" for t in (*FACTS, QUARANTINE))]
CODE = f"""
from pathlib import Path
import sys
from include import lake
from include.settings import Settings
from include.sources import ingest
settings = Settings(home=Path(sys.argv[1]))
interval = ingest.plan(settings, {START!r}, {END!r}, {END!r})
landed = ingest.land(settings, interval)
made = ingest.write_facts(settings, interval, landed, {{}})
span = (interval["start"], interval["end"])
lake.publish(settings.lake, landed["versions"] | made["versions"], interval["as_of"], *span)
"""


@pytest.mark.parametrize("point", CRASHES)
def test_killed_at_any_write_and_done_again(settings: Settings, whole: dict[str, pa.Table], point: str) -> None:
    env = {**os.environ, "RATCHET_CRASH_AT": point, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", CODE, str(settings.home)], env=env, cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert lake.catalog(settings.lake)["versions"] == {}  # nobody sees a part of it
    run(settings, START, END, END)
    assert state(settings) == whole


def test_without_a_start_history_begins_and_then_goes_on(settings: Settings) -> None:
    assert ingest.plan(settings, None, None, END)["start"] == "2013-01-01T05:00:00+00:00"
    lake.publish(settings.lake, {}, END, START, END)
    assert ingest.plan(settings, None, None, "2013-02-10T00:00:00+00:00")["start"] == END


def test_a_run_done_again_does_its_last_hour_again(settings: Settings) -> None:
    lake.publish(settings.lake, {}, END, START, END)
    again = ingest.plan(settings, None, None, END)
    assert again == Interval(start="2013-02-09T16:00:00+00:00", end=END, as_of=END)


@pytest.mark.parametrize(
    ("start", "end", "as_of", "message"),
    [
        (END, START, END, r"^start: .* is not before the end"),
        (START, START, END, r"^start: .* is not before the end"),
        ("yesterday", END, END, r"^start: 'yesterday' is not a time"),
        (START, "13 o'clock", END, r"^end: .* is not a time"),
        (START, END, "now", r"^as_of: 'now' is not a time"),
        ("2012-12-31T00:00:00+00:00", END, END, r"^start: .* before the source nycflights begins"),
        (START, "2014-02-01T00:00:00+00:00", "2014-03-01T00:00:00+00:00", r"^end: .* beyond the end of the source"),
        (START, END, START, r"^end: .* after the run's as_of"),
    ],
)
def test_a_wrong_span_is_named(settings: Settings, start: str, end: str, as_of: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ingest.plan(settings, start, end, as_of)


def test_the_year_ends_clearly(settings: Settings) -> None:
    late = "2014-01-05T00:00:00+00:00"
    assert ingest.plan(settings, "2013-12-31T00:00:00+00:00", None, late)["end"] == "2014-01-02T00:00:00+00:00"
    with pytest.raises(nycflights.Exhausted, match="start"):
        ingest.plan(settings, "2014-01-03T00:00:00+00:00", None, late)
    lake.publish(settings.lake, {}, late, START, "2014-01-02T00:00:00+00:00")
    with pytest.raises(nycflights.Exhausted, match="exhausted"):
        ingest.plan(settings, None, None, late)


def test_an_unknown_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"settings.source is 'nasa'; known sources: nycflights"):
        ingest.plan(Settings(home=tmp_path, source="nasa"), None, None, END)


def test_a_quarantined_flight_of_the_schedule_takes_its_facts_with_it(settings: Settings) -> None:
    interval = ingest.plan(settings, START, END, END)
    landed = ingest.land(settings, interval)
    moved = lake.read(settings.lake, RAW_MOVEMENTS, landed["versions"]["raw_movements"])
    flight = moved["flight_id"][0].as_py()
    bad = {
        "ds": moved["ds"][0].as_py(),
        "feed": "raw_schedule",
        "row_key": flight,
        "rule": "r",
        "reason": "",
        "row": "{}",
    }
    file = settings.home / "bad.parquet"
    pq.write_table(pa.Table.from_pylist([{**bad, "known_at": None}], lake.schema(QUARANTINE)), file)
    made = ingest.write_facts(settings, interval, landed, {"bad_rows": {"uri": str(file), "version": "", "hash": ""}})
    for table in (SCHEDULE, OUTCOME):
        ids = lake.read(settings.lake, table, made["versions"][table.name])["flight_id"].to_pylist()
        assert flight not in ids
        assert len(ids) > 100
    assert lake.read(settings.lake, QUARANTINE, made["versions"]["quarantine"])["row_key"].to_pylist() == [flight]
