"""Steps of the `ingest` DAG: source -> raw -> validated -> facts and quarantine -> features -> published, online."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from include import lake, quality
from include.contracts import Interval, Ref
from include.crashpoints import reached
from include.features import build, store
from include.files import hash_value
from include.loop.run import Run, Skip, Stop
from include.sources import ingest as source
from include.sources.nycflights import Exhausted

Written = dict[str, Any]  # {"days": […], "versions": {table: version}}


def plan(run: Run) -> Interval:
    """Which span of data time this run takes in. Without `start`: from where the last run left no hole."""
    start, end = run.interval or (run.params.get("start"), run.params.get("end"))
    try:
        interval = source.plan(run.settings, start, end, _known(run, end))
    except Exhausted as error:
        raise Skip(f"exhausted: {error}") from error
    except ValueError as error:
        raise Stop(str(error)) from error
    return Interval(**{**interval, "catalog": hash_value(lake.catalog(run.settings.lake))})


def _known(run: Run, end: str | None) -> str:
    """What may be known: what the form says, else the clock; before the clock has started history may be loaded."""
    started = (run.settings.home / "clock.json").exists()
    if run.params.get("as_of") or end is None:
        return run.as_of()
    return replace(run, interval=None).as_of() if started else end


def land(run: Run, interval: Interval) -> Written:
    """Extract from the source and land it, as delivered, in the lake's raw tables."""
    return source.land(run.settings, interval)


def validate(run: Run, interval: Interval, landed: Written) -> dict[str, Any]:
    """Check what was landed. Stops the run, before anything is published, when a batch as a whole is wrong."""
    try:
        return quality.check(run.settings, interval, landed, run.page)
    except quality.CriticalFailure as error:
        raise Stop(str(error)) from error


def facts(run: Run, interval: Interval, landed: Written, checked: dict[str, Any]) -> Written:
    """Good rows to the fact tables, bad rows to quarantine with the rule that each broke."""
    return source.write_facts(run.settings, interval, landed, checked)


def features(run: Run, interval: Interval, written: Written) -> Written:
    """Feature rows of the touched days, each from what was known at its own instant."""
    return dict(build.build(run.settings, interval, cast(build.Written, written)))


def publish(run: Run, interval: Interval, *written: Written) -> dict[str, Any]:
    """Make everything this run wrote visible, all at once."""
    versions = {table: version for part in written for table, version in part["versions"].items()}
    span = (interval["as_of"], interval["start"], interval["end"])
    try:
        catalog = lake.publish(run.settings.lake, versions, *span, planned_on=interval.get("catalog"))
    except lake.Moved as error:
        raise Stop(f"{error}: clear `plan` and what follows") from error
    reached("ingest.publish.catalog")
    return {"versions": versions, "as_of": catalog["as_of"], "watermark": catalog["watermark"]}


def materialize(run: Run, published: dict[str, Any]) -> Ref:
    """Bring the online store up to what is published, by this run or a later one; it never moves back."""
    catalog = lake.catalog(run.settings.lake)
    return store.materialize(run.settings, catalog["versions"], catalog["as_of"] or published["as_of"])
