"""Batch scoring on 30 real days: tomorrow's schedule, the past as seen then, a bad version's scores made again."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from include import bundle, lake
from include.contracts import ENTITY, EVENT_TIME, KNOWN_AT, SCHEDULE, SCORES, VIEWS, Ref
from include.features import frame as frames
from include.features import snapshot as snapshots
from include.loop import score
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.release import ledger as book
from include.settings import Settings
from include.times import parse
from include.training import data
from tests.conftest import END, run_of
from tests.packaging import tiny

SPEC = registry.load(tiny.MODEL)
EVENING = "2013-01-30T21:00:00+00:00"
FEW = {"start": "2013-01-20T00:00:00+00:00", "end": "2013-01-22T00:00:00+00:00", "as_of": END}


def second() -> bytes:
    """Another model than tiny's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "WEIGHTS", -tiny.WEIGHTS)
        return tiny.model()


def add_version(settings: Settings, number: int, made: Ref) -> None:
    nothing = Ref(uri="", version="", hash="")
    parts = {"frame": nothing, "bundle": made, "bento": nothing, "trained_until": "2013-01-15"}
    new = book.Version(tiny.MODEL, number, f"run{number}", "c" * 64, "2013-01-16T00:00:00+00:00", **parts)  # type: ignore[arg-type]
    book.add_version(ledger(settings), new)


def ledger(settings: Settings) -> sa.Engine:
    return book.connect(settings.ledger_url)


def release(settings: Settings) -> None:
    """Versions 1, which is champion, and 2."""
    add_version(settings, 1, tiny.save(settings))
    add_version(settings, 2, tiny.save(settings, second()))
    decision = book.Decision("first", tiny.MODEL, "champion", "test", "the first", "2013-01-16T00:00:00+00:00", 1)
    book.deploy(ledger(settings), book.current(ledger(settings), tiny.MODEL), decision, champion=1, challenger=None)


@pytest.fixture
def served(installation: Settings) -> Settings:
    release(installation)
    return installation


def steps(settings: Settings, run: str = "score/test", **params: Any) -> dict[str, Any]:
    """All steps of the DAG; what the last one returns."""

    def at(task: str) -> Run:
        return Run(settings, run, settings.reports / run / task / "index.html", params)

    job = score.plan(at("plan"))
    results = [score.score(at(f"score/{i}"), job, part) for i, part in enumerate(score.partitions(at("parts"), job))]
    return score.summary(at("summary"), job, results)


def scores(settings: Settings) -> pd.DataFrame:
    return lake.read(settings.lake, SCORES, lake.version(settings.lake, SCORES)).to_pandas()


def published(settings: Settings, start: str, end: str, as_of: str) -> pd.DataFrame:
    """The flights of an interval, by the definition of which these are."""
    at = lake.catalog(settings.lake)["versions"][SCHEDULE.name]
    rows = lake.read(settings.lake, SCHEDULE, at).to_pandas()
    known = (rows[KNOWN_AT] <= parse(as_of)) & (rows["sched_dep"] >= parse(start)) & (rows["sched_dep"] < parse(end))
    return rows[known].sort_values(ENTITY, ignore_index=True)


# -- tomorrow ------------------------------------------------------------------------------------------------------
def test_tomorrows_schedule_is_scored_with_what_is_known_now(served: Settings) -> None:
    done = steps(served, as_of=EVENING)
    assert (done["start"], done["end"]) == ("2013-01-31T05:00:00+00:00", "2013-02-01T05:00:00+00:00")
    flights, found = published(served, done["start"], done["end"], EVENING), scores(served)
    assert sorted(found[ENTITY]) == list(flights[ENTITY])
    assert len(found) == done["scored"] > 900
    assert set(found[EVENT_TIME]) == set(found[KNOWN_AT]) == {parse(EVENING)}
    assert set(found["version"]) == {1}
    assert (found["not_on_time"] == (found["probability"] >= SPEC.serving.threshold)).all()
    page = (served.reports / "score/test/summary/index.html").read_text()
    assert f"{done['scored']:,} of {done['scored']:,} published flights have a score." in page
    assert "version 1" in page
    entry = book.history(ledger(served), tiny.MODEL)[-1]
    assert (entry["kind"], entry["version"], entry["as_of"]) == ("scored", 1, EVENING)


