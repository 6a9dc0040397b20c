"""Does retraining pay, and when? Replays March to December under policies; `make bench-replay` rewrites the tables and
the picture of docs/retraining.md.

The year is taken in once (--home, default var/bench/year), models are fitted once a cut-off (--cache). From nothing
some 40 minutes on two cores, then a few.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import tables
from bench.replay import adapt, faults, monitor, policies, report, scores, year
from bench.replay.fits import Fits, prepare, sigmoid
from bench.replay.monitor import Judge, Outcome
from bench.replay.report import Period, Policy
from bench.replay.scores import Measured
from bench.replay.signals import Signals
from bench.replay.year import Array, Year
from include import metrics
from include.files import write_text
from include.models.flights_on_time.spec import SPEC

ROOT = Path(__file__).parents[1]
DOC = ROOT / "docs" / "retraining.md"
PICTURE = ROOT / "docs" / "img" / "replay.svg"
MARKS = {
    part: f"<!-- measured by make bench-replay: {part} -->" for part in ("policies", "differences", "looks", "faults")
}

BUDGET = 15  # 5 % of daily's trainings
PHASES = [(k + 0.5) / 10 for k in range(10)]
FEW_PHASES = PHASES[2::5]  # where a phase costs many models
SEEDS = range(20)
LUCK_PHASES, LUCK_SEEDS = 40, 300
RECALIBRATION = [(days, pull) for days in (7, 14, 28) for pull in (1e3, 3e3, 1e4, 3e4)]
AVERAGES = (2, 3, 5)
TWINS = 3  # seeds
HALF_LIVES = (60.0, 180.0)  # days
CONTINUATIONS = ((28, 20, 0.03), (28, 10, 0.03))  # days, trees, rate
SURPRISES, AGES = (0.02, 0.03, 0.05), (14, 21, 28)

ALONE_NAME = "the project's trigger alone"
ALONE = "Trained on all that is known, no gate"
EQUAL = f"The same number of trainings ({BUDGET})"
CALENDAR_GATED, CALENDAR_WITHHELD = (
    f"{name}, {len(FEW_PHASES)} phases" for name in ("calendar and gate", "calendar, no gate")
)
REFITTED = "trigger and gate, refitted when passed"
LOOP = "As the project trains: seven days withheld, and the gate"
CHEAP = f"Adapted between trainings (calendar of {BUDGET}; settings chosen on March–June)"


class Bench:
    """The year, its models, and the policies measured so far."""

    def __init__(self, home: Path, cache: Path, jobs: int):
        self.home, self.jobs = home, jobs
        self.year: Year = year.load(home)
        self.fits = Fits(self.year, cache)
        self.judge, self.signals = Judge(SPEC, self.year, self.fits), Signals(SPEC, self.year, self.fits)
        self.found: list[Policy] = []
        bounds = self.year.bounds
        self.part = slice(int(bounds[0]), int(bounds[-1]))
        self.y, self.flights = self.year.y[self.part], np.diff(bounds)
        self.cut = self.year.number(year.REPORTED)
        whole = slice(0, self.year.days)
        self.whole = Period(self.flights, self.year.week, whole)
        self.chosen, self.reported = (replace(self.whole, days=d) for d in (slice(0, self.cut), slice(self.cut, None)))

    def prepare(self, models: Iterable[int]) -> int:
        """Fit what is missing of these, all jobs at once."""
        return prepare(self.fits, self.home, models, self.jobs)

    # -- measuring -------------------------------------------------------------------------------------------------
    def losses(self, margin: Array) -> Array:
        """Sums of log loss by day."""
        return scores.daily(metrics.log_loss(self.y, sigmoid(margin)), self.year.bounds)

    def choosing(self, margin: Array) -> float:
        """Log loss of March to June."""
        return float(self.losses(margin)[: self.cut].sum() / self.flights[: self.cut].sum())

    def add(
        self, name: str, group: str, margins: Iterable[Array], trainings: float, promotions: float | None = None
    ) -> Policy:
        """Measure a policy, with one array of log odds for each of its phases or seeds."""
        losses, whole, reported = [], [], []
        for margin in margins:
            losses.append(self.losses(margin))
            whole.append(self._measured(margin, 0))
            reported.append(self._measured(margin, self.cut))
        spread = None
        if len(losses) > 1:
            spread = tuple((min(m.log_loss for m in of), max(m.log_loss for m in of)) for of in (whole, reported))
        made = Policy(
            name, group, trainings, promotions, np.mean(losses, axis=0), _mean(whole), _mean(reported), spread
        )
        self.found.append(made)
        print(f"{name}: {trainings:g} trainings, {made.whole.log_loss:.4f}, {made.reported.log_loss:.4f}", flush=True)
        return made

    def _measured(self, margin: Array, first: int) -> Measured:
        begin = int(self.year.bounds[first] - self.part.start)
        rows = self.year.rows.iloc[self.part].iloc[begin:]
        week = np.repeat(self.year.week, self.flights)[begin:]
        p = sigmoid(margin[begin:])
        return scores.measure(rows, self.y[begin:], p, week, SPEC.gate.slices, SPEC.gate.min_slice_rows)

    def served(self, schedule: Sequence[int]) -> Array:
        """Log odds of a schedule of models that learnt from all that was known."""
        return adapt.served(self.fits, self._sizes(schedule))

    def _sizes(self, schedule: Sequence[int]) -> list[int]:
        where = policies.serving(schedule, self.year.days)
        return [int(self.year.known[schedule[i]]) for i in where]


def _mean(of: Sequence[Measured]) -> Measured:
    names = ("log_loss", "brier", "auc", "weekly_auc", "worst_week", "worst_week_auc", "bias")
    worst = max(of, key=lambda m: m.worst_slice_surprise)
    means = {name: float(np.mean([getattr(m, name) for m in of])) for name in names}
    return Measured(**means, worst_slice=worst.worst_slice, worst_slice_surprise=worst.worst_slice_surprise)


# -- policies ------------------------------------------------------------------------------------------------------
def calendars(bench: Bench) -> None:
    days = bench.year.days
    bench.add("never", ALONE, [bench.served(policies.never())], 1)
    for step, name in ((28, "every 28 days"), (14, "every 14 days"), (7, "every 7 days"), (1, "daily")):
        schedule = policies.every(step, days)
        bench.add(name, ALONE, [bench.served(schedule)], len(schedule))


def simple(bench: Bench) -> None:
    """One number, one limit, a week's rest."""
    s, rest, limits = bench.signals, int(SPEC.governor.cooldown_days), SPEC.triggers
    known = bench.year.known
    cases: dict[str, Callable[[int, int], bool]] = {
        "PSI of any feature > 0.2": lambda day, last: s.any_psi(int(known[last]), day) > 0.2,
        f"PSI of the score > {limits.score_psi:g}": lambda day, last: (
            s.score_psi(int(known[last]), day) > limits.score_psi
        ),
        f"surprise > {limits.max_surprise:g}": lambda day, last: (
            s.surprise(int(known[last]), day)[0] > limits.max_surprise
        ),
    }
    for name, fires in cases.items():
        schedule = policies.triggered(fires, bench.year.days, rest, 1_000, 30)
        bench.add(name, ALONE, [bench.served(schedule)], len(schedule))


