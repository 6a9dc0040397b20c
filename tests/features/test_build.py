"""Building is the same work whether it is done at once, hour by hour, twice, or again after having been killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from include import crashpoints, lake, times
from include.contracts import FACTS, OUTCOME, VIEWS, Interval
from include.features.build import Written, build
from include.settings import ROOT, Settings
from tests.conftest import copy_home

START, END = "2013-01-20T05:00:00+00:00", "2013-01-22T10:00:00+00:00"


def interval(start: str, end: str, as_of: str | None = None) -> Interval:
    return Interval(start=times.iso(times.parse(start)), end=times.iso(times.parse(end)), as_of=as_of or end)


def written(settings: Settings, span: Interval, **versions: int) -> Written:
    """What write_facts says after it has written the days of an interval."""
    first, last = times.parse(span["start"]), times.parse(span["end"])
    days = [d for d in times.days_between(first, last) if d >= "2013-01-01"]
    return {"days": days, "versions": {**{t.name: lake.version(settings.lake, t) for t in FACTS}, **versions}}


def tables(settings: Settings, versions: dict[str, int]) -> dict[str, pa.Table]:
    return {v.name: lake.read(settings.lake, v.table, versions[v.table.name]) for v in VIEWS}


@pytest.fixture
def facts_only(history: Settings, tmp_path: Path) -> Settings:
    """An installation that has facts, and nothing made of them."""
    for table in FACTS:
        copy_home(lake.path(history.lake, table), tmp_path / "var" / "lake" / table.name)
    return Settings(home=tmp_path / "var")


def test_piece_by_piece_gives_the_rows_of_one_run(facts_only: Settings) -> None:
    whole = interval(START, END)
    at_once = tables(facts_only, build(facts_only, whole, written(facts_only, whole))["versions"])
    for view in VIEWS:
        lake.overwrite_days(
            facts_only.lake, view.table, at_once[view.name].slice(0, 0), set_of_days(at_once[view.name])
        )
    cuts = [START, "2013-01-20T08:30:00+00:00", "2013-01-20T09:00:00+00:00", "2013-01-21T00:00:00+00:00", END]
    for start, end in pairwise(cuts):
        span = interval(start, end)
        versions = build(facts_only, span, {**written(facts_only, span), "days": written(facts_only, whole)["days"]})
        assert set(versions["versions"]) == {v.table.name for v in VIEWS}
    pieces = tables(facts_only, versions["versions"])
    for view in VIEWS:
        assert pieces[view.name].equals(at_once[view.name]), view.name


def set_of_days(rows: pa.Table) -> list[str]:
    return pc.unique(rows["ds"]).to_pylist()


def test_every_hour_up_to_as_of_has_rows_and_no_later_one(facts_only: Settings) -> None:
    span = interval("2013-01-20T05:00:00+00:00", "2013-01-20T12:30:00+00:00")
    made = tables(facts_only, build(facts_only, span, written(facts_only, span))["versions"])
    hours = pc.unique(made["origin_hourly"]["event_timestamp"]).to_pylist()
    assert sorted(t.hour for t in hours) == list(range(13))
    assert {t.hour for t in made["carrier_daily"]["event_timestamp"].to_pylist()} == {9}


def test_building_again_writes_the_same_rows(installation: Settings) -> None:
    published = lake.catalog(installation.lake)
    before = tables(installation, published["versions"])
    span = interval("2013-01-20T05:00:00+00:00", "2013-01-20T06:00:00+00:00", published["as_of"])
    again = build(installation, span, written(installation, span))
    for name, rows in tables(installation, again["versions"]).items():
        assert rows.equals(before[name]), name
    assert "2013-01-25" not in last_predicate(installation, "features_route_daily"), "unchanged facts reach nowhere"


def last_predicate(settings: Settings, table: str) -> str:
    return str(DeltaTable(str(settings.lake / table)).history(1)[0]["operationParameters"].get("predicate", ""))


def test_a_fact_that_changed_reaches_the_snapshots_of_28_days(installation: Settings) -> None:
    published = lake.catalog(installation.lake)
    old = lake.read(installation.lake, OUTCOME, published["versions"]["outcome"])
    day = old.filter(pc.equal(old["ds"], "2013-01-10"))
    other = day.set_column(2, "not_on_time", pc.subtract(pa.scalar(1, pa.int64()), day["not_on_time"]))
    version = lake.overwrite_days(installation.lake, OUTCOME, other, ["2013-01-10"])
    span = interval("2013-01-10T00:00:00+00:00", "2013-01-11T00:00:00+00:00", published["as_of"])
    new = build(installation, span, written(installation, span, outcome=version))
    before, after = tables(installation, published["versions"]), tables(installation, new["versions"])
    changed = [d for d in set_of_days(after["route_daily"]) if not on(after, d).equals(on(before, d))]
    assert changed[0] == "2013-01-10"  # the label of a flight at midnight UTC is known by 09:00
    assert changed[-1] == set_of_days(after["route_daily"])[-1]  # the newest snapshot still counts it
    whole = interval("2013-01-10T00:00:00+00:00", published["as_of"] or "")
    fresh = build(installation, whole, written(installation, whole, outcome=version))
    for name, rows in tables(installation, fresh["versions"]).items():
        assert rows.equals(after[name]), name


def on(made: dict[str, pa.Table], day: str) -> pa.Table:
    return made["route_daily"].filter(pc.equal(made["route_daily"]["ds"], day))


def test_killed_half_way_and_done_again(facts_only: Settings) -> None:
    span = interval(START, "2013-01-20T10:00:00+00:00")
    code = (
        "import sys, json; from pathlib import Path; from include.settings import Settings; "
        "from include.features.build import build; build(Settings(home=Path(sys.argv[1])), *json.loads(sys.argv[2]))"
    )
    given = [span, written(facts_only, span)]
    environment = {**os.environ, crashpoints.AT: "ingest.features.dest_hourly", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(facts_only.home), json.dumps(given)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    with pytest.raises(lake.UnknownVersion):
        lake.version(facts_only.lake, VIEWS[-1].table)
    again = tables(facts_only, build(facts_only, span, written(facts_only, span))["versions"])
    assert all(rows.num_rows for rows in again.values())
    once_more = build(facts_only, span, written(facts_only, span))
    assert all(rows.equals(again[name]) for name, rows in tables(facts_only, once_more["versions"]).items())


def test_facts_of_a_version_that_is_gone_stop_the_build(facts_only: Settings) -> None:
    span = interval(START, END)
    with pytest.raises(lake.UnknownVersion, match="outcome"):
        build(facts_only, span, written(facts_only, span, outcome=99))
