"""How often the gate errs on planted cases over a year; `make bench-gate` rewrites the tables of docs/gate.md.

Frames come from the project's own steps: from an installation (--home var) or from one made for the purpose, with the
whole year. Every model is trained on all days before its holdout of 7 days; the champion of a cut-off is the good
model of the one before. About 10 minutes on one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import planted, tables, windows
from include import lake, metrics
from include.contracts import CLUSTER, ENTITY, TARGET, VIEWS
from include.evaluation import evidence, gate
from include.features import frame, snapshot
from include.files import write_text
from include.loop import ingest
from include.loop.run import Run
from include.models.flights_on_time.spec import SPEC
from include.monitoring import evidence as watched
from include.monitoring import feed
from include.monitoring import verdict as monitor
from include.settings import Settings
from include.times import iso, parse

DOC = Path(__file__).parents[1] / "docs" / "gate.md"
MARK = "<!-- measured by make bench-gate -->"
FIRST_DAYS = 58  # of history before the first holdout
END = "2013-12-30T00:00:00+00:00"
SPAN = timedelta(days=60)  # of one frame: memory stays bounded
OTHER = "another configuration"
HOURLY = [
    name
    for view in VIEWS
    if view.cadence == "hourly" and view.name != "origin_weather"
    for name in (f.name for f in view.features)
]
WEATHER = [f.name for view in VIEWS if view.name == "origin_weather" for f in view.features]


# -- data ----------------------------------------------------------------------------------------------------------
def fill(settings: Settings) -> None:
    """Ingest the year through the steps of the `ingest` DAG."""
    for number, (start, end) in enumerate(_spans(settings.history_start.isoformat(), END)):
        run = Run(
            settings, f"ingest/{number}", settings.reports / str(number) / "index.html", {"start": start, "end": end}
        )
        interval = ingest.plan(run)
        landed = ingest.land(run, interval)
        written = ingest.facts(run, interval, landed, ingest.validate(run, interval, landed))
        ingest.publish(run, interval, landed, written, ingest.features(run, interval, written))


def year(settings: Settings) -> pd.DataFrame:
    """All labelled flights of an installation with their features, in order."""
    versions = frame.take_versions(settings)
    as_of = lake.catalog(settings.lake)["as_of"] or END
    first = frame.begins(settings, SPEC, versions, as_of)
    parts = []
    for start, end in _spans(iso(first), as_of):
        taken = snapshot.take(settings, versions, parse(start), parse(end))
        # a span ends early by the label's maturity, and the next begins there
        begin = start if start == iso(first) else iso(parse(start) - SPEC.label_maturity - SPEC.horizon)
        parts.append(frame.load(frame.build(settings, SPEC, versions, taken, end, begin)))
    return pd.concat(parts).drop_duplicates(ENTITY).sort_values(["sched_dep", ENTITY], ignore_index=True)


def _spans(start: str, end: str) -> Iterator[tuple[str, str]]:
    first, last = parse(start), parse(end)
    while first < last:
        yield iso(first), iso(min(first + SPAN, last))
        first += SPAN


# -- one cut-off ---------------------------------------------------------------------------------------------------
Judged = dict[str, Any]  # {"case", "rule", "accepted", "failed": names of checks, "difference": estimate or None}


def cut_off(train: pd.DataFrame, held: pd.DataFrame, champion: Any, seed: int) -> tuple[list[Judged], Any]:
    """Every case on one holdout; returns the verdicts and the good model, which is the next champion."""
    features = list(SPEC.features)
    good = planted.fit(train, features, seed)
    late = planted.shifted(pd.concat([train, held]), -1)
    ours = planted.predict(good, held)
    p = {
        "newer data": ours,
        "shuffled labels": planted.predict(planted.fit(planted.shuffled(train, seed), features, seed), held),
        "half of recent positives lost": planted.predict(
            planted.fit(planted.mislabelled(train, seed), features, seed), held
        ),
        "hourly features an hour late": planted.predict(
            planted.fit(late.iloc[: len(train)], features, seed), late.iloc[len(train) :]
        ),
        "trained an hour ahead (leak)": planted.predict(planted.fit(planted.shifted(train), features, seed), held),
    }
    naive = evidence.baseline(train, held)
    last = train[CLUSTER].max()
    before = {"p": planted.predict(champion, held), "version": "before", "trained_until": last}
    told = []
    for case, scores in p.items():
        told.append(_judge(case, "first", held, scores, None, naive, last))
        told.append(_judge(case, "refresh", held, scores, before, naive, last))
    twin = planted.predict(planted.fit(train, features, seed + 1000), held)
    same = {"p": ours, "version": "same data", "trained_until": last}
    told += [_judge("same data, other seed", rule, held, twin, same, naive, last) for rule in ("refresh", "changed")]
    poor = planted.predict(planted.fit(train, planted.without_hourly(features), seed), held)
    less = {"p": poor, "version": "without hourly features", "trained_until": last}
    told.append(_judge("really better", "changed", held, ours, less, naive, last))
    return told, good


def _judge(
    case: str, rule: str, held: pd.DataFrame, p: Any, champion: dict[str, Any] | None, naive: Any, last: str
) -> Judged:
    own = SPEC.configuration_hash()
    if champion is not None:
        champion = {**champion, "configuration_hash": own if rule == "refresh" else OTHER}
    found = evidence.collect(SPEC, held, p, champion, naive, own, 1.0, 1.0, trained_until=last)
    verdict = gate.decide(SPEC.gate, found)
    return {
        "case": case,
        "rule": rule,
        "accepted": verdict.accepted,
        "failed": [check.name for check in verdict.failed],
        "difference": found["difference"],
        **_others(held, p, champion),
    }


def _others(held: pd.DataFrame, p: Any, champion: dict[str, Any] | None) -> dict[str, bool]:
    """What simpler gates would have said."""
    if champion is None:
        return {}
    y, days, other = held[TARGET].to_numpy(), held[CLUSTER].to_numpy(), champion["p"]
    rows = np.arange(len(y))  # every flight a day of its own: as if flights were independent
    found = {level: metrics.compare(y, p, other, days, level) for level in (0.90, 0.95, 0.99)}
    margin = SPEC.gate.margin
    return {
        "AUC is higher": (metrics.auc(y, p) or 0) > (metrics.auc(y, other) or 0),
        "log loss is lower": found[0.95].value < 0,
        "superior, flights taken as independent": _high(metrics.compare(y, p, other, rows)) < 0,
        **{f"superior at {level:.0%}": _high(found[level]) < 0 for level in found},
        **{f"non-inferior at {level:.0%}": _high(found[level]) <= margin for level in found},
        "not significantly worse": (found[0.95].low or 0) <= 0,
    }


def _high(found: metrics.Estimate) -> float:
    return float("inf") if found.high is None else found.high


# -- the monitor on the same weeks ---------------------------------------------------------------------------------
def faults(held: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """A sound week and the same week with a broken feed."""
    order = np.random.default_rng(seed).permutation(len(held))
    return {
        "sound": held,
        "hourly features zero": held.assign(**{name: np.float32(0) for name in HOURLY}),
        "hourly features missing": held.assign(**{name: np.float32(np.nan) for name in HOURLY}),
        "hourly features stuck": held.assign(**{name: held[name].iloc[len(held) // 2] for name in HOURLY}),
        "hourly features of other flights": held.assign(**{name: held[name].to_numpy()[order] for name in HOURLY}),
        "weather missing": held.assign(**{name: np.float32(np.nan) for name in WEATHER}),
        "labels missing": held.assign(**{TARGET: held[TARGET].where(held.index % 5 == 0).astype("Int64")}),
    }


def watch(train: pd.DataFrame, held: pd.DataFrame, champion: Any, seed: int) -> list[dict[str, Any]]:
    """The monitor's verdict on each; the champion is taken to be 7 days old, so that age does not decide."""
    reference = train[train[CLUSTER].isin(np.sort(train[CLUSTER].unique())[-60:])]
    before, profile = planted.predict(champion, reference), feed.profile(SPEC, reference)
    as_of = iso((held["sched_dep"].max() + SPEC.label_maturity).to_pydatetime())
    told = []
    for case, rows in faults(held, seed).items():
        window, summary = windows.of_frame(SPEC, rows, planted.predict(champion, rows), 1, as_of)
        found = watched.collect(
            SPEC, window, window["probability"].to_numpy(), reference, before, summary, version="1",
            trained_as_of=iso(parse(as_of) - timedelta(days=7)), as_of=as_of, profile=profile,
        )  # fmt: skip
        # the same at every look before: what fires persists
        names = [f.name for f in monitor.judge(SPEC, found).findings if f.fired]
        state = monitor.judge(SPEC, found, [{"version": 1, "fired": names}] * SPEC.triggers.persist[1]).state
        moved = sum(d["psi"] is not None and d["psi"] > SPEC.triggers.score_psi for d in found["drift"])
        told.append({"case": case, "state": state, "moved": moved})
    return told


