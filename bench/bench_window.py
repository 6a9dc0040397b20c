"""CPU seconds and peak memory of a look at a large log of predictions; `make bench-window` prints them.

A log of ten million answers of one week, each flight asked about twice, is written as the service's collector writes
it: one Delta table, a partition a day, each answer with all of its features. Ours: window.build and evidence.collect.
The usual way beside it, on a tenth of the log: read the table into pandas, take the latest answer of each flight, join
the labels, measure the same. Each run is a process of its own. About 3 minutes and 1.5 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from include import lake
from include.contracts import DAY, ENTITY, FEATURES, OUTCOME, PREDICTIONS, SCHEDULE, TARGET, Table
from include.models.flights_on_time.spec import SPEC
from include.monitoring import evidence, performance, window
from include.settings import ROOT, Settings
from include.times import iso

START, DAYS = datetime(2013, 5, 1, 4, tzinfo=UTC), 7  # midnight in New York
AS_OF = START + timedelta(days=DAYS)
ASKED = 2  # times that a flight is asked about
BATCH = 250_000  # answers of one commit of the collector
REFERENCE = 50_000  # rows of training
VERSION = 3
SIDES = ("ours", "pandas")
SECONDS = 900  # of one run


# -- a log -------------------------------------------------------------------------------------------------------------
_FLIGHTS = """
CREATE OR REPLACE TABLE flights AS
SELECT
    strftime($start + to_days(n), '%Y%m%d') || '-' || ['UA', 'B6', 'EV', 'DL'][1 + i % 4] || '-' || i || '-'
        || ['EWR', 'JFK', 'LGA'][1 + i % 3] AS flight_id,
    ['UA', 'B6', 'EV', 'DL'][1 + i % 4] AS carrier, i AS flight, ['EWR', 'JFK', 'LGA'][1 + i % 3] AS origin,
    'D' || (i % 97) AS dest,
    $start + to_days(n) + to_hours(5) + to_seconds((i * 61200 // $count)::BIGINT) AS sched_dep,
    sched_dep + INTERVAL 3 HOUR AS sched_arr,
    strftime($start + to_days(n), '%Y-%m-%d') AS local_date,
    (5 + i * 17 // $count)::BIGINT AS local_hour,
    ((hash(i) % 1000) / 2500 + 0.05)::DOUBLE AS p,
    (hash(i, n, 7) % 1000) / 1000 < p AS late
FROM range($count) AS t(i), (SELECT $day AS n)
"""
_ANSWERS = """
SELECT
    f.flight_id, f.carrier, f.flight, f.origin, f.dest, f.sched_dep, f.sched_arr,
    md5((f.flight * $asked + k)::VARCHAR || f.flight_id) AS prediction_id,
    'answer' AS role, $model AS model, 3 AS version, 1 AS generation, '' AS stage, f.p AS probability,
    NULL AS error, '' AS stale, false AS given, (500 + hash(f.flight, k) % 3000)::DOUBLE AS latency_us,
    20.0 AS model_us, 1.0 AS weight, f.sched_dep - INTERVAL 2 HOUR - to_minutes(k) AS "at", "at" AS wall, 'w' AS worker,
    strftime("at", '%Y-%m-%d') AS ds
FROM flights AS f, range($asked) AS t(k)
WHERE f.flight >= $first AND f.flight < $last
"""


def fill(settings: Settings, predictions: int) -> None:
    """A week's schedule, labels and log under `settings.home`."""
    con = duckdb.connect(config={"memory_limit": "1GB", "threads": 2})
    con.execute("SET TimeZone = 'UTC'")
    count = predictions // DAYS // ASKED
    rng = np.random.default_rng(0)
    # steps, as real ones have: flights of an hour share them
    pool = {name: pa.array(rng.integers(0, 200, BATCH).astype(np.float32) / 2) for name in FEATURES}
    for number in range(DAYS):
        con.execute(_FLIGHTS, {"start": START, "day": number, "count": count})
        _facts(con, settings)
        step = BATCH // ASKED
        for first in range(0, count, step):
            told = con.sql(
                _ANSWERS,
                params={"model": SPEC.name, "asked": ASKED, "first": first, "last": min(first + step, count)},
            ).to_arrow_table()
            for name, values in pool.items():
                told = told.append_column(name, values.slice(0, told.num_rows))
            told = told.select(list(PREDICTIONS.columns)).cast(lake.schema(PREDICTIONS))
            lake.append(settings.lake, PREDICTIONS, told, {f"{number}/{first}": 1})
    con.close()


def _facts(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """The day's schedule and outcomes."""
    for table, moment in ((SCHEDULE, "$start - INTERVAL 30 DAY"), (OUTCOME, "sched_arr")):
        sql = f"""
            SELECT *, {moment} AS known_at, late::BIGINT AS not_on_time, 1000.0 AS distance,
                0 AS minute_of_day, 0 AS weekday, strftime(sched_dep, '%Y-%m-%d') AS ds FROM flights"""
        rows = con.sql(sql, params={"start": START} if "$" in moment else None).to_arrow_table()
        rows = rows.select(list(table.columns)).cast(lake.schema(table))
        lake.append(settings.lake, table, rows, {f"{table.name}/{rows[DAY][0]}": 1})


# -- one look ----------------------------------------------------------------------------------------------------------
def ours(settings: Settings) -> dict[str, Any]:
    """CPU seconds of each part, all threads together, and what was found."""
    versions = {t.name: lake.version(settings.lake, t) for t in (SCHEDULE, OUTCOME)}
    began = time.process_time()
    made, counts = window.build(settings, SPEC, VERSION, versions, iso(START), iso(AS_OF), iso(AS_OF))
    built = time.process_time()
    rows = window.read(made)
    reference, p = _reference(), rows["probability"].to_numpy()
    found = evidence.collect(
        SPEC, rows, p, reference, reference[TARGET].to_numpy() * 0.5 + 0.2, counts, version=str(VERSION),
        trained_as_of=iso(START - timedelta(days=2)), as_of=iso(AS_OF),
    )  # fmt: skip
    return {
        "predictions": counts["predictions"],
        "flights": counts["flights"],
        "log_loss": found["performance"]["scores"]["log_loss"]["value"],
        "seconds": {"window": built - began, "evidence": time.process_time() - built},
    }


def pandas(settings: Settings) -> dict[str, Any]:
    """The usual way: all of it in memory."""

    def table(of: Table) -> pd.DataFrame:
        return lake.read(settings.lake, of, lake.version(settings.lake, of)).to_pandas()

    began = time.process_time()
    log, labels = table(PREDICTIONS), table(OUTCOME)
    count = len(log)
    rows = log.sort_values(["at", "prediction_id"]).drop_duplicates(ENTITY, keep="last")
    rows = rows.merge(labels[[ENTITY, TARGET]], how="left", on=ENTITY)
    built = time.process_time()
    rows["local_date"] = rows["sched_dep"].dt.tz_convert(window.ZONE).dt.strftime("%Y-%m-%d")
    rows["local_hour"] = rows["sched_dep"].dt.tz_convert(window.ZONE).dt.hour
    rows["mature"] = rows["sched_dep"] <= AS_OF - SPEC.label_maturity
    found = performance.measure(SPEC, rows, rows["probability"].to_numpy())
    return {
        "predictions": count,
        "flights": len(rows),
        "log_loss": found["scores"]["log_loss"]["value"],
        "seconds": {"window": built - began, "evidence": time.process_time() - built},
    }


def _reference() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    at = pd.Timestamp(START) - pd.to_timedelta(rng.integers(1, 60 * 86_400, REFERENCE), unit="s")
    number = np.arange(REFERENCE)
    made = pd.DataFrame(
        {
            ENTITY: "r" + pd.Series(number).astype(str),
            "event_timestamp": at,
            "sched_dep": at + SPEC.horizon,
            "local_date": at.tz_convert(window.ZONE).strftime("%Y-%m-%d"),
            "local_hour": at.tz_convert(window.ZONE).hour,
            "carrier": np.array(["UA", "B6", "EV", "DL"])[number % 4],
            "flight": number % 3000,
            "origin": np.array(["EWR", "JFK", "LGA"])[number % 3],
            "dest": np.array([f"D{n}" for n in range(97)])[number % 97],
            TARGET: rng.integers(0, 2, REFERENCE),
        }
    )
    values = {name: rng.integers(0, 200, REFERENCE).astype(np.float32) / 2 for name in SPEC.features}
    return pd.concat([made, pd.DataFrame(values)], axis=1)


# -- all of it ---------------------------------------------------------------------------------------------------------
def child(side: str, home: Path) -> dict[str, Any]:
    """One side in a process of its own: what it found, with its "peak" resident memory in bytes and "base", that of
    its imports. Raises RuntimeError with the last words of a run that failed."""
    command = [sys.executable, "-m", "bench.bench_window", "--side", side, "--home", str(home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(f"{side} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(found: dict[str, Any]) -> str:
    seconds = sum(found["seconds"].values())
    parts = " + ".join(f"{name} {s:.1f}" for name, s in found["seconds"].items())
    peak = (found["peak"] - found["base"]) / found["predictions"]
    return (
        f"{found['predictions']:>12,} answers of {found['flights']:,} flights: {seconds:.1f} s ({parts}), peak "
        f"{found['peak'] / 2**20:,.0f} MiB (imports alone {found['base'] / 2**20:,.0f}), {peak:,.0f} bytes an answer"
    )


def peak() -> int:
    """Peak resident memory of this process, bytes. Not getrusage: its peak is never below that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=int, default=10_000_000)
    parser.add_argument("--home", type=Path, help="where to make the logs; without it, a temporary folder")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        base, settings = peak(), Settings(home=asked.home)
        found = ours(settings) if asked.side == "ours" else pandas(settings)
        print(json.dumps({**found, "base": base, "peak": peak()}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        home = asked.home or Path(scratch)
        sizes = {"small": asked.predictions // 10, "large": asked.predictions}
        for name, size in sizes.items():
            began = time.monotonic()
            if not (home / name).exists():
                fill(Settings(home=home / name), size)
            print(f"{size:,} answers written in {time.monotonic() - began:.0f} s", flush=True)
        large = child("ours", home / "large")
        print(f"ours   {told(large)}", flush=True)
        few, naive = (child(side, home / "small") for side in SIDES)
        print(f"ours   {told(few)}\npandas {told(naive)}")
    seconds, memory = (
        sum(naive["seconds"].values()) / sum(few["seconds"].values()),
        naive["peak"] / few["peak"],
    )
    print(f"On the same tenth, pandas takes {seconds:.1f} times the seconds and {memory:.1f} times the memory.")
    per = (naive["peak"] - naive["base"]) / naive["predictions"] * large["predictions"] + naive["base"]
    print(
        f"On all of it, at its bytes an answer, it would take {per / 2**30:.0f} GiB; ours {large['peak'] / 2**30:.1f}."
    )


if __name__ == "__main__":
    main()
