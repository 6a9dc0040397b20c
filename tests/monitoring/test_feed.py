"""The feed's checks on real days of January: quiet while it is sound, each fault seen by its check."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.contracts import CLUSTER, EVENT_TIME, VIEWS
from include.features.definitions import DAILY_HOUR
from include.models.flights_on_time.spec import SPEC
from include.monitoring import feed

WEATHER = [f.name for v in VIEWS if v.name == "origin_weather" for f in v.features]
AS_OF = "2013-01-27T06:30:00+00:00"


@pytest.fixture(scope="module")
def known(watched: Any) -> feed.Profile:
    return feed.profile(SPEC, watched.reference)


def measured(known: feed.Profile, window: pd.DataFrame) -> dict[str, Any]:
    return feed.measure(SPEC, known, window, usual(), AS_OF)


def usual(asked: int = 900, scheduled: int = 900) -> list[dict[str, Any]]:
    days = [{"day": f"2013-01-{d:02d}", "scheduled": 900, "asked": 900} for d in range(5, 26)]
    return [*days, {"day": "2013-01-26", "scheduled": scheduled, "asked": asked}]


def beyond(found: dict[str, Any]) -> dict[str, str]:
    """What each check that fired named first."""
    worst = {name: check["parts"][0] for name, check in found["checks"].items() if check["parts"]}
    return {name: part["of"] for name, part in worst.items() if part["value"] > getattr(SPEC.feed, name)}


def last_day(window: pd.DataFrame) -> Any:
    return (window[EVENT_TIME] > window[EVENT_TIME].max() - pd.Timedelta(hours=24)).to_numpy()


def test_the_hour_of_the_daily_rows_is_the_features_own() -> None:
    assert feed.DAILY_HOUR == DAILY_HOUR


def test_sound_days_are_quiet(watched: Any, known: feed.Profile) -> None:
    dates = watched.window[CLUSTER].astype(str)
    for day in np.unique(dates)[-4:]:
        assert beyond(measured(known, watched.window[(dates <= day).to_numpy()])) == {}


def test_what_is_found_is_json_and_is_the_same_from_frame_and_profile(watched: Any, known: feed.Profile) -> None:
    found = measured(known, watched.window)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found["checks"]) == set(feed.UNITS)
    assert found == feed.measure(SPEC, watched.reference, watched.window, usual(), AS_OF)
    for check in found["checks"].values():
        values = [part["value"] for part in check["parts"]]
        assert values == sorted(values, reverse=True)


def test_neither_the_order_of_rows_nor_the_mix_of_flights_matters_to_entities(watched: Any, known: Any) -> None:
    found = measured(known, watched.window)
    mixed = watched.window.sample(frac=1.0, random_state=1)
    assert measured(known, mixed) == found
    twice = pd.concat([watched.window, watched.window[watched.window["carrier"] == "UA"]], ignore_index=True)
    again = measured(known, twice)
    for name in ("jump", "spread", "frozen", "repeated"):
        assert again["checks"][name] == found["checks"][name]


Change = Callable[[pd.DataFrame, Any], pd.DataFrame]


def scaled(by: float, *names: str) -> Change:
    return lambda rows, new: rows.assign(**{f: rows[f].where(~new, rows[f] * np.float32(by)) for f in names})


def permuted(*names: str) -> Change:
    def change(rows: pd.DataFrame, new: Any) -> pd.DataFrame:
        at = np.flatnonzero(new)
        order = np.arange(len(rows))
        order[at] = np.random.default_rng(1).permutation(at)
        return rows.assign(**{f: rows[f].to_numpy()[order] for f in names})

    return change


def frozen(rows: pd.DataFrame, new: Any) -> pd.DataFrame:
    last = rows[~new].groupby("origin")[WEATHER].last()
    there = last.loc[rows["origin"]].set_index(rows.index)
    return rows.assign(**{f: rows[f].where(~new, there[f]) for f in WEATHER})


@pytest.mark.parametrize(
    ("change", "check", "of"),
    [
        (lambda rows, new: rows.assign(humid=rows["humid"].where(~new)), "nulls", "humid"),
        (lambda rows, new: rows.assign(humid=rows["humid"].where(~new, np.float32(50))), "stuck", "humid"),
        (scaled(0.02953, "pressure"), "outside", "pressure"),
        (scaled(0.868976, "gust"), "novel", "gust"),
        (scaled(1.609344, "distance"), "keyed", "distance"),
        (scaled(0.01, "humid"), "spread", "humid"),
        (scaled(4.0, "temp"), "jump", "temp"),
        (permuted("temp"), "disagree", "temp"),
        (permuted("flight_late_28d"), "continuity", "flight_late_28d"),
        (frozen, "frozen", "origin_weather"),
    ],
)
def test_each_fault_is_seen_by_its_check(watched: Any, known: Any, change: Change, check: str, of: str) -> None:
    rows = change(watched.window, last_day(watched.window))
    found = beyond(measured(known, rows))
    assert found.get(check) == of, found


def test_a_day_that_is_delivered_again_is_seen(watched: Any, known: feed.Profile) -> None:
    day = pd.Timedelta(days=1)
    late = watched.window[EVENT_TIME].max()
    yesterday = watched.window[(watched.window[EVENT_TIME] <= late - day)]
    again = yesterday[yesterday[EVENT_TIME] > late - 2 * day]
    again = again.assign(**{EVENT_TIME: again[EVENT_TIME] + day})
    found = beyond(measured(known, pd.concat([yesterday, again], ignore_index=True)))
    assert found["repeated"] in ("origin_weather", "origin_hourly")


@pytest.mark.parametrize(("asked", "scheduled"), [(100, 900), (1900, 900), (300, 300), (1900, 1900)])
def test_volume_that_collapses_or_doubles_is_seen(watched: Any, known: Any, asked: int, scheduled: int) -> None:
    found = feed.measure(SPEC, known, watched.window, usual(asked, scheduled), AS_OF)
    assert "volume" in beyond(found)
    assert found["volume"]["day"] == "2013-01-26"


@pytest.mark.parametrize(("asked", "scheduled"), [(880, 900), (640, 660)])
def test_a_holiday_is_no_collapse(watched: Any, known: Any, asked: int, scheduled: int) -> None:
    assert "volume" not in beyond(feed.measure(SPEC, known, watched.window, usual(asked, scheduled), AS_OF))


def test_today_is_not_taken_for_a_whole_day(watched: Any, known: feed.Profile) -> None:
    days = [*usual(), {"day": "2013-01-27", "scheduled": 900, "asked": 3}]
    assert feed.measure(SPEC, known, watched.window, days, AS_OF)["volume"]["day"] == "2013-01-26"
    assert feed.measure(SPEC, known, watched.window, days[-3:], AS_OF)["volume"] is None


def test_frames_without_columns_or_rows_are_refused(watched: Any, known: feed.Profile) -> None:
    with pytest.raises(KeyError, match=r"reference lacks.*humid"):
        feed.profile(SPEC, watched.reference.drop(columns="humid"))
    with pytest.raises(KeyError, match=r"window lacks.*origin"):
        measured(known, watched.window.drop(columns="origin"))
    with pytest.raises(ValueError, match="window has no rows"):
        measured(known, watched.window.iloc[:0])
