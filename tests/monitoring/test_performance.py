"""Performance: on the labelled rows only, with coverage said, and the slice that does worst."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from include import metrics
from include.contracts import TARGET
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
