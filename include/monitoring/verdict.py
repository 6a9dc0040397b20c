"""Is the champion still fit? A pure judgement over evidence, in the order in which the questions matter:

1. `incident`: the feed is broken (values missing, or stuck at one value). Mend the data: a retrain would learn the
   fault.
2. `insufficient`: too few of the window's labels are known. A model trained now would learn from the early labels, and
   those are the flights that were on time.
3. `retrain`: the model is old, surprised, or its scores have drifted.
4. `healthy`.

Drift of single features explains, it never asks for a retrain: it alarms in every healthy week.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from include.metrics import Estimate
from include.models.spec import Triggers

State = Literal["healthy", "retrain", "incident", "insufficient"]
Kind = Literal["incident", "labels", "trigger", "explains"]


class Finding(BaseModel):
    """One thing looked at. `fired`: beyond its threshold. `kind`: what it may bring about; `explains` nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    kind: Kind
    fired: bool
    value: float | None
    interval: tuple[float, float] | None
    threshold: float
    unit: str
    reason: str


class Verdict(BaseModel):
    """The monitor's answer; `reason` is one sentence that names the decisive numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    reason: str
    findings: tuple[Finding, ...]


def judge(triggers: Triggers, evidence: Mapping[str, Any]) -> Verdict:
    """Judge evidence as `evidence.collect` writes it. Raises KeyError when a part of it is missing."""
    found = (
        _nulls(triggers, evidence["drift"]),
        _stuck(triggers, evidence["drift"]),
        _labels(triggers, evidence["performance"]),
        _age(triggers, evidence["age_days"]),
        _surprise(triggers, evidence["performance"]["surprise"]),
        _score(triggers, evidence["score_psi"]),
        _raw(triggers, evidence["drift"]),
    )
    fired = {kind: [f for f in found if f.kind == kind and f.fired] for kind in ("incident", "labels", "trigger")}
    state: State = "healthy"
    for kind, means in (("incident", "incident"), ("labels", "insufficient"), ("trigger", "retrain")):
        if fired[kind]:
            state = means  # type: ignore[assignment]
            break
    return Verdict(state=state, reason=_sentence(state, fired, found), findings=found)


# -- incidents -----------------------------------------------------------------------------------------------------
def _nulls(triggers: Triggers, drift: list[Mapping[str, Any]]) -> Finding:
    return _risen(drift, "nulls", triggers.incident_nulls, "is missing in")


def _stuck(triggers: Triggers, drift: list[Mapping[str, Any]]) -> Finding:
    return _risen(drift, "stuck", triggers.incident_stuck, "has one and the same value in")


def _risen(drift: list[Mapping[str, Any]], what: str, limit: float, words: str) -> Finding:
    """A share of rows that rose above the reference's by more than `limit`, on any feature."""
    rises = {d["feature"]: d[what] - d[f"reference_{what}"] for d in drift}
    beyond = [name for name, rise in rises.items() if rise > limit]
    worst = max(drift, key=lambda d: rises[d["feature"]])
    now, before = worst[what], worst[f"reference_{what}"]
    reason = f"{worst['feature']} {words} {now:.0%} of the flights, {before:.0%} when trained"
    if len(beyond) > 1:
        reason += f", and {len(beyond) - 1} more features like it"
    return _finding(what, "incident", bool(beyond), rises[worst["feature"]], limit, "share", reason)


# -- labels --------------------------------------------------------------------------------------------------------
def _labels(triggers: Triggers, performance: Mapping[str, Any]) -> Finding:
    coverage = performance["coverage"]
    reason = f"{performance['labelled']:,} of {performance['rows']:,} flights ({coverage:.0%}) have a known label"
    fired = coverage < triggers.min_coverage or performance["surprise"] is None
    return _finding("coverage", "labels", fired, coverage, triggers.min_coverage, "share", reason)


# -- triggers ------------------------------------------------------------------------------------------------------
def _age(triggers: Triggers, days: float) -> Finding:
    reason = f"the champion is {days:.1f} days old"
    return _finding("age", "trigger", days >= triggers.max_age_days, days, triggers.max_age_days, "days", reason)


def _surprise(triggers: Triggers, surprise: Mapping[str, Any] | None) -> Finding:
    """Fires on the mean only when its interval lies above zero too: one stormy day is no reason."""
    limit = triggers.max_surprise
    if surprise is None:
        return _finding("surprise", "trigger", False, None, limit, "nats", "surprise cannot be told without labels")
    found = Estimate.model_validate(dict(surprise))
    told = f"[{found.low:+.4f}, {found.high:+.4f}]" if found.low is not None else "[no interval]"
    reason = f"log loss is {found.value:+.4f} {told} nats above what the champion itself expects"
    fired = found.value > limit and found.low is not None and found.low > 0
    return _finding("surprise", "trigger", fired, found.value, limit, "nats", reason, found)


def _score(triggers: Triggers, psi: float | None) -> Finding:
    reason = "too few flights to tell the drift of the score" if psi is None else f"the score's PSI is {psi:.3f}"
    fired = psi is not None and psi > triggers.score_psi
    return _finding("score", "trigger", fired, psi, triggers.score_psi, "PSI", reason)


# -- what only explains --------------------------------------------------------------------------------------------
def _raw(triggers: Triggers, drift: list[Mapping[str, Any]]) -> Finding:
    known = [d for d in drift if d["psi"] is not None]
    moved = [d for d in known if d["psi"] > triggers.score_psi]
    top = ", ".join(f"{d['feature']} {d['psi']:.2f}" for d in moved[:3]) or "none"
    reason = f"{len(moved)} of {len(drift)} features have a PSI above {triggers.score_psi:g} (furthest: {top})"
    return _finding("drift", "explains", bool(moved), float(len(moved)), triggers.score_psi, "features", reason)


# -- words ---------------------------------------------------------------------------------------------------------
def _finding(
    name: str,
    kind: Kind,
    fired: bool,
    value: float | None,
    threshold: float,
    unit: str,
    reason: str,
    estimate: Estimate | None = None,
) -> Finding:
    known = estimate is not None and estimate.low is not None and estimate.high is not None
    return Finding(
        name=name,
        kind=kind,
        fired=fired,
        value=value,
        interval=(estimate.low, estimate.high) if known and estimate else None,  # type: ignore[arg-type]
        threshold=threshold,
        unit=unit,
        reason=reason,
    )


def _sentence(state: State, fired: Mapping[str, list[Finding]], found: tuple[Finding, ...]) -> str:
    reasons = {f.name: f.reason for f in found}
    if state == "incident":
        waiting = "; no retrain is asked for until the feed is mended"
        return f"Incident: {'; '.join(f.reason for f in fired['incident'])}{waiting}."
    if state == "insufficient":
        other = fired["trigger"]
        also = f"; open until labels arrive: {', '.join(f.name for f in other)}" if other else ""
        return f"Insufficient labels: {reasons['coverage']}, too few to judge by{also}."
    if state == "retrain":
        return f"Retrain: {'; '.join(_beyond(f) for f in fired['trigger'])}."
    return f"Healthy: {reasons['surprise']}; {reasons['age']} and {reasons['score']}, all within limits."


def _beyond(finding: Finding) -> str:
    return f"{finding.reason} (limit {finding.threshold:g} {finding.unit})"
