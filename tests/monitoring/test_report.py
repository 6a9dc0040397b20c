"""Evidently's reports of a day and a week: whose rows they are of, that their numbers are ours, what they survive."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include import metrics, pictures
from include.contracts import TARGET
from include.models.flights_on_time.spec import SPEC
from include.monitoring import report
from include.times import parse

AS_OF = "2013-01-27T06:30:00+00:00"
FEW = SPEC.model_copy(update={"features": ("temp", "distance", "minute_of_day")})  # Evidently's cost is per column


def logged(watched: Any, as_of: str = AS_OF) -> pd.DataFrame:
    """The week as the prediction log has it: when it was asked, how fast, and which labels are mature."""
    rows, rng = watched.window, np.random.default_rng(7)
    mature = pd.to_datetime(rows["sched_dep"], utc=True) + SPEC.label_maturity <= pd.Timestamp(parse(as_of))
    return rows.assign(
        mature=mature,
        stale=rng.random(len(rows)) < 0.03,
        latency_us=rng.gamma(2.0, 2_000.0, len(rows)),
        **{TARGET: rows[TARGET].astype("float64").where(mature)},
    )


def found(**more: Any) -> dict[str, Any]:
    """What a report takes from the evidence."""
    performance = {"coverage": 0.9, "scores": {"log_loss": {"value": 0.5}}, "surprise": None, "worst_slice": None}
    return {"model": SPEC.name, "version": "3", "as_of": AS_OF, "performance": performance, **more}


def made(watched: Any, span: report.Span, window: pd.DataFrame | None = None, **more: Any) -> report.Made:
    window = logged(watched) if window is None else window
    p, unseen = more.pop("p", watched.p), more.pop("unseen_after", "")
    told = report.make(
        more.pop("spec", FEW), window, p, watched.reference, watched.reference_p, found(**more), span, unseen
    )
    assert told is not None
    return told


@pytest.fixture(scope="module")
def written(watched: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a day's and a week's report."""
    folder = tmp_path_factory.mktemp("report")
    report.write(made(watched, "week", spec=SPEC), folder)
    report.write(made(watched, "day"), folder)
    return folder


def read(folder: Path, span: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / span / report.JSON).read_text(encoding="utf-8"))
    return told


# -- numbers -------------------------------------------------------------------------------------------------------
def test_a_week_says_what_drifted_the_score_among_them(written: Path) -> None:
    week = read(written, "week")
    assert set(week["drift"]) == {*SPEC.features, report.SCORE}
    assert week["drift"]["minute_of_day"] < 0.1  # the timetable does not move
    assert week["drift"]["temp"] > 1  # it bins in another way than include.monitoring.drift: larger, not equal
    assert week["drifted_columns"] == sum(value >= SPEC.levels.psi for value in week["drift"].values())
    assert week["drifted_share"] == pytest.approx(week["drifted_columns"] / len(week["drift"]))
    assert (week["version"], week["period"], week["empty"]) == ("3", "2013-W04", [])


def test_a_days_quality_is_that_of_the_labels_of_the_day(written: Path, watched: Any) -> None:
    window, day = logged(watched), read(written, "day")
    ready = pd.to_datetime(window["sched_dep"], utc=True) + SPEC.label_maturity
    now = pd.Timestamp(parse(AS_OF))
    of = ((ready > now - timedelta(days=1)) & (ready <= now)).to_numpy()
    y, p = window[TARGET][of].to_numpy(dtype=int), watched.p[of]
    assert day["rows"]["judged"] == len(y) > 500
    assert day["quality"]["LogLoss"] == pytest.approx(metrics.log_loss(y, p).mean(), rel=1e-4)
    assert day["quality"]["RocAuc"] == pytest.approx(metrics.auc(y, p), rel=1e-4)
    assert day["quality"]["Accuracy"] == pytest.approx(((p >= SPEC.serving.threshold) == y).mean(), rel=1e-4)
    assert day["quality"]["gap"] == pytest.approx((p - y).mean(), abs=1e-4)


def test_service_is_of_all_that_was_asked(written: Path, watched: Any) -> None:
    window, day = logged(watched), read(written, "day")
    asked = window[
        pd.to_datetime(window["event_timestamp"], utc=True) >= pd.Timestamp(parse(AS_OF)) - timedelta(days=1)
    ]
    assert day["rows"]["asked"] == len(asked) == day["service"][report.FLIGHTS]
    assert day["service"][report.STALE] == pytest.approx(asked["stale"].mean(), rel=1e-4)
    known = asked.loc[asked["mature"].astype(bool), SPEC.target].notna()
    assert day["service"][report.KNOWN] == pytest.approx(known.mean(), rel=1e-4)
    assert day["service"][report.LATENCY] == pytest.approx(np.quantile(asked["latency_us"] / 1000, 0.99), rel=0.02)
    week = read(written, "week")
    assert week["service"][report.FLIGHTS] == pytest.approx(len(window) / window["local_date"].nunique())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-72, 72), min_size=1, max_size=30), st.integers(2, 5))
