"""Steps of the `score` DAG: which flights, by which version -> parts -> scores, part by part -> what came of it.

And `rescore`, for a rollback: what a bad version scored, scored again by a good one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TextIO, TypedDict
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from include import bundle, lake
from include.contracts import ENTITY, EVENT_TIME, SCORES, Ref
from include.crashpoints import reached
from include.features import frame as frames
from include.features import snapshot as snapshots
from include.files import read_json, replacing, write_json, write_text
from include.loop import common
from include.loop.common import Job
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.release import ledger as book
from include.serving import batch, page
from include.settings import Settings
from include.times import days_between, iso, parse

ZONE = ZoneInfo("America/New_York")  # "tomorrow" is New York's
PARTS = 64  # mapped tasks at most
CHUNK = 7  # days of one frame and one commit: memory is that of a week, however long the interval
_DAY = timedelta(days=1)
_Span = tuple[datetime, datetime]


class Part(TypedDict):
    """Flights scheduled in [start, end): whole UTC days but for the interval's own ends."""

    start: str
    end: str


# -- steps -------------------------------------------------------------------------------------------------------
def plan(run: Run) -> Job:
    """Which flights are scored, by which version, with whose knowledge. Nothing to do while there is no champion."""
    return common.kept(run, lambda: _plan(run))


def _plan(run: Run) -> Job:
    name, ledger = run.settings.model, common.ledger(run)
    version = _version(run, ledger, name)
    as_of = common.as_of(run)
    start, end = _interval(run, as_of)
    try:
        versions = frames.take_versions(run.settings)
    except frames.NoHistory as error:
        raise Stop(str(error)) from error
    return {
        "model": name,
        "as_of": as_of,
        "start": iso(start),
        "end": iso(end),
        "version": version,
        "versions": versions,
        "reason": run.params.get("reason") or "scheduled, or asked for by hand",
    }


def _version(run: Run, ledger: sa.Engine, name: str) -> int:
    asked = run.params.get("version")
    if asked is None:
        live = book.current(ledger, name).champion
        if live is None:
            raise Skip(f"{name} has no champion yet: nobody to score with")
        return live
    try:
        return book.version(ledger, name, asked).version
    except book.UnknownVersion as error:
        raise Stop(f"version: {error}") from error


def _interval(run: Run, as_of: str) -> _Span:
    """The form's interval, else New York's next day."""
    given = {field: run.params.get(field) for field in ("start", "end")}
    if missing := [field for field, value in given.items() if not value]:
        if len(missing) == 1:
            raise Stop(f"{missing[0]}: give start and end, or neither for tomorrow's schedule")
        today = parse(as_of).astimezone(ZONE).date()
        return _midnight(today + _DAY), _midnight(today + 2 * _DAY)
    start, end = (run.time(str(value), field) for field, value in given.items())
    if start >= end:
        raise Stop(f"end: {iso(end)} does not lie after start {iso(start)}")
    return start, end


def _midnight(local: date) -> datetime:
    return datetime.combine(local, time(), ZONE).astimezone(UTC)


