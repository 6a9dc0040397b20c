"""How often a release errs on planted challengers over a year; `make bench-rollouts` rewrites docs/release.md's tables.

Frames, models and scores are the project's own (planted_releases.py). Every second fortnight of the year served to
choose the limits; what is reported are the others (--half chosen runs the first). About 20 minutes on one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from bench import bench_gate, planted_releases, tables
from bench.planted_releases import BAD, GOOD, Case, Kind, moved
from include.files import write_text
from include.models.flights_on_time.spec import SPEC
from include.settings import Settings

DOC = Path(__file__).parents[1] / "docs" / "release.md"
MARK = "<!-- measured by make bench-rollouts -->"
SOUND = Kind("good")
SIZES = [
    *(Kind(f"log odds {shift:+g}", moved(shift)) for shift in (0.25, 0.5, 0.75, -0.25, -0.5, -0.75)),
    *(Kind(f"log odds x {scale:g}", moved(scale=scale)) for scale in (0.6, 0.7, 1.4, 1.6)),
    *(Kind(f"errs {rate:.1%}", errors=rate) for rate in (0.003, 0.005, 0.01)),
    Kind("its model takes 3 times as long (+21 µs)", extra_us=2 * planted_releases.MODEL_US),
    Kind("its model takes 10 times as long (+95 µs)", extra_us=9 * planted_releases.MODEL_US),
]
_CASES: list[Case] = []  # of a worker process


def one(how: str, task: tuple[Kind, int]) -> dict[str, Any]:
    """One rollout: its fortnight, its sort of good challenger and its start follow from the seed."""
    kind, seed = task
    case = _CASES[seed % len(_CASES)]
    good = GOOD[seed // len(_CASES) % len(GOOD)]
    outcome = planted_releases.run(SPEC.rollout, case, good, kind, seed, how)
    return {"planted": kind.name, "case": case.name, "good": good, "seed": seed, **asdict(outcome)}


def _take(cases: list[Case]) -> None:
    _CASES[:] = cases


def measure(cases: list[Case], kinds: Sequence[Kind], count: int, how: str, jobs: int) -> list[dict[str, Any]]:
    """`count` rollouts of each kind."""
    began, told = time.monotonic(), []
    with get_context("spawn").Pool(jobs, _take, (cases,)) as pool:
        for kind in kinds:
            found = pool.map(partial(_named, how), [(kind.name, seed) for seed in range(count)], chunksize=5)
            told += found
            ends = Counter(f["kind"] for f in found)
            print(f"{how}: {kind.name}: {dict(ends)}, {time.monotonic() - began:.0f} s", flush=True)
    return told


def _named(how: str, task: tuple[str, int]) -> dict[str, Any]:
    kinds = {kind.name: kind for kind in (SOUND, *BAD, *SIZES)}  # functions do not travel between processes, names do
    return one(how, (kinds[task[0]], task[1]))


# -- tables --------------------------------------------------------------------------------------------------------
def judged(found: Sequence[dict[str, Any]]) -> str:
    """Rolled back, promoted, how long it took and how many requests the challenger answered."""
    rows = []
    for name in dict.fromkeys(f["planted"] for f in found):
        of = [f for f in found if f["planted"] == name]
        out = [f for f in of if f["kind"] == "roll_back"]
        why = ", ".join(f"{check} {n}" for check, n in Counter(f["check"] for f in out).most_common(4))
        where = ", ".join(f"{stage} {n}" for stage, n in Counter(f["stage"] for f in out).most_common())
        hours = np.mean([sum(f["hours"].values()) for f in out]) if out else None
        rows.append(
            [
                name,
                str(len(of)),
                tables.share(f["kind"] == "roll_back" for f in of),
                tables.share(f["kind"] == "promote" for f in of),
                str(sum(f["held"] for f in of)),
                where or "–",
                why or "–",
                "–" if hours is None else f"{hours:.1f}",
                f"{np.mean([f['answered'] for f in of]):.1f}",
            ]
        )
    head = [
        *("challenger", "rollouts", "rolled back", "promoted", "held at some time", "rolled back in", "because of"),
        *("hours to that, mean", "requests it answered, mean"),
    ]
    return tables.table(head, rows)


def stages(found: Sequence[dict[str, Any]]) -> str:
    """Data time that good challengers spend in each stage."""
    of = [f for f in found if f["planted"] == SOUND.name and f["kind"] == "promote"]
    rows = []
    for stage in dict.fromkeys(stage for f in of for stage in f["hours"]):
        hours = np.array([f["hours"].get(stage, 0.0) for f in of])
        rows.append([stage, *(f"{np.quantile(hours, q):.1f}" for q in (0.05, 0.5, 0.95))])
    return tables.table(["stage", "5 %", "median hours", "95 %"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="an installation with history; without it, one is made")
    parser.add_argument("--count", type=int, default=200, help="rollouts of each kind")
    parser.add_argument("--half", choices=("reported", "chosen"), default="reported")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=DOC)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(home=asked.home or Path(scratch))
        if asked.home is None:
            bench_gate.fill(settings)
        rows = bench_gate.year(settings)
    cases = list(planted_releases.cases(rows, half=int(asked.half == "chosen")))
    print(f"{len(cases)} fortnights, {cases[0].name} to {cases[-1].name}, {time.monotonic() - began:.0f} s", flush=True)
    live = measure(cases, (SOUND, *BAD), asked.count, "live", asked.jobs)
    parts = [
        f"### Live traffic, looks every hour, {len(cases)} fortnights\n\n{judged(live)}",
        f"### Hours that good challengers spend in a stage\n\n{stages(live)}",
    ]
    keep(asked.out, parts)
    burst = measure(cases, (SOUND, *BAD), asked.count // 4, "burst", asked.jobs)
    parts.append(f"### 100 requests a second over a past week, looks every two minutes\n\n{judged(burst)}")
    keep(asked.out, parts)
    sizes = measure(cases, SIZES, asked.count // 4, "live", asked.jobs)
    parts.append(f"### How small a fault is found (live)\n\n{judged(sizes)}")
    keep(asked.out, parts)
    print(f"{asked.out}, {time.monotonic() - began:.0f} s")


def keep(path: Path, parts: Sequence[str]) -> None:
    """Put the tables between the marks of the document."""
    kept = path.read_text(encoding="utf-8") if path.exists() else f"{MARK}\n{MARK}\n"
    head, _, tail = kept.split(MARK)
    text = "\n".join(parts)
    write_text(path, f"{head}{MARK}\n\n{text}\n{MARK}{tail}")


if __name__ == "__main__":
    main()
