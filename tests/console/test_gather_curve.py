"""The curve: what was stated last of a whole day, of the champion of that day, pooled over seven days as metrics do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from include import lake, metrics
from include.contracts import DAY, PERFORMANCE
from include.loop.console import curve
from include.loop.console.entries import Move
from include.settings import Settings

MODEL = "flights_on_time"
AT = datetime(2026, 11, 21, tzinfo=UTC)


def move(generation: int, champion: int, as_of: str) -> Move:
    return Move(generation, champion, None, "", 0.0, None, generation, "champion", as_of, AT)


CHAMPION = [move(1, 1, "2013-01-01T05:00:00+00:00")]


def stated(day: str, as_of: str, flights: int = 900, labelled: int | None = None, **more: Any) -> dict[str, Any]:
    base = {"version": 1, "log_loss": 0.5, "brier": 0.1, "accuracy": 0.8, "base_rate": 0.2, "predicted": 0.19}
    base |= {"estimated_log_loss": 0.45, "estimated_accuracy": 0.8, "estimated_rate": 0.2}
    labelled = flights if labelled is None else labelled
    about = {DAY: day, "model": MODEL, "day": day, "as_of": datetime.fromisoformat(as_of + "T06:30:00+00:00")}
    return {**base, **about, "flights": flights, "labelled": labelled, **more}


def keep(settings: Settings, name: str, *rows: dict[str, Any]) -> None:
    lake.append(
        settings.lake, PERFORMANCE, pa.Table.from_pylist(list(rows), schema=lake.schema(PERFORMANCE)), {name: 1}
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_no_table_is_no_curve(settings: Settings) -> None:
    assert curve.days(settings, MODEL, CHAMPION) == ()


def test_the_newest_statement_counts_and_the_first_tells_what_was_expected(settings: Settings) -> None:
    keep(settings, "a", stated("2013-01-05", "2013-01-06", labelled=0, log_loss=None, estimated_log_loss=0.41))
    keep(settings, "b", stated("2013-01-05", "2013-01-07", log_loss=0.6, estimated_log_loss=0.58))
    (day,) = curve.days(settings, MODEL, CHAMPION)
    assert (day.daily, day.estimated, day.coverage) == (0.6, 0.41, 1.0)
    assert day.log_loss is not None
    assert day.log_loss.value == pytest.approx(0.6)
    assert day.log_loss.low is None  # of one day nothing is known of others
    assert day.bias is not None
    assert day.bias.value == pytest.approx(-0.01)


def test_a_window_that_cuts_a_day_says_nothing_new_of_it(settings: Settings) -> None:
    keep(settings, "a", stated("2013-01-05", "2013-01-07", flights=900, log_loss=0.6))
    keep(settings, "b", stated("2013-01-05", "2013-01-12", flights=9, log_loss=0.1))
    (day,) = curve.days(settings, MODEL, CHAMPION)
    assert (day.flights, day.daily) == (900, 0.6)


def test_few_labels_say_nothing(settings: Settings) -> None:
    keep(settings, "a", *(stated(f"2013-01-0{n}", "2013-01-08") for n in (3, 4, 5)))
    keep(settings, "b", stated("2013-01-06", "2013-01-07", labelled=300, log_loss=0.1))
    *_, day = curve.days(settings, MODEL, CHAMPION)
    assert day.coverage == pytest.approx(1 / 3)
    assert (day.daily, day.log_loss, day.bias) == (None, None, None)
    assert day.estimated == 0.45


def test_days_are_of_the_version_in_charge(settings: Settings) -> None:
    for version, loss in ((1, 0.5), (2, 0.7)):
        days = [f"2013-01-0{n}" for n in (3, 4, 5)]
        keep(settings, f"v{version}", *(stated(d, "2013-01-08", version=version, log_loss=loss) for d in days))
    changed = [*CHAMPION, move(2, 2, "2013-01-05T03:00:00+00:00")]  # the evening before, in New York
    found = curve.days(settings, MODEL, changed)
    assert [(day.version, day.daily) for day in found] == [(1, 0.5), (2, 0.7), (2, 0.7)]
    # a version is pooled with its own scores alone, those of the days before its reign too
    assert [day.log_loss and round(day.log_loss.value, 6) for day in found] == [0.5, 0.7, 0.7]


def test_pooled_days_are_metrics_own_mean_and_interval(settings: Settings) -> None:
    rng, days = np.random.default_rng(1), [f"2013-01-{n:02d}" for n in range(3, 13)]
    losses, counts = rng.uniform(0.3, 0.7, 10), rng.integers(500, 1000, 10)
    rows = (
        stated(d, "2013-01-15", flights=1000, labelled=int(n), log_loss=float(v))
        for d, n, v in zip(days, counts, losses, strict=True)
    )
    keep(settings, "a", *rows)
    *_, last = curve.days(settings, MODEL, CHAMPION)
    wanted = metrics.by_day(np.repeat(losses[3:], counts[3:]), np.repeat(days[3:], counts[3:]))
    assert last.log_loss is not None
    assert (last.log_loss.value, last.log_loss.low, last.log_loss.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )
    overall = curve.overall(settings, MODEL)[1]
    assert overall.value == pytest.approx(metrics.by_day(np.repeat(losses, counts), np.repeat(days, counts)).value)


def test_the_last_days_are_those_of_the_whole_history(settings: Settings) -> None:
    days = [f"2013-{m:02d}-{d:02d}" for m in (1, 2, 3) for d in range(1, 29)]
    keep(settings, "a", *(stated(d, "2013-04-01", log_loss=0.3 + i / 200) for i, d in enumerate(days)))
    few = curve.days(settings, MODEL, CHAMPION, 28)  # asked for first, of a table that nobody has read
    assert [day.day for day in few] == days[-28:]
    assert list(few) == list(curve.days(settings, MODEL, CHAMPION)[-28:])


def test_what_is_stated_later_is_seen_and_the_rest_is_as_it_was(settings: Settings) -> None:
    keep(settings, "a", *(stated(f"2013-01-0{n}", "2013-01-08") for n in (3, 4, 5)))
    keep(settings, "other", stated("2013-01-03", "2013-01-08", model="another", log_loss=0.9))
    before = curve.days(settings, MODEL, CHAMPION)
    keep(settings, "b", stated("2013-01-05", "2013-01-09", log_loss=0.9), stated("2013-01-06", "2013-01-09"))
    after = curve.days(settings, MODEL, CHAMPION)
    assert after[:2] == before[:2]
    assert [day.daily for day in after] == [0.5, 0.5, 0.9, 0.5]
    assert [day.daily for day in curve.days(settings, "another", CHAMPION)] == [0.9]


def test_days_that_upkeep_has_made_one_file_of_say_the_same(settings: Settings) -> None:
    from include.upkeep import tables

    for n in range(4):
        keep(settings, str(n), stated("2013-01-05", f"2013-01-{7 + n:02d}", log_loss=0.5 + n / 10))
    before = curve.days(settings, MODEL, CHAMPION)
    assert tables.compact(settings.lake / PERFORMANCE.name, 2) == 1
    assert curve.days(settings, MODEL, CHAMPION) == before
