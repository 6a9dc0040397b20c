"""What a monitor is worth when something breaks: faults planted in weeks of the year, watched day by day.

A fault begins at a day's cut-off and stays for SPAN days. The champion is three days old, so that age asks for nothing.
Four ways to watch are compared on the same days: none; PSI of any feature; labels alone (mean surprise of the week);
the project's verdict. The first two alarms can only train again, on what is there. An incident has the feed mended a
day after it was called (people's part, an assumption); a verdict to retrain trains, as the others do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import scenarios
from bench.replay.fits import Fits, sigmoid
from bench.replay.monitor import Champion, Judge
from bench.replay.year import Array, Year, load
from bench.scenarios import Plant, Rng, Scene
from include import metrics
from include.contracts import CLUSTER, TARGET, VIEWS
from include.files import hash_file, hash_value, read_json, write_json
from include.models.flights_on_time.spec import SPEC
from include.monitoring import feed, verdict
from include.training import boosted

SPAN = 14  # days that a fault stays
OLD = 3  # days of the champion when it begins
REST = 7  # days between two trainings that an alarm asks for
PSI = 0.2  # of any feature
SURPRISE = 0.03  # nats, mean of the week's mature labels
HOURLY = [f.name for v in VIEWS if v.cadence == "hourly" and v.name != "origin_weather" for f in v.features]
WEATHER = [f.name for v in VIEWS if v.name == "origin_weather" for f in v.features]


# -- the faults: those of bench/scenarios.py, and whole groups of features at once ---------------------------------
def _put(names: Sequence[str], value: float) -> Plant:
    def plant(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001 — plants have one shape
        return scenarios.put(what, scenarios.after(what, since), **dict.fromkeys(names, value))

    return plant


def _stuck(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """Every hourly view but the weather repeats what it last said."""
    for view in ("origin_hourly", "carrier_origin_hourly", "dest_hourly", "carrier_hourly"):
        what = scenarios.stale(view)(what, since, rng)
    return what


def _of_others(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """The hourly values of a day belong to other flights of that day."""
    day = pd.factorize(what.rows[CLUSTER])[0]
    chance = rng.random(len(day))
    taken = np.empty(len(day), dtype=int)
    taken[np.argsort(day, kind="stable")] = np.lexsort((chance, day))
    values = {name: what.rows[name].to_numpy()[taken] for name in HOURLY}
    return scenarios.put(what, scenarios.after(what, since), **values)


SOUND = "nothing"
CONCEPT = "labels flipped for 30-60 % of flights"
FAULTS: dict[str, Plant] = {
    SOUND: scenarios.sound,
    "hourly features zero": _put(HOURLY, 0.0),
    "hourly features missing": _put(HOURLY, np.nan),
    "hourly features stuck": _stuck,
    "hourly features of other flights": _of_others,
    "weather missing": _put(WEATHER, np.nan),
    "weather stuck": scenarios.stale("origin_weather"),
    "temperature in °C": scenarios.celsius,
    "distance in km": scenarios.scaled("distance", by=1.609344),
    CONCEPT: scenarios.flipped,
}


def broken(year: Year, name: str, start: int) -> pd.DataFrame:
    """The rows asked about in SPAN days from the cut-off of `start` on, as the fault leaves them. The fault's own
    choices follow from its name and start."""
    begin, end = int(year.bounds[start]), int(year.bounds[start + SPAN])
    rows = year.rows.iloc[year.window(start, 7).start : end]
    rng = np.random.default_rng([start, *name.encode()])
    made = FAULTS[name](Scene(rows, {}), year.times[start], rng)
    return made.rows.iloc[begin - end :]


# -- one fault, once -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """A fault from the cut-off of `start` on: the year's rows up to its end, and the champion of these days."""

    name: str
    start: int
    champion: Champion
    rows: pd.DataFrame  # up to the end of the fault; index as in the year
    p: Array  # the champion's predictions of them
    mended: Array  # the same, had nothing broken
    y: Array


def case(judge: Judge, name: str, start: int) -> Case:
    year = judge.year
    champion = Champion(int(year.known[start - OLD]), start - OLD)
    begin, end = int(year.bounds[start]), int(year.bounds[start + SPAN])
    since = broken(year, name, start)
    p = judge.fits.p(champion.rows, slice(0, end))
    mended = p.copy()
    if name != SOUND:
        x = since[list(judge.spec.features)].to_numpy(np.float32)
        p[begin:] = sigmoid(boosted.margin(judge.fits.model(champion.rows), x))
    rows = pd.concat([year.rows.iloc[:begin], since])
    return Case(name, start, champion, rows, p, mended, rows[TARGET].to_numpy(np.float64))


