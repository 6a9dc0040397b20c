"""The service beside its levels: beyond only when something says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from include.models.flights_on_time.spec import SPEC
from include.monitoring import service

LEVELS = SPEC.levels


@pytest.fixture
def summary(watched: Any) -> dict[str, Any]:
    return copy.deepcopy(watched.summary)


def beyond(found: dict[str, Any]) -> set[str]:
    return {name for name, one in found.items() if one["beyond"]}


def test_a_sound_service_is_within_all_levels(summary: dict[str, Any]) -> None:
    workers = [{"rss": 300e6, "memory_limit": 1e9}, {"rss": 500e6, "memory_limit": 1e9}]
    found = service.measure(SPEC, summary, workers, {"lost": 0, "dropped": 0})
    assert set(found) == set(service.UNITS)
    assert beyond(found) == set()
    assert found["memory"]["value"] == 0.5
    assert found["latency_p99_ms"]["value"] == 0.8


@pytest.mark.parametrize(
    ("name", "changed", "value"),
    [
        ("latency_p99_ms", {"latency_ms": {"p50": 1.0, "p99": 501.0}}, 501.0),
        ("load", {"worker_peak_per_second": 1601.0}, 0.8005),
        ("errors", {"errors": 61, "failed_answers": 61}, 61 / 6012),
        ("errors", {"errors": 61, "failed_answers": 0}, 61 / (6012 + 61)),
        ("stale", {"stale": 400}, 400 / 6012),
        ("silence_hours", {"silence": {"since": "2013-01-27T03:00:00+00:00", "due": 300, "hours": 7}}, 7.0),
    ],
)
def test_each_level_is_held(summary: dict[str, Any], name: str, changed: dict[str, Any], value: float) -> None:
    found = service.measure(SPEC, {**summary, **changed})
    assert beyond(found) == {name}
    assert found[name]["value"] == pytest.approx(value)


def test_memory_is_that_of_the_fullest_worker(summary: dict[str, Any]) -> None:
    workers: list[dict[str, Any]] = [
        {"rss": 1e8, "memory_limit": 1e9},
        {"rss": 8.1e8, "memory_limit": 1e9},
        {"worker": "old"},
    ]
    assert beyond(service.measure(SPEC, summary, workers)) == {"memory"}


@pytest.mark.parametrize("counts", [{"lost": 1, "dropped": 0}, {"lost": 0, "dropped": 2}])
def test_lost_predictions_are_told_and_alarm_nobody_again(summary: dict[str, Any], counts: dict[str, int]) -> None:
    found = service.measure(SPEC, summary, log=counts)
    assert (found["lost"]["value"], found["lost"]["level"]) == (sum(counts.values()), None)
    assert beyond(found) == set()


def test_levels_are_held_against_the_newest_hours(summary: dict[str, Any]) -> None:
    recent = {"predictions": 800, "errors": 40, "failed_answers": 40}
    assert beyond(service.measure(SPEC, {**summary, "recent": recent})) == {"errors"}


def test_what_nothing_says_is_not_beyond(summary: dict[str, Any]) -> None:
    nothing = {**summary, "predictions": 0, "worker_peak_per_second": 0.0, "latency_ms": {"p50": None, "p99": None}}
    found = service.measure(SPEC, nothing)
    assert beyond(found) == set()
    assert {n for n, one in found.items() if one["value"] is None} == {
        "latency_p99_ms", "load", "errors", "stale", "memory", "lost",
    }  # fmt: skip
