"""The window: one row a flight from the log of predictions, its latest answer, labels as known; counts are exact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from bench import windows
from include import lake
from include.contracts import ANSWER, CLUSTER, DAY, ENTITY, OUTCOME, PREDICTIONS, SCHEDULE, SHADOW, TARGET
from include.models.flights_on_time.spec import SPEC
from include.monitoring import window
from include.settings import ROOT, Settings
from include.times import iso, parse

START, END = "2013-01-20T06:30:00+00:00", "2013-01-23T06:30:00+00:00"
VERSION = 4


def versions(settings: Settings) -> dict[str, int]:
    return {t.name: lake.version(settings.lake, t) for t in (SCHEDULE, OUTCOME)}


def build(settings: Settings, **changed: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    arguments = {"version": VERSION, "versions": versions(settings), "start": START, "end": END, "as_of": END}
    made, counts = window.build(settings, SPEC, **{**arguments, **changed})
    assert json.loads(json.dumps(counts, allow_nan=False)) == counts
    return window.read(made), counts


def append(settings: Settings, *parts: pa.Table) -> None:
    for number, part in enumerate(parts):
        lake.append(settings.lake, PREDICTIONS, part, {f"test/{id(part)}/{number}": 1})


@pytest.fixture(scope="module")
def few(rows: pd.DataFrame) -> pd.DataFrame:
    """Every fifth flight that is asked about in the window, and some before and after it."""
    span = rows[rows["event_timestamp"].between(parse("2013-01-18T00:00Z"), parse("2013-01-24T00:00Z"))]
    return span.iloc[::5].reset_index(drop=True)


def broken(failed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array(["broken" if f else None for f in failed], dtype=object)


def busy(few: pd.DataFrame, seed: int) -> list[pa.Table]:
    """A log in which flights are asked about up to four times, by two versions, with failures and ties in time."""
    rng = np.random.default_rng(seed)
    asked = few.loc[few.index.repeat(rng.integers(0, 5, len(few)))].reset_index(drop=True)
    n = len(asked)
    ids = [f"{x:016x}" for x in rng.permutation(n)]
    at = asked["event_timestamp"] - pd.to_timedelta(rng.choice([0, 0, 20, 40], n), unit="m")
    p, failed = rng.uniform(0.01, 0.99, n), rng.random(n) < 0.15
    version = rng.integers(3, 5, n)
    answers = windows.log(
        SPEC, asked, np.where(failed, np.nan, p), version, prediction_id=ids, at=at,
        error=broken(failed), stale=np.where(rng.random(n) < 0.2, "origin_hourly", ""),
        given=rng.random(n) < 0.3, latency_us=rng.uniform(100, 9000, n), weight=2.0,
        wall=at + pd.to_timedelta(rng.integers(0, 600, n), unit="s"), worker=np.where(rng.random(n) < 0.5, "v", "w"),
    )  # fmt: skip
    beside = rng.random(n) < 0.7
    fell = rng.random(n) < 0.1  # a shadow that failed
    shadows = windows.log(
        SPEC, asked[beside], np.where(fell, np.nan, rng.uniform(0.01, 0.99, n))[beside], 7 - version[beside],
        prediction_id=np.array(ids)[beside], at=at[beside], role=SHADOW,
        error=broken(fell)[beside],
    )  # fmt: skip
    other = windows.log(SPEC, few, np.full(len(few), 0.5), VERSION, model="another_model")
    half = answers.num_rows // 2
    return [answers.slice(0, half), shadows, other, answers.slice(half)]


def expected(log: list[pa.Table], settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that stand, by plain Python over everything, and all rows of the window."""
    every = pa.concat_tables(log).to_pandas()
    every = every[(every["model"] == SPEC.name) & (every["at"] >= parse(START)) & (every["at"] < parse(END))]
    found = lake.read(settings.lake, OUTCOME, versions(settings)["outcome"], known_by=parse(END)).to_pandas()
    labels = dict(zip(found[ENTITY], found[TARGET], strict=True))
    told = []
    for flight, asked in every[every["role"] == ANSWER].groupby(ENTITY):
        good = asked[asked["error"].isna()]
        stands = (good if len(good) else asked).sort_values(["at", "wall", "prediction_id"]).iloc[-1]
        own = every[(every["prediction_id"] == stands["prediction_id"]) & (every["version"] == VERSION)]
        own = own[own["error"].isna()]["probability"]
        told.append(
            {
                ENTITY: flight, "event_timestamp": stands["at"], TARGET: labels.get(flight, np.nan),
                "probability": own.iloc[0] if len(own) else np.nan, "answered": stands["probability"],
                "answered_version": stands["version"], "stale": stands["stale"] != "", "given": stands["given"],
                "latency_us": stands["latency_us"], **stands[list(SPEC.features)],
            }
        )  # fmt: skip
    return pd.DataFrame(told).set_index(ENTITY).sort_index(), every


