"""May the challenger go on? A pure decision over one observation, taken anew at every look; docs/release.md has rates.

    shadow ─▶ approval (where the policy asks for it) ─▶ canary, step by step ─▶ promote
       └───────────┴─────────────── judged bad ─────────────────┴─▶ roll back, at once

Two questions are asked of every check, because looks are many and a stage ends once:

- **Is it surely bad?** At every look. A threshold that errs once in twenty looks would roll back every good
  challenger that is looked at often enough (Armitage, McPherson and Rowe 1969). So the bounds hold over *all* looks
  together: means have a confidence sequence, the normal mixture of Robbins 1970 as of Howard, Ramdas, McAuliffe and
  Sekhon 2021 (Annals of Statistics 49), with the error estimated (Waudby-Smith et al. 2024) and t quantiles for few
  blocks; shares a Wilson bound that is as wide; medians a fixed four standard errors (Haybittle 1971, Peto 1976).
  It does not matter then whether one looks every hour or every two seconds.
- **Does it look well enough to go on?** Once the stage's sample is complete. Here the number itself must lie within
  the limit: the challenger bears the proof. If it does not, the stage waits for more, up to its time, and then rolls
  back. Too small a sample at that time, or labels that speak against it without proof, are nobody's fault: hold, tell
  people, promote nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import e, isfinite, log
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import lambertw, ndtr, stdtrit

from include.models.spec import Rollout
from include.release.observe import Mean, Observation, Speed
from include.release.releases import APPROVED, Approval

SHADOW: Literal["shadow"] = "shadow"
APPROVAL: Literal["approval"] = "approval"
CANARY: Literal["canary"] = "canary"
PLANNED_BLOCKS = 12  # about two and a half days: where the confidence sequence is tightest
PLANNED_ATTEMPTS = 300
MIN_BLOCKS = 3  # below it a standard error over blocks says nothing
MIN_ERRORS = 3  # one hiccup is no rate
LABELLED = ("loss", "calibration")  # checks that rest on labels
LEANING = 0.95  # at one look
MIXED_ROLES = 5  # times the policy's floor

Stage = Literal["shadow", "approval", "canary"]
Kind = Literal["wait", "ask", "advance", "promote", "roll_back", "hold"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class State(_Frozen):
    """Where a release stands. `step` counts the policy's canary steps from 0; it is 0 before the canary."""

    stage: Stage = SHADOW
    step: int = 0

    def share(self, policy: Rollout) -> float:
        """Share of the entities that the challenger answers."""
        return policy.steps[min(self.step, len(policy.steps) - 1)] if self.stage == CANARY else 0.0


class Check(_Frozen):
    """One question. `bad`: surely beyond the limit, roll back. `passed`: good enough to end the stage.
    `interval` holds over all looks together; `threshold` bounds `value`."""

    name: str
    bad: bool
    passed: bool
    value: float | None
    interval: tuple[float, float] | None
    threshold: float
    unit: str
    reason: str


class Need(_Frozen):
    """What a stage must have seen before it may end."""

    name: str
    have: int
    wanted: int

    @property
    def met(self) -> bool:
        return self.have >= self.wanted


class Move(_Frozen):
    """What to do now. `state`: where the release stands afterwards; unchanged unless kind is advance or ask.

    wait: look again later. ask: go to the approval stage and ask people. advance: to the next stage or share.
    promote: make the challenger champion. roll_back: take it out. hold: as wait, but its time is over: tell people
    once; it goes on by itself when more comes.
    """

    kind: Kind
    state: State
    share: float
    reason: str
    checks: tuple[Check, ...]
    needs: tuple[Need, ...]

    @property
    def bad(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if c.bad)


Mover = Callable[..., Move]


def decide(policy: Rollout, seen: Observation, state: State, approval: Approval | None = None) -> Move:
    """The next move of a release that stands at `state`. Pure, and total: whatever is None stays open."""
    checks = judge(policy, seen)
    needs = _needs(policy, seen, state)

    def move(kind: Kind, reason: str, to: State | None = None) -> Move:
        after = to or state
        return Move(kind=kind, state=after, share=after.share(policy), reason=reason, checks=checks, needs=needs)

    if bad := [c for c in checks if c.bad]:
        others = f" (bad as well: {', '.join(c.name for c in bad[1:])})" if len(bad) > 1 else ""
        return move("roll_back", f"Rolled back in {_where(policy, state)}: {_lower(bad[0].reason)}{others}.")
    if approval is not None and approval.answer != APPROVED:
        return move("roll_back", f"Rolled back in {_where(policy, state)}: {_refused(approval)}.")
    if lacking := [n for n in needs if not n.met]:
        return _unfinished(policy, seen, state, lacking, move)
    if failing := [c for c in checks if not c.passed]:
        return _unproven(policy, seen, state, failing, move)
    return _onwards(policy, seen, state, approval, move)


