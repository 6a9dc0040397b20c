"""Evidence: what is measured is right, what cannot be measured is said, and all of it is JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include import metrics
from include.contracts import CLUSTER, TARGET
from include.evaluation import evidence, gate, page
from include.models.flights_on_time.spec import SPEC


def test_evidence_is_json_and_the_same_each_time(weeks: Any) -> None:
    once = weeks.evidence(weeks.good, weeks.baseline)
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    assert weeks.evidence(weeks.good, weeks.baseline) == once


def test_the_holdout_is_what_was_judged(weeks: Any) -> None:
    found = weeks.evidence(weeks.good)["holdout"]
    assert found["rows"] == len(weeks.held) == sum(d["rows"] for d in weeks.evidence(weeks.good)["daily"])
    assert (found["first"], found["last"]) == (weeks.held[CLUSTER].min(), weeks.held[CLUSTER].max())
    assert found["base_rate"] == pytest.approx(weeks.held[TARGET].mean())


def test_another_label_is_another_holdout(weeks: Any) -> None:
    last = str(weeks.train[CLUSTER].max())

    def hash_of(held: pd.DataFrame) -> str:
        args = (SPEC, held, weeks.good, None, weeks.baseline, "a", 1.0, 1.0)
        return str(evidence.collect(*args, trained_until=last)["holdout"]["hash"])

    labels = weeks.held[TARGET].to_numpy().copy()
    labels[0] = 1 - labels[0]
    assert hash_of(weeks.held) == hash_of(weeks.held.copy())
    assert hash_of(weeks.held) != hash_of(weeks.held.assign(**{TARGET: labels}))


def test_slices_cover_the_holdout_and_compare_with_the_champion(weeks: Any) -> None:
    found = weeks.evidence(weeks.good, weeks.baseline)
    for by in SPEC.gate.slices:
        parts = [s for s in found["slices"] if s["by"] == by]
        assert sum(s["rows"] for s in parts) == len(weeks.held)
        mean = sum(s["rows"] * s["difference"]["value"] for s in parts) / len(weeks.held)
        assert mean == pytest.approx(found["difference"]["value"])
    assert weeks.evidence(weeks.good)["slices"] == found["slices"]  # without a champion: the naive baseline


def test_the_baseline_knows_the_training_rows_only(weeks: Any) -> None:
    changed = weeks.held.assign(**{TARGET: 1 - weeks.held[TARGET]})
    assert (evidence.baseline(weeks.train, changed) == weeks.baseline).all()
    unknown = weeks.held.assign(carrier="??")
    assert evidence.baseline(weeks.train, unknown) == pytest.approx(weeks.train[TARGET].mean())
    y = weeks.held[TARGET].to_numpy()
    rate = np.full(len(y), weeks.train[TARGET].mean())
    assert metrics.log_loss(y, weeks.baseline).mean() < metrics.log_loss(y, rate).mean()


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1, np.inf])
@pytest.mark.parametrize("who", ["challenger", "champion"])
def test_predictions_that_are_no_probabilities_are_a_problem_and_a_refusal(weeks: Any, who: str, bad: float) -> None:
    wrong = weeks.good.copy()
    wrong[5] = bad
    pair = (wrong, weeks.good) if who == "challenger" else (weeks.good, wrong)
    found = weeks.evidence(*pair)
    assert found["problems"] == [f"1 of {len(wrong)} predictions of the {who} are no probabilities"]
    verdict = gate.decide(SPEC.gate, found)
    assert not verdict.accepted
    assert who in verdict.reason


def test_a_champion_that_cannot_be_scored_is_not_no_champion(weeks: Any) -> None:
    last = str(weeks.train[CLUSTER].max())
    lost = {"p": None, "configuration_hash": "a", "version": 3, "trained_until": last}
    found = evidence.collect(SPEC, weeks.held, weeks.good, lost, weeks.baseline, "a", 1.0, 1.0, trained_until=last)
    verdict = gate.decide(SPEC.gate, found)
    assert not verdict.accepted
    assert verdict.rule == "refresh"
    assert "no predictions" in verdict.reason


def test_wrong_input_is_named(weeks: Any) -> None:
    args = (None, weeks.baseline, "a", 1.0, 1.0)
    with pytest.raises(ValueError, match="no rows"):
        evidence.collect(SPEC, weeks.held.iloc[:0], weeks.good[:0], *args, trained_until="2013-01-01")
    with pytest.raises(ValueError, match=r"challenger: predictions of shape \(3,\)"):
        evidence.collect(SPEC, weeks.held, weeks.good[:3], *args, trained_until="2013-01-01")
    unknown = weeks.held.assign(**{TARGET: weeks.held[TARGET].astype("Int64").mask(weeks.held["origin"] == "JFK")})
    with pytest.raises(ValueError, match="not_on_time"):
        evidence.collect(SPEC, unknown, weeks.good, *args, trained_until="2013-01-01")


def test_one_day_has_scores_but_is_refused(weeks: Any) -> None:
    rows = (weeks.held[CLUSTER] == weeks.held[CLUSTER].max()).to_numpy()
    args = (weeks.good[rows], None, weeks.baseline[rows], "a", 1.0, 1.0)
    found = evidence.collect(SPEC, weeks.held[rows], *args, trained_until="2013-01-01")
    assert found["challenger"]["scores"]["log_loss"]["low"] is None
    assert {"holdout", "floor", "calibration.bias", "slice.origin"} <= {
        c.name for c in gate.decide(SPEC.gate, found).failed
    }


# -- the page ------------------------------------------------------------------------------------------------------
def test_the_page_stands_alone_and_shows_every_check(weeks: Any, accepted: Callable[[], Any], tmp_path: Any) -> None:
    for found in (accepted(), weeks.evidence(weeks.good)):
        verdict = gate.decide(SPEC.gate, found)
        path = page.write(verdict, found, tmp_path / "page" / "index.html", {"origin_queue": 0.4, "temp": 0.1})
        text = path.read_text(encoding="utf-8")
        assert all(check.name in text for check in verdict.checks)
        assert text.count("<svg") >= 7
        assert not any(word in text for word in ("http://", "https://", "<script", "src=", "@import", "nan"))
        assert "prefers-color-scheme: dark" in text


def test_a_refusal_of_unreadable_evidence_has_a_page_too(tmp_path: Any) -> None:
    verdict = gate.decide(SPEC.gate, {"model": "<b>"})
    text = page.write(verdict, {"model": "<b>"}, tmp_path / "index.html").read_text(encoding="utf-8")
    assert "rejected" in text
    assert "<b>" not in text
