"""January 2013 as an installation, through the project's own steps: what benches of serving and scoring stand on."""

from __future__ import annotations

from typing import Any

import pandas as pd

from include.contracts import Ref
from include.features import frame, snapshot
from include.loop import ingest
from include.loop.run import Run
from include.models.flights_on_time.spec import SPEC
from include.settings import Settings
from include.times import parse
from include.training import data

START, END = "2013-01-01T05:00:00+00:00", "2013-01-31T05:00:00+00:00"

PARAMS: dict[str, dict[str, Any]] = {
    "logistic": {"C": 0.1},
    "xgboost": {
        "max_depth": 5, "learning_rate": 0.08, "n_estimators": 200, "min_child_weight": 20.0,
        "subsample": 0.8, "colsample_bytree": 0.7, "reg_lambda": 3.0,
    },
}  # fmt: skip


def fill(settings: Settings, end: str = END) -> None:
    """Ingest from START to `end` and materialize the online store, as the DAG `ingest` does."""
    run = Run(settings, "ingest/bench", settings.reports / "index.html", {"start": START, "end": end})
    interval = ingest.plan(run)
    landed = ingest.land(run, interval)
    written = ingest.facts(run, interval, landed, ingest.validate(run, interval, landed))
    ingest.materialize(run, ingest.publish(run, interval, landed, written, ingest.features(run, interval, written)))


def freeze(settings: Settings, end: str = END) -> tuple[dict[str, int], Ref]:
    """The versions of the tables, and the snapshot of their features over the interval."""
    versions = frame.take_versions(settings)
    return versions, snapshot.take(settings, versions, parse(START), parse(end))


def labelled(settings: Settings, versions: dict[str, int], taken: Ref, end: str = END) -> pd.DataFrame:
    """The training frame as of `end`."""
    return data.read(settings, frame.build(settings, SPEC, versions, taken, end, None))
