"""Evidence: one JSON of all that was measured, also of a window without flights or labels, and quickly."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import windows
from include import lake, metrics
from include.contracts import OUTCOME, SCHEDULE, TARGET
from include.models.flights_on_time.spec import SPEC
from include.monitoring import evidence, feed, skew, window
from include.settings import Settings

KEYS = {
    *("model", "version", "as_of", "trained_as_of", "age_days", "window", "volume", "performance", "accuracy"),
    *("score_psi", "drift", "feed", "service", "skew", "rival"),
}


def collected(watched: Any, rows: pd.DataFrame | None = None, **more: Any) -> dict[str, Any]:
    rows = watched.window if rows is None else rows
    p = rows["answered"].fillna(0.5).to_numpy()
    found = evidence.collect(
        SPEC, rows, p, watched.reference, watched.reference_p, more.pop("summary", watched.summary), version="1",
        trained_as_of="2013-01-20T06:30:00+00:00", as_of="2013-01-27T17:00:00+00:00", **more,
    )  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == KEYS
    return found


def test_everything_is_there(watched: Any) -> None:
    rescored = watched.window.index < 40
    rows = watched.window.assign(probability=watched.window["probability"].mask(rescored))
    audit = skew.compare(rows, rows.assign(temp=rows["temp"] + 1), SPEC.features)
    found = collected(
        watched, rows, unseen_after="2013-01-21", audit=audit, rival={"version": 7, "loss": None},
        workers=[{"rss": 9e8, "memory_limit": 1e9}], log={"lost": 0, "dropped": 0},
    )  # fmt: skip
    assert found["window"] == {"first": "2013-01-20", "last": "2013-01-26", "rows": len(rows), "rescored": 40}
    assert found["performance"]["rows"] == (rows["local_date"] > "2013-01-21").sum()
    assert found["performance"]["estimated"]["daily"][0]["day"] == "2013-01-22"
    assert found["performance"]["answered"]["by_version"].keys() == {"1"}
    assert found["feed"]["rows"] > 0
    assert found["skew"]["beyond"] is True
    assert found["service"]["memory"]["beyond"] is True
    assert found["rival"] == {"version": 7, "loss": None}
    assert found["age_days"] == pytest.approx(7 + 10.5 / 24)


def test_accuracy_is_held_against_the_trainings(watched: Any) -> None:
    found = collected(watched)
    y = watched.reference[TARGET].to_numpy()
    then = ((watched.reference_p >= SPEC.serving.threshold) == (y == 1)).mean()
    assert found["accuracy"]["training"] == found["performance"]["training"]["accuracy"] == pytest.approx(then)
    assert found["accuracy"]["drop"] == pytest.approx(1 - found["accuracy"]["value"] / then)
    turned = watched.window.assign(**{TARGET: 1 - watched.window[TARGET]})
    assert collected(watched, turned)["accuracy"]["beyond"] is True
    few = turned.assign(**{TARGET: turned[TARGET].where(turned.index % 9 == 0)})
    assert collected(watched, few)["accuracy"]["beyond"] is False


def test_a_window_without_flights_is_evidence(watched: Any, logging: Settings) -> None:
    versions = {t.name: lake.version(logging.lake, t) for t in (SCHEDULE, OUTCOME)}
    span = ("2013-01-20T17:00:00+00:00", "2013-01-27T17:00:00+00:00")
    made, summary = window.build(logging, SPEC, 1, versions, *span, span[1])
    found = collected(watched, window.read(made), summary=summary)
    assert (found["drift"], found["feed"], found["score_psi"]) == ([], None, None)
    assert found["window"] == {"first": None, "last": None, "rows": 0, "rescored": 0}
    assert found["performance"]["partial"] is True
    assert found["service"]["silence_hours"]["beyond"] is True


def test_a_real_log_gives_the_evidence_of_the_frame(watched: Any, logging: Settings, rows: pd.DataFrame) -> None:
    """From the log through window.build, or from the frame's rows: the same numbers."""
    flights = rows[rows["flight_id"].isin(watched.window["flight_id"])].sort_values(["sched_dep", "flight_id"])
    log = windows.log(SPEC, flights, watched.p, 1)
    lake.append(logging.lake, windows.PREDICTIONS, log, {"test": 1})
    versions = {t.name: lake.version(logging.lake, t) for t in (SCHEDULE, OUTCOME)}
    start, now = "2013-01-20T00:00:00+00:00", "2013-01-27T17:00:00+00:00"
    made, summary = window.build(logging, SPEC, 1, versions, start, now, now)
    frame, _ = windows.of_frame(SPEC, flights, watched.p, 1, now)
    ours, theirs = (collected(watched, part, summary=summary) for part in (window.read(made), frame))
    assert ours == theirs
    assert ours["performance"]["labelled"] == len(flights)


def test_a_rival_is_compared_on_the_same_flights(watched: Any) -> None:
    y, days = watched.window[TARGET].to_numpy(), watched.window["local_date"].to_numpy()
    worse = np.full(len(y), 0.25)
    found = evidence.rival(y, watched.p, worse, days)
    known = np.isfinite(y)
    wanted = metrics.compare(y[known], watched.p[known], worse[known], days[known])
    assert found["loss"] == wanted.model_dump()
    assert found["loss"]["value"] < 0
    assert evidence.rival(y * np.nan, watched.p, worse, days) == {"loss": None}


def test_it_is_quick(watched: Any) -> None:
    """CPU seconds, with a reference that was summed up before: a week of flights within one."""
    profile = feed.profile(SPEC, watched.reference)
    began = time.process_time()
    collected(watched, profile=profile)
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize("wrong", ["2013-01-28T00:00:00+00:00"])
def test_a_champion_of_the_future_is_refused(watched: Any, wrong: str) -> None:
    with pytest.raises(ValueError, match="before the champion's own"):
        evidence.collect(
            SPEC, watched.window, watched.p, watched.reference, watched.reference_p, watched.summary, version="1",
            trained_as_of=wrong, as_of="2013-01-27T17:00:00+00:00",
        )  # fmt: skip
