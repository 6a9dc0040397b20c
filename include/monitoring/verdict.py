"""Is the champion still fit? A pure judgement over evidence, in the order in which the questions matter:

1. `incident`: the feed is broken (include.monitoring.feed), the log is silent, or serving and lake disagree. Mend the
   data: a retrain would learn the fault.
2. `insufficient`: too few of the window's mature labels are known. A model trained now would learn from the early
   labels, and those are the flights that were on time.
3. `rollback`: the champion is surely worse than the version before it on the same flights. A person decides.
4. `retrain`: the model is old, surprised, or its scores have drifted and labels do not clear it.
5. `healthy`.

A finding decides when it *persists*: it fires now and did at k of the last n looks (spec.feed.persist for the feed;
spec.triggers.persist, at looks at the same version, for the model). Age and labels need no persistence: they do not
flicker. Drift of single features explains, it never asks for a retrain: it alarms in every healthy week. Levels tell
somebody to look, whatever the verdict is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from include.metrics import Estimate
from include.models.spec import ModelSpec

State = Literal["healthy", "insufficient", "incident", "rollback", "retrain"]
Kind = Literal["incident", "labels", "rollback", "trigger", "level", "explains"]
ORDER: tuple[tuple[Kind, State], ...] = (
    ("incident", "incident"),
    ("labels", "insufficient"),
    ("rollback", "rollback"),
    ("trigger", "retrain"),
)
FEED = ("nulls", "stuck", "outside", "novel", "keyed", "disagree", "frozen", "repeated", "jump", "spread", "continuity")


class Finding(BaseModel):
    """One thing looked at. `fired`: beyond its threshold at this look. `persistent`: so at enough looks to count.
    `kind`: what it may bring about; a `level` alerts and decides nothing, `explains` does neither."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    kind: Kind
    fired: bool
    persistent: bool
    value: float | None
    interval: tuple[float, float] | None
    threshold: float
    unit: str
    reason: str


