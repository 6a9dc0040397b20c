"""The rollout as a state machine: what may never happen, whatever is observed; and each check at its limit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from include.models.spec import Rollout
from include.release import page, rollout
from include.release.observe import Mean, Observation, Speed, Times
from include.release.releases import APPROVED, EXPIRED, REJECTED, Approval
from include.release.rollout import APPROVAL, CANARY, SHADOW, State, decide

ORDER = {SHADOW: 0, APPROVAL: 1, CANARY: 2}
bounded = settings(max_examples=60, deadline=None)
YES, NO, LATE = (Approval(a, "someone", "") for a in (APPROVED, REJECTED, EXPIRED))

# -- whatever is observed ------------------------------------------------------------------------------------------
numbers = st.floats(-1e9, 1e9)
small = st.floats(-0.3, 0.3)
positive = st.floats(1e-9, 1e9)
counts = st.integers(0, 10**7)
means = st.builds(
    Mean, value=numbers | small, error=st.none() | st.floats(0, 1e9), blocks=st.floats(1, 1e6), flights=counts
)
times = st.builds(Times, median=positive, p99=positive, low=positive, high=positive, rows=st.integers(1, 10**7))
speeds = st.builds(Speed, champion=times, challenger=times, same_role=st.booleans())
both = st.fixed_dictionaries({"champion": small, "challenger": small})


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    attempts, answers = draw(counts), draw(counts)
    return Observation(
        stage=draw(st.sampled_from(list(ORDER))),
        at="2013-02-01T00:00:00+00:00",
        hours=draw(st.floats(0, 500)),
        release_hours=draw(st.floats(0, 500)),
        broken=draw(st.sampled_from([None, None, None, "a file is missing"])),
        pairs=draw(counts),
        requests=draw(st.floats(0, 1e9)),
        flights=draw(counts),
        labelled=draw(counts),
        answers=draw(st.dictionaries(st.sampled_from(["1", "2"]), counts)),
        stale=draw(st.none() | st.floats(0, 1)),
        attempts=attempts,
        errors=draw(st.integers(0, attempts) | st.just(0)),
        error=draw(st.none() | st.text(max_size=5)),
        answer_attempts=answers,
        answer_errors=draw(st.integers(0, answers) | st.just(0)),
        loss=draw(st.none() | means),
        log_loss=draw(st.none() | both),
        brier=draw(st.none() | both),
        bias=draw(st.none() | st.fixed_dictionaries({"champion": means, "challenger": means})),
        shift=draw(st.none() | means),
        spread=draw(st.none() | means),
        constant=draw(st.none() | st.floats(0, 1)),
        model_us=draw(st.none() | speeds),
        latency_us=draw(st.none() | speeds),
    )


@st.composite
def policies(draw: st.DrawFn) -> Rollout:
    steps = draw(st.lists(st.sampled_from([0.01, 0.05, 0.25, 0.5, 1.0]), min_size=1, unique=True))
    return Rollout(
        approval=draw(st.booleans()),
        steps=tuple(sorted(steps)),
        shadow_requests=draw(st.integers(1, 1000)),
        shadow_labelled=draw(st.integers(0, 1000)),
        canary_requests=draw(st.integers(1, 1000)),
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Rollout, Observation, State, Approval | None]:
    policy = draw(policies())
    stage = draw(st.sampled_from([SHADOW, APPROVAL, CANARY]))
    step = draw(st.integers(0, len(policy.steps) - 1)) if stage == CANARY else 0
    state = State(stage=stage, step=step)  # type: ignore[arg-type]
    seen = draw(observations() | st.builds(lambda hours: good(hours=hours), st.floats(0, 500)))
    return policy, seen, state, draw(st.sampled_from([None, YES, NO, LATE]))


@bounded
@given(situations())
def test_a_decision_is_total_deterministic_and_says_why(case: Any) -> None:
    policy, seen, state, approval = case
    move = decide(policy, seen, state, approval)
    assert move == decide(policy, seen, state, approval)
    assert move.reason.endswith(".")
    assert "\n" not in move.reason
    assert len({c.name for c in move.checks}) == len(move.checks)
    assert Observation.model_validate_json(seen.model_dump_json()) == seen


@bounded
@given(situations())
def test_bad_is_rolled_back_in_every_stage_whatever_else_holds(case: Any) -> None:
    policy, seen, state, approval = case
    move = decide(policy, seen, state, approval)
    if move.bad:
        assert move.kind == "roll_back"
    if move.kind in ("advance", "ask", "promote"):
        assert all(c.passed for c in move.checks)


@bounded
@given(situations())
def test_nothing_goes_on_without_its_minima(case: Any) -> None:
    policy, seen, state, approval = case
    move = decide(policy, seen, state, approval)
    if move.kind in ("advance", "ask", "promote"):
        assert seen.pairs >= policy.shadow_requests
        assert seen.labelled >= policy.shadow_labelled
        assert state.stage != CANARY or seen.answer_attempts >= policy.canary_requests


@bounded
@given(situations())
def test_stages_only_rise_and_one_at_a_time(case: Any) -> None:
    policy, seen, state, approval = case
    move = decide(policy, seen, state, approval)
    before, after = (ORDER[state.stage], state.step), (ORDER[move.state.stage], move.state.step)
    if move.kind == "advance":
        assert after > before
        assert move.state.stage == CANARY
        assert move.state.step == (state.step + 1 if state.stage == CANARY else 0)
        assert move.share == policy.steps[move.state.step] > state.share(policy)
    elif move.kind == "ask":
        assert (state.stage, move.state.stage) == (SHADOW, APPROVAL)
    else:
        assert move.state == state
    assert move.kind != "promote" or (state.stage == CANARY and state.step == len(policy.steps) - 1)


@bounded
@given(situations())
def test_nobody_answers_without_an_approval_that_is_asked_for(case: Any) -> None:
    policy, seen, state, approval = case
    assume(policy.approval and approval != YES)
    move = decide(policy, seen, state, approval)
    assert move.kind not in ("promote", "advance")
    if approval is not None:
        assert move.kind == "roll_back"


@bounded
@given(situations())
def test_a_late_stage_with_too_little_is_held_never_promoted(case: Any) -> None:
    policy, seen, state, approval = case
    move = decide(policy, seen, state, approval)
    if move.bad or approval in (NO, LATE):
        return
    limit = policy.canary_max_hours if state.stage == CANARY else policy.shadow_max_hours
    if any(not n.met for n in move.needs):
        assert move.kind == ("hold" if seen.hours >= limit else "wait")


@bounded
@given(st.lists(observations() | st.builds(lambda: good()), min_size=1, max_size=30), policies())
def test_a_whole_release_never_skips_a_stage(looks: list[Observation], policy: Rollout) -> None:
    state, way, approval = State(), [State()], None
    for seen in looks:
        move = decide(policy, seen, state, approval)
        approval = YES if move.state.stage == APPROVAL else approval
        if move.state != state:
            state = move.state
            way.append(state)
        if move.kind == "promote":
            wanted = [State(), *([State(stage="approval")] if policy.approval else [])]
            assert way == wanted + [State(stage="canary", step=i) for i in range(len(policy.steps))]
        if move.kind in ("promote", "roll_back"):
            break


@bounded
@given(situations())
def test_every_decision_has_a_page_and_a_text(case: Any) -> None:
    policy, seen, state, approval = case
    move = decide(policy, seen, state, approval)
    text = page.html(policy, seen, state, move, "version 2 <against> 1")
    assert "<script" not in text
    assert "<against>" not in text
    assert move.checks[0].name in page.evidence_text(policy, seen, move)


# -- each check at its limit ---------------------------------------------------------------------------------------
def good(**other: Any) -> Observation:
    """A challenger of whom nothing bad is seen, on 2,000 flights of four days."""

    def mean(value: float, error: float) -> Mean:
        return Mean(value=value, error=error, blocks=20, flights=2000)

    same = Speed(
        champion=Times(median=100, p99=300, low=95, high=105, rows=2000),
        challenger=Times(median=110, p99=300, low=105, high=115, rows=2000),
        same_role=True,
    )
    values: dict[str, Any] = {
        "stage": SHADOW,
        "at": "2013-02-01T00:00:00+00:00",
        "hours": 30.0,
        "release_hours": 30.0,
        "broken": None,
        "pairs": 3000,
        "requests": 3000.0,
        "flights": 2000,
        "labelled": 2000,
        "answers": {"1": 1500, "2": 1500},
        "stale": 0.0,
        "attempts": 3000,
        "errors": 0,
        "error": None,
        "answer_attempts": 1500,
        "answer_errors": 0,
        "loss": mean(0.0, 0.004),
        "log_loss": {"champion": 0.45, "challenger": 0.45},
        "brier": {"champion": 0.15, "challenger": 0.15},
        "bias": {"champion": mean(0.01, 0.02), "challenger": mean(0.0, 0.02)},
        "shift": mean(-0.01, 0.003),
        "spread": mean(0.02, 0.02),
        "constant": 0.001,
        "model_us": same,
        "latency_us": same,
    }
    return Observation(**{**values, **other})


def mean(value: float, error: float | None = 0.004, blocks: float = 20) -> Mean:
    return Mean(value=value, error=error, blocks=blocks, flights=2000)


def slow(median: float, same_role: bool = True) -> Speed:
    return Speed(
        champion=Times(median=100, p99=300, low=95, high=105, rows=2000),
        challenger=Times(median=median, p99=3 * median, low=0.95 * median, high=1.05 * median, rows=2000),
        same_role=same_role,
    )


POLICY = Rollout()
LIMIT = POLICY.shadow_max_hours
IN_CANARY = State(stage="canary", step=0)


@pytest.mark.parametrize(
    ("check", "seen"),
    [
        ("loads", {"broken": "its code is another"}),
        ("errors", {"errors": 60}),
        ("errors.answers", {"answer_errors": 40}),
        ("slow.model", {"model_us": slow(300)}),
        ("slow.answers", {"latency_us": slow(300)}),
        ("spread", {"spread": mean(-13.0, 0.1)}),
        ("spread", {"spread": mean(0.9, 0.05)}),
        ("shift", {"shift": mean(0.2)}),
        ("shift", {"shift": mean(-0.2)}),
        ("loss", {"loss": mean(0.1)}),
        ("calibration", {"bias": {"champion": mean(0.0, 0.02), "challenger": mean(0.25, 0.02)}}),
    ],
)
@pytest.mark.parametrize("state", [State(), State(stage="approval"), IN_CANARY])
def test_each_fault_alone_rolls_back(check: str, seen: dict[str, Any], state: State) -> None:
    move = decide(POLICY, good(**seen), state, None if state.stage == SHADOW else YES)
    assert [c.name for c in move.bad] == [check]
    assert move.kind == "roll_back"


@pytest.mark.parametrize(
    "seen",
    [
        {"attempts": 1, "errors": 1},  # one hiccup
        {"model_us": slow(149)},  # half as slow again
        {"model_us": slow(300, same_role=False)},  # three times, but in the shadow's thread, by 200 microseconds
        {"loss": mean(0.1, error=0.05)},  # not surely
        {"loss": mean(0.5, error=0.001, blocks=2)},  # of too few hours to tell
        {"spread": mean(0.9, 0.3)},  # of a few flights, not surely
        {"shift": mean(0.2), "loss": mean(-0.1)},  # it is the champion that is off
        {"bias": {"champion": mean(-0.22, 0.02), "challenger": mean(-0.25, 0.02)}},  # a day of storms: both are off
    ],
)
def test_what_is_no_proof_rolls_nobody_back(seen: dict[str, Any]) -> None:
    assert decide(POLICY, good(**seen), State()).kind in ("wait", "ask")


def test_a_difference_that_is_not_sure_waits_unless_the_labels_lean_to_the_challenger() -> None:
    apart: dict[str, Any] = {"shift": mean(0.078, 0.02)}
    lean = {"loss": mean(-0.1, 0.05), "bias": {"champion": mean(-0.2, 0.08), "challenger": mean(-0.12, 0.08)}}
    assert decide(POLICY, good(**apart), State()).kind == "wait"
    assert decide(POLICY, good(**apart, **lean), State()).kind == "ask"
    against = [
        {**lean, "loss": mean(0.001, 0.05)},
        {**lean, "loss": mean(-0.08, 0.05)},
        {**lean, "loss": mean(-0.1, None)},
        {**lean, "loss": mean(-0.1, 0.05, 3.2)},  # two errors below zero: three blocks often are, by chance
        {**lean, "bias": {"champion": mean(-0.12, 0.08), "challenger": mean(-0.2, 0.08)}},
        {**lean, "labelled": POLICY.shadow_labelled - 1},
        {**lean, "loss": None},
    ]
    for labels in against:
        assert decide(POLICY, good(**apart, **labels), State()).kind == "wait"
    assert decide(POLICY, good(**lean, shift=mean(0.2)), State()).kind == "roll_back"  # surely apart, not surely better


def test_the_way_of_a_good_challenger() -> None:
    asked = decide(POLICY, good(), State())
    assert (asked.kind, asked.state.stage) == ("ask", APPROVAL)
    assert decide(POLICY, good(), asked.state).kind == "wait"
    first = decide(POLICY, good(), asked.state, YES)
    assert (first.kind, first.share) == ("advance", 0.05)
    second = decide(POLICY, good(), first.state, YES)
    assert (second.kind, second.share) == ("advance", 0.25)
    assert decide(POLICY, good(), second.state, YES).kind == "promote"
    assert decide(POLICY, good(), second.state, None).kind == "hold"


def test_blue_green_without_approval() -> None:
    policy = Rollout(approval=False, steps=(1.0,))
    switched = decide(policy, good(), State())
    assert (switched.kind, switched.share) == ("advance", 1.0)
    assert decide(policy, good(), switched.state).kind == "promote"


@pytest.mark.parametrize(
    ("seen", "in_the_end"),
    [
        ({"loss": mean(POLICY.loss_margin + 0.005, error=0.01)}, "hold"),  # days may turn it
        ({"shift": mean(POLICY.max_shift + 0.01, error=0.02)}, "roll_back"),
        ({"errors": 20}, "roll_back"),
        ({"errors": 20, "loss": mean(POLICY.loss_margin + 0.005, error=0.01)}, "roll_back"),
    ],
)
def test_what_is_not_proven_waits_until_its_time_is_over(seen: dict[str, Any], in_the_end: str) -> None:
    assert decide(POLICY, good(**seen), State()).kind == "wait"
    over = decide(POLICY, good(**seen, hours=LIMIT), State())
    assert over.kind == in_the_end
    assert not over.bad


def test_too_little_traffic_at_the_end_is_held() -> None:
    assert decide(POLICY, good(labelled=10), State()).kind == "wait"
    assert decide(POLICY, good(labelled=10, hours=LIMIT), State()).kind == "hold"
    assert decide(POLICY, good(answer_attempts=10, hours=LIMIT), IN_CANARY, YES).kind == "hold"


def test_a_bad_one_leaves_while_people_think() -> None:
    assert decide(POLICY, good(errors=300), State(stage="approval")).kind == "roll_back"
    assert "someone" in decide(POLICY, good(), State(stage="approval"), NO).reason
    assert "in time" in decide(POLICY, good(), State(stage="approval"), LATE).reason


def test_intervals_over_all_looks_are_wider_than_for_one_and_hold() -> None:
    """A walk of 2,000 steps without drift leaves the boundary at some step in at most 1 % of its runs; a fixed 2.58
    standard errors is left by one in five."""
    import numpy as np

    rng = np.random.default_rng(1)
    walks = rng.standard_normal((2000, 2000)).cumsum(axis=1)
    n = np.arange(1, 2001)
    z = np.array([rollout.multiplier(i / rollout.PLANNED_BLOCKS, 0.99) for i in n])
    assert (abs(walks) > z * np.sqrt(n)).any(axis=1).mean() <= 0.01
    assert (abs(walks) > 2.58 * np.sqrt(n)).any(axis=1).mean() > 0.15
    assert z.min() == pytest.approx(z[rollout.PLANNED_BLOCKS - 1], rel=1e-3)