def judge(policy: Rollout, seen: Observation) -> tuple[Check, ...]:
    """All checks, whatever the stage: what was shown in the shadow must go on to hold in the canary."""
    return (
        _loads(seen),
        _errors(policy, "errors", seen.errors, seen.attempts, "requests", seen.error),
        _errors(policy, "errors.answers", seen.answer_errors, seen.answer_attempts, "answers in this step", seen.error),
        _slow(policy, "slow.model", seen.model_us, "its model takes"),
        _slow(policy, "slow.answers", seen.latency_us, "its answers take"),
        _spread(policy, seen),
        _shift(policy, seen),
        _loss(policy, seen),
        _calibration(policy, seen),
    )


# -- the machine ---------------------------------------------------------------------------------------------------
def _needs(policy: Rollout, seen: Observation, state: State) -> tuple[Need, ...]:
    """The minima of a stage. Those of the shadow go on to hold: nothing is promoted that was not compared."""
    needs = [
        Need(name="compared requests", have=seen.pairs, wanted=policy.shadow_requests),
        Need(name="labelled flights", have=seen.labelled, wanted=policy.shadow_labelled),
    ]
    if state.stage == CANARY:
        needs.append(
            Need(name="requests answered in this step", have=seen.answer_attempts, wanted=policy.canary_requests)
        )
    return tuple(needs)


def _unfinished(policy: Rollout, seen: Observation, state: State, lacking: Sequence[Need], move: Mover) -> Move:
    told = " and ".join(f"{n.have:,} of {n.wanted:,} {n.name}" for n in lacking)
    limit = _limit(policy, state)
    if seen.hours >= limit:
        return move("hold", f"On hold in {_where(policy, state)}: after {seen.hours:.0f} h there are only {told}.")
    return move("wait", f"Waiting in {_where(policy, state)}: {told} so far, {limit - seen.hours:.0f} h left.")


def _unproven(policy: Rollout, seen: Observation, state: State, failing: Sequence[Check], move: Mover) -> Move:
    """Labels of a few days may speak against a good challenger without proving anything: that is for people, or for
    more days. What needs no labels has had its time."""
    told = _lower(failing[0].reason)
    if seen.hours >= _limit(policy, state):
        if all(c.name in LABELLED for c in failing):
            return move("hold", f"On hold in {_where(policy, state)}: its time is over and labels do not tell: {told}.")
        return move("roll_back", f"Rolled back in {_where(policy, state)}, whose time is over: {told}.")
    return move("wait", f"Waiting in {_where(policy, state)} for more evidence: {told}.")


def _onwards(policy: Rollout, seen: Observation, state: State, approval: Approval | None, move: Mover) -> Move:
    basis = _basis(seen)
    if policy.approval and approval is None:
        if state.stage == SHADOW:
            asked = State(stage=APPROVAL)
            return move("ask", f"The shadow is complete and its checks hold; approval is needed: {basis}.", asked)
        if state.stage == APPROVAL:
            return move("wait", f"Waiting for an approval; all checks hold: {basis}.")
        return move("hold", "On hold in the canary: the policy asks for an approval, and there is none on record.")
    if state.stage != CANARY:
        first = State(stage=CANARY, step=0)
        by = f"approved by {approval.actor}" if approval is not None else "no approval is asked for"
        return move("advance", f"To {_where(policy, first)}, {by}: {basis}.", first)
    if state.step + 1 < len(policy.steps):
        following = State(stage=CANARY, step=state.step + 1)
        return move("advance", f"From {_where(policy, state)} to {_where(policy, following)}: {basis}.", following)
    return move("promote", f"Promoted: every stage is complete and all checks hold; {basis}.")


def _limit(policy: Rollout, state: State) -> float:
    return policy.canary_max_hours if state.stage == CANARY else policy.shadow_max_hours


# -- sanity --------------------------------------------------------------------------------------------------------
def _loads(seen: Observation) -> Check:
    bad = seen.broken is not None
    reason = f"the service cannot load it: {seen.broken}" if bad else "the service has loaded it"
    return _check("loads", bad, not bad, float(bad), None, 0.0, "", reason)


