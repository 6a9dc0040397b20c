"""Performance: on the labelled rows only, with coverage said, and the slice that does worst."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from include import metrics
from include.contracts import CLUSTER, TARGET
from include.models.flights_on_time.spec import SPEC
from include.monitoring import performance


def test_only_known_labels_are_scored_and_coverage_is_said(watched: Any) -> None:
    found = performance.measure(SPEC, watched.window, watched.p)
    known = watched.window[TARGET].notna().to_numpy()
    assert (found["rows"], found["labelled"]) == (len(known), known.sum()) == (len(known), len(known) - 200)
    assert found["coverage"] == pytest.approx(known.mean())
    y = watched.window[TARGET][known].to_numpy(dtype=int)
    assert found["scores"]["log_loss"]["value"] == pytest.approx(metrics.log_loss(y, watched.p[known]).mean())
    assert found["scores"]["log_loss"]["rows"] == known.sum()
    assert sum(d["rows"] for d in found["daily"]) == len(known)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_is_predicted_for_unlabelled_flights_changes_nothing(watched: Any) -> None:
    other = np.where(watched.window[TARGET].isna(), 0.99, watched.p)
    one, two = (performance.measure(SPEC, watched.window, p) for p in (other, watched.p))
    assert one.pop("estimated") != two.pop("estimated")
    assert one == two


def test_without_labels_there_is_coverage_and_nothing_else(watched: Any) -> None:
    found = performance.measure(SPEC, watched.window.assign(**{TARGET: None}), watched.p)
    assert found["coverage"] == 0
    assert found["surprise"] is None
    assert found["scores"] == {}
    assert found["worst_slice"] is None


def test_the_worst_slice_is_found(watched: Any) -> None:
    """A model that is far too sure of one airport is surprised there."""
    there = (watched.window["origin"] == "LGA").to_numpy()
    found = performance.measure(SPEC, watched.window, np.where(there, 0.01, watched.p))
    worst = found["worst_slice"]
    assert (worst["by"], worst["value"]) == ("origin", "LGA")
    assert worst["rows"] >= SPEC.gate.min_slice_rows
    assert worst["surprise"]["low"] > 0


@pytest.mark.parametrize("bad", [np.nan, 1.5])
def test_what_is_no_probability_is_refused(watched: Any, bad: float) -> None:
    wrong = watched.p.copy()
    wrong[0] = bad
    with pytest.raises(ValueError, match="probability"):
        performance.measure(SPEC, watched.window, wrong)
    with pytest.raises(ValueError, match="probability"):
        performance.measure(SPEC, watched.window, wrong[1:])


# -- what counts ---------------------------------------------------------------------------------------------------
def test_a_label_counts_once_it_is_mature(watched: Any) -> None:
    """Early labels are those of flights that were on time: they are not looked at, whatever they say."""
    young = (watched.window[CLUSTER] == "2013-01-25").to_numpy()
    early = watched.window.assign(mature=watched.window["mature"] & ~young)
    found = performance.measure(SPEC, early, watched.p)
    other = early.assign(**{TARGET: early[TARGET].mask(young, 0.0)})
    assert performance.measure(SPEC, other, watched.p) == found
    unknown = performance.measure(SPEC, early.assign(**{TARGET: early[TARGET].mask(young)}), watched.p)
    assert unknown == found
    assert found["mature"] == len(young) - young.sum()
    assert found["coverage"] == pytest.approx(found["labelled"] / found["mature"])
    assert found["coverage_all"] == pytest.approx(found["labelled"] / len(young))


@pytest.mark.parametrize(("share", "partial"), [(0.03, True), (0.49, True), (0.52, False)])
def test_a_number_from_few_labels_says_so(watched: Any, share: float, partial: bool) -> None:
    known = np.random.default_rng(1).random(len(watched.p)) < share
    known |= watched.window[TARGET].isna().to_numpy()
    few = watched.window.assign(**{TARGET: watched.window[TARGET].where(known)})
    found = performance.measure(SPEC, few, watched.p)
    assert found["partial"] is partial
    assert found["scores"]["log_loss"]["rows"] == found["labelled"]
    # all labels of a small mature part are a part as well
    young = watched.window.assign(mature=watched.window["mature"] & known)
    assert performance.measure(SPEC, young, watched.p)["partial"] is partial


def test_days_of_training_are_no_evidence(watched: Any) -> None:
    found = performance.measure(SPEC, watched.window, watched.p, unseen_after="2013-01-22")
    later = (watched.window[CLUSTER] > "2013-01-22").to_numpy()
    assert found == performance.measure(SPEC, watched.window[later], watched.p[later])
    assert [d["day"] for d in found["daily"]] == ["2013-01-23", "2013-01-24", "2013-01-25", "2013-01-26"]
    nothing = performance.measure(SPEC, watched.window, watched.p, unseen_after="2013-02-01")
    assert (nothing["rows"], nothing["labelled"], nothing["partial"], nothing["daily"]) == (0, 0, True, [])
    assert nothing["estimated"] is None


def test_accuracy_is_that_of_the_answer(watched: Any) -> None:
    found = performance.measure(SPEC, watched.window, watched.p)
    known = watched.window[TARGET].notna().to_numpy()
    hits = (watched.p >= SPEC.serving.threshold)[known] == (watched.window[TARGET][known] == 1)
    assert found["scores"]["accuracy"]["value"] == pytest.approx(hits.mean())


def test_the_worst_slice_is_there_whenever_there_are_labels(watched: Any) -> None:
    small = watched.window.head(250)  # no slice has enough rows, and there is one day only
    found = performance.measure(SPEC, small, watched.p[:250])
    assert found["worst_slice"] is not None
    two = watched.window.groupby(CLUSTER).head(100)
    worst = performance.measure(SPEC, two, watched.p[two.index])["worst_slice"]
    assert worst["surprise"]["low"] < worst["surprise"]["value"] < worst["surprise"]["high"]


def test_what_was_answered_stands_beside_the_champion_on_the_same_flights(watched: Any) -> None:
    """Version 2 answered a third of the flights, and badly; some answers failed."""
    other = watched.window.index % 3 == 0
    failed = watched.window.index % 10 == 1
    told = np.where(failed, np.nan, np.where(other, 0.5, watched.p))
    window = watched.window.assign(answered=told, answered_version=np.where(other, 2, 1))
    found = performance.answered(SPEC, window, watched.p)
    assert found is not None
    labelled = watched.window[TARGET].notna().to_numpy()
    y, of = watched.window[TARGET].to_numpy(), labelled & ~failed
    assert found["rows"] == of.sum()
    assert found["log_loss"]["value"] == pytest.approx(metrics.log_loss(y[of], told[of]).mean())
    assert found["champion_log_loss"]["value"] == pytest.approx(metrics.log_loss(y[of], watched.p[of]).mean())
    assert found["difference"]["value"] == pytest.approx(
        found["log_loss"]["value"] - found["champion_log_loss"]["value"]
    )
    assert found["by_version"]["1"]["log_loss"] == found["by_version"]["1"]["champion_log_loss"]
    assert found["by_version"]["2"]["log_loss"] == pytest.approx(np.log(2))
    assert performance.answered(SPEC, window.assign(answered=np.nan), watched.p) is None
