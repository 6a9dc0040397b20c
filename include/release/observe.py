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

from include import metrics
from include.contracts import ANSWER, CLUSTER, ENTITY, SHADOW, TARGET
from include.metrics import Array

BLOCK_HOURS = 4
DESIGN_EFFECT = 1.7  # of the standard error: see above
SURE = 4.0  # standard errors, of medians: one look in 15,000 errs, and looks at growing data hang together
MIN_TIMES = 25
CANARY = "canary"
FALLBACK = "fallback: "  # how the text of an error begins when the champion had to answer in the challenger's place
_ZONE = "America/New_York"  # of local dates
_COLUMNS = ("prediction_id", "role", "version", "stage", ENTITY, "sched_dep", "probability", "error", "stale")
_NUMBERS = ("latency_us", "model_us", "weight")


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
    spread: float | None  # standard deviation of the challenger's log odds over that of the champion's
    constant: float | None  # share of the flights that get the challenger's commonest score
    model_us: Speed | None  # of the model alone, per row
    latency_us: Speed | None  # of whole answers in the canary

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if not (0 <= self.errors <= self.attempts and 0 <= self.answer_errors <= self.answer_attempts):
            raise ValueError(f"errors {self.errors}, {self.answer_errors} are more than the attempts, or below zero")
        return self


@dataclass(frozen=True)
class _Pair:
    champion: int
    challenger: int


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
    absent = [c for c in (*_COLUMNS, *_NUMBERS) if c not in predictions] + [
        c for c in (ENTITY, TARGET) if c not in labels
    ]
    if absent:
        raise KeyError(f"predictions or labels lack the columns {absent}")
    versions = _Pair(champion, challenger)
    rows = predictions[predictions["version"].isin([champion, challenger])]
    rows = rows.drop_duplicates(["prediction_id", "role"])
    staged = rows[rows["generation"] >= generation] if generation is not None else rows[rows["at"] >= stage_since]
    pairs = _pairs(rows, versions)
    flights = _flights(pairs)
    judged = _labelled(flights, labels, now - maturity, unseen_after)
    answered = staged[(staged["role"] == ANSWER) & staged["error"].isna()]
    return Observation(
        stage=stage,
        at=now.isoformat(),
        hours=_hours(stage_since, now),
        release_hours=_hours(release_since, now),
        broken=broken,
        pairs=len(pairs),
        requests=float(pairs["weight"].sum()),
        flights=len(flights),
        labelled=len(judged),
        answers={str(k): int(v) for k, v in answered["version"].value_counts().sort_index().items()},
        stale=float(np.average(pairs["stale"].fillna("") != "", weights=pairs["weight"])) if len(pairs) else None,
        **_errors(rows, staged, versions),
        **_quality(judged),
        **_sanity(flights),
        **_speeds(rows, staged, versions),
    )


def _hours(since: datetime, now: datetime) -> float:
    return max((now - since).total_seconds() / 3600, 0.0)


# -- pairs and flights ---------------------------------------------------------------------------------------------
def _pairs(rows: pd.DataFrame, versions: _Pair) -> pd.DataFrame:
    """One row a request that both versions have scored: p_champion, p_challenger, its flight and weight."""
    scored = rows[np.isfinite(rows["probability"].astype("float64"))]
    kept = ["prediction_id", ENTITY, "sched_dep", "stale", "weight"]
    ours = scored.loc[scored["version"] == versions.champion, [*kept, "probability"]].drop_duplicates("prediction_id")
    theirs = scored.loc[scored["version"] == versions.challenger, ["prediction_id", "probability"]]
    theirs = theirs.drop_duplicates("prediction_id")
    return ours.merge(theirs, on="prediction_id", suffixes=("_champion", "_challenger"), validate="1:1").rename(
        columns={"probability_champion": "p_champion", "probability_challenger": "p_challenger"}
    )


