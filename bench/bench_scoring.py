"""Rows a second and peak memory of batch scoring, against one bare loop; `make bench-scoring` rewrites docs/scoring.md.

Ours: read a partition's Parquet, check every value, predict, count, write Delta with an idempotent overwrite. The bare
loop: read the same Parquet, predict with the same ONNX, write Parquet. Rows are real ones of January with their
features, drawn again and again up to the size. The sides alternate; each run is a process of its own, with a limit on
its memory and its time. About 8 minutes and 3 GB of disk.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq

from bench import january, tables
from include import bundle
from include.contracts import ENTITY, EVENT_TIME, KNOWN_AT, TARGET, Ref
from include.features import frame
from include.files import write_text
from include.models.flights_on_time.spec import SPEC
from include.serving import batch
from include.settings import Settings
from include.times import parse
from include.training import data, export, families

DOC = Path(__file__).parents[1] / "docs" / "scoring.md"
MARK = "<!-- measured by make bench-scoring -->"
FIRST, LAST, PART = "2013-01-03", "2013-01-30", timedelta(days=7)
SIDES = ("ours", "bare")
IDENTITY = [ENTITY, "sched_dep", EVENT_TIME, KNOWN_AT]
GROUP = 65_536  # rows of a row group
MEMORY = 8 * 2**30
SECONDS = 600  # of one run
BYTES = 400  # of disk that a row may take, all copies together


# -- rows and models -----------------------------------------------------------------------------------------------
def prepare(folder: Path) -> tuple[pa.Table, dict[str, Ref]]:
    """January through the project's own steps: its scoring rows, and a bundle of each family."""
    settings = Settings(home=folder)
    january.fill(settings)
    versions, taken = january.freeze(settings)
    labelled = january.labelled(settings, versions, taken)
    x, y = data.matrix(labelled, SPEC.features), data.labels(labelled, TARGET)
    made = {}
    for family, params in january.PARAMS.items():
        model = families.fit(family, x, y, SPEC.features, params, SPEC.seed)
        model["calibration"] = {"slope": 1.0, "offset": 0.0}
        described = bundle.schema(SPEC.name, SPEC.features, "bench", january.END, family, params)
        made[family] = bundle.save(settings, export.to_onnx(model), described)
    span = (FIRST + "T00:00:00+00:00", LAST + "T23:59:00+00:00")
    rows = pq.read_table(frame.build_scoring(settings, SPEC, versions, taken, january.END, *span)["uri"])
    return rows.select([*IDENTITY, *SPEC.features]), made


def resample(rows: pa.Table, size: int, folder: Path) -> list[Path]:
    """`size` rows in files of a week each, sorted by sched_dep as frames are; flight ids are told apart by a number."""
    folder.mkdir(parents=True)
    parts = spans()
    at = rows["sched_dep"].to_pylist()
    files = []
    for number, (start, end) in enumerate(parts):
        own = rows.filter(pa.array([start <= t < end for t in at]))
        count = size * (number + 1) // len(parts) - size * number // len(parts)
        files.append(folder / f"{number}.parquet")
        drawn = np.sort(np.random.default_rng(number).integers(0, own.num_rows, count))
        with pq.ParquetWriter(files[-1], own.schema) as out:
            for first in range(0, count, GROUP):
                some = own.take(pa.array(drawn[first : first + GROUP]))
                ids = [f"{name}-{first + i}" for i, name in enumerate(some[ENTITY].to_pylist())]
                out.write_table(some.set_column(0, ENTITY, pa.array(ids)), row_group_size=GROUP)
    return files