@pytest.mark.parametrize("seed", [1, 2])
def test_the_latest_answer_of_each_flight_stands(logging: Settings, few: pd.DataFrame, seed: int) -> None:
    log = busy(few, seed)
    append(logging, *log)
    made, counts = build(logging)
    wanted, every = expected(log, logging)
    assert len(wanted) > 300
    assert made["probability"].isna().any()
    assert made["answered"].isna().any()
    own = made.set_index(ENTITY).sort_index()[wanted.columns]
    for name in wanted.columns:
        pd.testing.assert_series_equal(own[name], wanted[name].astype(own[name].dtype), check_names=False)
    answers = every[every["role"] == ANSWER]
    failed = every["error"].notna()
    assert counts["predictions"] == len(answers)
    assert counts["requests"] == 2.0 * len(answers)
    assert counts["flights"] == counts["sampled"] == len(wanted)
    assert counts["by_version"] == {
        str(v): {
            "answer": int(((every["version"] == v) & (every["role"] == ANSWER)).sum()),
            "shadow": int(((every["version"] == v) & (every["role"] == SHADOW)).sum()),
            "failed": int(((every["version"] == v) & failed).sum()),
        }
        for v in (3, 4)
    }
    assert counts["errors"] == counts["failed_answers"] == int((failed & (every["role"] == ANSWER)).sum())
    assert (counts["stale"], counts["given"]) == (int((answers["stale"] != "").sum()), int(answers["given"].sum()))
    assert (parse(counts["first"]), parse(counts["last"])) == (answers["at"].min(), answers["at"].max())
    assert counts["latency_ms"]["p99"] == pytest.approx(np.quantile(answers["latency_us"], 0.99) / 1000)
    minutes = answers.groupby([answers["wall"].dt.floor("min"), "worker"])["weight"].sum()
    assert counts["worker_peak_per_second"] == pytest.approx(minutes.max() / 60)
    assert counts["peak_per_second"] == pytest.approx(minutes.groupby(level=0).sum().max() / 60)
    hours = answers.groupby(answers["at"].dt.floor("h"))["weight"].sum()
    assert counts["hours"] == [{"hour": iso(hour), "requests": n} for hour, n in hours.items()]


def test_identity_and_features_are_those_of_the_frame(logging: Settings, rows: pd.DataFrame) -> None:
    """Each flight asked about once, at its as-of: the window is the frame of these flights, its dates New York's."""
    asked = rows[rows["event_timestamp"].between(parse(START), parse(END), inclusive="left")]
    append(logging, windows.log(SPEC, asked, np.full(len(asked), 0.25), VERSION))
    made, counts = build(logging, as_of="2013-01-25T00:00:00+00:00")
    wanted = asked.sort_values(["sched_dep", ENTITY], ignore_index=True)
    pd.testing.assert_frame_equal(made[wanted.columns], wanted, check_dtype=False)
    assert list(made.columns) == [name for name, _ in window.COLUMNS] + list(SPEC.features)
    assert (made.dtypes[list(SPEC.features)] == np.float32).all()
    assert made["mature"].all()
    assert counts["errors"] == 0


def test_labels_are_those_known_by_then(logging: Settings, rows: pd.DataFrame) -> None:
    asked = rows[rows["event_timestamp"].between(parse(START), parse(END), inclusive="left")]
    append(logging, windows.log(SPEC, asked, np.full(len(asked), 0.25), VERSION))
    now = "2013-01-22T22:00:00+00:00"
    early, late = (build(logging, end=now, as_of=t)[0] for t in (now, "2013-01-25T00:00:00+00:00"))
    known = lake.read(logging.lake, OUTCOME, versions(logging)["outcome"], known_by=parse(now)).to_pandas()
    assert set(early[early[TARGET].notna()][ENTITY]) == set(known[ENTITY]) & set(early[ENTITY])
    assert late[TARGET].notna().all()
    assert (early["mature"] == (early["sched_dep"] <= parse(now) - SPEC.label_maturity)).all()
    young = early[~early["mature"]].index
    assert 100 < early.loc[young, TARGET].notna().sum() < len(young) - 100  # known, but not mature:
    assert late.loc[young, TARGET].mean() > early.loc[young, TARGET].mean() + 0.03  # the early ones were on time


def test_what_was_asked_later_is_not_read(logging: Settings, few: pd.DataFrame) -> None:
    append(logging, windows.log(SPEC, few, np.full(len(few), 0.25), VERSION))
    as_of = "2013-01-21T12:00:00+00:00"
    made, counts = build(logging, as_of=as_of)
    assert made["event_timestamp"].max() < parse(as_of)
    assert (counts["end"], counts["as_of"]) == (as_of, as_of)
    same, _ = build(logging, end=as_of, as_of=as_of)
    pd.testing.assert_frame_equal(made, same)