def tuned(bench: Bench) -> Policy:
    """Surprise (surely above zero) or age: limits chosen on March to June, within the budget's pace."""
    known, best = bench.year.known, []
    pace = BUDGET * bench.cut / bench.year.days
    for limit in SURPRISES:
        for age in AGES:

            def fires(day: int, last: int, limit: float = limit, age: int = age) -> bool:
                value, low = bench.signals.surprise(int(known[last]), day)
                return day - last >= age or (value > limit and low > 0)

            schedule = policies.triggered(fires, bench.year.days, 7, 1_000, 30)
            if sum(d < bench.cut for d in schedule) <= pace + 1:
                best.append((bench.choosing(bench.served(schedule)), limit, age, schedule))
    _, limit, age, schedule = min(best)
    name = f"surprise > {limit:g} or {age} days old (chosen on March–June)"
    return bench.add(name, ALONE, [bench.served(schedule)], len(schedule))


def equal(bench: Bench) -> None:
    days = bench.year.days
    bench.add("calendar, 10 phases", EQUAL, [bench.served(policies.spread(BUDGET, days, f)) for f in PHASES], BUDGET)
    bench.add("random, 20 seeds", EQUAL, [bench.served(policies.random(BUDGET, days, s)) for s in SEEDS], BUDGET)