def _flights(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a flight: means of its pairs' scores, and what its loss would be for either label.

    Losses are averaged, not the loss of the averaged score: that would reward a version for contradicting itself.
    """
    p = {who: pairs[f"p_{who}"].to_numpy(dtype=np.float64) for who in ("champion", "challenger")}
    wide = pairs[[ENTITY, "sched_dep", "weight"]].assign(
        **{f"p_{who}": v for who, v in p.items()},
        **{f"odds_{who}": _log_odds(v) for who, v in p.items()},
        **{f"loss{y}_{who}": metrics.log_loss(np.full(len(v), y), v) for who, v in p.items() for y in (0, 1)},
        **{f"square_{who}": v**2 for who, v in p.items()},
    )
    values = [c for c in wide.columns if c not in (ENTITY, "sched_dep", "weight")]
    weight = wide["weight"].to_numpy()[:, None]
    wide[values] = wide[values].to_numpy() * weight
    grouped = wide.groupby(ENTITY, sort=True)
    found = grouped[[*values, "weight"]].sum()
    found[values] = found[values].to_numpy() / found["weight"].to_numpy()[:, None]
    return found.assign(sched_dep=grouped["sched_dep"].first()).reset_index()


def _log_odds(p: Array) -> Array:
    q = np.clip(p, metrics.CLIP, 1 - metrics.CLIP)
    return np.log(q) - np.log1p(-q)


def _labelled(flights: pd.DataFrame, labels: pd.DataFrame, ripe: datetime, unseen_after: str) -> pd.DataFrame:
    """Flights whose label is known and mature, of days that neither version was trained on."""
    known = labels.dropna(subset=[TARGET]).drop_duplicates(ENTITY)
    kept = flights[flights["sched_dep"] <= ripe].merge(known[[c for c in (ENTITY, TARGET, CLUSTER) if c in known]])
    dates = kept[CLUSTER] if CLUSTER in kept else kept["sched_dep"].dt.tz_convert(_ZONE).dt.strftime("%Y-%m-%d")
    return kept[dates.astype(str) > unseen_after].reset_index(drop=True)


def _mean(values: Array, flights: pd.DataFrame) -> Mean | None:
    """The mean over flights, with its standard error over blocks of hours."""
    if not len(values):
        return None
    block = flights["sched_dep"].dt.floor(f"{BLOCK_HOURS}h")
    _, where, counts = np.unique(block.to_numpy(), return_inverse=True, return_counts=True)
    shares = counts / counts.sum()
    means = np.bincount(where, weights=values) / counts
    mean, second, third = float(shares @ means), float((shares**2).sum()), float((shares**3).sum())
    error = None
    if len(counts) > 1:  # unbiased for unequal blocks: see metrics.by_day
        unbiased = second / (second - 2 * third + second**2)
        error = DESIGN_EFFECT * float(np.sqrt((shares**2 * (means - mean) ** 2).sum() * unbiased))
    return Mean(value=mean, error=error, blocks=1 / second, flights=len(values))


# -- what is measured ----------------------------------------------------------------------------------------------
def _quality(judged: pd.DataFrame) -> dict[str, Any]:
    """Losses of both on the labelled flights, paired."""
    if not len(judged):
        return dict.fromkeys(("loss", "log_loss", "brier", "bias"))
    y = judged[TARGET].to_numpy(dtype=np.float64)
    losses, brier, bias = {}, {}, {}
    for who in ("champion", "challenger"):
        p = judged[f"p_{who}"].to_numpy()
        losses[who] = np.where(y == 1, judged[f"loss1_{who}"], judged[f"loss0_{who}"])
        brier[who] = float((judged[f"square_{who}"] - 2 * p * y + y).mean())
        bias[who] = _mean(p - y, judged)
    return {
        "loss": _mean(losses["challenger"] - losses["champion"], judged),
        "log_loss": {who: float(v.mean()) for who, v in losses.items()},
        "brier": brier,
        "bias": bias,
    }


def _sanity(flights: pd.DataFrame) -> dict[str, Any]:
    """How the challenger's scores compare with the champion's, without labels."""
    if not len(flights):
        return dict.fromkeys(("shift", "spread", "constant"))
    shift = _mean((flights["p_challenger"] - flights["p_champion"]).to_numpy(), flights)
    ours, theirs = (float(flights[f"odds_{who}"].std()) for who in ("champion", "challenger"))
    spread = theirs / ours if len(flights) > 1 and ours > 1e-9 else None
    commonest = flights["p_challenger"].round(6).value_counts(normalize=True).iloc[0]
    return {"shift": shift, "spread": spread, "constant": float(commonest)}


def _errors(rows: pd.DataFrame, staged: pd.DataFrame, versions: _Pair) -> dict[str, Any]:
    """Attempts and failures of the challenger. A request at which the champion failed too says nothing about it."""
    both = _failures(rows, versions.champion)["prediction_id"]
    tried = rows[(rows["version"] == versions.challenger) & ~rows["prediction_id"].isin(both)]
    failed = _failures(tried, versions.challenger)
    waited = tried[tried.index.isin(staged.index)]
    fallen = waited["error"].astype("string").str.startswith(FALLBACK).fillna(False).astype(bool)
    return {
        "attempts": int(tried["prediction_id"].nunique()),
        "errors": int(failed["prediction_id"].nunique()),
        "error": None if failed.empty else str(failed["error"].fillna("no probability").iloc[-1])[:300],
        "answer_attempts": int(((waited["role"] == ANSWER) | fallen).sum()),
        "answer_errors": int((fallen | ((waited["role"] == ANSWER) & waited.index.isin(failed.index))).sum()),
    }


def _failures(rows: pd.DataFrame, version: int) -> pd.DataFrame:
    own = rows[rows["version"] == version]
    return own[own["error"].notna() | ~np.isfinite(own["probability"].astype("float64"))]


# -- speed ---------------------------------------------------------------------------------------------------------
def _speeds(rows: pd.DataFrame, staged: pd.DataFrame, versions: _Pair) -> dict[str, Any]:
    """Times of both versions. While the challenger only shadows, its rows are scored in small batches beside the
    answers, so that the roles differ; in the canary both have answers to compare."""
    canary = staged[staged["stage"] == CANARY]
    model = _speed(canary, "model_us", versions, ANSWER) or _speed(rows, "model_us", versions, SHADOW)
    return {"model_us": model, "latency_us": _speed(canary, "latency_us", versions, ANSWER)}


def _speed(rows: pd.DataFrame, column: str, versions: _Pair, theirs: str) -> Speed | None:
    ours = _times(rows, column, versions.champion, ANSWER)
    other = _times(rows, column, versions.challenger, theirs)
    return Speed(champion=ours, challenger=other, same_role=theirs == ANSWER) if ours and other else None


def _times(rows: pd.DataFrame, column: str, version: int, role: str) -> Times | None:
    """Median with its order-statistics interval, which assumes nothing of the distribution; None below 25 rows."""
    of = (rows["version"] == version) & (rows["role"] == role) & rows["error"].isna() & (rows[column] > 0)
    values = np.sort(rows.loc[of, column].to_numpy(dtype=np.float64))
    reach = SURE * np.sqrt(len(values)) / 2
    low, high = int(np.floor(len(values) / 2 - reach)), int(np.ceil(len(values) / 2 + reach))
    if len(values) < MIN_TIMES or low < 0 or high >= len(values):
        return None
    middle, top = (float(np.quantile(values, q)) for q in (0.5, 0.99))
    return Times(median=middle, p99=top, low=float(values[low]), high=float(values[high]), rows=len(values))
