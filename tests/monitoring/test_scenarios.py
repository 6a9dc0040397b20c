"""The monitor on planted cases: a few seeds of each on January; `make bench-monitor` measures how often it errs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import scenarios
from bench.scenarios import CASES, Case, Champion
from include.contracts import CLUSTER, ENTITY, EVENT_TIME, TARGET
from include.models.flights_on_time.spec import SPEC
from include.monitoring import performance

FIRST = "2013-01-17"
COLD = "unit: temperature in °C"  # in January it is no larger than a cold front
FEED = [case for case in CASES if case.wish == "incident" and case.name != COLD]
MODEL = [case for case in CASES if case.kind == "model"]
SINCE = pd.Timestamp("2013-01-23T09:00:00+00:00")


@pytest.fixture(scope="module")
def live(rows: pd.DataFrame) -> Champion:
    """A model of sixteen days of January and the twelve days after it."""
    return scenarios.champion(SPEC, rows.sort_values(["sched_dep", ENTITY], ignore_index=True), FIRST, 12)


@pytest.mark.parametrize("case", FEED, ids=lambda case: case.name)
def test_a_fault_of_the_feed_is_an_incident(live: Champion, case: Case) -> None:
    found = scenarios.run(SPEC, live, case, 1, (6, 9))
    assert found["right"], found


@pytest.mark.parametrize("case", MODEL, ids=lambda case: case.name)
def test_labels_and_other_flights_are_no_incident(live: Champion, case: Case) -> None:
    """January is too short for the wished verdict to come: it is what must not come that is held here."""
    found = scenarios.run(SPEC, live, replace(case, looks=3), 1, (6, 8))
    assert found["reached"] in ("healthy", case.wish), found


def test_a_flip_asks_for_a_retrain(live: Champion) -> None:
    case = next(c for c in CASES if c.name == "concept flipped for a part")
    found = scenarios.run(SPEC, live, case, 2, (3, 4))
    assert (found["reached"], found["causes"]) == ("retrain", ["surprise"])


# -- what the cases do ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_changes_nothing_before_it_begins_and_something_after(live: Champion, case: Case) -> None:
    sound = scenarios.scene(live, SINCE, 2)
    rows, scheduled = sound.rows.copy(), dict(sound.scheduled)
    made = case.plant(sound, SINCE, np.random.default_rng(1))
    pd.testing.assert_frame_equal(sound.rows, rows)  # plants are pure
    assert sound.scheduled == scheduled
    before = made.rows[made.rows[EVENT_TIME] < SINCE].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, rows[rows[EVENT_TIME] < SINCE].reset_index(drop=True))
    assert made.rows.equals(rows) == (case.name == "sound week")


def test_a_seed_gives_one_scene(live: Champion) -> None:
    case = next(c for c in CASES if c.name == "a view's rows shuffled")
    assert scenarios.run(SPEC, live, case, 3, (6, 8)) == scenarios.run(SPEC, live, case, 3, (6, 8))


def test_coverage_and_surprise_are_those_of_performance(live: Champion) -> None:
    what, as_of = scenarios.scene(live, SINCE, 2), scenarios.mornings(SINCE, 1)[0]
    at = what.rows[EVENT_TIME]
    window = what.rows[((at >= as_of - pd.Timedelta(days=7)) & (at < as_of)).to_numpy()]
    ripe = window["sched_dep"] + SPEC.label_maturity <= as_of
    window = window.assign(
        mature=ripe, **{TARGET: window[TARGET].astype(float).where(window[scenarios.KNOWN] <= as_of)}
    )
    p = scenarios.planted.predict(live.model, window)
    unseen = str((pd.Timestamp(FIRST) - pd.Timedelta(days=1)).date())
    told: dict[str, Any] = performance.measure(SPEC, window, p, unseen)
    ours = scenarios.measured(SPEC, window, p, FIRST)
    assert ours == {name: told[name] for name in ours}
    assert window[CLUSTER].nunique() >= 6