def partitions(run: Run, job: Job) -> list[Part]:  # noqa: ARG001 — steps have one shape
    """The interval in weeks of UTC days, several weeks together when it is long: at most PARTS mapped tasks.

    Not in single days: asking Feast costs seconds, the flights of a day milliseconds.
    """
    start, end = parse(job["start"]), parse(job["end"])
    size = max(CHUNK, -(-len(days_between(start, end)) // PARTS))
    return [Part(start=iso(a), end=iso(b)) for a, b in _spans(start, end, size)]


def score(run: Run, job: Job, part: Part) -> Job:
    """Score one part, a week at a time, each in one commit. The same part again writes the same rows."""
    scorer, whole = scorer_of(run.settings, job["model"], job["version"]), batch.Tally()
    with _list(run.page.parent / page.REFUSED) as refused:
        for span in _spans(parse(part["start"]), parse(part["end"]), CHUNK):
            whole.join(_score(run.settings, job, scorer, span, refused))
    reached("score.part.refused")
    empty = [d for d in days_between(parse(part["start"]), parse(part["end"])) if not whole.days[d]]
    label = f"{part['start'][:10]}: {whole.predicted:,} scored"
    return {**part, "label": label, "empty": empty, "tally": whole.dump(), "refused": str(run.page.parent)}


def _score(settings: Settings, job: Job, scorer: batch.Scorer, span: _Span, refused: TextIO) -> batch.Tally:
    spec, start, end = registry.load(job["model"]), *map(iso, span)
    taken = snapshots.take(settings, job["versions"], *frames.moments(spec, job["as_of"], start, end))
    reached("score.part.snapshot")
    built = frames.build_scoring(settings, spec, job["versions"], taken, job["as_of"], start, end)
    reached("score.part.frame")
    listed = refused.tell()

    def write() -> batch.Tally:
        refused.seek(listed)
        refused.truncate()
        tally, table = batch.Tally(), batch.open_table(settings.lake)
        batch.overwrite(table, job["model"], *span, batch.score(Path(built["uri"]), scorer, tally, refused))
        return tally

    return batch.retrying(write)


def summary(run: Run, job: Job, results: list[Job]) -> Job:
    """The page, the list of refused flights, and the ledger's entry. Red when no flight at all has a score."""
    tallies = [(f"{r['start']} to {r['end']}", batch.Tally.load(r["tally"])) for r in results]
    whole = batch.Tally()
    for _, tally in tallies:
        whole.join(tally)
    with _list(run.page.parent / page.REFUSED) as out:
        for result in results:
            with (Path(result["refused"]) / page.REFUSED).open(encoding="utf-8") as lines:
                out.writelines(lines)
    reached("score.summary.refused")
    empty = [d for result in results for d in result["empty"]]
    page.write(run.page, _about(run, job), tallies, empty)
    reached("score.summary.page")
    if not whole.rows:
        raise Stop(f"no flight scheduled from {job['start']} to {job['end']} was published as of {job['as_of']}")
    counts = {"flights": whole.rows, "scored": whole.predicted, "refused": whole.refused.total()}
    said = f"{whole.predicted} of {whole.rows} flights scheduled from {job['start']} to {job['end']} scored"
    if not whole.predicted:
        raise Stop(f"{said}: {whole.refused.most_common(1)[0][0]}")
    evidence = {"start": job["start"], "end": job["end"], **counts, "versions": job["versions"]}
    common.record(run, job, "scored", f"{said}: {job['reason']}", job["version"], evidence)
    return {"model": job["model"], "version": job["version"], "start": job["start"], "end": job["end"], **counts}


def _about(run: Run, job: Job) -> dict[str, object]:
    made = book.version(common.ledger(run), job["model"], job["version"])
    threshold = scorer_of(run.settings, job["model"], job["version"]).threshold
    return {
        "flights scheduled": f"from {job['start']} to {job['end']} (not included)",
        "as published at": job["as_of"],
        "features as of": "scheduled departure less the model's horizon, or the time above when that is earlier",
        "model": f"{job['model']} version {job['version']}, bundle {made.bundle['version']}",
        "trained on flights up to": f"{made.trained_until} (scores of days before are of flights it has seen)",
        "not on time from": threshold,
        "Delta table": str(lake.path(run.settings.lake, SCORES)),
        "why": job["reason"],
    }


# -- for a rollback ------------------------------------------------------------------------------------------------
def rescore(run: Run, job: Job, bad: int, good: int) -> Job:
    """Make every score of version `bad` again by version `good`, as of the same moments; no other score is touched.

    A flight that `good` must not see, or that is no longer published, loses its score and is listed on the page.
    Repeating it changes nothing; killed half-way, repeating it does the rest. Returns {"rows", "refused", "days", …}.
    """
    settings, model = run.settings, job["model"]
    scorer, planned = scorer_of(settings, model, good), _planned(run, model, bad)
    file = run.page.parent / page.REFUSED
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as refused:  # a killed attempt's lines stay; repeated ones are one below
        for span in _runs(batch.affected(batch.open_table(settings.lake), model, bad)[0]):
            batch.retrying(partial(_rescore, settings, scorer, bad, span, refused))
        refused.seek(0)
        lines = list(dict.fromkeys(refused))
    write_text(file, "".join(lines))
    reached("rescore.refused")
    said = f"{planned['rows']} scores of version {bad} made again by version {good}, {len(lines)} of them refused"
    page.write_again(run.page, said, planned["days"], len(lines))
    reached("rescore.page")
    done = {**planned, "from": bad, "to": good, "refused": len(lines)}
    common.record(run, job, "rescored", said, good, done)
    return done


def _planned(run: Run, model: str, bad: int) -> Job:
    """The affected days and rows, as the run's first attempt found them."""
    file = run.page.parent / "planned.json"
    if not file.exists():
        days, rows = batch.affected(batch.open_table(run.settings.lake), model, bad)
        write_json(file, {"days": days, "rows": rows})
        reached("rescore.planned")
    planned: Job = read_json(file)
    return planned


def _rescore(settings: Settings, scorer: batch.Scorer, bad: int, span: _Span, refused: TextIO) -> None:
    table = batch.open_table(settings.lake)
    made = batch.made_by(table, scorer.model, bad, span)
    if not made.num_rows:  # another run has replaced them meanwhile
        return
    built = _again(settings, scorer.model, made, span)
    others = batch.kept_beside(table, scorer.model, bad, span)
    batch.overwrite(table, scorer.model, *span, chain(others, _made_again(made, built, scorer, refused)))


def _made_again(made: pa.Table, built: Ref, scorer: batch.Scorer, refused: TextIO) -> Iterator[pa.RecordBatch]:
    """The new scores. When the last one is taken, before the commit, the list of refused flights is on disk."""
    file, tally = Path(built["uri"]), batch.Tally()
    gone = pc.invert(pc.is_in(made[ENTITY], batch.flights(file)))
    for row in made.filter(gone).to_pylist():
        batch.refuse(tally, refused, row[ENTITY], row["sched_dep"], "no longer in the published schedule")
    yield from batch.score(file, scorer, tally, refused)
    refused.flush()
    os.fsync(refused.fileno())


def _again(settings: Settings, model: str, made: pa.Table, span: _Span) -> Ref:
    """The features of scores that were made, of the moments as of which they were made."""
    spec, versions = registry.load(model), frames.take_versions(settings)
    moments = pc.min_max(made[EVENT_TIME]).as_py()
    taken = snapshots.take(settings, versions, moments["min"], moments["max"])
    reached("rescore.snapshot")
    known = str(lake.catalog(settings.lake)["as_of"])
    start, end = map(iso, span)
    built = frames.build_scoring(settings, spec, versions, taken, known, start, end, made)
    reached("rescore.frame")
    return built


# -- shared ------------------------------------------------------------------------------------------------------
def scorer_of(settings: Settings, model: str, version: int) -> batch.Scorer:
    """A version ready to predict, with the threshold that it was packaged with."""
    entry = book.version(book.connect(settings.ledger_url), model, version)
    loaded = bundle.load(entry.bundle)
    policy = loaded.schema.get("serving") or registry.load(model).serving.model_dump()
    return batch.Scorer(model, version, loaded, float(policy["threshold"]))


@contextmanager
def _list(path: Path) -> Iterator[TextIO]:
    """A list to write, to read back and to cut short; it takes its place when the block ends well."""
    with replacing(path) as part, part.open("w+", encoding="utf-8") as out:
        yield out


def _spans(start: datetime, end: datetime, size: int) -> Iterator[_Span]:
    """[start, end) cut at UTC midnights into spans of `size` days."""
    days = [parse(d) for d in days_between(start, end)]
    for i in range(0, len(days), size):
        yield max(start, days[i]), min(end, days[min(i + size, len(days)) - 1] + _DAY)


def _runs(days: Sequence[str]) -> Iterator[_Span]:
    """Days that follow each other, at most a week together, as spans."""
    span: list[datetime] = []
    for at in map(parse, days):
        if span and (at - span[-1] != _DAY or len(span) == CHUNK):
            yield span[0], span[-1] + _DAY
            span = []
        span.append(at)
    if span:
        yield span[0], span[-1] + _DAY