def test_a_future_flights_features_are_the_newest_that_are_published(history: Settings) -> None:
    versions = frames.take_versions(history)
    start, end = "2013-01-31T05:00:00+00:00", "2013-02-01T05:00:00+00:00"
    taken = snapshots.take(history, versions, *frames.moments(SPEC, EVENING, start, end))
    built = frames.build_scoring(history, SPEC, versions, taken, EVENING, start, end)
    rows = pd.read_parquet(built["uri"])
    view = next(v for v in VIEWS if v.name == "origin_hourly")
    at = versions[view.table.name]
    queue = lake.read(history.lake, view.table, at, known_by=parse(EVENING)).to_pandas()
    newest = queue.sort_values(EVENT_TIME).groupby("origin").last()
    for origin, own in rows.groupby("origin"):
        assert set(own["origin_queue"]) == {newest.loc[origin, "origin_queue"]}
    assert newest[EVENT_TIME].max() == parse(EVENING) - timedelta(hours=1)  # the hour's own is not published yet


# -- the past ------------------------------------------------------------------------------------------------------
def test_the_past_is_scored_as_training_saw_it(served: Settings) -> None:
    start, end = "2013-01-08T05:00:00+00:00", "2013-01-17T05:00:00+00:00"
    done = steps(served, start=start, end=end, as_of=END, reason="to compare")
    versions = frames.take_versions(served)
    taken = snapshots.take(served, versions, parse(start) - SPEC.horizon, parse(END))
    built = frames.build(served, SPEC, versions, taken, END, None)
    trained = frames.load(built, start, end).sort_values(ENTITY, ignore_index=True)
    found = scores(served).sort_values(ENTITY, ignore_index=True)
    assert done["scored"] == len(found) == len(trained) > 7_000
    assert done["refused"] == 0
    assert (found[ENTITY] == trained[ENTITY]).all()
    assert (found[EVENT_TIME] == trained[EVENT_TIME]).all()
    model = bundle.load(book.version(ledger(served), tiny.MODEL, 1).bundle)
    assert (found["probability"] == bundle.predict(model, data.matrix(trained, SPEC.features))).all()


def test_flights_around_the_as_of_get_what_was_known_then_or_now(served: Settings) -> None:
    start, end = "2013-01-20T12:00:00+00:00", "2013-01-21T00:00:00+00:00"
    as_of = "2013-01-20T18:00:00+00:00"
    steps(served, start=start, end=end, as_of=as_of)
    found = scores(served)
    moment = (found["sched_dep"] - SPEC.horizon).clip(upper=pd.Timestamp(as_of))
    assert (found[EVENT_TIME] == moment).all()
    assert found[EVENT_TIME].nunique() > 50
    assert (found[EVENT_TIME] == pd.Timestamp(as_of)).any()


def test_days_without_history_are_refused_counted_and_listed(served: Settings) -> None:
    start, end = "2013-01-01T05:00:00+00:00", "2013-01-03T00:00:00+00:00"
    done = steps(served, start=start, end=end, as_of=END)
    flights, found = published(served, start, end, END), scores(served)
    assert done["refused"] > 0
    assert done["scored"] > 300
    assert done["scored"] + done["refused"] == done["flights"] == len(flights)
    listed = (served.reports / "score/test/summary/refused.txt").read_text().splitlines()
    assert sorted([*found[ENTITY], *(line.split("\t")[0] for line in listed)]) == list(flights[ENTITY])
    page = (served.reports / "score/test/summary/index.html").read_text()
    assert f"{done['refused']:,} were refused" in page
    assert "is missing" in page
    assert found["probability"].between(0, 1).all()


def test_scoring_again_gives_the_same_rows_and_leaves_all_others(served: Settings) -> None:
    steps(served, **FEW)
    first = scores(served)
    steps(served, **FEW)
    pd.testing.assert_frame_equal(scores(served), first)
    later = {"start": "2013-01-20T12:00:00+00:00", "end": "2013-01-21T12:00:00+00:00", "as_of": END}
    steps(served, "score/later", **later, version=2)
    again = scores(served)
    inside = again["sched_dep"].between("2013-01-20T12:00:00Z", "2013-01-21T12:00:00Z", inclusive="left")
    assert set(again[inside]["version"]) == {2}
    assert set(again[~inside]["version"]) == {1}
    assert (again[ENTITY] == first[ENTITY]).all()


# -- a bad version -------------------------------------------------------------------------------------------------
@pytest.fixture
def mixed(served: Settings) -> Settings:
    """Version 1, the bad one, has scored two days and an evening's tomorrow, version 2 half a day between."""
    steps(served, "score/a", **FEW)
    steps(served, "score/b", as_of="2013-01-26T21:00:00+00:00")
    steps(
        served,
        "score/c",
        **{**FEW, "start": "2013-01-21T00:00:00+00:00", "end": "2013-01-21T18:00:00+00:00"},
        version=2,
    )
    return served


