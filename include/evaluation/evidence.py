"""What the gate looks at: scores of challenger, champion and a naive baseline on rows that none was trained on.

`collect` measures, `gate.decide` judges. The evidence is plain JSON with a strict form: every field is required, so
that a gate that is handed too little refuses instead of passing. "No champion" is a value of its own (NO_CHAMPION).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from include import metrics, slices
from include.contracts import CLUSTER, ENTITY
from include.files import hash_value
from include.metrics import Array, Estimate
from include.models.spec import ModelSpec

NO_CHAMPION: Literal["none"] = "none"
HISTORY = ("carrier", "origin", "local_hour")  # what the naive baseline knows of a flight
PRIOR_ROWS = 20  # by which its rates are drawn to the whole rate


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Holdout(_Strict):
    rows: int
    days: int
    base_rate: float
    first: str  # local dates, inclusive
    last: str
    hash: str  # of the flights and their labels: two verdicts on one hash were given on the same rows


class Scores(_Strict):
    """One model's metrics.METRICS on the holdout; `auc` is None when the labels are of one class."""

    log_loss: Estimate
    brier: Estimate
    auc: Estimate | None
    bias: Estimate
    ece: Estimate


class Scored(_Strict):
    """One model on the holdout. `trained_until`: last local date that it was fitted, tuned or calibrated on.
    `scores` are None when its predictions cannot be scored."""

    version: str | None
    configuration_hash: str
    trained_until: str
    scores: Scores | None


class Slice(_Strict):
    """`difference`: log loss of the challenger minus that of the champion (of the naive baseline, if there is none)."""

    by: str
    value: str
    rows: int
    base_rate: float
    log_loss: Estimate
    bias: Estimate
    difference: Estimate


class Bin(_Strict):
    predicted: float
    rate: Estimate


class Day(_Strict):
    day: str
    rows: int
    base_rate: float
    challenger: float  # log loss
    champion: float | None
    baseline: float


class Evidence(_Strict):
    model: str
    confidence: float
    holdout: Holdout
    challenger: Scored
    champion: Scored | Literal["none"]
    baseline: Scores | None
    difference: Estimate | None  # log loss, challenger minus champion
    against_baseline: Estimate | None  # log loss, challenger minus naive baseline
    sliced_by: tuple[str, ...]
    slices: tuple[Slice, ...]
    calibration: tuple[Bin, ...]
    daily: tuple[Day, ...]
    latency_ms: float | None
    size_mb: float | None
    problems: tuple[str, ...]  # why something could not be measured


def baseline(train: pd.DataFrame, holdout: pd.DataFrame, target: str = "not_on_time") -> Array:
    """Naive prediction [n] of the holdout: the training rows' rate by carrier, origin and hour, smoothed."""
    overall = float(train[target].mean())
    past = train.groupby(list(HISTORY))[target].agg(["sum", "count"])
    rate = ((past["sum"] + PRIOR_ROWS * overall) / (past["count"] + PRIOR_ROWS)).rename("rate")
    return holdout[list(HISTORY)].join(rate, on=list(HISTORY))["rate"].fillna(overall).to_numpy(dtype=np.float64)


def collect(
    spec: ModelSpec,
    holdout: pd.DataFrame,
    challenger_p: Array,
    champion: Mapping[str, Any] | None,
    baseline_p: Array,
    configuration_hash: str,
    latency_ms: float | None,
    size_mb: float | None,
    *,
    trained_until: str,
) -> dict[str, Any]:
    """Measure everything the gate asks for, on the holdout [n rows of a frame, all labelled].

    `champion`: {"p": probabilities [n], "configuration_hash", "version", "trained_until"}, or None when there is none.
    Predictions that are no probabilities become a problem in the evidence, which the gate refuses. Raises ValueError
    when the holdout has no rows or rows without a label, or when a prediction is missing or one too many.
    """
    y = _labels(spec, holdout)
    days = holdout[CLUSTER].astype(str).to_numpy()
    predictions: dict[str, Any] = {"challenger": challenger_p, "naive baseline": baseline_p}
    if champion is not None:
        predictions["champion"] = champion["p"]
    problems = [text for who, p in predictions.items() if (text := _problem(who, p, len(y)))]
    own = Scored(version=None, configuration_hash=configuration_hash, trained_until=trained_until, scores=None)
    other = NO_CHAMPION if champion is None else _scored(champion)
    evidence = Evidence(
        model=spec.name,
        confidence=spec.gate.confidence,
        holdout=_holdout(holdout, y, days),
        challenger=own,
        champion=other,
        baseline=None,
        difference=None,
        against_baseline=None,
        sliced_by=(),
        slices=(),
        calibration=(),
        daily=(),
        latency_ms=latency_ms,
        size_mb=size_mb,
        problems=tuple(problems),
    )
    if not problems:
        evidence = evidence.model_copy(update=_measured(spec, holdout, y, days, evidence, predictions))
    return evidence.model_dump(mode="json")