def seen(judge: Judge, of: Case) -> list[dict[str, Any]]:
    """What each way to watch sees at the cut-offs after the fault began: [{"after": days, "state", "psi", "labels",
    "causes"}]."""
    looks: list[dict[str, Any]] = []
    for day in range(of.start - OLD + 1, of.start + SPAN):
        part = judge.year.window(day, judge.spec.triggers.window_days)
        found, measured = judge.look(of.champion, day, looks, of.rows.iloc[part], of.p[part])
        fired = [f.name for f in found.findings if f.fired]
        looks.append(
            {
                "version": str(of.champion.day),
                "fired": fired,
                "after": day - of.start,
                "state": found.state,
                "causes": [f.name for f in found.causes()],
                "psi": max(d["psi"] or 0.0 for d in measured["drift"]) > PSI,
                "labels": (measured["performance"]["surprise"] or {"value": 0.0})["value"] > SURPRISE,
            }
        )
    return [look for look in looks if look["after"] > 0]


def outcome(judge: Judge, of: Case) -> dict[str, Any]:
    """Days to detection, the action and the mean log loss of the fault's days, by way of watching."""
    looks = seen(judge, of)
    begin = int(judge.year.bounds[of.start])
    losses = metrics.log_loss(of.y[begin:], of.p[begin:])
    told: dict[str, Any] = {"fault": of.name, "start": of.start, "none": {"loss": float(losses.mean())}}
    sound = metrics.log_loss(of.y[begin:], of.mended[begin:])
    truth = judge.year.y[begin : len(of.y)]  # of a concept that did not turn
    told["sound"] = float(metrics.log_loss(truth, of.mended[begin:]).mean())
    for way in ("psi", "labels"):
        told[way] = _trained(judge, of, [look["after"] for look in looks if look[way]], losses)
    first = next((look for look in looks if look["state"] in ("incident", "retrain")), None)
    if first is None:
        told["verdict"] = {"days": None, "action": "none", "causes": [], "loss": float(losses.mean())}
    elif first["state"] == "retrain":
        asked = [look["after"] for look in looks if look["state"] == "retrain"]
        told["verdict"] = {**_trained(judge, of, asked, losses), "action": "retrain", "causes": first["causes"]}
    else:
        mended = losses.copy()
        since = int(judge.year.bounds[of.start + first["after"] + 1]) - begin
        if of.name != CONCEPT:  # there is no feed to mend: a false incident saves nothing
            mended[since:] = sound[since:]
        told["verdict"] = {
            "days": first["after"], "action": "incident", "causes": first["causes"], "loss": float(mended.mean()),
        }  # fmt: skip
    return told


def _trained(judge: Judge, of: Case, alarms: Sequence[int], losses: Array) -> dict[str, Any]:
    """Train at alarms, at most every REST days, on all that is known, broken or not; and go on serving."""
    if not alarms:
        return {"days": None, "action": "none", "loss": float(losses.mean())}
    year, spec, made, last = judge.year, judge.spec, losses.copy(), -REST
    begin = int(year.bounds[of.start])
    for after in alarms:
        if after - last < REST:
            continue
        last, known, since = after, int(year.known[of.start + after]), int(year.bounds[of.start + after])
        if of.name == SOUND:
            p = judge.fits.p(known, slice(since, len(of.y)))
        else:
            x = of.rows[list(spec.features)].to_numpy(np.float32)
            model = boosted.fit(x[:known], of.y[:known], spec.features, judge.fits.params, judge.fits.seed)
            p = sigmoid(boosted.margin(model, x[since:]))
        made[since - begin :] = metrics.log_loss(of.y[since:], p)
    return {"days": alarms[0], "action": "retrain", "loss": float(made.mean())}


# -- all of them ---------------------------------------------------------------------------------------------------
def starts(year: Year, first: str, every: int) -> list[int]:
    """Days at which faults begin, from a date on."""
    return list(range(year.number(first), year.days - SPAN, every))


def measure(judge: Judge, when: Sequence[int], home: Path, jobs: int) -> list[dict[str, Any]]:
    """Every fault at every start, in `jobs` processes. What was measured is kept beside the models, for the same
    limits and code."""
    limits = judge.spec.model_dump(mode="json", include={"triggers", "feed"})
    code = [hash_file(Path(str(module.__file__))) for module in (feed, verdict, scenarios)]
    kept = hash_value([limits, code, judge.fits.params, SPAN, REST, OLD, PSI, SURPRISE])
    folder = judge.fits.folder.parent
    tasks = [
        (name, start, folder / f"fault-{hash_value([kept, name, start])[:16]}.json")
        for name in FAULTS
        for start in when
    ]
    missing = [task for task in tasks if not task[2].exists()]
    if missing:
        with get_context("spawn").Pool(jobs, _open, (home, folder, judge.fits.params, judge.fits.seed)) as pool:
            for name, start, _ in pool.imap_unordered(_one, missing):
                print(f"fault: {name}, {judge.year.times[start].date()}", flush=True)
    return [read_json(path) for _, _, path in tasks]


_OWN: list[Judge] = []  # of a worker process


def _open(home: Path, folder: Path, params: dict[str, Any], seed: int) -> None:
    year = load(home)
    _OWN[:] = [Judge(SPEC, year, Fits(year, folder, params, seed))]


def _one(task: tuple[str, int, Path]) -> tuple[str, int, Path]:
    name, start, path = task
    write_json(path, outcome(_OWN[0], case(_OWN[0], name, start)))
    return task