def test_a_sample_is_the_same_every_time_and_counts_stay_exact(logging: Settings, few: pd.DataFrame) -> None:
    log = busy(few, 3)
    append(logging, *log)
    whole, counts = build(logging)
    part, told = build(logging, rows=100)
    assert len(part) == told["sampled"] == 100
    assert {**told, "sampled": len(whole)} == counts
    pd.testing.assert_frame_equal(part, whole[whole[ENTITY].isin(part[ENTITY])].reset_index(drop=True))
    fewer, _ = build(logging, rows=40)
    assert set(fewer[ENTITY]) < set(part[ENTITY])
    one, other = (window.build(logging, SPEC, VERSION, versions(logging), START, END, END, 100)[0] for _ in range(2))
    assert one == other
    assert abs(part["local_hour"].mean() - whole["local_hour"].mean()) < 2


@pytest.mark.parametrize("written", [False, True])
def test_a_window_without_a_prediction_has_no_rows_and_zeros(
    logging: Settings, few: pd.DataFrame, written: bool
) -> None:
    if written:
        append(logging, windows.log(SPEC, few, np.full(len(few), 0.5), VERSION, at=parse("2013-01-10T00:00Z")))
    made, counts = build(logging)
    assert list(made.columns) == [name for name, _ in window.COLUMNS] + list(SPEC.features)
    assert len(made) == 0
    assert made["sched_dep"].dt.tz is not None
    zeros = ("predictions", "requests", "flights", "sampled", "errors", "stale", "given", "peak_per_second")
    assert [counts[name] for name in zeros] == [0] * len(zeros)
    assert (counts["first"], counts["last"], counts["by_version"], counts["hours"]) == (None, None, {}, [])
    assert counts["latency_ms"] == {"p50": None, "p99": None}
    assert sum(d["scheduled"] for d in counts["days"][-3:]) > 1500
    assert counts["silence"]["due"] > 2000
    assert 48 < counts["silence"]["hours"] < 66  # the nights have no flights


def test_columns_younger_than_the_table_are_missing_values(logging: Settings, few: pd.DataFrame) -> None:
    log = windows.log(SPEC, few, np.full(len(few), 0.25), VERSION)
    old = log.drop_columns(["visib", "given", "worker"])
    write_deltalake(str(logging.lake / PREDICTIONS.name), old.slice(0, 600), partition_by=[DAY])
    made, counts = build(logging)  # no file has them
    assert made["visib"].isna().all()
    assert not made["given"].any()
    append(logging, log.slice(600))
    made, counts = build(logging)  # newer files have
    assert 0 < made["visib"].isna().sum() < len(made)
    assert made["given"].dtype == bool
    assert counts["predictions"] == counts["flights"] == len(made)


def test_a_row_that_was_logged_twice_is_one_flight(logging: Settings, few: pd.DataFrame) -> None:
    log = windows.log(SPEC, few, np.full(len(few), 0.25), VERSION)
    append(logging, log, log.slice(0, 600))
    made, counts = build(logging)
    assert made[ENTITY].is_unique
    assert counts["predictions"] > counts["flights"] == counts["sampled"] == len(made)


def test_an_answer_that_another_version_had_to_give_is_an_error(logging: Settings, few: pd.DataFrame) -> None:
    """As the service logs a challenger that fails in its canary: in the shadow, with the time of the whole answer."""
    nothing = np.full(len(few), np.nan)
    append(
        logging,
        windows.log(SPEC, few, np.full(len(few), 0.25), VERSION),
        windows.log(
            SPEC, few.iloc[:150], nothing[:150], 5, role=SHADOW, error="broken", latency_us=700.0,
            prediction_id=[f"{VERSION}-{f}" for f in few[ENTITY][:150]],
        ),
        windows.log(
            SPEC, few.iloc[150:], nothing[150:], 5, role=SHADOW, error="broken",
            prediction_id=[f"{VERSION}-{f}" for f in few[ENTITY][150:]],
        ),
    )  # fmt: skip
    inside = few["event_timestamp"].between(parse(START), parse(END), inclusive="left")
    _, counts = build(logging)
    assert counts["errors"] == inside[:150].sum()
    assert counts["failed_answers"] == 0
    assert counts["by_version"]["5"] == {"answer": 0, "shadow": inside.sum(), "failed": inside.sum()}