# -- all of it -----------------------------------------------------------------------------------------------------
def measure(rows: pd.DataFrame, every: int) -> tuple[list[Judged], list[dict[str, Any]], int]:
    """All cases at a cut-off every so many days."""
    days = np.sort(rows[CLUSTER].unique())
    judged: list[Judged] = []
    seen: list[dict[str, Any]] = []
    champion, count = None, 0
    for number, at in enumerate(range(FIRST_DAYS - every, len(days) - 7, every)):
        train, held = rows[rows[CLUSTER] < days[at]], rows[rows[CLUSTER].isin(days[at : at + 7])]
        if champion is None:
            champion = planted.fit(train, list(SPEC.features), number)
            continue
        seen += watch(train, held, champion, number)
        told, champion = cut_off(train, held, champion, number)
        judged += told
        count += 1
        print(
            f"{days[at]}: {len(train):,} rows, {sum(t['accepted'] for t in told)} of {len(told)} accepted", flush=True
        )
    return judged, seen, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="an installation with history; without it, one is made")
    parser.add_argument("--every", type=int, default=14, help="days between cut-offs")
    parser.add_argument("--out", type=Path, default=DOC)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(home=asked.home or Path(scratch))
        if asked.home is None:
            fill(settings)
        rows = year(settings)
    print(
        f"{len(rows):,} flights from {rows[CLUSTER].min()} to {rows[CLUSTER].max()}, {time.monotonic() - began:.0f} s"
    )
    judged, seen, count = measure(rows, asked.every)
    text = tables.gate(judged, count) + "\n" + tables.monitor(seen)
    kept = asked.out.read_text(encoding="utf-8") if asked.out.exists() else f"{MARK}\n{MARK}\n"
    head, _, tail = kept.split(MARK)
    write_text(asked.out, f"{head}{MARK}\n\n{text}\n{MARK}{tail}")
    print(f"{asked.out}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
