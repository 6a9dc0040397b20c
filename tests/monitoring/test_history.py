"""What was said of a day stays, and is said anew: first, newest, what changed, and what the estimates were worth."""

from __future__ import annotations

from typing import Any

import pytest

from bench import windows
from include import lake
from include.contracts import CLUSTER, PERFORMANCE, TARGET
from include.models.flights_on_time.spec import SPEC
from include.monitoring import history, performance
from include.settings import Settings

LOOKS = [f"2013-05-0{d}T06:30:00+00:00" for d in (2, 3, 4)]


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return Settings(home=tmp_path / "var")


def row(day: str, labelled: int, loss: float | None, estimated: float = 0.45, flights: int = 900) -> dict[str, Any]:
    rate = None if loss is None else 0.25
    return {
        "day": day, "flights": flights, "labelled": labelled, "log_loss": loss, "brier": rate, "accuracy": rate and 0.8,
        "base_rate": rate, "predicted": rate, "estimated_log_loss": estimated, "estimated_accuracy": 0.78,
        "estimated_rate": 0.22,
    }  # fmt: skip


def stated(settings: Settings) -> None:
    """Three looks at two days: no labels, some, all."""
    days = ("2013-05-01", "2013-05-02")
    history.state(settings, SPEC.name, 3, LOOKS[0], [row(days[0], 0, None, 0.44)])
    history.state(settings, SPEC.name, 3, LOOKS[1], [row(days[0], 500, 0.40), row(days[1], 100, 0.2, 0.5)])
    history.state(settings, SPEC.name, 3, LOOKS[2], [row(days[0], 900, 0.46, 0.9), row(days[1], 900, 0.55, 0.9)])


def test_each_day_has_its_first_and_its_newest_statement(settings: Settings) -> None:
    stated(settings)
    one, two = history.read(settings, SPEC)
    assert (one["version"], one["day"], one["looks"]) == (3, "2013-05-01", 3)
    assert (one["estimated"]["as_of"], one["estimated"]["estimated_log_loss"]) == (LOOKS[0], 0.44)
    assert one["estimated"]["log_loss"] is None
    assert (one["first"]["as_of"], one["first"]["log_loss"]) == (LOOKS[1], 0.40)
    assert (one["newest"]["as_of"], one["newest"]["log_loss"], one["newest"]["coverage"]) == (LOOKS[2], 0.46, 1.0)
    assert one["changed"]["log_loss"] == pytest.approx(0.06)
    assert two["first"] == two["newest"]  # 100 of 900 labels were too few to be a first number
    assert two["estimated"]["estimated_log_loss"] == 0.5


def test_a_look_reads_only_what_was_stated_by_then(settings: Settings) -> None:
    stated(settings)
    (one,) = history.read(settings, SPEC, as_of=LOOKS[0])
    assert (one["first"], one["newest"]["log_loss"], one["changed"]["log_loss"]) == (None, None, None)
    assert [t["looks"] for t in history.read(settings, SPEC, as_of=LOOKS[1])] == [2, 1]
    assert [t["day"] for t in history.read(settings, SPEC, days=("2013-05-02", "2013-05-09"))] == ["2013-05-02"]
    assert history.read(settings, SPEC, version=9) == []


def test_the_same_look_again_adds_nothing(settings: Settings) -> None:
    assert history.read(settings, SPEC) == []  # nothing was ever stated
    stated(settings)
    before = history.read(settings, SPEC)
    assert history.state(settings, SPEC.name, 3, "2013-05-04T06:30:00Z", [row("2013-05-01", 900, 0.9)]) == 0
    assert history.read(settings, SPEC) == before
    assert history.state(settings, SPEC.name, 4, LOOKS[2], [row("2013-05-01", 900, 0.5)]) == 1  # another version
    assert history.state(settings, SPEC.name, 3, LOOKS[0], []) == 0
    assert [t["version"] for t in history.read(settings, SPEC)] == [3, 3, 4]
    assert lake.read(settings.lake, PERFORMANCE, lake.version(settings.lake, PERFORMANCE)).num_rows == 6


def test_estimates_are_held_against_the_later_truth(settings: Settings) -> None:
    stated(settings)
    found = history.errors(history.read(settings, SPEC), 0.9)
    assert found["days"] == 2
    assert found["log_loss"]["value"] == pytest.approx(((0.44 - 0.46) + (0.5 - 0.55)) / 2)
    assert found["log_loss"]["absolute"] == pytest.approx((0.02 + 0.05) / 2)
    assert found["log_loss"]["low"] < found["log_loss"]["value"] < found["log_loss"]["high"]
    assert found["base_rate"]["value"] == pytest.approx(-0.03)
    early = history.errors(history.read(settings, SPEC, as_of=LOOKS[1]), 0.9)
    assert (early["days"], early["log_loss"]) == (0, None)


def test_a_real_window_is_stated_and_restated(settings: Settings, watched: Any, rows: Any) -> None:
    """The same flights looked at while half of the last day has labels, and later: that day changes, others do not."""
    flights = rows[rows[CLUSTER].between("2013-01-20", "2013-01-24")]
    p = rows[TARGET].to_numpy()[flights.index] * 0.3 + 0.2
    looks = ("2013-01-25T10:00:00+00:00", "2013-01-26T06:30:00+00:00")
    for look in looks:
        window, _ = windows.of_frame(SPEC, flights, p, 1, look)
        found = performance.measure(SPEC, window, window["probability"].to_numpy())
        assert history.state(settings, SPEC.name, 1, look, history.rows(found)) == 5
    told = history.read(settings, SPEC)
    last = told[-1]
    assert 0.5 < last["estimated"]["coverage"] < 0.9
    assert last["newest"]["coverage"] == 1.0
    assert last["changed"]["log_loss"] != 0
    assert [t["changed"]["log_loss"] for t in told[:-1]] == [0, 0, 0, 0]
    assert history.errors(told, 0.9)["days"] == 5
