"""Steps of the `ingest` DAG: source -> raw -> validated -> facts and quarantine -> features -> published, online."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from include import lake, quality
from include.contracts import Interval, Ref
from include.crashpoints import reached
from include.features import build, store
from include.settings import Settings
from include.sources import ingest as source

Written = dict[str, Any]  # {"days": […], "versions": {table: version}}


def plan(settings: Settings, start: str | None, end: str | None, as_of: str) -> Interval:
    """Which span of data time this run takes in. Without `start`: from where the last run left no hole."""
    return source.plan(settings, start, end, as_of)


def land(settings: Settings, interval: Interval) -> Written:
    """Extract from the source and land it, as delivered, in the lake's raw tables."""
    return source.land(settings, interval)


def validate(settings: Settings, interval: Interval, landed: Written, page: Path) -> dict[str, Any]:
    """Check what was landed. Raises quality.CriticalFailure, before anything is published."""
    return quality.check(settings, interval, landed, page)


def facts(settings: Settings, interval: Interval, landed: Written, checked: dict[str, Any]) -> Written:
    """Good rows to the fact tables, bad rows to quarantine with the rule that each broke."""
    return source.write_facts(settings, interval, landed, checked)


def features(settings: Settings, interval: Interval, written: Written) -> Written:
    """Feature rows of the touched days, each from what was known at its own instant."""
    return build.build(settings, interval, written)


def publish(settings: Settings, interval: Interval, *written: Written) -> dict[str, Any]:
    """Make everything this run wrote visible, all at once."""
    versions = {table: version for part in written for table, version in part["versions"].items()}
    catalog = lake.publish(settings.lake, versions, interval["as_of"], interval["start"], interval["end"])
    reached("ingest.publish.catalog")
    return {"versions": versions, "as_of": catalog["as_of"], "watermark": catalog["watermark"]}


def materialize(settings: Settings) -> Ref:
    """Bring the online store up to what is published; it never moves back."""
    catalog = lake.catalog(settings.lake)
    if catalog["as_of"] is None:
        raise RuntimeError("nothing was ever published: run `ingest` first")
    return store.materialize(settings, catalog["versions"], catalog["as_of"])
