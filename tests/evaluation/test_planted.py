"""The planted cases, on real weeks, with the verdict one would wish. How often it errs: bench_gate.py, docs/gate.md."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench import planted
from include.evaluation import gate
from include.models.flights_on_time.spec import SPEC

FEATURES = list(SPEC.features)
CALM = {
    "subsample": 0.98,
    "colsample_bytree": 1.0,
}  # little chance in the fit: two seeds differ by less than the margin


def decide(found: dict[str, Any]) -> gate.Verdict:
    return gate.decide(SPEC.gate, found)


def failed(verdict: gate.Verdict) -> set[str]:
    return {check.name for check in verdict.failed}


def test_a_good_model_is_accepted_as_the_first(weeks: Any) -> None:
    verdict = decide(weeks.evidence(weeks.good))
    assert verdict.accepted, verdict.reason
    assert verdict.rule == "first"


def test_shuffled_labels_are_rejected(weeks: Any) -> None:
    p = weeks.scores(planted.shuffled(weeks.train, 1))
    assert "floor" in failed(decide(weeks.evidence(p)))
    assert {"non-inferior", "floor"} <= failed(decide(weeks.evidence(p, weeks.good)))


def test_half_of_the_recent_positives_mislabelled_is_rejected(weeks: Any) -> None:
    p = weeks.scores(planted.mislabelled(weeks.train, 1))
    assert not decide(weeks.evidence(p)).accepted
    assert {"non-inferior", "calibration.bias"} <= failed(decide(weeks.evidence(p, weeks.good)))


def test_hourly_features_an_hour_late_are_rejected(weeks: Any) -> None:
    late = planted.shifted(pd.concat([weeks.train, weeks.held]), hours=-1)
    train, held = late.iloc[: len(weeks.train)], late.iloc[len(weeks.train) :]
    verdict = decide(weeks.evidence(weeks.scores(train, held=held), weeks.good))
    assert "non-inferior" in failed(verdict), verdict.reason


def test_the_same_model_with_another_seed_is_not_better_but_as_good(weeks: Any) -> None:
    one, twin = (weeks.scores(weeks.train, seed=seed, **CALM) for seed in (3, 53))
    assert failed(decide(weeks.evidence(twin, one, same=False))) == {"superior"}
    refresh = decide(weeks.evidence(twin, one))
    assert refresh.accepted, refresh.reason
    assert refresh.rule == "refresh"


def test_a_really_better_one_is_accepted(weeks: Any) -> None:
    spoiled = weeks.scores(planted.mislabelled(weeks.train, 1))  # a champion from the time of the broken labels
    verdict = decide(weeks.evidence(weeks.good, spoiled, same=False))
    assert verdict.accepted, verdict.reason
    assert verdict.rule == "changed"
    poor = weeks.scores(weeks.train, planted.booked(FEATURES))
    assert not decide(weeks.evidence(poor, weeks.good, same=False)).accepted


def test_shifting_takes_the_values_of_the_next_hour(weeks: Any) -> None:
    rows = weeks.train
    moved = planted.shifted(rows)
    seen = (rows["event_timestamp"] - pd.Timedelta(minutes=10)).dt.floor("h")
    by = rows.assign(seen=seen).groupby(["origin", "seen"])["origin_queue"].first()
    later = by.reindex(pd.MultiIndex.from_arrays([rows["origin"], seen + pd.Timedelta(hours=1)]))
    known = later.notna().to_numpy()
    assert known.mean() > 0.8
    assert (moved["origin_queue"].to_numpy()[known] == later.to_numpy()[known]).all()
    assert moved[list(planted.booked(FEATURES))].equals(rows[list(planted.booked(FEATURES))])
