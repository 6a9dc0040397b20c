"""What a release shows: the log of predictions and the labels known by now, as one small observation.

A *pair* is both versions' score of the same request; pairs are made in every stage, whoever answers, so that quality
is seen on all traffic. `observe` measures, `rollout.decide` judges.

Rows are not independent, twice over:
- A flight may be asked for many times. Its scores and losses are averaged first: a flight counts once.
- Flights of the same hours share weather and queues, at all three airports. The unit of an interval is therefore a
  block of four hours of departures, not a flight. A block still shares its day with the others of that day: over the
  fortnights of 2013 the standard error of a paired difference over days was 1.7 times that over blocks (and 3.6
  times that over hours and airports, 7 times that over flights: docs/release.md). Days themselves are too few in a
  release to be the unit, so the error over blocks is widened by that design effect (Moulton 1990).

Labels count once they are *mature*: a flight that is on time is known to be so first, and a sample of early labels
would flatter the version with the lower scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from include import metrics, platt
from include.contracts import ANSWER, CLUSTER, ENTITY, TARGET
from include.metrics import Array

BLOCK_HOURS = 4
DESIGN_EFFECT = 1.7  # of the standard error: see above
SURE = 4.0  # standard errors, of medians: one look in 15,000 errs, and looks at growing data hang together
MIN_TIMES = 25
NARROW = 1e-6  # a standard deviation of log odds below it is rounding
CANARY = "canary"
_ZONE = "America/New_York"  # of local dates
_COLUMNS = (
    *("prediction_id", "role", "version", "generation", "stage", ENTITY, "sched_dep", "probability", "error", "stale"),
    *("latency_us", "model_us", "weight", "at"),
)


class Seen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mean(Seen):
    """A mean over flights. `error`: its standard error, None with fewer than two blocks; `blocks`: effective number,
    1 / sum of squared shares."""

    value: float
    error: float | None
    blocks: float
    flights: int


class Times(Seen):
    """Microseconds of `rows` requests. `low` and `high` enclose the median, at SURE standard errors."""

    median: float = Field(gt=0)
    p99: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    rows: int = Field(gt=0)


class Speed(Seen):
    """Both versions' times of one kind. `same_role`: both measured as answers."""

    champion: Times
    challenger: Times
    same_role: bool


class Observation(Seen):
    """Numbers of a release at one look. None: too little is there to tell."""

    stage: str
    at: str  # data time of the look
    hours: float  # data time in this stage
    release_hours: float
    broken: str | None  # why the service cannot load the challenger
    pairs: int  # requests that both versions have scored, as logged
    requests: float  # the same, weighted up by what sampling left out
    flights: int  # distinct, of the pairs
    labelled: int  # of them with a mature label, on days that neither version was trained on
    answers: dict[str, int]  # in this stage, by version
    stale: float | None  # share of the pairs with features older than their TTL
    attempts: int  # of the challenger, where the champion did not fail as well
    errors: int
    error: str | None  # the last one's text
    answer_attempts: int  # the same for answers that clients waited for in this stage: the canary's own
    answer_errors: int
    loss: Mean | None  # log loss, challenger minus champion, nats
    log_loss: dict[str, float] | None  # by "champion" and "challenger", on the labelled flights; so are those below
    brier: dict[str, float] | None
    bias: dict[str, Mean] | None  # mean prediction minus rate
    shift: Mean | None  # mean score, challenger minus champion; needs no label
    spread: Mean | None  # log of the ratio of the standard deviations of both's log odds, challenger to champion
    constant: float | None  # share of the flights that get the challenger's commonest score
    model_us: Speed | None  # of the model alone, per row
    latency_us: Speed | None  # of whole answers in the canary

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if not (0 <= self.errors <= self.attempts and 0 <= self.answer_errors <= self.answer_attempts):
            raise ValueError(f"errors {self.errors}, {self.answer_errors} are more than the attempts, or below zero")
        return self