def _errors(policy: Rollout, name: str, errors: int, attempts: int, what: str, last: str | None) -> Check:
    """Bad: the lower Wilson bound, over all looks, lies above the limit. Passed: the share itself does not."""
    limit = policy.max_errors
    if not attempts:
        return _check(name, False, True, None, None, limit, "share", f"no {what} yet")
    share = errors / attempts
    interval = wilson(errors, attempts, multiplier(attempts / PLANNED_ATTEMPTS, policy.confidence))
    reason = f"it failed at {errors:,} of {attempts:,} {what} ({share:.2%})"
    if last and errors:
        reason += f", the last time with {last!r}"
    bad = errors >= MIN_ERRORS and interval[0] > limit
    return _check(name, bad, not bad and share <= limit, share, interval, limit, "share", reason)


def _slow(policy: Rollout, name: str, speed: Speed | None, what: str) -> Check:
    """Bad: surely slower by the ratio, and by an amount that anybody would notice: machines are noisy.

    The amount is larger while the roles differ: a shadow is timed in a thread that waits for the answers' own.
    """
    limit = policy.max_slowdown
    if speed is None:
        return _check(name, False, True, None, None, limit, "ratio", "too few times to compare")
    ours, theirs = speed.champion, speed.challenger
    floor = policy.slowdown_us * (1 if speed.same_role else MIXED_ROLES)
    ratio, noticed = theirs.median / ours.median, theirs.median - ours.median > floor
    interval = (theirs.low / ours.high, theirs.high / ours.low)
    roles = "" if speed.same_role else " (in the shadow, in small batches)"
    reason = (
        f"{what} {theirs.median:,.0f} µs{roles} in the median, the champion's {ours.median:,.0f} µs "
        f"(99 %: {theirs.p99:,.0f} and {ours.p99:,.0f} µs)"
    )
    return _check(
        name, noticed and interval[0] > limit, not (noticed and ratio > limit), ratio, interval, limit, "ratio", reason
    )


def _spread(policy: Rollout, seen: Observation) -> Check:
    """A challenger that always says the same, or exaggerates, needs no labels to be found out."""
    limit = policy.min_spread
    if seen.spread is None:
        return _check("spread", False, True, None, None, limit, "ratio", "nothing to compare the spread with")
    found, widest = sequence(seen.spread, policy.confidence), -log(limit)
    with np.errstate(over="ignore"):
        ratio, *ends = (float(np.exp(x)) for x in (seen.spread.value, *(found or ())))
    reason = (
        f"its log odds spread {ratio:.3g} times as wide as the champion's ({limit:g} to {1 / limit:.2g} is sane), "
        f"{seen.constant or 0:.0%} of the flights have the commonest score"
    )
    bad = found is not None and (found[0] > widest or found[1] < -widest)
    interval = (ends[0], ends[1]) if ends else None
    return _check("spread", bad, abs(seen.spread.value) <= widest, ratio, interval, limit, "ratio", reason)


def _shift(policy: Rollout, seen: Observation) -> Check:
    """Two models of the same flights agree in the mean; one that does not is wrong, unless the labels surely favour it:
    then it is the champion that is off. While it is not sure that they differ so much, it is enough that the labels
    lean to it, in log loss and in calibration: in a week that has changed the refresh is the one that differs."""
    limit = policy.max_shift
    if seen.shift is None:
        return _check("shift", False, True, None, None, limit, "probability", "no request has been scored by both yet")
    interval = sequence(seen.shift, policy.confidence)
    favoured = seen.loss is not None and (found := sequence(seen.loss, policy.confidence)) is not None and found[1] < 0
    reason = f"its scores lie {_told(seen.shift, interval)} beside the champion's in the mean"
    if favoured:
        reason += ", and the labels surely favour it"
    bad = not favoured and interval is not None and (interval[0] > limit or interval[1] < -limit)
    passed = favoured or abs(seen.shift.value) <= limit or (not bad and _leans(policy, seen))
    return _check("shift", bad, passed, seen.shift.value, interval, limit, "probability", reason)


def _leans(policy: Rollout, seen: Observation) -> bool:
    """Whether a full sample of labels says at this look, though not over all looks together, that the challenger is
    the better one. A full sample may still be of few blocks, whose error is itself a guess: hence t's quantile."""
    loss, bias = seen.loss, seen.bias
    if loss is None or bias is None or seen.labelled < max(policy.shadow_labelled, 1):
        return False
    if loss.error is None or loss.blocks < MIN_BLOCKS:
        return False
    nearer = abs(bias["challenger"].value) < abs(bias["champion"].value)
    return nearer and loss.value < -float(stdtrit(loss.blocks - 1, LEANING)) * loss.error


