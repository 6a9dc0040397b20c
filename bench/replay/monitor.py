"""The project's own judgement, day by day: evidence -> verdict -> governor -> training -> gate, without Airflow.

Everything that decides is the library's. What is left out of the loop: tuning (parameters are fixed), the release (a
model serves from its cut-off on, as it does in the policies that it is compared with) and the service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import windows
from bench.replay.fits import Fits
from bench.replay.year import Array, Year
from include.contracts import CLUSTER
from include.evaluation import evidence as evaluation
from include.evaluation import gate
from include.files import hash_file, hash_value, read_json, write_json
from include.models.spec import ModelSpec
from include.monitoring import evidence, feed, governor, verdict
from include.times import iso

_REFERENCE = 20_000  # rows of the training, evenly spread, for distributions; the feed's profile is of all


@dataclass(frozen=True)
class Champion:
    """A model in service: the rows that it learnt from, and the day of its cut-off."""

    rows: int
    day: int


@dataclass
class Outcome:
    """What a policy did. `models`: the model [days] that serves each day. `looks`: verdicts by day, where it looked."""

    models: list[int] = field(default_factory=list)
    trainings: list[int] = field(default_factory=list)
    promotions: list[int] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)


class Judge:
    """The monitor and the gate of one spec over one year of models."""

    def __init__(self, spec: ModelSpec, year: Year, fits: Fits):
        self.spec, self.year, self.fits = spec, year, fits
        self.profile = lru_cache(maxsize=4)(self._profile)
        self.passes = lru_cache(maxsize=None)(self._passes)

    # -- the monitor -----------------------------------------------------------------------------------------------
    def look(
        self,
        champion: Champion,
        day: int,
        before: Sequence[Mapping[str, Any]],
        rows: pd.DataFrame | None = None,
        p: Array | None = None,
    ) -> tuple[verdict.Verdict, dict[str, Any]]:
        """The verdict at the cut-off of a day on the week before it, and the evidence that it rests on. `rows` and
        `p` take the place of the year's own where a fault was planted."""
        spec, year = self.spec, self.year
        part = year.window(day, spec.triggers.window_days)
        rows = year.rows.iloc[part] if rows is None else rows
        p = self.fits.p(champion.rows, part) if p is None else p
        profile, reference, reference_p, until = self.profile(champion.rows)
        as_of = iso(year.times[day].to_pydatetime())
        window, counts = windows.of_frame(spec, rows, p, champion.day, as_of)
        found = evidence.collect(
            spec, window, window["probability"].to_numpy(), reference, reference_p, counts, version=str(champion.day),
            trained_as_of=iso(year.times[champion.day].to_pydatetime()), as_of=as_of, unseen_after=until,
            profile=profile,
        )  # fmt: skip
        return verdict.judge(spec, found, before), found

    def _profile(self, rows: int) -> tuple[feed.Profile, pd.DataFrame, Array, str]:
        trained = self.year.rows.iloc[:rows]
        some = np.linspace(0, rows - 1, min(_REFERENCE, rows)).astype(int)
        until = str(trained[CLUSTER].iloc[-1])
        return feed.profile(self.spec, trained), trained.iloc[some], self.fits.p(rows, some), until

    # -- the gate --------------------------------------------------------------------------------------------------
    def _passes(self, challenger: int, champion: int, day: int) -> bool:
        """Whether the gate lets a model of so many rows take the place of another, on the holdout of a cut-off."""
        spec, year = self.spec, self.year
        held = year.holdout(day)
        rows, own = year.rows.iloc[held], spec.configuration_hash()
        until = year.rows[CLUSTER].to_numpy()
        before = {
            "p": self.fits.p(champion, held),
            "version": "champion",
            "configuration_hash": own,
            "trained_until": str(until[champion - 1]),
        }
        naive = evaluation.baseline(year.rows.iloc[:challenger], rows, spec.target)
        p, last = self.fits.p(challenger, held), str(until[challenger - 1])
        found = evaluation.collect(spec, rows, p, before, naive, own, 1.0, 1.0, trained_until=last)
        return gate.decide(spec.gate, found).accepted


def run(judge: Judge, wants: Callable[[Champion, int, Outcome], bool], gated: bool, withheld: bool) -> Outcome:
    """A policy over the year. `wants(champion, day, so far)` asks for a training at a cut-off. `withheld`: trained as
    the DAG does, less the holdout; otherwise on all that is known. `gated`: the gate must let it pass (needs
    `withheld`, or there are no unseen rows to judge on). The first model always serves."""
    if gated and not withheld:
        raise ValueError("gated: the gate needs a holdout that the model has not seen")
    year, told = judge.year, Outcome()
    size = year.withheld if withheld else lambda day: int(year.known[day])
    champion = Champion(size(0), 0)
    told.trainings.append(0)
    told.promotions.append(0)
    for day in range(year.days):
        if day and wants(champion, day, told):
            told.trainings.append(day)
            rows = size(day)
            if not gated or judge.passes(rows, champion.rows, day):
                champion = Champion(rows, day)
                told.promotions.append(day)
        told.models.append(champion.rows)
    return told


def kept(
    judge: Judge, name: str, wants: Callable[[Champion, int, Outcome], bool], gated: bool, withheld: bool
) -> Outcome:
    """`run`, once for the same spec, models and code that judges: its outcome lies beside the fits."""
    code = [hash_file(Path(str(module.__file__))) for module in (evidence, feed, verdict, governor, gate, evaluation)]
    asked = [name, gated, withheld, judge.spec.model_dump(mode="json"), code]
    path = judge.fits.folder / f"outcome-{hash_value(asked)[:16]}.json"
    if not path.exists():
        write_json(path, asdict(run(judge, wants, gated, withheld)))
    return Outcome(**read_json(path))


def on(schedule: Sequence[int]) -> Callable[[Champion, int, Outcome], bool]:
    """Trainings on given days."""
    days = set(schedule)
    return lambda _champion, day, _told: day in days


def asked(judge: Judge) -> Callable[[Champion, int, Outcome], bool]:
    """Trainings when the project's monitor asks and its governor allows it."""
    spec, year = judge.spec, judge.year
    requests: list[str] = []

    def wants(champion: Champion, day: int, told: Outcome) -> bool:
        if day == 1:
            requests.clear()
        found, _ = judge.look(champion, day, told.looks)
        fired = [f.name for f in found.findings if f.fired]
        causes = [f.name for f in found.causes()]
        told.looks.append(
            {"version": str(champion.day), "day": day, "fired": fired, "state": found.state, "causes": causes}
        )
        if found.state != "retrain":
            return False
        as_of = iso(year.times[day].to_pydatetime())
        state = governor.State(
            last=requests[-1] if requests else None,
            trainings=tuple(iso(year.times[d].to_pydatetime()) for d in told.trainings),
        )
        if governor.decide(spec.governor, as_of, state).outcome != "ask":
            return False
        requests.append(as_of)
        told.looks[-1]["asked"] = True
        return True

    return wants