@dataclass(frozen=True)
class _Log:
    """Rows of the two versions as arrays [n]; plain arrays, for a release looks often and at growing data."""

    request: Array  # a number for each prediction_id
    flight: Array  # a number for each flight_id …
    names: pd.Index  # … which is a position in here
    ours: Array  # the champion's row; else the challenger's
    answer: Array  # role
    p: Array  # NaN: the version failed
    failed: Array
    waited: Array  # a client waited for it: an answer, or a failure in whose place the champion answered
    weight: Array
    staged: Array  # of this stage, of this canary step
    canary: Array  # made while the canary ran
    sched_dep: pd.DatetimeIndex
    stale: Array
    error: pd.Series


@dataclass(frozen=True)
class _Flights:
    """Flights that both versions have scored [n]. Each value is the weighted mean over the flight's requests; losses
    are averaged, not the loss of the averaged score: that would reward a version for contradicting itself."""

    names: pd.Index
    sched_dep: pd.DatetimeIndex
    values: dict[str, dict[str, Array]]  # by "champion", "challenger": p, square, odds, loss0, loss1

    def __len__(self) -> int:
        return len(self.names)

    def where(self, rows: Array) -> _Flights:
        values = {who: {name: v[rows] for name, v in of.items()} for who, of in self.values.items()}
        return _Flights(self.names[rows], self.sched_dep[rows], values)


def observe(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    champion: int,
    challenger: int,
    stage: str,
    stage_since: datetime,
    release_since: datetime,
    now: datetime,
    unseen_after: str,
    maturity: timedelta = timedelta(hours=12),
    generation: int | None = None,
    broken: str | None = None,
) -> Observation:
    """Sum up a release.

    `predictions`: rows of contracts.PREDICTIONS since the release began; rows of other versions are left out.
    `labels`: flight_id and the label known by `now`; local_date too, or it is New York's date of the departure.
    `unseen_after`: the later of both versions' trained_until: only later local dates are evidence of quality.
    `maturity`: of the spec: a label counts from this long after the scheduled departure.
    `generation`: the deployment with which this stage (this canary step) began: its rows and later ones are of the
    stage. None: rows with `at` from `stage_since` on are (wrong for replays that bring a time of their own).
    Raises KeyError when a column is absent.
    """
    absent = [c for c in _COLUMNS if c not in predictions] + [c for c in (ENTITY, TARGET) if c not in labels]
    if absent:
        raise KeyError(f"predictions or labels lack the columns {absent}")
    rows = predictions[predictions["version"].isin([champion, challenger])]
    in_stage = rows["generation"] >= generation if generation is not None else rows["at"] >= stage_since
    log = _read(rows, champion, in_stage.to_numpy())
    first, second = _pairs(log)
    flights = _flights(log, first, second)
    judged, y = _labelled(flights, labels, now - maturity, unseen_after)
    weight = log.weight[first]
    answered = log.staged & log.answer & ~log.failed
    return Observation(
        stage=stage,
        at=now.isoformat(),
        hours=_hours(stage_since, now),
        release_hours=_hours(release_since, now),
        broken=broken,
        pairs=len(first),
        requests=float(weight.sum()),
        flights=len(flights),
        labelled=len(judged),
        answers={
            str(version): int((answered & (log.ours == ours)).sum())
            for version, ours in ((champion, True), (challenger, False))
        },
        stale=float(np.average(log.stale[first], weights=weight)) if len(first) else None,
        **_errors(log),
        **_quality(judged, y),
        **_sanity(flights),
        **_speeds(log, rows),
    )


def _hours(since: datetime, now: datetime) -> float:
    return max((now - since).total_seconds() / 3600, 0.0)


def _read(rows: pd.DataFrame, champion: int, staged: Array) -> _Log:
    flight, names = pd.factorize(rows[ENTITY])
    p = _floats(rows, "probability")
    error = rows["error"].reset_index(drop=True)
    failed = error.notna().to_numpy() | ~np.isfinite(p)
    answer = (rows["role"] == ANSWER).to_numpy()
    model, whole = (_floats(rows, name) for name in ("model_us", "latency_us"))
    # a shadow's latency is its model's; a failed row with a longer one was an answer that the champion had to give
    waited = answer | (failed & (whole > model))
    return _Log(
        request=pd.factorize(rows["prediction_id"])[0],
        flight=flight,
        names=pd.Index(names),
        ours=(rows["version"] == champion).to_numpy(),
        answer=answer,
        p=p,
        failed=failed,
        waited=waited,
        weight=rows["weight"].to_numpy(dtype=np.float64),
        staged=staged,
        canary=(rows["stage"] == CANARY).to_numpy(),
        sched_dep=pd.DatetimeIndex(rows["sched_dep"]),
        stale=rows["stale"].fillna("").to_numpy() != "",
        error=error,
    )