# -- quality -------------------------------------------------------------------------------------------------------
def _loss(policy: Rollout, seen: Observation) -> Check:
    limit = policy.loss_margin
    if seen.loss is None:
        return _check("loss", False, True, None, None, limit, "nats", "no label is known yet")
    interval = sequence(seen.loss, policy.confidence)
    reason = f"its log loss lies {_told(seen.loss, interval)} nats above the champion's on {seen.labelled:,} flights"
    bad = interval is not None and interval[0] > limit
    return _check("loss", bad, seen.loss.value <= limit, seen.loss.value, interval, limit, "nats", reason)


def _calibration(policy: Rollout, seen: Observation) -> Check:
    """Paired: on a day of storms every model says too little, and a good challenger is as far off as the champion.

    Bad: surely off by more than the limit, and further off than the champion by more than the limit.
    """
    limit = policy.max_calibration_gap
    if seen.bias is None:
        return _check("calibration", False, True, None, None, limit, "probability", "no label is known yet")
    own, other = seen.bias["challenger"], seen.bias["champion"]
    interval = sequence(own, policy.confidence)
    gap = abs(own.value) - abs(other.value)
    surely = interval is not None and (interval[0] > limit or interval[1] < -limit)
    reason = f"its mean score is off by {_told(own, interval)}, the champion's by {other.value:+.4f}"
    return _check("calibration", surely and gap > limit, gap <= limit, gap, None, limit, "probability", reason)


# -- intervals that hold over all looks ----------------------------------------------------------------------------
def multiplier(progress: float, confidence: float) -> float:
    """Standard errors to either side of a mean within which it stays at *all* sample sizes together.

    The normal mixture's boundary (Howard et al. 2021, eq. 14), tightest at `progress` 1: sample over planned sample.
    At 0.99 some 3.9 there, wider before and, as the logarithm's root, after.
    """
    alpha = 1 - confidence
    best = -float(lambertw(-(alpha**2) / e, -1).real) - 1
    ratio = max(progress, 1e-9) * best
    return float(np.sqrt((1 + 1 / ratio) * np.log((1 + ratio) / alpha**2)))


def sequence(found: Mean, confidence: float) -> tuple[float, float] | None:
    """The confidence sequence of a mean at this look; None when too few blocks are there for a standard error."""
    if found.error is None or found.blocks < MIN_BLOCKS:
        return None
    z = multiplier(found.blocks / PLANNED_BLOCKS, confidence)
    reach = -float(stdtrit(found.blocks - 1, ndtr(-z))) * found.error  # for few blocks the t quantile of the same tail
    return (found.value - reach, found.value + reach) if isfinite(reach) else None


def wilson(hits: int, of: int, z: float) -> tuple[float, float]:
    """Wilson's interval of a share at z standard errors; honest also at 0 and at 1."""
    share = hits / of
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * float(np.sqrt(share * (1 - share) / of + z**2 / (4 * of**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


# -- words ---------------------------------------------------------------------------------------------------------
def _check(
    name: str,
    bad: bool,
    passed: bool,
    value: float | None,
    interval: tuple[float, float] | None,
    threshold: float,
    unit: str,
    reason: str,
) -> Check:
    told = reason[0].upper() + reason[1:] + "."
    if interval is not None and not all(map(isfinite, interval)):
        interval = None
    if value is not None and not isfinite(value):
        value = None
    return Check(
        name=name,
        bad=bad,
        passed=passed and not bad,
        value=value,
        interval=interval,
        threshold=threshold,
        unit=unit,
        reason=told,
    )


def _told(found: Mean, interval: tuple[float, float] | None) -> str:
    return f"{found.value:+.4f}" + (f" [{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else " [no interval yet]")


def _where(policy: Rollout, state: State) -> str:
    return f"the canary at {state.share(policy):.0%}" if state.stage == CANARY else f"the {state.stage}"


def _refused(approval: Approval) -> str:
    if approval.answer == "expired":
        return "nobody approved it in time"
    return f"{approval.answer} by {approval.actor}" + (f" ({approval.reason})" if approval.reason else "")


def _basis(seen: Observation) -> str:
    told = f"{seen.pairs:,} requests of {seen.flights:,} flights compared, {seen.errors:,} errors"
    if seen.loss is None:
        return told
    return f"{told}, log loss {seen.loss.value:+.4f} nats against the champion's on {seen.labelled:,} labelled flights"


def _lower(reason: str) -> str:
    return (reason[0].lower() + reason[1:]).removesuffix(".")