def test_a_bad_versions_scores_are_made_again_as_of_the_same_moments(mixed: Settings) -> None:
    before = scores(mixed)
    run, job = run_of(mixed, "rollback", "rescore"), {"model": tiny.MODEL, "as_of": END}
    done = score.rescore(run, job, bad=1, good=2)
    after = scores(mixed)
    bad = before["version"] == 1
    assert done["rows"] == bad.sum() > 1_500
    assert done["days"] == ["2013-01-20", "2013-01-21", "2013-01-27", "2013-01-28"]
    assert done["refused"] == 0
    same = [ENTITY, "sched_dep", EVENT_TIME, KNOWN_AT]
    pd.testing.assert_frame_equal(after[same], before[same])
    assert set(after["version"]) == {2}
    pd.testing.assert_frame_equal(after[~bad], before[~bad])
    # tiny's log odds are a weighted sum: the other model's are their negative
    np.testing.assert_allclose(after["probability"][bad], 1 - before["probability"][bad], atol=1e-9)
    assert "made again by version 2" in run.page.read_text()
    at = lake.version(mixed.lake, SCORES)
    assert score.rescore(run, job, bad=1, good=2) == done
    assert lake.version(mixed.lake, SCORES) == at  # nothing was written
    assert [d["kind"] for d in book.history(ledger(mixed), tiny.MODEL)].count("rescored") == 1


def test_a_flight_that_is_no_longer_published_loses_its_score_and_is_named(mixed: Settings) -> None:
    versions = lake.catalog(mixed.lake)["versions"]
    day = lake.read(mixed.lake, SCHEDULE, versions[SCHEDULE.name], ("2013-01-20", "2013-01-20"))
    at = lake.overwrite_days(mixed.lake, SCHEDULE, day.slice(3), ["2013-01-20"])
    lake.publish(mixed.lake, {SCHEDULE.name: at}, END, END, END)
    before = scores(mixed)
    run = run_of(mixed, "rollback", "rescore")
    done = score.rescore(run, {"model": tiny.MODEL, "as_of": END}, bad=1, good=2)
    gone = set(before[ENTITY]) - set(scores(mixed)[ENTITY])
    assert gone == set(day[ENTITY].to_pylist()[:3])
    assert done["refused"] == 3
    listed = (run.page.parent / "refused.txt").read_text().splitlines()
    assert {line.split("\t")[0] for line in listed} == gone
    assert all("no longer in the published schedule" in line for line in listed)


# -- forms and bounds ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"start": "2013-01-20T00:00:00Z"}, "end: give start and end"),
        ({"end": "2013-01-20T00:00:00Z"}, "start: give start and end"),
        ({"start": "soon", "end": END}, "start: 'soon' is not a time"),
        ({"start": END, "end": END}, "end: .* does not lie after start"),
        ({"as_of": "2013-03-01T00:00:00Z"}, "as_of: .* run `ingest` first"),
        ({"version": 7}, "version: the ledger holds no packaged version 7"),
    ],
)
def test_a_form_filled_in_wrongly_names_the_field(served: Settings, params: dict[str, Any], words: str) -> None:
    with pytest.raises(Stop, match=words):
        score.plan(run_of(served, "score", "plan", **{"as_of": END, **params}))


def test_without_a_champion_or_a_flight_it_says_so(installation: Settings) -> None:
    with pytest.raises(Skip, match="no champion yet"):
        score.plan(run_of(installation, "score", "plan", as_of=END))
    release(installation)
    with pytest.raises(Stop, match="no flight scheduled from 2013-06-01"):
        steps(installation, start="2013-06-01T00:00:00Z", end="2013-06-03T00:00:00Z", as_of=END)
    page = (installation.reports / "score/test/summary/index.html").read_text()
    assert "On 2 days no flight was published" in page


@pytest.mark.parametrize(("days", "parts"), [(1, 1), (7, 1), (8, 2), (365, 53), (448, 64), (449, 57), (3_650, 63)])
def test_long_intervals_have_few_parts_and_each_day_once(history: Settings, days: int, parts: int) -> None:
    end = parse("2013-01-01T00:00:00Z") + timedelta(days=days)
    job = {"start": "2013-01-01T00:00:00+00:00", "end": end.isoformat()}
    found = score.partitions(run_of(history, "score", "partitions"), job)
    assert len(found) == parts
    assert found[0]["start"] == job["start"]
    assert parse(found[-1]["end"]) == end
    assert all(a["end"] == b["start"] for a, b in pairwise(found))
    spans = [s for part in found for s in score._spans(parse(part["start"]), parse(part["end"]), score.CHUNK)]
    assert max(b - a for a, b in spans) <= timedelta(days=7)
    assert all(a[1] == b[0] for a, b in pairwise(spans))


def test_new_yorks_tomorrow_has_23_hours_in_march(served: Settings) -> None:
    assert score._interval(run_of(served, "score", "plan"), "2013-03-10T03:00:00+00:00") == (
        parse("2013-03-10T05:00:00Z"),
        parse("2013-03-11T04:00:00Z"),
    )
