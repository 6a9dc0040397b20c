"""The monitor's judgement: a broken feed is never trained on, raw drift never asks, and each reason is a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contracts import TARGET, VIEWS
from include.models.flights_on_time.spec import SPEC
from include.models.spec import Triggers
from include.monitoring import verdict

RULES = Triggers()
HOURLY = [f.name for v in VIEWS if v.cadence == "hourly" and v.name != "origin_weather" for f in v.features]
WEATHER = [f.name for v in VIEWS if v.name == "origin_weather" for f in v.features]


def drift(**more: Any) -> dict[str, Any]:
    found = {"feature": "temp", "psi": 0.05, "nulls": 0.1, "reference_nulls": 0.1, "stuck": 0.1, "reference_stuck": 0.1}
    return {**found, "mean": 1.0, "reference_mean": 1.0, "stationary": True, **more}


def made(
    age: float = 3.0,
    surprise: float | None = 0.0,
    half: float = 0.02,
    score: float | None = 0.05,
    coverage: float = 0.9,
) -> dict[str, Any]:
    found = None
    if surprise is not None:
        found = {"value": surprise, "low": surprise - half, "high": surprise + half, "rows": 900, "days": 7}
    performance = {"rows": 1000, "labelled": round(1000 * coverage), "coverage": coverage, "surprise": found}
    return {"age_days": age, "score_psi": score, "performance": performance, "drift": [drift(), drift(feature="humid")]}


def state(found: dict[str, Any]) -> str:
    return verdict.judge(RULES, found).state


# -- by hand -------------------------------------------------------------------------------------------------------
def test_a_sound_window_is_healthy() -> None:
    assert state(made()) == "healthy"
    assert state(made(score=None)) == "healthy"


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (made(age=21), "21.0 days old"),
        (made(surprise=0.031, half=0.03), "+0.0310"),
        (made(score=0.21), "PSI is 0.210"),
    ],
)
def test_each_trigger_asks_for_a_retrain(found: dict[str, Any], word: str) -> None:
    given_ = verdict.judge(RULES, found)
    assert given_.state == "retrain"
    assert word in given_.reason


@pytest.mark.parametrize("found", [made(age=20.9), made(surprise=0.029, half=0.0), made(surprise=0.2, half=0.21)])
def test_what_is_within_limits_or_noise_does_not(found: dict[str, Any]) -> None:
    assert state(found) == "healthy"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 20), min_size=1, max_size=36))
def test_raw_drift_alone_never_asks_for_anything(psi: list[float]) -> None:
    found = made() | {"drift": [drift(psi=value) for value in psi]}
    assert state(found) == "healthy"


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 100), st.floats(-1, 1), st.floats(0, 2), st.floats(0, 1), st.sampled_from(["nulls", "stuck"]),
    st.floats(0, 0.9),
)  # fmt: skip
def test_a_broken_feed_is_an_incident_whatever_else_holds(
    age: float, surprise: float, score: float, coverage: float, what: str, share: float
) -> None:
    found = made(age, surprise, 0.01, score, coverage)
    found["drift"].append(drift(**{"feature": "gust", what: 0.1 + share}))
    given_ = verdict.judge(RULES, found)
    if 0.1 + share - 0.1 > RULES.incident_nulls:
        assert given_.state == "incident"
        assert "gust" in given_.reason
        assert "no retrain" in given_.reason
    else:
        assert given_.state != "incident"


@pytest.mark.parametrize("found", [made(coverage=0.49), made(surprise=None)])
@pytest.mark.parametrize("age", [3.0, 50.0])
def test_too_few_labels_are_said_and_not_trained_on(found: dict[str, Any], age: float) -> None:
    given_ = verdict.judge(RULES, found | {"age_days": age})
    assert given_.state == "insufficient"
    assert "known label" in given_.reason
    assert ("age" in given_.reason) == (age > 21)


def test_the_reason_is_one_sentence() -> None:
    for found in (made(), made(age=30, score=0.5), made(coverage=0.1), made() | {"drift": [drift(nulls=1.0)]}):
        reason = verdict.judge(RULES, found).reason
        assert reason.endswith(".")
        assert ". " not in reason


def test_what_is_missing_is_an_error() -> None:
    found = made()
    del found["score_psi"]
    with pytest.raises(KeyError, match="score_psi"):
        verdict.judge(RULES, found)


# -- on a real window ----------------------------------------------------------------------------------------------
def test_a_real_window_raises_no_incident_and_trains_by_age(watched: Any) -> None:
    states = {days: verdict.judge(SPEC.triggers, watched.evidence(days=days)).state for days in (3.0, 25.0)}
    assert states[3.0] in ("healthy", "retrain")
    assert states[25.0] == "retrain"


@pytest.mark.parametrize(
    ("names", "value"), [(HOURLY, np.nan), (HOURLY, 0.0), (WEATHER, np.nan), (WEATHER, 0.0), (["temp"], np.nan)]
)
def test_a_broken_feed_in_a_real_window_is_an_incident(watched: Any, names: list[str], value: float) -> None:
    broken = watched.window.assign(**{name: np.float32(value) for name in names})
    found = verdict.judge(SPEC.triggers, watched.evidence(broken, days=25.0))
    assert found.state == "incident"
    assert any(name in found.reason for name in names)


def test_a_real_window_with_few_labels_says_so(watched: Any) -> None:
    few = watched.window.assign(**{TARGET: watched.window[TARGET].mask(watched.window.index % 3 > 0)})
    assert verdict.judge(SPEC.triggers, watched.evidence(few)).state == "insufficient"


def test_a_champion_younger_than_now_is_refused(watched: Any) -> None:
    with pytest.raises(ValueError, match="before the champion's own"):
        watched.evidence(days=-1.0)
