"""How long the console's pages take with 1 and 50 models, a month and a year of decisions: `make bench-console`.

Four installations are planted (tests/console/planted.py): each model is looked at once a day and trained every
fortnight; each day of the performance table came in eight files, as eight looks leave it, and is one, as `maintain`
makes it. Each is measured in a process of its own: the first page of a process, pages when nothing has changed, and the
page after one new look. "rendered" is the page as HTML. About two minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import tables
from include.settings import ROOT, Settings

SIZES = ((1, 30), (1, 365), (50, 30), (50, 365))  # models, days
FILES = 8
WARM = 30  # pages of each kind
BUDGET = {"index": 300.0, "fingerprint": 5.0}  # ms, at the largest size, when nothing has changed
SECONDS = 300  # of one process


def fill(settings: Settings, models: int, days: int) -> None:
    from include import lake
    from include.contracts import PERFORMANCE
    from include.upkeep import tables as tables_of_the_lake
    from tests.console import planted

    planted.plant(settings, planted.names(models), days, files=FILES)
    tables_of_the_lake.compact(lake.path(settings.lake, PERFORMANCE), settings.retention.compact_files)


def another_look(settings: Settings, days: int) -> None:
    """What the monitor leaves: rows of eight days, an entry."""
    from include import lake
    from include.contracts import DAY, PERFORMANCE
    from include.release import ledger as book
    from tests.console import planted

    rows: list[dict[str, Any]] = []
    for back in range(planted.WINDOW):
        day = planted.as_of(days - 1 - back)[:10]
        stated = {"model": planted.OURS, "version": 1, "day": day, "flights": 980, "labelled": 980, "log_loss": 0.5}
        rows.append({DAY: day, **stated, "as_of": datetime.fromisoformat(planted.as_of(days))})
    import pyarrow as pa

    lake.append(settings.lake, PERFORMANCE, pa.Table.from_pylist(rows, schema=lake.schema(PERFORMANCE)), {"look": 1})
    reason, kept = planted.SENTENCES["healthy"], {"state": "healthy"}
    about = book.Decision("k", planted.OURS, "monitor", "monitor", reason, planted.as_of(days), 1, "monitor/k", kept)
    book.record(book.connect(settings.ledger_url), about)


def measure(settings: Settings, days: int) -> dict[str, Any]:
    """Milliseconds of each page: {"first", "p50", "max", "changed"}; and the process's peak memory in MB."""
    began = time.perf_counter()
    from include.loop.console import model, models, state

    imported = (time.perf_counter() - began) * 1e3
    from include.console import render
    from include.console.view import Airflow, Powers
    from tests.console import planted

    site = render.Site("", "", "../act/", planted.WALL, Powers("bench", True, True, True, True))
    pages: dict[str, Callable[[], Any]] = {
        "fingerprint": lambda: state.fingerprint(settings),
        "index": lambda: models.index(settings, Airflow(), planted.WALL),
        "model": lambda: model.page(settings, planted.OURS, Airflow(), planted.WALL),
        "index, rendered": lambda: render.index(models.index(settings, Airflow(), planted.WALL), site),
        "model, rendered": lambda: render.model(model.page(settings, planted.OURS, Airflow(), planted.WALL), site),
    }
    found: dict[str, Any] = {}
    for name, page in pages.items():
        first = milliseconds(page)
        warm = [milliseconds(page) for _ in range(WARM)]
        found[name] = {"first": first, "p50": statistics.median(warm), "max": max(warm)}
    another_look(settings, days)
    for name, page in pages.items():
        found[name]["changed"] = milliseconds(page)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return {"pages": found, "import": imported, "memory": int(status.split("VmHWM:")[1].split()[0]) / 1024}


def milliseconds(page: Callable[[], Any]) -> float:
    began = time.perf_counter()
    page()
    return (time.perf_counter() - began) * 1e3


def child(home: Path, days: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.bench_console", "--home", str(home), "--measure", str(days)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=SECONDS)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def told(found: dict[tuple[int, int], dict[str, Any]]) -> str:
    rows = []
    for page in next(iter(found.values()))["pages"]:
        base = found[SIZES[0]]["pages"][page]["p50"]
        for (models, days), one in found.items():
            times = one["pages"][page]
            numbers = (f"{times[name]:.1f}" for name in ("p50", "max", "first", "changed"))
            rows.append([page, str(models), str(days), *numbers, f"{times['p50'] / base:.1f}"])
    head = ["page", "models", "days", "ms, median", "ms, longest", "ms, first", "ms, after a look"]
    return tables.table([*head, f"times {SIZES[0][0]} model, {SIZES[0][1]} days"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="where to plant; without it, a temporary folder")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        # nothing listens there: the pages must not need MLflow
        settings = Settings(home=asked.home, mlflow_uri="http://127.0.0.1:9")
        print(json.dumps(measure(settings, asked.measure)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for models, days in SIZES:
            home = (asked.home or Path(scratch)) / f"{models}-{days}"
            began = time.monotonic()
            if not home.exists():
                fill(Settings(home=home), models, days)
            size = (home / "ledger.db").stat().st_size / 1e6
            print(
                f"{models} models, {days} days: {size:.0f} MB of ledger in {time.monotonic() - began:.0f} s", flush=True
            )
            found[models, days] = child(home, days)
    print(told(found))
    largest = found[SIZES[-1]]
    few = found[SIZES[0]]["memory"]
    print(f"Imports take {largest['import']:.0f} ms. Memory: {largest['memory']:.0f} MB, {few:.0f} with one model.")
    for page, budget in BUDGET.items():
        took = largest["pages"][page]["p50"]
        print(f"{page}: {took:.1f} ms, {budget:g} allowed{'' if took <= budget else ': TOO LONG'}")


if __name__ == "__main__":
    main()