def test_looks_a_day_apart_judge_each_label_once(hours: list[int], looks: int) -> None:
    start = parse(AS_OF)
    departures = [start + timedelta(hours=h) for h in hours]
    seen: list[int] = []
    for day in range(looks):
        now = start + timedelta(days=day)
        window = pd.DataFrame(
            {
                "event_timestamp": [d - SPEC.horizon for d in departures],
                "sched_dep": departures,
                "mature": [d + SPEC.label_maturity <= now for d in departures],
                TARGET: [1.0 if d + SPEC.label_maturity <= now else None for d in departures],
            }
        )
        _, judged = report.rows(SPEC, window, np.full(len(window), 0.5), now.isoformat(), "day")
        seen += list(judged.index)
    first, last = start - timedelta(days=1), start + timedelta(days=looks - 1)
    expected = [i for i, d in enumerate(departures) if first < d + SPEC.label_maturity <= last]
    assert sorted(seen) == expected


@pytest.mark.parametrize(
    ("as_of", "day", "week"),
    [
        ("2013-04-08T06:30:00+00:00", "2013-04-07", "2013-W14"),  # Monday morning: about Sunday and its week
        ("2013-04-08T18:00:00+00:00", "2013-04-08", "2013-W15"),
        ("2013-01-01T06:30:00+00:00", "2012-12-31", "2013-W01"),
    ],
)
def test_a_look_in_the_morning_is_about_the_day_before(as_of: str, day: str, week: str) -> None:
    assert (report.period(as_of, "day"), report.period(as_of, "week")) == (day, week)


def test_days_that_the_champion_was_trained_on_are_no_quality(watched: Any) -> None:
    window = logged(watched)
    later = window["local_date"].astype(str) > "2013-01-24"
    told = made(watched, "week", unseen_after="2013-01-24").summary
    assert told["rows"]["judged"] == (later & window["mature"] & window[TARGET].notna()).sum()
    assert told["rows"]["asked"] == len(window)
    assert made(watched, "week", unseen_after="2013-01-26").summary["quality"] is None


# -- files ---------------------------------------------------------------------------------------------------------
def test_the_page_is_packed_and_needs_no_network(written: Path) -> None:
    for span in report.SPANS:
        packed = (written / span / f"{report.HTML}.gz").read_bytes()
        text = gzip.decompress(packed).decode()
        assert len(packed) < 2_000_000 < len(text)
        assert "<script src=" not in text
        assert 'rel="stylesheet" href="http' not in text


def test_an_index_leads_to_what_was_written(written: Path) -> None:
    week, day = read(written, "week"), read(written, "day")
    text = report.index([day, week], written / "index.html", "http://127.0.0.1:8000").read_text(encoding="utf-8")
    linked = [part.partition('"')[0] for part in text.split('href="')[1:]]
    assert linked == ["day/evidently.html", "week/evidently.html", "http://127.0.0.1:8000"]
    assert all((written / f"{file}.gz").is_file() for file in linked[:2])
    assert pictures.number(week["quality"]["LogLoss"]) in text
    assert "Nobody asked" not in text
    alone = report.index([week], written / "alone.html", "javascript:x").read_text(encoding="utf-8")
    assert "Nobody asked in the day" in alone
    assert "javascript" not in alone
    assert "Nobody asked in the week" in report.index([], written / "none.html").read_text(encoding="utf-8")


def test_what_evidently_cannot_know_lies_beside(written: Path) -> None:
    week = read(written, "week")
    assert week["coverage"] == 0.9
    assert week["scores"] == {"log_loss": {"value": 0.5}}


# -- cost ----------------------------------------------------------------------------------------------------------
def test_large_windows_are_sampled_the_same_way_each_time(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SAMPLE", 400)
    one, other = (made(watched, "week").summary for _ in range(2))
    assert one == other
    assert one["rows"]["sample"] == 400
    monkeypatch.undo()
    assert made(watched, "week").summary["drift"] != one["drift"]


def test_volume_is_exact_also_when_the_window_is_a_sample(watched: Any) -> None:
    whole = made(watched, "day").summary["service"]
    half = made(watched, "day", volume={"flights": 2 * len(watched.window)}).summary["service"]
    assert half[report.FLIGHTS] == pytest.approx(2 * whole[report.FLIGHTS])


# -- what a report survives ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_broken_feature_is_reported_on_not_stumbled_over(watched: Any, value: float) -> None:
    broken = logged(watched).assign(temp=np.float32(value))
    told = made(watched, "day", broken).summary
    assert told["empty"] == ([] if value == 0 else ["temp"])
    assert ("temp" in told["drift"]) == (value == 0)
    assert told["quality"] is not None


@pytest.mark.parametrize("label", [None, 1.0])
def test_without_labels_of_both_kinds_there_is_no_quality(watched: Any, label: float | None) -> None:
    told = made(watched, "day", logged(watched).assign(**{TARGET: label})).summary
    assert told["quality"] is None
    assert told["drift"]


def test_a_version_that_scored_nothing_has_its_volume(watched: Any) -> None:
    told = made(watched, "day", p=np.full(len(watched.window), np.nan)).summary
    assert (told["quality"], told["drift"], told["drifted_share"]) == (None, {}, None)
    assert told["service"][report.FLIGHTS] > 500


def test_a_silent_day_has_no_report(watched: Any) -> None:
    later = found(as_of="2013-02-20T06:30:00+00:00")
    args = (FEW, logged(watched), watched.p, watched.reference, watched.reference_p)
    assert report.make(*args, later, "day") is None


def test_what_does_not_fit_is_refused(watched: Any) -> None:
    args = (watched.reference, watched.reference_p, found())
    with pytest.raises(ValueError, match="expected a score for each of"):
        report.make(FEW, logged(watched), watched.p[1:], *args, "day")
    with pytest.raises(ValueError, match="'month' is none of day, week"):
        report.make(FEW, logged(watched), watched.p, *args, "month")  # type: ignore[arg-type]