def loop(bench: Bench) -> tuple[Outcome, Outcome]:
    """The project's trigger, with and without its gate, and the calendar of as many trainings under the same rules."""
    judge, days = bench.judge, bench.year.days
    alone = monitor.kept(judge, "trigger", monitor.asked(judge), gated=False, withheld=False)
    many = len(alone.trainings)
    bench.add(ALONE_NAME, ALONE, [adapt.served(bench.fits, alone.models)], many)
    margins = [bench.served(policies.spread(many, days, f)) for f in PHASES]
    bench.add(f"calendar of as many ({many})", ALONE, margins, many)
    gated = monitor.kept(judge, "trigger", monitor.asked(judge), gated=True, withheld=True)
    count = len(gated.trainings)
    bench.add("trigger and gate", LOOP, [adapt.served(bench.fits, gated.models)], count, len(gated.promotions))
    bench.add(REFITTED, LOOP, [bench.served(gated.promotions)], count, len(gated.promotions))
    schedules = [policies.spread(count, days, f) for f in FEW_PHASES]
    bench.prepare(bench.year.withheld(d) for s in (*schedules, policies.every(7, days)) for d in s)
    for name, gate in ((CALENDAR_GATED, True), (CALENDAR_WITHHELD, False)):
        made = [monitor.kept(judge, f"on {s}", monitor.on(s), gate, withheld=True) for s in schedules]
        promoted = float(np.mean([len(o.promotions) for o in made]))
        bench.add(name, LOOP, [adapt.served(bench.fits, o.models) for o in made], count, promoted)
    weekly = monitor.kept(judge, "weekly", monitor.on(policies.every(7, days)), gated=True, withheld=True)
    of = len(weekly.trainings), len(weekly.promotions)
    bench.add("weekly and gate", LOOP, [adapt.served(bench.fits, weekly.models)], *of)
    return alone, gated


def cheap(bench: Bench) -> None:
    """Adaptation between the trainings of a calendar; each way's settings are chosen on March to June."""
    of, fits = bench.year, bench.fits
    bases = [policies.spread(BUDGET, of.days, f) for f in FEW_PHASES]
    margins = [bench.served(base) for base in bases]
    bench.add(f"calendar of {BUDGET}, {len(bases)} phases, as it is", CHEAP, margins, BUDGET)

    def best(ways: Mapping[Any, Callable[[Sequence[int], Array], Array]]) -> tuple[Any, list[Array]]:
        made = {asked: [way(*pair) for pair in zip(bases, margins, strict=True)] for asked, way in ways.items()}
        chosen = min(made, key=lambda asked: np.mean([bench.choosing(m) for m in made[asked]]))
        return chosen, made[chosen]

    def bend(form: Any, days: int, pull: float, _: Sequence[int], margin: Array) -> Array:
        return adapt.recalibrated(margin, bench.y, of.bounds, of.known, form, days, pull)

    def mean(count: int, base: Sequence[int], _: Array) -> Array:
        return adapt.averaged([fits], base, of.known, count)

    def weigh(half: float, base: Sequence[int], _: Array) -> Array:
        return adapt.weighted(fits, base, half)

    def grow(days: int, trees: int, rate: float, base: Sequence[int], _: Array) -> Array:
        return adapt.continued(fits, base, days, trees, rate)

    for form, title in (("offset", "an offset"), ("platt", "offset and slope")):
        (days, pull), made = best({asked: partial(bend, form, *asked) for asked in RECALIBRATION})
        bench.add(f"{title} every day (last {days} days, pull {pull:g})", CHEAP, made, BUDGET)
    count, made = best({n: partial(mean, n) for n in AVERAGES})
    bench.add(f"mean of the last {count} models", CHEAP, made, BUDGET)
    seeds = [fits, *(Fits(of, fits.folder.parent, seed=fits.seed + k) for k in range(1, TWINS))]
    for twin in seeds[1:]:
        prepare(twin, bench.home, (of.known[d] for base in bases for d in base), bench.jobs)
    twins = [adapt.averaged(seeds, base, of.known, 1) for base in bases]
    bench.add(f"mean of {TWINS} seeds at each training", CHEAP, twins, BUDGET)
    half, made = best({h: partial(weigh, h) for h in HALF_LIVES})
    bench.add(f"rows weigh half after {half:g} days", CHEAP, made, BUDGET)
    (last, trees, rate), made = best({c: partial(grow, *c) for c in CONTINUATIONS})
    bench.add(f"{trees} trees more every day (last {last} days, rate {rate:g})", CHEAP, made, BUDGET)


