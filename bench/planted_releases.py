"""Planted releases: real scores of real models, replayed in time, with challengers of which one knows how bad they are.

`cases` trains champions and good challengers (newer data, another seed, other parameters) and scores the fortnight
after; `plant` spoils a good challenger; `play` replays requests and labels against the rollout, look by look, with the
release's own `observe` and `decide`. Used by the tests (January) and by bench_rollouts.py (the year).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from bench import planted
from include.contracts import CLUSTER, ENTITY, TARGET
from include.models.flights_on_time.spec import SPEC
from include.models.spec import Rollout
from include.release.observe import observe
from include.release.releases import APPROVED, Approval
from include.release.rollout import APPROVAL, CANARY, SHADOW, State, decide

CHAMPION, CHALLENGER = 1, 2
MODEL_US, MODEL_SPREAD = 10.5, 0.12  # of one row through the shipped graph: median, and sd of the logarithm
ANSWER_US, ANSWER_SPREAD = 400.0, 0.3  # of an answer but for the model
HICCUPS = 0.0003  # of the attempts of a good challenger fail too
APPROVED_AFTER = {"live": timedelta(hours=3), "burst": timedelta(minutes=2)}
MINUTES = 12  # of a burst
GOOD = ("newer data", "another seed", "other parameters")
Array = np.ndarray[Any, Any]


# -- models and their scores ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """Flights of a span that no version was trained on, with the scores of the champion and of good challengers."""

    name: str
    flights: pd.DataFrame  # flight_id, sched_dep, local_date, not_on_time, champion, and a column for each of GOOD
    unseen_after: str


def case(before: pd.DataFrame, newer: pd.DataFrame, traffic: pd.DataFrame, seed: int) -> Case:
    """`before`: the champion's training rows; `newer`: the challenger's, of a later cut-off."""
    features = list(SPEC.features)
    models = {
        "champion": planted.fit(before, features, seed),
        "newer data": planted.fit(newer, features, seed + 1),
        "another seed": planted.fit(before, features, seed + 1000),
        "other parameters": planted.fit(newer, features, seed + 500, max_depth=6, learning_rate=0.04),
    }
    scores = {name: planted.predict(model, traffic) for name, model in models.items()}
    kept = traffic[[ENTITY, "sched_dep", CLUSTER, TARGET]].assign(**scores)
    return Case(str(traffic[CLUSTER].min()), kept, str(newer[CLUSTER].max()))


def cases(rows: pd.DataFrame, half: int, every: int = 14, first: int = 44) -> Iterator[Case]:
    """A case for every second fortnight, from the first (half 0) or the second on (1). The challengers with newer data
    know `every` days more than the champion."""
    days = np.sort(rows[CLUSTER].unique())
    for number, at in list(enumerate(range(first + every, len(days) - 14, every)))[half::2]:
        before, newer = rows[rows[CLUSTER] < days[at - every]], rows[rows[CLUSTER] < days[at]]
        yield case(before, newer, rows[rows[CLUSTER].isin(days[at : at + 14])], number)


# -- what is planted -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Kind:
    """What is wrong with a challenger."""

    name: str
    scores: Callable[[Array], Array] = lambda p: p
    errors: float = HICCUPS
    extra_us: float = 0.0  # that its model takes longer
    steady: bool = True  # False: it fails only when it has to answer


def moved(shift: float = 0.0, scale: float = 1.0) -> Callable[[Array], Array]:
    """Scores whose log odds are stretched and shifted."""

    def spoil(p: Array) -> Array:
        return 1 / (1 + np.exp(-(scale * np.log(p / (1 - p)) + shift)))

    return spoil


BAD = (
    Kind("errs 2 %", errors=0.02),
    Kind("errs 10 %", errors=0.10),
    Kind("errs 10 % of its answers only", errors=0.10, steady=False),
    Kind("slow: its answers take 3 times as long", extra_us=2 * ANSWER_US),
    Kind("log odds + 1", moved(1.0)),
    Kind("log odds - 1", moved(-1.0)),
    Kind("log odds x 2", moved(scale=2.0)),
    Kind("log odds x 0.5", moved(scale=0.5)),
    Kind("always 0.5", lambda p: np.full_like(p, 0.5)),
)


# -- requests ------------------------------------------------------------------------------------------------------
def live(case: Case, good: str, kind: Kind, start: datetime, rng: np.random.Generator) -> pd.DataFrame:
    """Requests from `start` on: each flight is asked for once or more, one to six hours before its departure."""
    flights = case.flights[case.flights["sched_dep"] > start + timedelta(hours=2)]
    asked = flights.loc[flights.index.repeat(1 + rng.poisson(0.3, len(flights)))]
    early = pd.to_timedelta(rng.uniform(1, 6, len(asked)), unit="h")
    requests = _requests(asked, asked["sched_dep"] - early, good, kind, rng)
    return requests[requests["at"] >= start].reset_index(drop=True)


def burst(
    case: Case, good: str, kind: Kind, start: datetime, rng: np.random.Generator, rate: float = 100.0
) -> pd.DataFrame:
    """A week's flights, long over, replayed in random order at so many requests a second, as a demonstration does."""
    first = case.flights["sched_dep"].min() + timedelta(days=int(rng.integers(0, 7)))
    week = case.flights[case.flights["sched_dep"].between(first, first + timedelta(days=7))]
    count = int(rate * 60 * MINUTES)
    order = np.concatenate([rng.permutation(len(week)) for _ in range(-(-count // len(week)))])[:count]
    asked = week.iloc[order]
    return _requests(asked, start + pd.to_timedelta(np.arange(count) / rate, unit="s"), good, kind, rng)


def _requests(asked: pd.DataFrame, at: Any, good: str, kind: Kind, rng: np.random.Generator) -> pd.DataFrame:
    """One row a request: both versions' scores and times, whether the challenger fails, which side it is on."""
    n = len(asked)
    codes, names = pd.factorize(asked[ENTITY])
    sides = rng.random(len(names))[codes]  # stable for a flight, as the service's hash is
    times = MODEL_US * np.exp(MODEL_SPREAD * rng.standard_normal((n, 2)))
    return pd.DataFrame(
        {
            "prediction_id": np.arange(n),
            ENTITY: asked[ENTITY].to_numpy(),
            "sched_dep": asked["sched_dep"].to_numpy(),
            "at": pd.DatetimeIndex(at),
            "side": sides,
            "p_champion": asked["champion"].to_numpy(),
            "p_challenger": kind.scores(asked[good].to_numpy()),
            "fails": rng.random(n) < kind.errors,
            "us_champion": times[:, 0],
            "us_challenger": times[:, 1] + kind.extra_us,
            "us_rest": ANSWER_US * np.exp(ANSWER_SPREAD * rng.standard_normal(n)),
        }
    ).sort_values("at", ignore_index=True)


def logged(requests: pd.DataFrame, state: State, share: float, generation: int, steady: bool) -> pd.DataFrame:
    """Rows of the prediction log for requests that were answered in a state of the rollout."""
    mine = (requests["side"] < share).to_numpy()
    fails = requests["fails"].to_numpy() & (mine | steady)
    by_challenger = mine & ~fails
    common = requests[["prediction_id", ENTITY, "sched_dep", "at"]].assign(
        generation=generation, stage=state.stage, stale="", weight=1.0
    )
    parts = []
    for role, version_is_challenger in (("answer", by_challenger), ("shadow", ~by_challenger)):
        failed = version_is_challenger & fails
        model = np.where(version_is_challenger, requests["us_challenger"], requests["us_champion"])
        p = np.where(version_is_challenger, requests["p_challenger"], requests["p_champion"])
        text = pd.Series(None, index=requests.index, dtype=object)
        text[failed] = "planted"
        waited = (failed & mine) | (role == "answer")  # as the service logs it: a failed answer has an answer's time
        parts.append(
            common.assign(
                role=role,
                version=np.where(version_is_challenger, CHALLENGER, CHAMPION),
                probability=np.where(failed, np.nan, p),
                error=text,
                model_us=model,
                latency_us=model + np.where(waited, requests["us_rest"], 0.0),
            )
        )
    return pd.concat(parts).sort_values("at", kind="stable", ignore_index=True)


# -- a rollout -----------------------------------------------------------------------------------------------------
@dataclass
class Outcome:
    """How a rollout ended. `hours` by stage; `answered`: requests that the challenger answered."""

    kind: str = "unfinished"  # promote, roll_back, or unfinished at the end of the traffic
    stage: str = SHADOW
    check: str = ""  # the first bad or failing one
    reason: str = ""
    hours: dict[str, float] = field(default_factory=dict)
    answered: int = 0
    looks: int = 0
    held: bool = False


def play(
    policy: Rollout,
    case: Case,
    requests: pd.DataFrame,
    kind: Kind,
    start: datetime,
    every: timedelta,
    end: datetime,
    approved_after: timedelta,
) -> Outcome:
    """Replay the requests, looking `every` so long. Labels count 12 h after departure, and are known by then: the
    year's latest came after 11.9 h."""
    labels = case.flights[[ENTITY, TARGET, CLUSTER]]
    departures, when = pd.DatetimeIndex(case.flights["sched_dep"]), pd.DatetimeIndex(requests["at"])
    state, since, now, generation, approval = State(), start, start, 1, None
    past: list[pd.DataFrame] = []  # rows of the stages before
    done = Outcome()
    ahead = logged(requests, state, state.share(policy), generation, kind.steady)  # if nothing moves
    while now < end:
        now += every
        made = ahead.iloc[: 2 * when.searchsorted(pd.Timestamp(now))]
        rows = pd.concat([*past, made], ignore_index=True) if past else made
        known = labels[departures <= now - timedelta(hours=12)]
        seen = observe(
            rows, known, champion=CHAMPION, challenger=CHALLENGER, stage=state.stage, stage_since=since,
            release_since=start, now=now, unseen_after=case.unseen_after, generation=generation,
        )  # fmt: skip
        if state.stage == APPROVAL and now - since >= approved_after:
            approval = Approval(APPROVED, "bench", "")
        move = decide(policy, seen, state, approval)
        done.looks += 1
        done.held |= move.kind == "hold"
        done.hours[_name(policy, state)] = seen.hours
        done.kind = move.kind if move.kind in ("promote", "roll_back") else "unfinished"
        done.stage, done.reason = _name(policy, state), move.reason
        if done.kind != "unfinished":
            done.check = next((c.name for c in [*move.bad, *(c for c in move.checks if not c.passed)]), "")
            break
        if move.state != state:
            past.append(made)
            cut = int(when.searchsorted(pd.Timestamp(now)))
            requests, when = requests.iloc[cut:], when[cut:]
            state, since, generation = move.state, now, generation + 1
            ahead = logged(requests, state, state.share(policy), generation, kind.steady)
    done.answered = int(((rows["role"] == "answer") & (rows["version"] == CHALLENGER)).sum())
    return done


def _name(policy: Rollout, state: State) -> str:
    return f"canary {state.share(policy):.0%}" if state.stage == CANARY else state.stage


def run(
    policy: Rollout, case: Case, good: str, kind: Kind, seed: int, how: str = "live", every: timedelta | None = None
) -> Outcome:
    """One seeded rollout. `how`: "live" (hourly looks at the flights' own traffic, from a random hour of the first
    three days on) or "burst" (looks every two minutes at 100 requests a second, all labels known)."""
    rng = np.random.default_rng(seed)
    first, last = (t.to_pydatetime() for t in (case.flights["sched_dep"].min(), case.flights["sched_dep"].max()))
    if how == "burst":
        start = last + timedelta(days=1)
        requests, end = burst(case, good, kind, start, rng), start + timedelta(minutes=MINUTES)
    else:
        start = first + timedelta(hours=float(rng.uniform(0, 72)))
        requests, end = live(case, good, kind, start, rng), last
    every = every or (timedelta(minutes=2) if how == "burst" else timedelta(hours=1))
    return play(policy, case, requests, kind, start, every, end, APPROVED_AFTER[how])