def _floats(rows: pd.DataFrame, name: str) -> Array:
    return rows[name].to_numpy(dtype=np.float64, na_value=np.nan)


# -- pairs and flights ---------------------------------------------------------------------------------------------
def _pairs(log: _Log) -> tuple[Array, Array]:
    """Positions of the champion's and the challenger's row of every request that both have scored."""
    count = int(log.request.max()) + 1 if len(log.request) else 0
    where = []
    for of in (log.ours & ~log.failed, ~log.ours & ~log.failed):
        position = np.full(count, -1)
        position[log.request[of]] = np.flatnonzero(of)
        where.append(position)
    both = (where[0] >= 0) & (where[1] >= 0)
    return where[0][both], where[1][both]


def _flights(log: _Log, first: Array, second: Array) -> _Flights:
    """The flights of the pairs."""
    kept, example, flight = np.unique(log.flight[first], return_index=True, return_inverse=True)
    weight = log.weight[first]
    whole = np.bincount(flight, weights=weight)

    def mean(values: Array) -> Array:
        return np.bincount(flight, weights=values * weight) / whole

    values = {}
    for who, rows in (("champion", first), ("challenger", second)):
        p = log.p[rows]
        losses = {f"loss{y}": mean(metrics.log_loss(np.full(len(p), y), p)) for y in (0, 1)}
        values[who] = {"p": mean(p), "square": mean(p**2), "odds": mean(platt.log_odds(p)), **losses}
    return _Flights(log.names[kept], log.sched_dep[first[example]], values)


def _labelled(flights: _Flights, labels: pd.DataFrame, ripe: datetime, unseen_after: str) -> tuple[_Flights, Array]:
    """Flights whose label is known and mature, of days that neither version was trained on; and the labels."""
    labels = labels.drop_duplicates(ENTITY)
    found = pd.Index(labels[ENTITY]).get_indexer(flights.names)
    y = (
        labels[TARGET].to_numpy(dtype=np.float64, na_value=np.nan)[found]
        if len(labels)
        else np.full(len(found), np.nan)
    )
    if CLUSTER in labels and len(labels):
        dates = labels[CLUSTER].to_numpy()[found].astype(str)
    else:
        dates = np.asarray(flights.sched_dep.tz_convert(_ZONE).strftime("%Y-%m-%d"), dtype=str)
    kept = (found >= 0) & np.isfinite(y) & np.asarray(flights.sched_dep <= ripe) & (dates > unseen_after)
    return flights.where(kept), y[kept]


def _mean(values: Array, flights: _Flights) -> Mean | None:
    """The mean over flights, with its standard error over blocks of hours."""
    if not len(values):
        return None
    block = flights.sched_dep.floor(f"{BLOCK_HOURS}h")
    _, where, counts = np.unique(block.asi8, return_inverse=True, return_counts=True)
    shares = counts / counts.sum()
    means = np.bincount(where, weights=values) / counts
    mean, second, third = float(shares @ means), float((shares**2).sum()), float((shares**3).sum())
    error = None
    if len(counts) > 1:  # unbiased for unequal blocks: see metrics.by_day
        unbiased = second / (second - 2 * third + second**2)
        error = DESIGN_EFFECT * float(np.sqrt((shares**2 * (means - mean) ** 2).sum() * unbiased))
    return Mean(value=mean, error=error, blocks=1 / second, flights=len(values))


