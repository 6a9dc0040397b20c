"""Each fact at the moment it can be known, against a reference that goes through the rows one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from include import lake
from include.contracts import RAW_MOVEMENTS, RAW_SCHEDULE
from include.sources import facts

BASE = datetime(2013, 5, 1, 12, tzinfo=UTC)
MINUTES = st.one_of(st.none(), st.integers(-40, 300), st.sampled_from([14, 15, 16]))


@st.composite
def movements(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for i in range(draw(st.integers(1, 8))):
        dep = draw(MINUTES)
        start = BASE + timedelta(minutes=draw(st.integers(0, 600)))
        rows.append(
            {
                "flight_id": f"f{i}",
                "sched_dep": start,
                "sched_arr": start + timedelta(minutes=draw(st.integers(40, 400))),
                "dep_delay": None if dep is None else float(dep),
                "arr_delay": None if dep is None else draw(MINUTES),
            }
        )
    return rows


def raw(rows: list[dict[str, Any]]) -> pa.Table:
    blank = dict.fromkeys(RAW_MOVEMENTS.columns)
    return pa.Table.from_pylist([{**blank, "ds": "2013-05-01", **row} for row in rows], lake.schema(RAW_MOVEMENTS))


def known(table: pa.Table, column: str) -> dict[str, tuple[Any, datetime]]:
    return {r["flight_id"]: (r[column], r["known_at"]) for r in table.to_pylist()}


@given(movements(), st.integers(0, 1500))
@settings(max_examples=60, deadline=None)
def test_facts_equal_a_plain_reading(rows: list[dict[str, Any]], minutes: int) -> None:
    as_of = BASE + timedelta(minutes=minutes)
    departures, lates, outcomes = {}, {}, {}
    for row in rows:
        left = None if row["dep_delay"] is None else row["sched_dep"] + timedelta(minutes=row["dep_delay"])
        came = None if row["arr_delay"] is None else row["sched_arr"] + timedelta(minutes=row["arr_delay"])
        if left is not None and left <= as_of:
            departures[row["flight_id"]] = (left, left)
        limit = row["sched_dep"] + timedelta(minutes=15)
        if (moment := min(left or limit, limit)) <= as_of:
            lates[row["flight_id"]] = (int(left is None or left >= limit), moment)
        limit = row["sched_arr"] + timedelta(minutes=15)
        if (moment := min(came or limit, limit)) <= as_of:
            outcomes[row["flight_id"]] = (int(came is None or came >= limit), moment)
    assert known(facts.departure(raw(rows), as_of), "departed_at") == departures
    assert known(facts.late15(raw(rows), as_of), "late") == lates
    assert known(facts.outcome(raw(rows), as_of), "not_on_time") == outcomes


def test_the_schedule_speaks_new_york() -> None:
    times = [datetime(2013, 3, 10, 6, 30, tzinfo=UTC), datetime(2013, 3, 10, 7, 30, tzinfo=UTC)]  # clocks change at 7Z
    blank = dict.fromkeys(RAW_SCHEDULE.columns)
    rows = [{**blank, "ds": "2013-03-10", "flight_id": str(t), "sched_dep": t, "known_at": BASE} for t in times]
    made = facts.schedule(pa.Table.from_pylist(rows, lake.schema(RAW_SCHEDULE)), BASE).to_pylist()
    assert [(r["local_date"], r["local_hour"], r["minute_of_day"], r["weekday"]) for r in made] == [
        ("2013-03-10", 1, 90, 6),
        ("2013-03-10", 3, 210, 6),
    ]
