"""May the challenger take the champion's place? A pure decision over evidence; see docs/gate.md for how often it errs.

Three rules, by what is compared:
- `first`: no champion. Only the absolute floors hold.
- `refresh`: same configuration, newer data. Must be non-inferior: the whole interval of (challenger - champion) log
  loss lies below the margin. To demand superiority here would keep models that only grow older.
- `changed`: another configuration. Must be superior: the whole interval lies below zero.

Who bears the proof differs by check, on purpose. Against the champion the challenger does, since rejecting it costs
little. For floors, calibration and slices, which a week of storms moves for any model, the number itself or its
interval must speak *against* it: see each check's own note.

Missing, malformed or inconsistent evidence is refused. So is a champion that could not be scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from include.evaluation.evidence import NO_CHAMPION, Evidence, Scored, Scores, Slice
from include.metrics import Estimate
from include.models.spec import Gate

_ROUNDING = 1e-9  # nats, of means over the same rows in another order

Rule = Literal["first", "refresh", "changed", "unknown"]


class Check(BaseModel):
    """One question and its answer. `threshold` bounds `value` or `interval`; `reason` says which, in words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    passed: bool
    value: float | None
    interval: tuple[float, float] | None
    threshold: float | None
    unit: str
    reason: str


class Verdict(BaseModel):
    """The gate's answer. `reason` is one sentence that names the decisive numbers; `rule` is unknown only when the
    evidence could not be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: bool
    rule: Rule
    reason: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if not c.passed)


def decide(gate: Gate, evidence: Mapping[str, Any]) -> Verdict:
    """Judge evidence as `evidence.collect` writes it. Never raises for bad evidence: it refuses, and says why."""
    try:
        known = Evidence.model_validate(dict(evidence))
    except ValidationError as error:
        return _unreadable(error)
    checks = (
        _measured(gate, known),
        _enough(gate, known),
        _unseen(known),
        *_comparison(gate, known),
        _floor(gate, known),
        *_calibration(gate, known),
        *(_slices(gate, known, by) for by in gate.slices),
        _limit("latency", known.latency_ms, gate.max_latency_ms, "ms", "p99 of one row through the model"),
        _limit("size", known.size_mb, gate.max_size_mb, "MB", "size of the model's bundle"),
    )
    accepted = all(check.passed for check in checks)
    return Verdict(accepted=accepted, rule=_rule(known), reason=_sentence(known, checks), checks=checks)


def _rule(evidence: Evidence) -> Rule:
    if not isinstance(evidence.champion, Scored):
        return "first"
    same = evidence.champion.configuration_hash == evidence.challenger.configuration_hash
    return "refresh" if same else "changed"


# -- may anything be said at all? ----------------------------------------------------------------------------------
def _unreadable(error: ValidationError) -> Verdict:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "evidence"
    why = f"the evidence is incomplete or malformed ({error.error_count()} faults; {where}: {first['msg']})."
    check = Check(name="evidence", passed=False, value=None, interval=None, threshold=None, unit="", reason=why)
    return Verdict(accepted=False, rule="unknown", reason=f"Refused: {why}", checks=(check,))


def _measured(gate: Gate, evidence: Evidence) -> Check:
    faults = list(evidence.problems)
    if evidence.challenger.scores is None:
        faults.append("the challenger is not scored")
    if isinstance(evidence.champion, Scored) and evidence.champion.scores is None:
        faults.append("there is a champion, but it is not scored")
    if evidence.confidence < gate.confidence:
        faults.append(f"intervals are at {evidence.confidence:.0%}, the gate wants {gate.confidence:.0%}")
    if not faults and not _consistent(evidence):
        faults.append("the differences are not those of the scores")
    reason = "everything asked for was measured" if not faults else "; ".join(faults)
    return _check("evidence", not faults, float(len(faults)), None, 0, "faults", reason)


def _consistent(evidence: Evidence) -> bool:
    """Whether the differences belong to the scores and all to the same rows."""
    pairs = [(evidence.against_baseline, evidence.baseline)]
    if isinstance(evidence.champion, Scored):
        pairs.append((evidence.difference, evidence.champion.scores))
    return all(_belongs(difference, evidence.challenger.scores, other, evidence) for difference, other in pairs)


def _belongs(difference: Estimate | None, own: Scores | None, other: Scores | None, evidence: Evidence) -> bool:
    if difference is None or own is None or other is None:
        return False
    rows = {difference.rows, own.log_loss.rows, other.log_loss.rows}
    gap = own.log_loss.value - other.log_loss.value
    return rows == {evidence.holdout.rows} and abs(gap - difference.value) <= _ROUNDING


def _enough(gate: Gate, evidence: Evidence) -> Check:
    rows, days, rate = evidence.holdout.rows, evidence.holdout.days, evidence.holdout.base_rate
    passed = rows >= gate.min_rows and days >= gate.min_days and 0 < rate < 1
    reason = (
        f"{rows:,} labelled flights of {days} days, {rate:.1%} of them not on time; "
        f"wanted {gate.min_rows:,} flights of {gate.min_days} days with both outcomes"
    )
    return _check("holdout", passed, float(rows), None, float(gate.min_rows), "rows", reason)


def _unseen(evidence: Evidence) -> Check:
    """A model that has seen the rows looks better on them than it is; that holds for the champion too."""
    scored = {"challenger": evidence.challenger}
    if isinstance(evidence.champion, Scored):
        scored["champion"] = evidence.champion
    seen = {who: s.trained_until for who, s in scored.items() if not s.trained_until < evidence.holdout.first}
    reason = f"the holdout begins on {evidence.holdout.first}; "
    if seen:
        reason += ", ".join(f"the {who} was trained until {until!r}" for who, until in seen.items())
    else:
        reason += "trained until " + ", ".join(f"{s.trained_until} ({who})" for who, s in scored.items())
    return _check("unseen", not seen, float(len(seen)), None, 0, "models", reason)


# -- against the champion ------------------------------------------------------------------------------------------
def _comparison(gate: Gate, evidence: Evidence) -> tuple[Check, ...]:
    if evidence.champion == NO_CHAMPION:
        return ()
    rule = _rule(evidence)
    name, bound = ("non-inferior", gate.margin) if rule == "refresh" else ("superior", 0.0)
    found = evidence.difference
    if found is None or found.high is None:
        return (_check(name, False, None, None, bound, "nats", "the difference to the champion has no interval"),)
    passed = found.high <= bound if rule == "refresh" else found.high < bound
    shown = "shown" if passed else "not shown"
    limit = f"within the margin {bound:+.4f}" if rule == "refresh" else "below zero"
    reason = f"log loss differs from the champion's by {_signed(found)} nats, {shown} to be {limit}"
    return (_check(name, passed, found.value, found, bound, "nats", reason),)


# -- floors --------------------------------------------------------------------------------------------------------
def _floor(gate: Gate, evidence: Evidence) -> Check:
    """Better than the naive baseline by itself, and not surely below the skill that is asked for.

    In one week the interval of the skill is wider than the skill: to demand that all of it lie above the floor would
    refuse nearly every good model (docs/gate.md).
    """
    found, naive = evidence.against_baseline, evidence.baseline.log_loss if evidence.baseline else None
    if found is None or naive is None or found.low is None or found.high is None or naive.value <= 0:
        return _check("floor", False, None, None, gate.floor_skill, "share", "not compared with the naive baseline")
    skill, best = -found.value / naive.value, -found.low / naive.value
    interval = (-found.high / naive.value, best)
    passed = skill > 0 and best >= gate.floor_skill
    reason = (
        f"log loss lies {skill:.1%} [{interval[0]:.1%}, {best:.1%}] below the naive baseline's {naive.value:.4f}; "
        f"it must be better, and the interval must reach {gate.floor_skill:.0%}"
    )
    return _check("floor", passed, skill, interval, gate.floor_skill, "share", reason)


def _calibration(gate: Gate, evidence: Evidence) -> tuple[Check, ...]:
    """A whole week may be worse than any model could foresee, so an interval that reaches the limit passes. Where the
    world itself has moved further than that, a challenger that is nearer to it than the champion passes as well:
    refusing it would keep the worse one."""
    scores = evidence.challenger.scores
    before = None if isinstance(evidence.champion, str) else evidence.champion.scores
    wanted = {"bias": "mean prediction minus base rate", "ece": "expected calibration error"}
    return tuple(
        _calibrated(gate, name, title, getattr(scores, name, None), getattr(before, name, None))
        for name, title in wanted.items()
    )


def _calibrated(gate: Gate, name: str, title: str, found: Estimate | None, champion: Estimate | None) -> Check:
    limit, check = gate.max_calibration_error, f"calibration.{name}"
    if found is None or found.low is None or found.high is None:
        return _check(check, False, None, None, limit, "probability", f"{title} has no interval")
    nearest = 0.0 if found.low <= 0 <= found.high else min(abs(found.low), abs(found.high))
    reason = f"{title} {_signed(found)}; its interval must reach within {limit:.2f} of zero"
    if nearest > limit and champion is not None:
        reason += f", or be nearer to it than the champion's {champion.value:+.4f}"
    nearer = champion is not None and abs(found.value) < abs(champion.value)
    return _check(check, nearest <= limit or nearer, found.value, found, limit, "probability", reason)


# -- slices --------------------------------------------------------------------------------------------------------
def _slices(gate: Gate, evidence: Evidence, by: str) -> Check:
    """No slice of sufficient size may be *surely* worse than its margin: the interval's lower end decides.

    About 18 slices are looked at. To demand proof of harmlessness from each would refuse nearly every challenger;
    that in the whole it does no harm is what the comparison above has proven.
    """
    name, margin = f"slice.{by}", gate.slice_margin
    if by not in evidence.sliced_by:
        return _check(name, False, None, None, margin, "nats", f"no slices by {by} in the evidence")
    judged = [s for s in evidence.slices if s.by == by and s.rows >= gate.min_slice_rows]
    if not judged:
        reason = f"no slice by {by} has {gate.min_slice_rows} rows: nothing to judge"
        return _check(name, True, None, None, margin, "nats", reason)
    bad = [s for s in judged if s.difference.low is None or s.difference.low > margin]
    worst = max(judged, key=_harm)
    against = "the naive baseline" if evidence.champion == NO_CHAMPION else "the champion"
    reason = (
        f"of {len(judged)} slices by {by}, {worst.value} ({worst.rows:,} flights) does worst against {against}: "
        f"{_signed(worst.difference)} nats; {len(bad)} are surely worse by more than {margin:.3f}"
    )
    if bad:
        reason += f" ({', '.join(s.value for s in bad)})"
    return _check(name, not bad, worst.difference.value, worst.difference, margin, "nats", reason)


def _harm(part: Slice) -> float:
    return float("inf") if part.difference.low is None else part.difference.low


# -- words ---------------------------------------------------------------------------------------------------------
def _limit(name: str, value: float | None, limit: float, unit: str, what: str) -> Check:
    if value is None:
        return _check(name, False, None, None, limit, unit, f"{what} was not measured")
    word = "within" if value <= limit else "above"
    return _check(
        name, value <= limit, value, None, limit, unit, f"{what}: {value:.3g} {unit}, {word} {limit:g} {unit}"
    )


def _check(
    name: str,
    passed: bool,
    value: float | None,
    interval: Estimate | tuple[float, float] | None,
    threshold: float,
    unit: str,
    reason: str,
) -> Check:
    if isinstance(interval, Estimate):
        interval = None if interval.low is None or interval.high is None else (interval.low, interval.high)
    return Check(
        name=name,
        passed=passed,
        value=value,
        interval=interval,
        threshold=threshold,
        unit=unit,
        reason=reason[0].upper() + reason[1:] + ".",
    )


def _signed(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:+.4f} [no interval]"
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _sentence(evidence: Evidence, checks: tuple[Check, ...]) -> str:
    failed = [c for c in checks if not c.passed]
    if failed:
        others = f" (failed as well: {', '.join(c.name for c in failed[1:])})" if len(failed) > 1 else ""
        return f"Refused: {_lower(failed[0].reason)}{others}."
    decisive = {c.name: c for c in checks}
    rows = f"on {evidence.holdout.rows:,} flights of {evidence.holdout.days} days"
    if _rule(evidence) == "first":
        return f"Accepted as the first model: {_lower(decisive['floor'].reason)}, {rows}."
    name = "non-inferior" if _rule(evidence) == "refresh" else "superior"
    word = "a refresh" if _rule(evidence) == "refresh" else "a changed configuration"
    return f"Accepted as {word}: {_lower(decisive[name].reason)}, {rows}."


def _lower(reason: str) -> str:
    return (reason[0].lower() + reason[1:]).removesuffix(".")
