"""The decision: closed when anything is missing, right at its thresholds, in words that name the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.evaluation import gate
from include.evaluation.evidence import NO_CHAMPION
from include.models.spec import Gate

RULES = Gate()
bounded = settings(max_examples=60, deadline=None)
losses = st.floats(0.4, 0.5)
halves = st.floats(0.0, 0.1)


# -- evidence by hand ----------------------------------------------------------------------------------------------
def estimate(value: float, half: float | None = 0.001, rows: int = 6000, days: int = 7) -> dict[str, Any]:
    low, high = (None, None) if half is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "rows": rows, "days": days}


def scores(loss: float) -> dict[str, Any]:
    names = {"brier": estimate(0.15), "auc": estimate(0.7), "bias": estimate(0.01, 0.02), "ece": estimate(0.02, 0.01)}
    return {"log_loss": estimate(loss, 0.05), **names}


def part(by: str, value: str, difference: dict[str, Any], rows: int = 2000) -> dict[str, Any]:
    loss, bias = estimate(0.5, rows=rows), estimate(0, rows=rows)
    found = {"by": by, "value": value, "rows": rows, "base_rate": 0.25, "log_loss": loss, "bias": bias}
    return {**found, "difference": difference}


def made(
    own: float = 0.47, champion: float | None = 0.475, naive: float = 0.54, half: float = 0.004, same: bool = True
) -> dict[str, Any]:
    """Evidence with log losses `own`, `champion` (None: there is none) and `naive`; `half`: of the difference."""
    before = {"version": "3", "configuration_hash": "a" if same else "b", "trained_until": "2013-02-10"}
    return {
        "model": "flights_on_time",
        "confidence": 0.95,
        "holdout": {
            "rows": 6000,
            "days": 7,
            "base_rate": 0.25,
            "first": "2013-02-20",
            "last": "2013-02-26",
            "hash": "h",
        },
        "challenger": {
            "version": None,
            "configuration_hash": "a",
            "trained_until": "2013-02-19",
            "scores": scores(own),
        },
        "champion": NO_CHAMPION if champion is None else {**before, "scores": scores(champion)},
        "baseline": scores(naive),
        "difference": None if champion is None else estimate(own - champion, half),
        "against_baseline": estimate(own - naive, 0.03),
        "sliced_by": list(RULES.slices),
        "slices": [part(by, "one", estimate(0.0, 0.02)) for by in RULES.slices],
        "calibration": [],
        "daily": [],
        "latency_ms": 0.2,
        "size_mb": 1.0,
        "problems": [],
    }


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a nested value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*at, key)
        yield from paths(child, (*at, key))


def without(value: Any, path: tuple[Any, ...]) -> Any:
    copy = json.loads(json.dumps(value))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return copy


def failed(found: dict[str, Any]) -> set[str]:
    return {check.name for check in gate.decide(RULES, found).failed}


# -- the three rules -----------------------------------------------------------------------------------------------
@bounded
@given(losses, losses, halves)
def test_a_refresh_passes_if_and_only_if_its_whole_interval_is_within_the_margin(
    own: float, champion: float, half: float
) -> None:
    found = made(own, champion, naive=0.9, half=half)
    assert gate.decide(RULES, found).rule == "refresh"
    assert ("non-inferior" in failed(found)) == (own - champion + half > RULES.margin)


@bounded
@given(losses, losses, halves)
def test_a_changed_configuration_passes_only_when_surely_better(own: float, champion: float, half: float) -> None:
    found = made(own, champion, naive=0.9, half=half, same=False)
    assert gate.decide(RULES, found).rule == "changed"
    assert ("superior" in failed(found)) == (own - champion + half >= 0)


@bounded
@given(losses, losses, halves)
def test_what_passes_as_changed_passes_as_a_refresh(own: float, champion: float, half: float) -> None:
    changed = gate.decide(RULES, made(own, champion, half=half, same=False))
    if changed.accepted:
        assert gate.decide(RULES, made(own, champion, half=half)).accepted


@bounded
@given(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), halves)
def test_a_lower_loss_is_never_punished(one: float, other: float, half: float) -> None:
    better, worse = sorted((0.47 + one, 0.47 + other))
    if gate.decide(RULES, made(worse, half=half)).accepted:
        assert gate.decide(RULES, made(better, half=half)).accepted


def test_without_a_champion_only_the_floors_hold() -> None:
    verdict = gate.decide(RULES, made(champion=None))
    assert verdict.accepted
    assert verdict.rule == "first"
    assert not {"non-inferior", "superior"} & {check.name for check in verdict.checks}


# -- closed --------------------------------------------------------------------------------------------------------
def test_the_evidence_made_here_is_accepted() -> None:
    assert gate.decide(RULES, made()).accepted
    assert gate.decide(RULES, made(own=0.46, same=False)).accepted


@pytest.mark.parametrize("champion", [0.475, None])
def test_nothing_can_be_left_out(champion: float | None) -> None:
    """Whatever is taken away, at whatever depth, the answer is no. (A whole slice may go: which values a
    slice can have is not known here.)"""
    found = made(champion=champion)
    free = {("slices", i) for i in range(3)}
    for path in paths(found):
        if path in free:
            continue
        assert not gate.decide(RULES, without(found, path)).accepted, path


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "low", None, []])
@pytest.mark.parametrize(
    "path", [("challenger", "scores", "log_loss", "value"), ("difference", "high"), ("latency_ms",)]
)
def test_what_is_no_number_is_refused(path: tuple[str, ...], bad: Any) -> None:
    found = made()
    parent = found
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = bad
    assert not gate.decide(RULES, found).accepted


@given(st.recursive(st.none() | st.floats() | st.text(max_size=3), lambda x: st.dictionaries(st.text(max_size=3), x)))
@settings(max_examples=30, deadline=None)
def test_any_other_value_is_refused_with_a_sentence(junk: Any) -> None:
    verdict = gate.decide(RULES, junk if isinstance(junk, dict) else {"champion": junk})
    assert not verdict.accepted
    assert verdict.rule == "unknown"
    assert verdict.reason.startswith("Refused: the evidence is incomplete")
    assert verdict.reason == f"Refused: {verdict.checks[0].reason}"


def change_problem(found: dict[str, Any]) -> None:
    found["problems"] = ["3 predictions are no probabilities"]


def change_scores(found: dict[str, Any]) -> None:
    found["challenger"]["scores"]["log_loss"]["value"] -= 0.1


def change_rows(found: dict[str, Any]) -> None:
    found["difference"]["rows"] -= 1


def change_confidence(found: dict[str, Any]) -> None:
    found["confidence"] = 0.5


def change_champion(found: dict[str, Any]) -> None:
    found["champion"]["scores"] = None


@pytest.mark.parametrize(
    "change", [change_problem, change_scores, change_rows, change_confidence, change_champion], ids=lambda c: c.__name__
)
def test_inconsistent_evidence_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    found = made()
    change(found)
    assert "evidence" in failed(found)


@pytest.mark.parametrize(("rows", "days", "rate"), [(999, 7, 0.25), (6000, 4, 0.25), (6000, 7, 0.0), (6000, 7, 1.0)])
def test_too_small_a_holdout_is_refused(rows: int, days: int, rate: float) -> None:
    found = made()
    found["holdout"] |= {"rows": rows, "days": days, "base_rate": rate}
    assert "holdout" in failed(found)


@pytest.mark.parametrize("who", ["challenger", "champion"])
def test_a_model_that_has_seen_the_holdout_is_not_compared(who: str) -> None:
    found = made()
    found[who]["trained_until"] = found["holdout"]["first"]
    assert failed(found) == {"unseen"}
    assert who in gate.decide(RULES, found).reason


# -- floors, calibration, slices, cost -----------------------------------------------------------------------------
@bounded
@given(st.floats(0.3, 0.7), st.floats(0.3, 0.7))
def test_worse_than_the_naive_baseline_never_passes(own: float, naive: float) -> None:
    found = made(own, None, naive)
    if own >= naive:
        assert "floor" in failed(found)
    found["against_baseline"] = estimate(own - naive, 0.0)
    assert ("floor" in failed(found)) == (1 - own / naive < RULES.floor_skill or own >= naive)


@bounded
@given(st.sampled_from(["bias", "ece"]), st.floats(-0.2, 0.2), halves)
def test_calibration_fails_only_when_the_interval_is_beyond_the_limit(name: str, value: float, half: float) -> None:
    found = made()
    found["challenger"]["scores"][name] = estimate(value, half)
    assert (f"calibration.{name}" in failed(found)) == (abs(value) - half > RULES.max_calibration_error)


@bounded
@given(st.sampled_from(["bias", "ece"]), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_beyond_the_limit_a_challenger_passes_only_nearer_to_it_than_the_champion(
    name: str, value: float, champion: float
) -> None:
    found = made()
    found["challenger"]["scores"][name] = estimate(value, 0.0)
    found["champion"]["scores"][name] = estimate(champion, 0.0)
    fails = abs(value) > RULES.max_calibration_error and abs(value) >= abs(champion)
    assert (f"calibration.{name}" in failed(found)) == fails
    first = {**made(champion=None), "challenger": found["challenger"]}  # nothing to be nearer than
    assert (f"calibration.{name}" in failed(first)) == (abs(value) > RULES.max_calibration_error)


@bounded
@given(st.floats(-0.2, 0.2), halves, st.integers(1, 1000))
def test_a_slice_fails_only_when_large_and_surely_worse(value: float, half: float, rows: int) -> None:
    found = made()
    found["slices"].append(part("carrier", "ZZ", estimate(value, half, rows), rows))
    fails = rows >= RULES.min_slice_rows and value - half > RULES.slice_margin
    assert (failed(found) == {"slice.carrier"}) == fails
    if fails:
        assert "ZZ" in gate.decide(RULES, found).reason


def test_a_large_slice_without_an_interval_is_refused() -> None:
    found = made()
    found["slices"].append(part("origin", "ZZZ", estimate(0.0, None)))
    assert failed(found) == {"slice.origin"}


@pytest.mark.parametrize(("key", "value", "name"), [("latency_ms", 50.1, "latency"), ("size_mb", 20.1, "size")])
def test_too_slow_or_too_large_is_refused(key: str, value: float, name: str) -> None:
    assert failed({**made(), key: value}) == {name}
    assert failed({**made(), key: None}) == {name}


# -- words ---------------------------------------------------------------------------------------------------------
def test_the_reason_is_one_sentence_that_names_the_decisive_numbers() -> None:
    refused = gate.decide(RULES, made(own=0.482)).reason
    assert refused.startswith("Refused: log loss differs from the champion's by +0.0070 [+0.0030, +0.0110] nats")
    assert "+0.0050" in refused
    for found in (made(), made(champion=None), made(own=0.6), made(own=0.46, same=False), {}):
        reason = gate.decide(RULES, found).reason
        assert reason.endswith(".")
        assert ". " not in reason
        assert "\n" not in reason


def test_the_verdict_goes_through_json_unchanged(accepted: Callable[[], dict[str, Any]]) -> None:
    found = json.loads(json.dumps(accepted(), allow_nan=False))
    verdict = gate.decide(RULES, found)
    assert verdict.accepted, verdict.reason
    text = verdict.model_dump_json()
    assert gate.Verdict.model_validate_json(text) == verdict
    assert all(
        {"name", "passed", "value", "interval", "threshold", "unit", "reason"} == set(c)
        for c in json.loads(text)["checks"]
    )
