"""What a release shows, on small frames whose numbers are worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.contracts import PREDICTIONS
from include.release.observe import DESIGN_EFFECT, Observation, observe

NOON = datetime(2013, 2, 2, 12, tzinfo=UTC)
SINCE = NOON - timedelta(hours=6)
TYPES = {
    "string": "object", "int64": "int64", "float64": "float64", "float32": "float32", "bool": "bool",
    "timestamp": "datetime64[us, UTC]",
}  # fmt: skip


def row(request: str, version: int, p: float | None, role: str | None = None, **other: Any) -> dict[str, Any]:
    """A row of the log: flight F departed a day ago, version 1 answers and version 2 shadows."""
    role = role or ("answer" if version == 1 else "shadow")
    blank: dict[str, Any] = dict.fromkeys(PREDICTIONS.columns)
    return {
        **blank,
        "prediction_id": request,
        "role": role,
        "version": version,
        "generation": 5,
        "stage": "shadow",
        "flight_id": "F",
        "sched_dep": NOON - timedelta(hours=24),
        "probability": p,
        "stale": "",
        "latency_us": 500.0 if role == "answer" else 10.0,
        "model_us": 10.0,
        "weight": 1.0,
        "at": NOON - timedelta(hours=1),
        **other,
    }


def pair(request: str, ours: float | None, theirs: float | None, **other: Any) -> list[dict[str, Any]]:
    return [row(request, 1, ours, **other), row(request, 2, theirs, **other)]


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(PREDICTIONS.columns)).astype(
        {name: TYPES[kind] for name, kind in PREDICTIONS.columns.items() if name in ("sched_dep", "at", "probability")}
    )


def seen(rows: list[dict[str, Any]], labels: dict[str, int] | None = None, **other: Any) -> Observation:
    known = pd.DataFrame({"flight_id": list(labels or {}), "not_on_time": list((labels or {}).values())})
    given: dict[str, Any] = {
        "champion": 1,
        "challenger": 2,
        "stage": "shadow",
        "stage_since": SINCE,
        "release_since": SINCE - timedelta(hours=4),
        "now": NOON,
        "unseen_after": "2013-01-31",
    }
    return observe(frame(rows), known, **{**given, **other})


def test_nothing_is_none_and_not_an_invented_number() -> None:
    found = seen([])
    assert (found.pairs, found.flights, found.labelled, found.attempts, found.answers) == (0, 0, 0, 0, {"1": 0, "2": 0})
    unknown = ("loss", "log_loss", "brier", "bias", "shift", "spread", "constant", "model_us", "latency_us", "stale")
    assert {getattr(found, name) for name in unknown} == {None}
    assert (found.hours, found.release_hours) == (6, 10)


def test_losses_are_paired_and_by_hand() -> None:
    rows = pair("a", 0.2, 0.4, flight_id="F") + pair("b", 0.5, 0.9, flight_id="G")
    found = seen(rows, {"F": 0, "G": 1})
    assert found.labelled == 2
    ours, theirs = (-log(0.8) - log(0.5)) / 2, (-log(0.6) - log(0.9)) / 2
    assert found.log_loss == pytest.approx({"champion": ours, "challenger": theirs})
    assert found.loss is not None
    assert found.loss.value == pytest.approx(theirs - ours)
    assert found.loss.error is None  # both departed in the same hours: one block has no spread
    assert found.brier == pytest.approx({"champion": (0.04 + 0.25) / 2, "challenger": (0.16 + 0.01) / 2})
    assert found.bias is not None
    assert found.bias["challenger"].value == pytest.approx((0.4 + 0.9 - 1) / 2)
    assert found.shift is not None
    assert found.shift.value == pytest.approx((0.2 + 0.4) / 2)


def test_a_flight_asked_many_times_counts_once() -> None:
    rows = pair("b", 0.5, 0.9, flight_id="G")
    for i in range(50):
        rows += pair(f"a{i}", 0.2, 0.4)
    found = seen(rows, {"F": 0, "G": 1})
    assert (found.pairs, found.flights, found.labelled) == (51, 2, 2)
    assert found.shift is not None
    assert found.shift.value == pytest.approx((0.2 + 0.4) / 2)


def test_a_flight_s_loss_is_the_mean_of_its_losses_not_that_of_its_mean_score() -> None:
    found = seen(pair("a", 0.5, 0.1) + pair("b", 0.5, 0.9), {"F": 1})
    assert found.log_loss is not None
    assert found.log_loss["challenger"] == pytest.approx((-log(0.1) - log(0.9)) / 2)


def test_the_error_is_over_blocks_of_four_hours() -> None:
    start = datetime(2013, 2, 1, 0, tzinfo=UTC)
    rows = []
    for i, shift in enumerate((0.0, 0.1, 0.2, 0.3)):  # four blocks of three flights that move together
        for j in range(3):
            dep = start + timedelta(hours=4 * i + j)
            rows += pair(f"{i}{j}", 0.3, 0.3 + shift, flight_id=f"{i}{j}", sched_dep=dep)
    found = seen(rows)
    assert found.shift is not None
    assert found.shift.blocks == pytest.approx(4)
    assert found.shift.error == pytest.approx(DESIGN_EFFECT * np.std([0.0, 0.1, 0.2, 0.3], ddof=1) / 2)


def test_weights_stand_for_what_was_not_logged() -> None:
    rows = pair("a", 0.2, 0.4, weight=1.0) + pair("b", 0.2, 0.8, weight=3.0, stale="origin_hourly")
    found = seen(rows)
    assert (found.pairs, found.requests, found.stale) == (2, 4.0, 0.75)
    assert found.shift is not None
    assert found.shift.value == pytest.approx((0.2 + 3 * 0.6) / 4)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"sched_dep": NOON - timedelta(hours=11)}, "its label is young: those that are on time are known first"),
        ({"flight_id": "unknown"}, "it has no label"),
        ({"sched_dep": datetime(2013, 2, 1, 4, 30, tzinfo=UTC)}, "in New York it is still the last day of training"),
    ],
)
def test_what_is_no_evidence_of_quality(other: dict[str, Any], why: str) -> None:
    rows = pair("a", 0.2, 0.4) + pair("b", 0.2, 0.9, **{"flight_id": "G", **other})
    found = seen(rows, {"F": 0, "G": 0})
    assert (found.flights, found.labelled) == (2, 1), why


def test_a_given_local_date_counts() -> None:
    labels = pd.DataFrame({"flight_id": ["F"], "not_on_time": [1], "local_date": ["2013-01-31"]})
    rows = frame(pair("a", 0.2, 0.4))
    given: dict[str, Any] = {"champion": 1, "challenger": 2, "stage": "shadow", "stage_since": SINCE}
    given |= {"release_since": SINCE, "now": NOON}
    assert observe(rows, labels, unseen_after="2013-01-31", **given).labelled == 0
    assert observe(rows, labels, unseen_after="2013-01-30", **given).labelled == 1


def test_one_sided_requests_are_no_pairs_and_other_versions_nobody() -> None:
    rows = [row("a", 1, 0.2), row("b", 2, 0.4), row("c", 7, 0.4), *pair("d", 0.2, 0.3)]
    found = seen(rows)
    assert (found.pairs, found.attempts, found.answers) == (1, 2, {"1": 2, "2": 0})


def test_a_row_that_was_logged_twice_counts_once() -> None:
    found = seen(pair("a", 0.2, 0.4) + pair("a", 0.2, 0.4), {"F": 0})
    assert (found.pairs, found.requests, found.attempts) == (1, 1.0, 1)


def test_errors_of_the_challenger_alone() -> None:
    rows = [
        *pair("a", 0.2, 0.4),
        row("b", 1, 0.2),
        row("b", 2, None, error="ValueError: no"),
        row("c", 1, None, error="both fail"),
        row("c", 2, None, error="both fail"),
        row("d", 1, 0.2),
        row("d", 2, float("nan")),
    ]
    found = seen(rows)
    assert (found.attempts, found.errors, found.error) == (3, 2, "no probability")
    assert (found.answer_attempts, found.answer_errors) == (0, 0)


def test_the_canary_s_failures_are_those_that_a_client_would_have_had() -> None:
    canary = {"stage": "canary", "generation": 6}
    rows = [
        row("a", 2, 0.4, "answer", **canary),
        row("a", 1, 0.2, "shadow", **canary),
        row("b", 1, 0.2, "answer", **canary),  # in the place of
        row("b", 2, None, "shadow", error="ValueError: no", latency_us=500.0, **canary),
        row("e", 1, 0.2, "answer", **canary),
        row("e", 2, None, "shadow", error="ValueError: no", **canary),  # nobody waited for it
        *pair("c", 0.2, 0.4, **canary),
        *pair("d", 0.2, 0.4),  # of the shadow
    ]
    found = seen(rows, stage="canary", generation=6)
    assert (found.answer_attempts, found.answer_errors, found.answers) == (2, 1, {"1": 3, "2": 1})
    assert (found.attempts, found.errors, found.pairs) == (5, 2, 3)


def test_the_stage_goes_by_generation_or_by_time() -> None:
    rows = pair("a", 0.2, 0.4, generation=4, at=NOON) + pair("b", 0.2, 0.4, at=NOON - timedelta(hours=9))
    assert seen(rows, generation=5).answers == {"1": 1, "2": 0}
    assert seen(rows).answers == {"1": 1, "2": 0}
    assert seen(rows, generation=4).answers == {"1": 2, "2": 0}


def test_times_compare_answers_with_answers_where_there_are_enough() -> None:
    shadow = [r for i in range(100) for r in pair(f"s{i}", 0.2, 0.4, model_us=10.0 + i % 7)]
    found = seen(shadow)
    assert found.model_us is not None
    assert not found.model_us.same_role
    assert found.model_us.champion.median == pytest.approx(13)
    assert found.latency_us is None
    canary: dict[str, Any] = {"stage": "canary", "generation": 6}
    for i in range(100):
        shadow.append(row(f"c{i}", 1, 0.2, "answer", model_us=20.0, **canary))
        shadow.append(row(f"d{i}", 2, 0.2, "answer", model_us=60.0, latency_us=900.0, **canary))
    found = seen(shadow, stage="canary", generation=6)
    assert found.model_us is not None
    assert found.model_us.same_role
    assert (found.model_us.champion.median, found.model_us.challenger.median) == (20, 60)
    assert found.latency_us is not None
    assert found.latency_us.challenger.median == 900


def test_the_median_s_interval_is_that_of_order_statistics() -> None:
    rows = [r for i in range(401) for r in pair(f"{i}", 0.2, 0.4, model_us=float(i + 1))]
    found = seen(rows).model_us
    assert found is not None
    # 401 values: the ranks 200.5 -+ 4 x sqrt(401)/2 = 160 and 241, counted from zero
    assert (found.champion.low, found.champion.median, found.champion.high) == (161, 201, 242)
    assert seen(rows[:40]).model_us is None  # twenty rows have no such interval


def test_spreads_are_compared_as_logarithms() -> None:
    def odds(x: float) -> float:
        return 1 / (1 + np.exp(-x))

    rng = np.random.default_rng(3)
    rows = []
    for i, x in enumerate(rng.normal(-1, 0.6, 60)):
        dep = NOON - timedelta(hours=30 + i)
        rows += pair(f"{i}", odds(x), odds(2 * x + 0.3), flight_id=f"{i}", sched_dep=dep)
    found = seen(rows).spread
    assert found is not None
    assert found.value == pytest.approx(np.log(2))
    assert found.error == pytest.approx(0, abs=1e-9)  # flight by flight the same factor: nothing is left to chance
    blurred = [{**r, "probability": odds(rng.normal(-1, 1.2))} if r["version"] == 2 else r for r in rows]
    chance = seen(blurred).spread
    assert chance is not None
    assert chance.error is not None
    assert 0.08 < chance.error / DESIGN_EFFECT < 0.2  # of independent normal values: sqrt((1/120 + 1/120)) = 0.13


def test_constant_scores_have_no_spread() -> None:
    rng = np.random.default_rng(3)
    rows = [r for i, p in enumerate(rng.uniform(0.1, 0.6, 50)) for r in pair(f"{i}", p, 0.5, flight_id=f"{i}")]
    found = seen(rows)
    assert found.spread is not None
    assert found.spread.value < -10
    assert found.constant == 1.0
    assert seen([{**r, "probability": 0.5} for r in rows]).spread is None  # the champion's has none to compare with


def test_absent_columns_are_named() -> None:
    with pytest.raises(KeyError, match="model_us"):
        observe(
            frame([]).drop(columns="model_us"), pd.DataFrame({"flight_id": [], "not_on_time": []}), champion=1,
            challenger=2, stage="shadow", stage_since=SINCE, release_since=SINCE, now=NOON, unseen_after="2013-01-31",
        )  # fmt: skip
