"""The training frame's suite: a good frame passes, each planted fault stops the run and names the column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include import quality
from include.contracts import FEATURES, FRAME_IDENTITY, Ref
from include.settings import Settings

ROWS = 2_000
SOME = ["origin_queue", "humid", "temp", "visib", "gust"]  # the fewer features, the quicker the suite


def good() -> pd.DataFrame:
    """A frame of the contract's columns, every feature drawn between its bounds."""
    rng = np.random.default_rng(1)
    sched_dep = pd.Series(pd.date_range("2013-02-01T12:00", periods=ROWS, freq="15min", tz="UTC", unit="us"))
    identity = {
        "flight_id": [f"f{i}" for i in range(ROWS)],
        "event_timestamp": sched_dep - pd.Timedelta(hours=2),
        "sched_dep": sched_dep,
        "local_date": sched_dep.dt.strftime("%Y-%m-%d"),
        "carrier": "UA",
        "flight": 1,
        "origin": "EWR",
        "dest": "IAH",
        "local_hour": sched_dep.dt.hour,
        "not_on_time": (rng.random(ROWS) < 0.27).astype("int64"),
    }
    assert set(identity) == set(FRAME_IDENTITY)
    features = {n: rng.uniform(f.low or 0.0, f.high or 1.0, ROWS).astype("float32") for n, f in FEATURES.items()}
    return pd.DataFrame({**identity, **features})


def check(tmp_path: Path, rows: pd.DataFrame, features: list[str] | None = None) -> dict[str, Any]:
    file = tmp_path / "frame.parquet"
    rows.to_parquet(file)
    ref = Ref(uri=str(file), version="v", hash="0" * 64)
    return quality.check_frame(Settings(home=tmp_path), ref, features or list(FEATURES), tmp_path / "page.html")


def put(column: str, value: Any, places: Any = 7) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[places, column] = value
        return rows

    return change


FAULTS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "null where none may be": (put("origin_queue", np.nan), "training_frame.origin_queue_present"),
    "out of bounds": (put("humid", 250.0), "training_frame.humid_bounds"),
    "infinite": (put("temp", np.inf), "training_frame.temp_bounds"),
    "another type": (lambda r: r.astype({"visib": "float64"}), "training_frame.visib_type"),
    "a lost feature": (lambda r: r.drop(columns="gust"), "training_frame.gust_type: could not be evaluated"),
    "one class": (put("not_on_time", 0, slice(None)), "training_frame.both_classes"),
    "a flight twice": (put("flight_id", "f8"), "training_frame.flights_once"),
    "no label": (
        lambda r: r.assign(not_on_time=r["not_on_time"].astype("float64").where(r.index != 3)),
        "not_on_time_present",
    ),
    "few rows": (lambda r: r.head(100), "training_frame.rows_enough"),
    "as-of after departure": (put("event_timestamp", pd.Timestamp("2014-01-01", tz="UTC")), "as_of_before_departure"),
}


def test_a_good_frame_passes(tmp_path: Path) -> None:
    result = check(tmp_path, good())
    assert result["success"]
    assert (result["warnings"], result["info"], result["rows"]) == ([], [], {"training_frame": ROWS})
    assert "Training frame: " in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_frame_stops_the_run(tmp_path: Path, name: str) -> None:
    change, message = FAULTS[name]
    with pytest.raises(quality.CriticalFailure, match="Critical expectations failed") as stopped:
        check(tmp_path, change(good()), SOME)
    assert message in str(stopped.value)
    assert "stopped" in (tmp_path / "page.html").read_text()


def test_nulls_that_may_be_are_told_when_they_are_many(tmp_path: Path) -> None:
    assert check(tmp_path, put("temp", np.nan, slice(0, 100))(good()), SOME)["warnings"] == []
    told = check(tmp_path, put("temp", np.nan, slice(0, 1500))(good()), SOME)["warnings"]
    assert len(told) == 1
    assert told[0].startswith("training_frame.temp_present")


def test_a_model_is_held_to_its_own_features_only(tmp_path: Path) -> None:
    own = ["minute_of_day", "humid"]
    rows = good()[[*FRAME_IDENTITY, *own]]
    assert check(tmp_path, rows, own)["success"]
    with pytest.raises(quality.CriticalFailure, match="humid"):
        check(tmp_path, rows.drop(columns="humid"), own)