def spans() -> list[tuple[datetime, datetime]]:
    """Whole weeks, as `score` maps them over tasks."""
    first, last = parse(FIRST), parse(LAST) + timedelta(days=1)
    return [(first + i * PART, first + (i + 1) * PART) for i in range((last - first) // PART)]


# -- the two sides -------------------------------------------------------------------------------------------------
def ours(files: list[Path], source: Path, out: Path) -> int:
    scorer = batch.Scorer(SPEC.name, 1, bundle.load(source), SPEC.serving.threshold)
    done = 0
    for file, span in zip(files, spans(), strict=True):
        tally = batch.Tally()
        batch.overwrite(batch.open_table(out), SPEC.name, *span, batch.score(file, scorer, tally, io.StringIO()))
        done += tally.predicted
    return done


def bare(files: list[Path], source: Path, out: Path) -> int:
    session = bundle.load(source).session
    out.mkdir(parents=True)
    done = 0
    for file in files:
        done += _bare(pq.ParquetFile(file), session, out / file.name)
    return done


def _bare(file: pq.ParquetFile, session: ort.InferenceSession, out: Path) -> int:
    schema = pa.schema([*(file.schema_arrow.field(name) for name in IDENTITY), ("probability", pa.float64())])
    done = 0
    with pq.ParquetWriter(out, schema) as writer:
        for rows in file.iter_batches(GROUP):
            x = np.column_stack([rows.column(name).to_numpy(zero_copy_only=False) for name in SPEC.features])
            p = session.run(["probability"], {"features": x})[0]
            columns = [*(rows.column(name) for name in IDENTITY), pa.array(p, pa.float64())]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            done += len(p)
    return done


def child(side: str, folder: Path, source: Path, out: Path) -> None:
    """One run in this process: rows, seconds, seconds of CPU and peak memory (MB) as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    files = sorted(folder.glob("*.parquet"))
    began, used = time.perf_counter(), time.process_time()
    rows = {"ours": ours, "bare": bare}[side](files, source, out)
    spent = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}
    print(json.dumps({"rows": rows, **spent, "peak": _peak()}))


def _peak() -> float:
    # not getrusage: that one begins with what the parent had
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


# -- all of it -----------------------------------------------------------------------------------------------------
def measure(
    folder: Path, sizes: list[int], repeats: int, rows: pa.Table, bundles: dict[str, Ref]
) -> list[dict[str, Any]]:
    """Every run as {family, size, side, rows, seconds, cpu, peak}."""
    told = []
    for size in sizes:
        given = folder / f"rows-{size}"
        resample(rows, size, given)
        for family, made in bundles.items():
            for number in range(repeats):
                for side in SIDES if number % 2 == 0 else reversed(SIDES):
                    found = _run(side, given, Path(made["uri"]), folder / "out")
                    assert found["rows"] == size, f"{side} scored {found['rows']} of {size} rows"
                    told.append({"family": family, "size": size, "side": side, **found})
                    print(json.dumps(told[-1]), flush=True)
        shutil.rmtree(given)
    return told


def _run(side: str, given: Path, source: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.bench_scoring", "--child", side, str(given), str(source), str(out)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{side} failed:\n{error.stderr}") from None
    finally:
        shutil.rmtree(out, ignore_errors=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def report(told: list[dict[str, Any]]) -> str:
    """The tables of docs/scoring.md."""
    lines = []
    for family, size in dict.fromkeys((t["family"], t["size"]) for t in told):
        ours, bare = ([t for t in told if (t["family"], t["size"], t["side"]) == (family, size, s)] for s in SIDES)
        speeds = [f"{median(t['rows'] / t['seconds'] for t in of):,.0f}" for of in (ours, bare)]
        peaks = [f"{median(t['peak'] for t in of):,.0f}" for of in (ours, bare)]
        ratios = [
            f"{median(b[spent] / a[spent] for a, b in zip(ours, bare, strict=True)):.2f}"
            for spent in ("seconds", "cpu")
        ]
        lines.append([family, f"{size:,}", *speeds, *ratios, *peaks])
    head = ["model", "rows", "rows/s, ours", "rows/s, bare", "ratio (target ≥ 0.7)", "ratio per second of CPU"]
    head += ["peak MB, ours", "peak MB, bare"]
    return tables.table(head, lines) + "\n" + _flat(told)


def _flat(told: list[dict[str, Any]]) -> str:
    sizes = sorted({t["size"] for t in told})
    parts = []
    for family in dict.fromkeys(t["family"] for t in told):
        peaks = [
            median(t["peak"] for t in told if (t["family"], t["side"], t["size"]) == (family, "ours", size))
            for size in (sizes[0], sizes[-1])
        ]
        parts.append(f"{family} {peaks[1] / peaks[0]:.2f}")
    return f"Peak memory at {sizes[-1]:,} rows over that at {sizes[0]:,} (target ≤ 1.2): {', '.join(parts)}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=DOC)
    parser.add_argument("--child", nargs=4, metavar=("SIDE", "ROWS", "BUNDLE", "OUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        side, *paths = asked.child
        child(side, *map(Path, paths))
        return
    with tempfile.TemporaryDirectory(prefix="bench-scoring-") as scratch:
        need, free = max(asked.sizes) * BYTES, shutil.disk_usage(scratch).free
        if free < need:
            sys.exit(f"{scratch}: {free / 1e9:.1f} GB free, {need / 1e9:.1f} GB needed; TMPDIR names another place")
        folder = Path(scratch)
        rows, bundles = prepare(folder / "home")
        text = report(measure(folder, asked.sizes, asked.repeats, rows, bundles))
    print(text)
    before = asked.out.read_text(encoding="utf-8").partition(MARK)[0] if asked.out.exists() else ""
    write_text(asked.out, f"{before}{MARK}\n\n{text}")


if __name__ == "__main__":
    main()