class Verdict(BaseModel):
    """The monitor's answer; `reason` is one sentence that names the decisive numbers. Findings that fired are what a
    later look needs of this one: `before` += {"version": …, "fired": [f.name for f in findings if f.fired]}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    reason: str
    findings: tuple[Finding, ...]

    @property
    def levels(self) -> tuple[Finding, ...]:
        """Levels that are beyond: somebody should look."""
        return tuple(f for f in self.findings if f.kind == "level" and f.fired)

    def causes(self) -> tuple[Finding, ...]:
        """The findings that the state rests on; empty when healthy."""
        kinds = [kind for kind, state in ORDER if state == self.state]
        return tuple(f for f in self.findings if f.kind in kinds and f.persistent)


def judge(spec: ModelSpec, evidence: Mapping[str, Any], before: Sequence[Mapping[str, Any]] = ()) -> Verdict:
    """Judge evidence as `evidence.collect` writes it, with what earlier looks found: [{"version": int, "fired":
    [names of findings]}], oldest first.

    Raises KeyError when a part of it is missing: "age_days", "performance", "score_psi", "drift" and "feed" (None
    without flights). The parts "service", "skew", "accuracy" and "rival" may be absent or None: there was no service,
    no audit, no predecessor.
    """
    found = tuple(
        _persisting(spec, finding, evidence, before)
        for finding in (
            *_feed(spec, evidence["feed"]),
            *_outage(spec, evidence),
            _labels(spec, evidence["performance"]),
            *_rival(spec, evidence.get("rival")),
            _age(spec, evidence["age_days"]),
            _surprise(spec, evidence["performance"]),
            _score(spec, evidence["score_psi"], evidence["performance"]),
            *_levels(spec, evidence),
            _raw(spec, evidence["drift"]),
        )
    )
    state: State = "healthy"
    for kind, means in ORDER:
        if any(f.kind == kind and f.persistent for f in found):
            state = means
            break
    return Verdict(state=state, reason=_sentence(state, found, evidence), findings=found)


def _persisting(
    spec: ModelSpec, finding: Finding, evidence: Mapping[str, Any], before: Sequence[Mapping[str, Any]]
) -> Finding:
    """Whether what fired now did so at enough of the last looks, this one included."""
    if not finding.fired or finding.name == "age" or finding.kind in ("labels", "level", "explains"):
        return finding.model_copy(update={"persistent": finding.fired})
    looks: list[Mapping[str, Any]] = list(before)
    if finding.kind == "incident":
        enough, of = spec.feed.persist
    else:
        enough, of = spec.triggers.persist
        looks = [b for b in looks if "version" in evidence and str(b["version"]) == str(evidence["version"])]
    count = 1 + sum(finding.name in b["fired"] for b in (looks[-(of - 1) :] if of > 1 else []))
    return finding.model_copy(update={"persistent": count >= enough})


# -- incidents -----------------------------------------------------------------------------------------------------
def _feed(spec: ModelSpec, feed: Mapping[str, Any] | None) -> list[Finding]:
    """One finding a check of the feed: the feature or view that is furthest beyond, and which others there are."""
    if feed is None:  # nobody asked: silence and labels speak
        return []
    found = [_check(feed["checks"][name], getattr(spec.feed, name)) for name in FEED if name in feed["checks"]]
    return [*found, _check(feed["checks"]["volume"], spec.feed.volume)]


def _check(check: Mapping[str, Any], limit: float) -> Finding:
    parts = check["parts"]
    if not parts:
        return _finding(
            check["name"], "incident", False, None, limit, check["unit"], f"{check['name']}: too little to tell"
        )
    beyond = [p for p in parts if p["value"] > limit]
    reason = parts[0]["told"]
    if len(beyond) > 1:
        others = ", ".join(p["of"] for p in beyond[1:4])
        reason += f" (and {others}{' and more' if len(beyond) > 4 else ''})"
    return _finding(check["name"], "incident", bool(beyond), parts[0]["value"], limit, check["unit"], reason)


def _outage(spec: ModelSpec, evidence: Mapping[str, Any]) -> list[Finding]:
    """Silence of the log and disagreement of serving and lake, beyond the limit at which they are incidents."""
    found = []
    silence = (evidence.get("service") or {}).get("silence_hours")
    if silence and silence["value"] is not None:
        hours, limit = float(silence["value"]), spec.feed.silence_hours
        reason = f"no prediction was logged in {hours:g} hours in which flights were due"
        found.append(_finding("silence", "incident", hours > limit, hours, limit, "hours", reason))
    skew = evidence.get("skew")
    if skew and skew.get("rate") is not None:
        rate, limit = float(skew["rate"]), spec.feed.mismatch
        reason = f"{skew['mismatched']:,} of {skew['rows']:,} audited predictions had other features than the lake"
        found.append(_finding("skew", "incident", rate > limit, rate, limit, "share", reason))
    return found


# -- labels --------------------------------------------------------------------------------------------------------
def _labels(spec: ModelSpec, performance: Mapping[str, Any]) -> Finding:
    coverage, limit = performance["coverage"], spec.triggers.min_coverage
    mature = performance.get("mature", performance["rows"])
    reason = f"{performance['labelled']:,} of {mature:,} mature labels ({coverage:.0%}) are known"
    fired = coverage < limit or performance["surprise"] is None
    return _finding("coverage", "labels", fired, coverage, limit, "share", reason)


# -- the version before --------------------------------------------------------------------------------------------
def _rival(spec: ModelSpec, rival: Mapping[str, Any] | None) -> list[Finding]:
    """Fires when the whole interval of champion minus predecessor lies above the margin."""
    if not rival or not rival.get("loss"):
        return []
    found, limit = Estimate.model_validate(dict(rival["loss"])), spec.triggers.worse_margin
    reason = (
        f"on the same {found.rows:,} flights log loss is {found.value:+.4f} {_span(found)} nats against version"
        f" {rival['version']}"
    )
    fired = found.low is not None and found.low > limit
    return [_finding("rival", "rollback", fired, found.value, limit, "nats", reason, found)]


# -- triggers ------------------------------------------------------------------------------------------------------
def _age(spec: ModelSpec, days: float) -> Finding:
    limit = spec.triggers.max_age_days
    return _finding("age", "trigger", days >= limit, days, limit, "days", f"the champion is {days:.1f} days old")


def _surprise(spec: ModelSpec, performance: Mapping[str, Any]) -> Finding:
    """Fires when the whole interval lies above the limit: a few stormy days move the mean, and are no reason."""
    surprise, limit = performance["surprise"], spec.triggers.max_surprise
    if surprise is None:
        return _finding("surprise", "trigger", False, None, limit, "nats", "surprise cannot be told without labels")
    found = Estimate.model_validate(dict(surprise))
    reason = f"log loss is {found.value:+.4f} {_span(found)} nats above what the champion itself expects"
    fired = found.low is not None and found.low > limit
    return _finding("surprise", "trigger", fired, found.value, limit, "nats", reason, found)


def _score(spec: ModelSpec, psi: float | None, performance: Mapping[str, Any]) -> Finding:
    """Fires unless labels clear it: other flights are asked about, and the champion is not surely surprised by them.

    Where labels give an interval it is thus a second name of surprise; it decides alone where they give none yet.
    """
    limit = spec.triggers.score_psi
    if psi is None:
        return _finding("score", "trigger", False, None, limit, "PSI", "too few flights to tell the drift of the score")
    reason, surprise = f"the score's PSI is {psi:.3f}", performance["surprise"]
    cleared = surprise is not None and surprise["low"] is not None and surprise["low"] <= spec.triggers.max_surprise
    if psi > limit and cleared:
        reason += ", and labels clear it"
    return _finding("score", "trigger", psi > limit and not cleared, psi, limit, "PSI", reason)


# -- levels: look at it, it decides nothing ------------------------------------------------------------------------
def _levels(spec: ModelSpec, evidence: Mapping[str, Any]) -> list[Finding]:
    found = [_missing(spec, evidence["drift"])] if evidence["drift"] else []
    for name, part in (evidence.get("service") or {}).items():
        if part["level"] is None:  # told on the page alone
            continue
        reason = f"{name.replace('_', ' ')}: {part['told']}"
        found.append(_level(name, part["value"], part["level"], part["beyond"], part["unit"], reason))
    if skew := evidence.get("skew"):
        reason = f"{skew['mismatched']:,} of {skew['rows']:,} audited predictions had other features than the lake"
        found.append(_level("skew", skew["rate"], skew["level"], skew["beyond"], "share", reason))
    if accuracy := evidence.get("accuracy"):
        reason = "accuracy cannot be told without labels"
        if accuracy["value"] is not None and accuracy["training"] is not None:
            reason = f"accuracy is {accuracy['value']:.1%}, {accuracy['training']:.1%} in training"
        found.append(
            _level(
                "accuracy", accuracy["drop"], accuracy["level"], accuracy["beyond"], "share below training's", reason
            )
        )
    return found


def _level(name: str, value: float | None, level: float, beyond: bool, unit: str, reason: str) -> Finding:
    return _finding(f"level_{name}", "level", beyond, value, level, unit, reason)


def _missing(spec: ModelSpec, drift: Sequence[Mapping[str, Any]]) -> Finding:
    worst = max(drift, key=lambda d: d["nulls"] - d["reference_nulls"])
    risen, limit = worst["nulls"] - worst["reference_nulls"], spec.levels.missing
    reason = f"{worst['feature']} is missing in {worst['nulls']:.0%}, {worst['reference_nulls']:.0%} when trained"
    return _level("missing", risen, limit, risen > limit, "share above training's", reason)


# -- what only explains --------------------------------------------------------------------------------------------
def _raw(spec: ModelSpec, drift: Sequence[Mapping[str, Any]]) -> Finding:
    limit = spec.levels.psi
    moved = [d for d in drift if d["psi"] is not None and d["psi"] > limit]
    top = ", ".join(f"{d['feature']} {d['psi']:.2f}" for d in moved[:3]) or "none"
    reason = f"{len(moved)} of {len(drift)} features have a PSI above {limit:g} (furthest: {top})"
    return _finding("drift", "explains", bool(moved), float(len(moved)), limit, "features", reason)


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
        persistent=False,
        value=value,
        interval=(estimate.low, estimate.high) if known and estimate else None,  # type: ignore[arg-type]
        threshold=threshold,
        unit=unit,
        reason=reason,
    )


def _span(found: Estimate) -> str:
    return f"[{found.low:+.4f}, {found.high:+.4f}]" if found.low is not None else "[no interval]"


def _sentence(state: State, found: Sequence[Finding], evidence: Mapping[str, Any]) -> str:
    by_name = {f.name: f for f in found}
    decisive = [f for kind, means in ORDER if means == state for f in found if f.kind == kind and f.persistent]
    if state == "incident":
        told = "; ".join(f.reason for f in decisive[:3])
        more = f"; {len(decisive) - 3} more findings" if len(decisive) > 3 else ""
        return f"Incident: {told}{more}; no retrain is asked for until the feed is mended."
    if state == "insufficient":
        other = [f.name for f in found if f.kind == "trigger" and f.fired]
        also = f"; open until labels arrive: {', '.join(other)}" if other else ""
        return f"Insufficient labels: {by_name['coverage'].reason}, too few to judge by{also}."
    if state == "rollback":
        return f"Roll back to version {evidence['rival']['version']}: {'; '.join(_beyond(f) for f in decisive)}."
    if state == "retrain":
        return f"Retrain: {'; '.join(_beyond(f) for f in decisive)}."
    waiting = [f.name for f in found if f.fired and not f.persistent]
    also = f" (fired, not yet at enough looks: {', '.join(waiting)})" if waiting else "; no finding has fired"
    levels = [f.name.removeprefix("level_") for f in found if f.kind == "level" and f.fired]
    also += f" (levels beyond: {', '.join(levels)})" if levels else ""
    return f"Healthy: {by_name['surprise'].reason}; {by_name['age'].reason} and {by_name['score'].reason}{also}."


def _beyond(finding: Finding) -> str:
    return f"{finding.reason} (limit {finding.threshold:g} {finding.unit})"