# -- volume --------------------------------------------------------------------------------------------------------
def test_days_say_what_was_due_and_what_was_asked(logging: Settings, rows: pd.DataFrame) -> None:
    """Half of the flights of one day are not asked about, and each flight of another three times."""
    asked = rows[(rows[CLUSTER] != "2013-01-21") | (rows.index % 2 == 0)]
    log = [windows.log(SPEC, asked, np.full(len(asked), 0.25), VERSION)]
    again = asked[asked[CLUSTER] == "2013-01-20"]
    log += [
        windows.log(SPEC, again, np.full(len(again), 0.25), VERSION, prediction_id=[f"{n}-{f}" for f in again[ENTITY]])
        for n in range(2)
    ]
    append(logging, *log)
    _, counts = build(logging, end="2013-01-22T18:00:00+00:00", as_of="2013-01-22T18:00:00+00:00")
    days = {d["day"]: d for d in counts["days"]}
    assert list(days) == [str((datetime(2012, 12, 23) + timedelta(days=n)).date()) for n in range(window.USUAL + 3)]
    published = lake.read(logging.lake, SCHEDULE, versions(logging)["schedule"]).to_pandas()
    of = published.groupby("local_date").size()
    assert days["2013-01-19"]["scheduled"] == of["2013-01-19"]
    assert days["2013-01-20"] == {
        "day": "2013-01-20", "scheduled": of["2013-01-20"], "asked": len(again), "requests": 3.0 * len(again),
    }  # fmt: skip
    assert days["2013-01-21"]["asked"] / days["2013-01-21"]["scheduled"] == pytest.approx(0.5, abs=0.03)
    due = published[(published["local_date"] == "2013-01-22") & (published["sched_dep"] < parse("2013-01-22T20:00Z"))]
    assert days["2013-01-22"]["scheduled"] == len(due) > 300  # those whose time had come
    assert days["2013-01-22"]["asked"] == pytest.approx(len(due), abs=10)
    assert days["2012-12-25"] == {"day": "2012-12-25", "scheduled": 0, "asked": 0, "requests": 0}


def test_silence_counts_only_while_flights_are_due(logging: Settings, rows: pd.DataFrame) -> None:
    asked = rows[rows["event_timestamp"] < parse("2013-01-21T15:30Z")]
    append(logging, windows.log(SPEC, asked, np.full(len(asked), 0.25), VERSION))
    told = {}
    for hour in ("2013-01-21T15:29", "2013-01-21T20:00", "2013-01-22T06:30"):
        _, counts = build(logging, end=f"{hour}:00+00:00", as_of=f"{hour}:00+00:00")
        told[hour] = counts["silence"]
    assert [s["hours"] for s in told.values()] == [0, 5, 12]  # 15, 16 … 19; until the evening's last are due at 02Z
    assert told["2013-01-21T20:00"]["due"] > 150
    assert parse(told["2013-01-22T06:30"]["since"]) < parse("2013-01-21T15:30Z")


# -- what is refused -----------------------------------------------------------------------------------------------
def test_an_empty_interval_and_absent_tables_are_refused(logging: Settings) -> None:
    with pytest.raises(ValueError, match="empty"):
        build(logging, end=START)
    with pytest.raises(ValueError, match="rows"):
        build(logging, rows=0)
    with pytest.raises(KeyError, match="schedule"):
        build(logging, versions={"outcome": 0})
    with pytest.raises(lake.UnknownVersion, match="99"):
        build(logging, versions={"schedule": 99, "outcome": 0})
    assert not list(logging.windows.iterdir())  # nothing half-made is left


def test_a_file_that_has_changed_is_not_read(logging: Settings, few: pd.DataFrame) -> None:
    append(logging, windows.log(SPEC, few, np.full(len(few), 0.25), VERSION))
    made, _ = window.build(logging, SPEC, VERSION, versions(logging), START, END, END)
    file = Path(made["uri"])
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="build the window again"):
        window.read(made)


# -- how much it takes ---------------------------------------------------------------------------------------------
def test_what_does_not_fit_into_memory_is_spilt(
    logging: Settings, few: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is the engine's: with one that is absurdly low it says so, and takes no more."""
    append(logging, windows.log(SPEC, few, np.full(len(few), 0.25), VERSION))
    monkeypatch.setattr(window, "MEMORY", "1MB")
    with pytest.raises(duckdb.OutOfMemoryException):
        build(logging)
    assert not list(logging.windows.iterdir())


@pytest.mark.slow
def test_ten_million_predictions_stay_under_two_gigabytes(tmp_path: Path) -> None:
    """A process of its own, as bench.bench_window makes it: window and evidence, 2 GB of peak resident memory."""
    from bench import bench_window

    code = "import sys; from pathlib import Path; from bench import bench_window as b; from include.settings import "
    code += "Settings; b.fill(Settings(home=Path(sys.argv[1])), 10_000_000)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=env, check=True, timeout=500)
    found = bench_window.child("ours", tmp_path)
    assert found["predictions"] > 9_999_000
    assert found["flights"] > 4_999_000
    assert 0.3 < found["log_loss"] < 0.7
    assert found["peak"] < 2e9