# -- what is measured ----------------------------------------------------------------------------------------------
def _quality(judged: _Flights, y: Array) -> dict[str, Any]:
    """Losses of both on the labelled flights, paired."""
    if not len(judged):
        return dict.fromkeys(("loss", "log_loss", "brier", "bias"))
    losses, brier, bias = {}, {}, {}
    for who, of in judged.values.items():
        losses[who] = np.where(y == 1, of["loss1"], of["loss0"])
        brier[who] = float((of["square"] - 2 * of["p"] * y + y).mean())
        bias[who] = _mean(of["p"] - y, judged)
    return {
        "loss": _mean(losses["challenger"] - losses["champion"], judged),
        "log_loss": {who: float(v.mean()) for who, v in losses.items()},
        "brier": brier,
        "bias": bias,
    }


def _sanity(flights: _Flights) -> dict[str, Any]:
    """How the challenger's scores compare with the champion's, without labels."""
    if not len(flights):
        return dict.fromkeys(("shift", "spread", "constant"))
    ours, theirs = flights.values["champion"], flights.values["challenger"]
    counts = np.unique(theirs["p"].round(6), return_counts=True)[1]
    return {
        "shift": _mean(theirs["p"] - ours["p"], flights),
        "spread": _spread(flights),
        "constant": float(counts.max() / counts.sum()),
    }


def _spread(flights: _Flights) -> Mean | None:
    """The log ratio of two standard deviations; its error is that of its influence function, a mean over flights."""
    squares = {who: (of["odds"] - of["odds"].mean()) ** 2 for who, of in flights.values.items()}
    ours, theirs = squares["champion"].mean(), squares["challenger"].mean()
    if ours <= NARROW**2:
        return None  # nothing to compare with
    theirs = max(theirs, NARROW**2)
    found = _mean((squares["challenger"] / theirs - squares["champion"] / ours) / 2, flights)
    return None if found is None else found.model_copy(update={"value": float(np.log(theirs / ours) / 2)})


def _errors(log: _Log) -> dict[str, Any]:
    """Attempts and failures of the challenger. A request at which the champion failed too says nothing about it."""
    tried = ~log.ours & ~np.isin(log.request, log.request[log.ours & log.failed])
    failed = tried & log.failed
    waited = tried & log.staged & log.canary & log.waited
    last = log.error[np.flatnonzero(failed)[-1]] if failed.any() else None
    return {
        "attempts": len(np.unique(log.request[tried])),
        "errors": len(np.unique(log.request[failed])),
        "error": None if not failed.any() else str(last or "no probability")[:300],
        "answer_attempts": int(waited.sum()),
        "answer_errors": int((waited & log.failed).sum()),
    }


# -- speed ---------------------------------------------------------------------------------------------------------
def _speeds(log: _Log, rows: pd.DataFrame) -> dict[str, Any]:
    """Times of both versions. While the challenger only shadows, its rows are scored in small batches beside the
    answers, so that the roles differ; in the canary both have answers to compare."""
    model, whole = (_floats(rows, name) for name in ("model_us", "latency_us"))
    answered = log.staged & log.canary & log.answer
    return {
        "model_us": _speed(log, model, answered, answered) or _speed(log, model, log.answer, ~log.answer),
        "latency_us": _speed(log, whole, answered, answered),
    }


def _speed(log: _Log, values: Array, ours: Array, theirs: Array) -> Speed | None:
    first = _times(values[ours & log.ours & ~log.failed])
    second = _times(values[theirs & ~log.ours & ~log.failed])
    return Speed(champion=first, challenger=second, same_role=ours is theirs) if first and second else None


def _times(values: Array) -> Times | None:
    """Median with its order-statistics interval, which assumes nothing of the distribution; None below MIN_TIMES."""
    known = np.sort(values[values > 0])
    reach = SURE * np.sqrt(len(known)) / 2
    low, high = int(np.floor(len(known) / 2 - reach)), int(np.ceil(len(known) / 2 + reach))
    if len(known) < MIN_TIMES or low < 0 or high >= len(known):
        return None
    middle, top = (float(known[int(q * (len(known) - 1))]) for q in (0.5, 0.99))
    return Times(median=middle, p99=top, low=float(known[low]), high=float(known[high]), rows=len(known))
