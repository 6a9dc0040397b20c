"""How often the monitor errs on planted cases and on stable replays; `make bench-monitor` rewrites docs/monitoring.md's
tables.

Real weeks of the year, models fitted on what was known before them, looks every morning (scenarios.py). March to June
served to choose the limits; what is reported is July to December (--half chosen runs the first). About 10 minutes on
one core, and 3 more where the year has first to be ingested: it is kept in --home.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import bench_gate, planted, scenarios, tables
from bench.scenarios import BLIND, CASES, Case, Champion
from include import lake, metrics
from include.contracts import CLUSTER, ENTITY
from include.files import replacing, write_text
from include.models.flights_on_time.spec import SPEC
from include.monitoring import drift, verdict
from include.settings import Settings

DOC = Path(__file__).parents[1] / "docs" / "monitoring.md"
CACHE = Path(__file__).parents[1] / "var" / "bench"
MARK = "<!-- measured by make bench-monitor -->"
FIRST = {  # days on which champions begin, every fortnight
    "chosen": ("2013-03-01", "2013-06-10"),
    "reported": ("2013-06-28", "2013-12-06"),
}
SEASONS = {
    "chosen": (("2013-03-01", "2013-04-30"), ("2013-05-01", "2013-06-30")),
    "reported": (("2013-07-01", "2013-09-30"), ("2013-10-01", "2013-12-29")),
}
AGE = 3.0  # days, held fixed in stable replays: what the calendar asks for is no false request
_LIVE: list[Champion] = []  # of a worker process


def year(home: Path) -> pd.DataFrame:
    """All labelled flights of the year with their features: home/year.parquet, made if it is not there."""
    file = home / "year.parquet"
    if not file.exists():
        settings = Settings(home=home)
        if not lake.catalog(settings.lake)["as_of"]:
            bench_gate.fill(settings)
        rows = bench_gate.year(settings)
        with replacing(file) as scratch:
            rows.to_parquet(scratch)
    return pd.read_parquet(file).sort_values(["sched_dep", ENTITY], ignore_index=True)


# -- planted cases -------------------------------------------------------------------------------------------------
def champions(rows: pd.DataFrame, half: str) -> list[Champion]:
    """One a fortnight."""
    first, last = FIRST[half]
    days = pd.date_range(first, last, freq="14D")
    return [scenarios.champion(SPEC, rows, str(day.date())) for day in days]


def _take(live: list[Champion]) -> None:
    _LIVE[:] = live


def _one(name: str, seed: int) -> dict[str, Any]:
    case = next(c for c in (*CASES, *BLIND) if c.name == name)
    return scenarios.run(SPEC, _LIVE[seed % len(_LIVE)], case, seed)


def measure(live: list[Champion], cases: Sequence[Case], count: int, jobs: int) -> list[dict[str, Any]]:
    """`count` seeds of each case; a quarter of them of each unit and of what the checks are not made for."""
    began, told = time.monotonic(), []
    with get_context("fork").Pool(jobs, _take, (live,)) as pool:
        for case in cases:
            seeds = range(count if case.kind not in ("unit change", "blind") else max(1, count // 4))
            found = pool.map(partial(_one, case.name), seeds, chunksize=5)
            told += [f | {"kind": case.kind, "wish": case.wish, "looks": case.looks} for f in found]
            right = sum(f["right"] for f in found)
            print(f"{case.name}: {right} of {len(found)}, {time.monotonic() - began:.0f} s", flush=True)
    return told


def table(found: Sequence[dict[str, Any]]) -> str:
    """Verdicts by case, with what they rest on."""
    rows = []
    for name in dict.fromkeys(f["case"] for f in found):
        of = [f for f in found if f["case"] == name]
        states = Counter(f["reached"] for f in of)
        causes = Counter(cause for f in of for cause in f["causes"])
        looks = [f["look"] for f in of if f["right"] and f["look"]]
        rows.append(
            [
                name,
                of[0]["wish"],
                str(of[0]["looks"]),
                str(len(of)),
                tables.share(f["right"] for f in of),
                ", ".join(f"{state} {n}" for state, n in states.most_common() if state != of[0]["wish"]) or "–",
                ", ".join(f"{cause} {n}" for cause, n in causes.most_common(4)) or "–",
                f"{np.mean(looks):.1f}" if looks else "–",
            ]
        )
    head = ["case", "wished", "looks", "seeds", "as wished", "else", "findings it rested on", "looks to it, mean"]
    return tables.table(head, rows)


# -- a stable replay -----------------------------------------------------------------------------------------------
def replay(rows: pd.DataFrame, season: tuple[str, str], seed: int, days: int = 90) -> dict[str, Any]:
    """Days drawn with replacement from half of a season; the model knows the other half. Every morning a look.

    A request is one that the governor would let through: the verdict is retrain, and none was asked for within the
    cooldown. Counts those of surprise and score; the age is held fixed.
    """
    rng = np.random.default_rng([seed, *season[0].encode()])
    dates = rows[CLUSTER].astype(str)
    every = rng.permutation(np.unique(dates[dates.between(*season)]))
    known, new = np.sort(every[: len(every) // 2]), np.sort(every[len(every) // 2 :])
    model = planted.fit(rows[dates.isin(known).to_numpy()], list(SPEC.features), seed)
    of = {day: rows[(dates == day).to_numpy()] for day in new}
    p = {day: planted.predict(model, part) for day, part in of.items()}
    y = {day: part[SPEC.target].to_numpy() for day, part in of.items()}
    reference = planted.predict(model, rows[dates.isin(known).to_numpy()])[::5]
    drawn = rng.choice(new, days)
    asked: list[int] = []
    before: list[dict[str, Any]] = []
    states: Counter[str] = Counter()
    width = SPEC.triggers.window_days
    for look in range(width, days + 1):
        window = list(drawn[look - width : look])
        seen = verdict.judge(SPEC, _stable(reference, [p[d] for d in window], [y[d] for d in window]), before)
        before.append({"version": 1, "fired": [f.name for f in seen.findings if f.fired]})
        states[seen.state] += 1
        if seen.state == "retrain" and (not asked or look - asked[-1] >= SPEC.governor.cooldown_days):
            asked.append(look)
    return {"season": season[0], "seed": seed, "requests": len(asked), "states": dict(states)}


def _stable(reference: Any, p: list[Any], y: list[Any]) -> dict[str, Any]:
    days = np.repeat(np.arange(len(p)), [len(part) for part in p])  # a day drawn twice is two days
    score, label = np.concatenate(p), np.concatenate(y)
    surprise = metrics.by_day(metrics.surprise(label, score), days).model_dump()
    told = {"rows": len(score), "labelled": len(score), "coverage": 1.0, "surprise": surprise}
    return {
        "version": 1, "age_days": AGE, "performance": told, "feed": None, "drift": [],
        "score_psi": drift.psi(reference, score),
    }  # fmt: skip


def stable(found: Sequence[dict[str, Any]]) -> str:
    """Requests in 90 days."""
    rows = []
    for season in [*dict.fromkeys(f["season"] for f in found), None]:
        of = [f["requests"] for f in found if season in (None, f["season"])]
        counts = Counter(of)
        spread = ", ".join(f"{n}: {counts[n]}" for n in sorted(counts))
        rows.append([f"from {season}" if season else "all", str(len(of)), f"{np.mean(of):.2f}", str(max(of)), spread])
    return tables.table(["season", "replays of 90 days", "requests, mean", "most", "requests: replays"], rows)


# -- all of it -----------------------------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=CACHE, help="where the year's frame is, or is to be kept")
    parser.add_argument("--count", type=int, default=100, help="seeds of each case")
    parser.add_argument("--replays", type=int, default=20, help="stable replays of each season")
    parser.add_argument("--half", choices=("reported", "chosen"), default="reported")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=DOC)
    asked = parser.parse_args()
    began = time.monotonic()
    rows = year(asked.home)
    calm = [replay(rows, season, seed) for season in SEASONS[asked.half] for seed in range(asked.replays)]
    print(
        f"{len(calm)} replays, {np.mean([c['requests'] for c in calm]):.2f} requests, {time.monotonic() - began:.0f} s"
    )
    live = champions(rows, asked.half)
    print(f"{len(live)} champions, {live[0].name} to {live[-1].name}, {time.monotonic() - began:.0f} s", flush=True)
    found = measure(live, CASES, asked.count, asked.jobs)
    blind = measure(live, BLIND, asked.count, asked.jobs)
    keep(
        asked.out,
        [
            f"### Planted cases, {len(live)} champions from {live[0].name}\n\n{table(found)}",
            f"### What the feed's checks are not made for\n\n{table(blind)}",
            f"### Requests to retrain on a stable replay\n\n{stable(calm)}",
        ],
    )
    for f in [*found, *blind]:
        if not f["right"]:
            where = f"{f['case']} #{f['seed']} of {f['champion']} from {f['since']} ({f['note'][:40]})"
            print(f"{where}: {f['states']} {f['reason']}")
    print(f"{asked.out}, {time.monotonic() - began:.0f} s")


def keep(path: Path, parts: Sequence[str]) -> None:
    """Put the tables between the marks of the document."""
    kept = path.read_text(encoding="utf-8") if path.exists() else f"{MARK}\n{MARK}\n"
    head, _, tail = kept.split(MARK)
    text = "\n".join(parts)
    write_text(path, f"{head}{MARK}\n\n{text}\n{MARK}{tail}")


if __name__ == "__main__":
    main()
