"""The monitor's judgement: a broken feed is never trained on, raw drift never asks, and each reason is a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contracts import TARGET, VIEWS
from include.models.flights_on_time.spec import SPEC
from include.monitoring import feed, verdict

HOURLY = [f.name for v in VIEWS if v.cadence == "hourly" and v.name != "origin_weather" for f in v.features]
WEATHER = [f.name for v in VIEWS if v.name == "origin_weather" for f in v.features]
ONE_DAY = {  # labels of one day have no interval
    **{"rows": 900, "labelled": 900, "coverage": 1.0},
    "surprise": {"value": 0.1, "low": None, "high": None, "rows": 900, "days": 1},
}
NEEDED, OF = SPEC.triggers.persist


def drift(**more: Any) -> dict[str, Any]:
    found = {"feature": "temp", "psi": 0.05, "nulls": 0.1, "reference_nulls": 0.1, "stuck": 0.1, "reference_stuck": 0.1}
    return {**found, "mean": 1.0, "reference_mean": 1.0, "stationary": True, **more}


def checks(**beyond: float) -> dict[str, Any]:
    """A feed in which all is quiet, but for some checks of gust."""
    told = {n: [{"of": "gust", "value": beyond.get(n, 0.0), "told": f"gust is {n}"}] for n in feed.UNITS}
    return {"checks": {n: {"name": n, "unit": feed.UNITS[n], "parts": parts} for n, parts in told.items()}}


def made(
    age: float = 3.0,
    surprise: float | None = 0.0,
    half: float = 0.02,
    score: float | None = 0.05,
    coverage: float = 0.9,
    **more: Any,
) -> dict[str, Any]:
    found = None
    if surprise is not None:
        found = {"value": surprise, "low": surprise - half, "high": surprise + half, "rows": 900, "days": 7}
    performance = {"rows": 1000, "labelled": round(1000 * coverage), "coverage": coverage, "surprise": found}
    parts = {"performance": performance, "drift": [drift(), drift(feature="humid")], "feed": checks()}
    return {"version": "2", "age_days": age, "score_psi": score, **parts, **more}


def rival(value: float, half: float = 0.005) -> dict[str, Any]:
    return {"version": 1, "loss": {"value": value, "low": value - half, "high": value + half, "rows": 900, "days": 7}}


def looks(*names: str, count: int = NEEDED - 1, version: int = 2) -> list[dict[str, Any]]:
    return [{"version": version, "fired": list(names)}] * count


def state(found: dict[str, Any], before: Any = ()) -> str:
    return verdict.judge(SPEC, found, before).state


# -- by hand -------------------------------------------------------------------------------------------------------
def test_a_sound_window_is_healthy() -> None:
    assert state(made()) == "healthy"
    assert state(made(score=None)) == "healthy"


@pytest.mark.parametrize(
    ("found", "name", "word"),
    [
        (made(surprise=0.06, half=0.02), "surprise", "+0.0600"),
        (made(score=0.21) | {"performance": ONE_DAY}, "score", "PSI is 0.210"),
        (made(rival=rival(0.03)), "rival", "version 1"),
    ],
)
def test_findings_of_the_model_count_when_they_persist(found: dict[str, Any], name: str, word: str) -> None:
    wish = "rollback" if name == "rival" else "retrain"
    told = verdict.judge(SPEC, found, looks(name))
    assert told.state == wish
    assert word in told.reason
    assert [f.name for f in told.causes()] == [name]
    first = verdict.judge(SPEC, found)
    assert first.state == "healthy"
    assert name in first.reason  # it fired, and is said to
    assert state(found, looks(name, version=1)) == "healthy"  # looks at another version say nothing
    assert state(found, [*looks(name), *looks(count=OF - 1)]) == "healthy"  # too long ago
    assert state(made(), looks(name, count=OF)) == "healthy"  # the newest look must have it


def test_age_needs_no_persistence() -> None:
    assert state(made(age=21)) == "retrain"
    assert "21.0 days old" in verdict.judge(SPEC, made(age=21)).reason
    assert state(made(age=20.9)) == "healthy"


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (made(surprise=0.2, half=0.18), "surprise"),  # its mean alone is far beyond
        (made(score=5.0, surprise=0.0), "score"),  # labels clear it
        (made(rival=rival(0.03, half=0.02)), "rival"),
        (made(rival={"version": 1, "loss": None}), "rival"),
    ],
)
def test_what_is_within_limits_or_noise_asks_for_nothing(found: dict[str, Any], name: str) -> None:
    assert state(found, looks(name, count=OF)) == "healthy"


def test_a_rollback_comes_before_a_retrain() -> None:
    both = made(age=30, rival=rival(0.03))
    assert state(both, looks("rival")) == "rollback"
    assert "Roll back to version 1" in verdict.judge(SPEC, both, looks("rival")).reason


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 20), max_size=36))
def test_raw_drift_alone_never_asks_for_anything(psi: list[float]) -> None:
    found = made() | {"drift": [drift(psi=value) for value in psi]}
    assert state(found, looks("drift", count=OF)) == "healthy"


@settings(max_examples=80, deadline=None)
@given(
    st.floats(0, 100), st.floats(-1, 1), st.floats(0, 2), st.floats(0, 1), st.sampled_from(sorted(feed.UNITS)),
    st.floats(0, 3),
)  # fmt: skip
def test_a_broken_feed_is_an_incident_whatever_else_holds(
    age: float, surprise: float, score: float, coverage: float, check: str, value: float
) -> None:
    found = made(age, surprise, 0.01, score, coverage, feed=checks(**{check: value}), rival=rival(1.0))
    told = verdict.judge(SPEC, found, looks("rival", "surprise", "score"))
    if value > getattr(SPEC.feed, check):
        assert told.state == "incident"
        assert f"gust is {check}" in told.reason
        assert "no retrain" in told.reason
    else:
        assert told.state != "incident"


def test_every_check_of_the_feed_has_a_finding_and_a_limit() -> None:
    told = {f.name: f for f in verdict.judge(SPEC, made()).findings if f.kind == "incident"}
    assert set(told) == set(feed.UNITS)
    assert all(f.threshold > 0 for f in told.values())


def test_silence_and_skew_are_levels_first_and_incidents_beyond() -> None:
    def outage(hours: float, rate: float) -> dict[str, Any]:
        part = {"value": hours, "level": 6.0, "beyond": hours > 6, "unit": "hours", "told": "since the morning"}
        skew = {"rows": 100, "mismatched": round(rate * 100), "rate": rate, "level": 0.01, "beyond": rate > 0.01}
        return made(service={"silence_hours": part}, skew=skew)

    told = verdict.judge(SPEC, outage(7, 0.05))
    assert told.state == "healthy"
    assert {f.name for f in told.levels} == {"level_silence_hours", "level_skew"}
    assert state(outage(13, 0.0)) == state(outage(0, 0.3)) == "incident"


def test_accuracy_and_missing_values_alert_and_decide_nothing() -> None:
    accuracy = {"value": 0.7, "training": 0.8, "drop": 0.125, "level": 0.05, "beyond": True}
    told = verdict.judge(SPEC, made(accuracy=accuracy) | {"drift": [drift(nulls=0.2)]})
    assert told.state == "healthy"
    assert {f.name for f in told.levels} == {"level_accuracy", "level_missing"}


@pytest.mark.parametrize("found", [made(coverage=0.49), made(surprise=None)])
@pytest.mark.parametrize("age", [3.0, 50.0])
def test_too_few_labels_are_said_and_not_trained_on(found: dict[str, Any], age: float) -> None:
    told = verdict.judge(SPEC, found | {"age_days": age, "rival": rival(1.0)}, looks("rival"))
    assert told.state == "insufficient"
    assert "labels (" in told.reason
    assert ("age" in told.reason) == (age > 21)


def test_without_flights_the_log_is_silent_or_labels_are_missing() -> None:
    empty = made(surprise=None, score=None, coverage=0.0) | {"feed": None, "drift": []}
    part = {"value": 20.0, "level": 6.0, "beyond": True, "unit": "hours", "told": "none was asked about"}
    assert state(empty) == "insufficient"
    assert state(empty | {"service": {"silence_hours": part}}) == "incident"


def test_the_reason_is_one_sentence() -> None:
    broken = checks(nulls=1.0, jump=9.0, frozen=1.0, stuck=1.0)
    for found in (made(), made(age=30, score=0.5), made(coverage=0.1), made(feed=broken), made(rival=rival(1.0))):
        reason = verdict.judge(SPEC, found, looks("rival")).reason
        assert reason.endswith(".")
        assert ". " not in reason


def test_what_is_missing_is_an_error() -> None:
    found = made()
    del found["score_psi"]
    with pytest.raises(KeyError, match="score_psi"):
        verdict.judge(SPEC, found)


# -- on a real window ----------------------------------------------------------------------------------------------
def test_a_real_window_raises_no_incident_and_trains_by_age(watched: Any) -> None:
    assert verdict.judge(SPEC, watched.evidence(days=3.0)).state == "healthy"
    assert verdict.judge(SPEC, watched.evidence(days=25.0)).state == "retrain"


@pytest.mark.parametrize(
    ("names", "value"), [(HOURLY, np.nan), (HOURLY, 0.0), (WEATHER, np.nan), (WEATHER, 0.0), (["temp"], np.nan)]
)
def test_a_broken_feed_in_a_real_window_is_an_incident(watched: Any, names: list[str], value: float) -> None:
    broken = watched.window.assign(**{name: np.float32(value) for name in names})
    found = verdict.judge(SPEC, watched.evidence(broken, days=25.0))
    assert found.state == "incident"
    assert any(name in found.reason for name in names)


def test_a_real_window_with_few_labels_says_so(watched: Any) -> None:
    few = watched.window.assign(**{TARGET: watched.window[TARGET].mask(watched.window.index % 3 > 0)})
    assert verdict.judge(SPEC, watched.evidence(few)).state == "insufficient"


def test_a_champion_younger_than_now_is_refused(watched: Any) -> None:
    with pytest.raises(ValueError, match="before the champion's own"):
        watched.evidence(days=-1.0)