def _measured(
    spec: ModelSpec, holdout: pd.DataFrame, y: Array, days: Array, evidence: Evidence, predictions: Mapping[str, Any]
) -> dict[str, Any]:
    level = spec.gate.confidence
    p, naive = (np.asarray(predictions[who], dtype=np.float64) for who in ("challenger", "naive baseline"))
    champion = None if evidence.champion == NO_CHAMPION else np.asarray(predictions["champion"], dtype=np.float64)
    update = {
        "challenger": evidence.challenger.model_copy(update={"scores": _scores(y, p, days, level)}),
        "baseline": _scores(y, naive, days, level),
        "against_baseline": metrics.compare(y, p, naive, days, level),
        "sliced_by": spec.gate.slices,
        "slices": tuple(_slices(spec, holdout, y, p, naive if champion is None else champion, days)),
        "calibration": tuple(Bin.model_validate(b) for b in metrics.reliability(y, p, days, level)),
        "daily": tuple(_daily(y, p, champion, naive, days)),
    }
    if isinstance(evidence.champion, Scored) and champion is not None:
        scores = _scores(y, champion, days, level)
        update["champion"] = evidence.champion.model_copy(update={"scores": scores})
        update["difference"] = metrics.compare(y, p, champion, days, level)
    return update


def _scores(y: Array, p: Array, days: Array, confidence: float) -> Scores:
    return Scores.model_validate(metrics.score(y, p, days, confidence))


def _labels(spec: ModelSpec, holdout: pd.DataFrame) -> Array:
    if not len(holdout):
        raise ValueError("the holdout has no rows: nothing to judge a challenger on")
    known = holdout[spec.target].isin([0, 1])
    if not known.all():
        raise ValueError(f"holdout: {int((~known).sum())} of {len(holdout)} rows have no 0 or 1 in {spec.target!r}")
    return holdout[spec.target].to_numpy(dtype=np.int64)


def _problem(who: str, p: Any, rows: int) -> str | None:
    if p is None:
        return f"the {who} has no predictions"
    values = np.asarray(p, dtype=np.float64)
    if values.shape != (rows,):
        raise ValueError(f"{who}: predictions of shape {values.shape} for {rows} rows of the holdout")
    wrong = int((~((values >= 0) & (values <= 1))).sum())  # counts NaN too
    return f"{wrong} of {rows} predictions of the {who} are no probabilities" if wrong else None


def _scored(champion: Mapping[str, Any]) -> Scored:
    kept = {name: champion[name] for name in ("configuration_hash", "trained_until")}
    return Scored(version=str(champion["version"]), scores=None, **kept)


def _holdout(holdout: pd.DataFrame, y: Array, days: Array) -> Holdout:
    labels = dict(zip(holdout[ENTITY].astype(str), y.tolist(), strict=True))
    return Holdout(
        rows=len(y),
        days=len(np.unique(days)),
        base_rate=float(y.mean()),
        first=str(days.min()),
        last=str(days.max()),
        hash=hash_value(labels),
    )


def _slices(spec: ModelSpec, holdout: pd.DataFrame, y: Array, p: Array, other: Array, days: Array) -> list[Slice]:
    level = spec.gate.confidence
    return [
        Slice(
            by=by,
            value=value,
            rows=int(rows.sum()),
            base_rate=float(y[rows].mean()),
            log_loss=metrics.by_day(metrics.log_loss(y[rows], p[rows]), days[rows], level),
            bias=metrics.by_day(p[rows] - y[rows], days[rows], level),
            difference=metrics.compare(y[rows], p[rows], other[rows], days[rows], level),
        )
        for by, value, rows in slices.masks(holdout, spec.gate.slices)
    ]


def _daily(y: Array, p: Array, champion: Array | None, naive: Array, days: Array) -> list[Day]:
    def mean(of: Array | None, rows: Array) -> float | None:
        return None if of is None else float(metrics.log_loss(y[rows], of[rows]).mean())

    return [
        Day(
            day=str(day),
            rows=int(rows.sum()),
            base_rate=float(y[rows].mean()),
            challenger=float(metrics.log_loss(y[rows], p[rows]).mean()),
            champion=mean(champion, rows),
            baseline=float(metrics.log_loss(y[rows], naive[rows]).mean()),
        )
        for day in np.unique(days)
        for rows in [days == day]
    ]
