"""The source tells what it knows, when it knows it, and its counts are those of the real year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include import lake
from include.contracts import RAW_TABLES
from include.sources import nycflights

DAYS = ["2013-02-07", "2013-02-08", "2013-02-09"]
MOMENTS = st.integers(0, 4 * 24 * 60).map(lambda m: datetime(2013, 2, 7, tzinfo=UTC) + timedelta(minutes=m))


@pytest.fixture(scope="module")
def year() -> pd.DataFrame:
    return nycflights._flights()


def test_counts_of_the_year(year: pd.DataFrame) -> None:
    late = (year["arr_delay"] >= 15) | year["arr_delay"].isna()
    known = year[["arrived_at", "arrival_late_at"]].min(axis=1)
    hours = (known - year["sched_dep"]).dt.total_seconds() / 3600
    assert len(year) == year["flight_id"].nunique() == 336_776
    assert year["dep_time"].isna().sum() == 8_255
    assert year["arr_delay"].isna().sum() == 9_430
    assert late.mean() == pytest.approx(0.2658, abs=1e-4)
    assert hours.median() == pytest.approx(2.68, abs=0.01)
    assert hours.quantile(0.99) == pytest.approx(6.72, abs=0.01)
    assert hours.max() == pytest.approx(11.92, abs=0.01)  # spec.label_maturity stands on it


def test_scheduled_departure_is_the_hour_that_the_source_gives_in_utc(year: pd.DataFrame) -> None:
    assert (year["sched_dep"].dt.floor("h") == year["time_hour"]).all()


def test_no_flight_is_longer_in_the_air_than_under_way(year: pd.DataFrame) -> None:
    """Fails when a day is added to an instant instead of to the local time, in the night the clocks change."""
    ground = (year["arrived_at"] - year["departed_at"]).dt.total_seconds() / 60 - year["air_time"]
    assert ground.min() == 5
    block = (year["sched_arr"] - year["sched_dep"]).dt.total_seconds() / 60
    assert (block.min(), block.max()) == (50, 700)


def test_all_is_known_by_the_end_and_nothing_before_the_beginning(year: pd.DataFrame) -> None:
    weather = nycflights._weather()
    last = max(year[["arrived_at", "arrival_late_at", "departed_at"]].max().max(), weather["known_at"].max())
    assert last < pd.Timestamp(nycflights.ENDS)
    assert year["ds"].max() == nycflights.LAST_DAY
    assert min(year["sched_dep"].min(), weather["observed_at"].min()) >= pd.Timestamp(nycflights.BEGINS)


def test_delivered_tables_have_the_contracts_columns_and_types() -> None:
    delivery = nycflights.extract(DAYS, datetime(2013, 2, 9, 12, tzinfo=UTC))
    for table in RAW_TABLES:
        assert delivery[table.name].schema == lake.schema(table), table.name


@given(MOMENTS)
@settings(max_examples=25, deadline=None)
def test_nothing_is_told_before_it_happens(as_of: datetime) -> None:
    now = pd.Timestamp(as_of)
    truth = nycflights._flights().set_index("flight_id")
    delivery = {name: rows.to_pandas() for name, rows in nycflights.extract(DAYS, as_of).items()}
    assert all((rows["known_at"] <= now).all() for rows in delivery.values())
    moves = delivery["raw_movements"].set_index("flight_id")
    real = truth.loc[moves.index]
    assert (moves["dep_time"].notna() == (real["departed_at"] <= now)).all()
    assert (moves["dep_delay"].notna() == (real["departed_at"] <= now)).all()
    assert (moves["arr_time"].notna() == (real["arrived_at"] <= now)).all()
    assert not moves["arr_delay"].notna()[real["arrived_at"] > now].any()
    assert not moves["air_time"].notna()[real["arrived_at"] > now].any()
    of_days = truth[truth["ds"].isin(DAYS)]
    due = of_days[(of_days["late_at"] <= now) | (of_days["departed_at"] <= now)]
    assert set(moves.index) == set(due.index)


@given(MOMENTS, MOMENTS)
@settings(max_examples=10, deadline=None)
def test_what_was_told_stays_told(one: datetime, other: datetime) -> None:
    before, after = (nycflights.extract(DAYS, t)["raw_movements"].to_pandas() for t in sorted((one, other)))
    later = after.set_index("flight_id").loc[before["flight_id"]].reset_index()[before.columns]
    told = before.drop(columns="known_at").notna()
    assert (later.drop(columns="known_at")[told].fillna(-1) == before.drop(columns="known_at")[told].fillna(-1)).all(
        None
    )
    assert (later["known_at"] >= before["known_at"]).all()


def test_the_schedule_comes_two_days_ahead() -> None:
    day, published = ["2013-03-10"], datetime(2013, 3, 8, tzinfo=UTC)
    assert nycflights.extract(day, published - timedelta(seconds=1))["raw_schedule"].num_rows == 0
    assert nycflights.extract(day, published)["raw_schedule"].num_rows > 800


def test_a_tail_number_does_not_give_a_cancellation_away() -> None:
    """Only cancelled flights lack a tail number: it must not be there sooner for others than for them."""
    as_of = datetime(2013, 2, 8, 20, tzinfo=UTC)
    moves = nycflights.extract(DAYS, as_of)["raw_movements"].to_pandas()
    waiting = moves[moves["dep_time"].isna() & (moves["sched_arr"] + pd.Timedelta(minutes=15) > pd.Timestamp(as_of))]
    assert len(waiting) > 10
    assert waiting["tailnum"].isna().all()


def test_exhausted_only_when_nothing_is_left() -> None:
    late = datetime(2014, 1, 2, tzinfo=UTC)
    with pytest.raises(nycflights.Exhausted, match="2014-01-01"):
        nycflights.extract(["2014-01-02", "2014-01-03"], late)
    assert nycflights.extract(["2014-01-01", "2014-01-02"], late)["raw_schedule"].num_rows == 88