# -- luck with dates -----------------------------------------------------------------------------------------------
def luck(bench: Bench) -> str:
    """How the trigger's log loss ranks among calendars and random schedules of as many trainings."""
    of = next(p for p in bench.found if p.name == ALONE_NAME)
    many, days, first = int(of.trainings), bench.year.days, bench.cut
    drawn = {
        f"calendars, {LUCK_PHASES} phases": [
            policies.spread(many, days, (k + 0.5) / LUCK_PHASES) for k in range(LUCK_PHASES)
        ],
        f"random, {LUCK_SEEDS} seeds": [policies.random(many, days, seed) for seed in range(LUCK_SEEDS)],
    }
    rows = []
    for name, schedules in drawn.items():
        sums = np.array([bench.losses(bench.served(s)) for s in schedules])
        row = [f"{name}, {many} trainings"]
        for part in (slice(first, None), slice(0, None)):
            means = sums[:, part].sum(axis=1) / bench.flights[part].sum()
            own = of.losses[part].sum() / bench.flights[part].sum()
            low, middle, high = np.quantile(means, (0.05, 0.5, 0.95))
            row += [f"{middle:.4f} ({low:.4f}–{high:.4f})", f"{(means < own).mean():.0%}".replace("%", " %")]
        rows.append(row)
    head = ["schedules", "Jul–Dec: median (5–95 %)", "better than the trigger", "Mar–Dec", "better than the trigger"]
    return tables.table(head, rows)


# -- all of it -----------------------------------------------------------------------------------------------------
def differences(bench: Bench) -> str:
    by_name = {p.name: p for p in bench.found}
    count = next(p.name for p in bench.found if p.name.startswith("calendar of as many"))
    first = next(p.name for p in bench.found if p.group == CHEAP)
    told = [
        ("never", "daily"), ("every 28 days", "daily"), ("every 14 days", "daily"), ("every 7 days", "daily"),
        ("calendar, 10 phases", "daily"), ("random, 20 seeds", "calendar, 10 phases"),
        (ALONE_NAME, count), (ALONE_NAME, "daily"),
        (next(p.name for p in bench.found if "chosen on March" in p.name), "calendar, 10 phases"),
        ("trigger and gate", CALENDAR_GATED), ("trigger and gate", CALENDAR_WITHHELD),
        (CALENDAR_GATED, CALENDAR_WITHHELD),
        (CALENDAR_WITHHELD, count), ("trigger and gate", "daily"), (REFITTED, "trigger and gate"),
        ("trigger and gate", ALONE_NAME), ("trigger and gate", "weekly and gate"),
        *((p.name, first) for p in bench.found if p.group == CHEAP and p.name != first),
    ]  # fmt: skip
    rows = []
    for one, other in told:
        a, b = by_name[one], by_name[other]
        rows.append((f"{one} − {other}", bench.reported.difference(a, b), bench.whole.difference(a, b)))
    return report.pairs(rows)


def keep(path: Path, parts: dict[str, str]) -> None:
    """Put the tables between the document's marks."""
    text = path.read_text(encoding="utf-8") if path.exists() else "\n\n".join(f"{m}\n{m}" for m in MARKS.values())
    for part, table in parts.items():
        head, _, tail = text.split(MARKS[part])
        text = f"{head}{MARKS[part]}\n\n{table}\n{MARKS[part]}{tail}"
    write_text(path, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / "var" / "bench" / "year", help="made when it is not there")
    parser.add_argument("--cache", type=Path, default=ROOT / "var" / "bench" / "replay", help="of models and results")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=DOC)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--every", type=int, default=42, help="days between the beginnings of planted faults")
    asked = parser.parse_args()
    began = time.monotonic()
    bench = Bench(asked.home, asked.cache, asked.jobs)
    fitted = bench.prepare(bench.year.known)
    print(f"{len(bench.year.rows):,} flights, {fitted} models fitted, {time.monotonic() - began:.0f} s", flush=True)
    calendars(bench)
    simple(bench)
    tuned(bench)
    equal(bench)
    _, gated = loop(bench)
    cheap(bench)
    by_name = {p.name: p for p in bench.found}
    never, daily = by_name["never"], by_name["daily"]
    made = {
        "policies": report.policies(bench.found, bench.reported, never, daily),
        "differences": f"{differences(bench)}\n{luck(bench)}",
        "looks": report.looks(gated.looks, [str(t.date()) for t in bench.year.times], bench.cut),
    }
    keep(asked.out, made)
    title = "Log loss above daily training's in thousandths of a nat, July to December, with 95 % intervals"
    write_text(asked.picture, report.picture(title, bench.found, bench.reported, daily))
    print(f"{asked.out}, {time.monotonic() - began:.0f} s", flush=True)
    when = faults.starts(bench.year, "2013-07-08", asked.every)
    keep(asked.out, {"faults": report.broken(faults.measure(bench.judge, when, asked.home, asked.jobs))})
    print(f"{asked.out}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
