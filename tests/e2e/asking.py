"""A prediction log, for tests of the monitor: what a service would have written down, had people asked it about every
flight of an interval two hours ahead. The features are those of the moment, the scores the champion's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from include import bundle, lake, times
from include.contracts import ENTITY, EVENT_TIME, SCHEDULE
from include.features import frame as frames
from include.features import snapshot as snapshots
from include.models import registry
from include.release import ledger as book
from include.serving.recorder import Entry, Recorder
from include.settings import Settings
from include.training import data

Spoil = Callable[[pd.DataFrame], pd.DataFrame]


def flights(settings: Settings, start: str, end: str) -> pd.DataFrame:
    """Flights scheduled in [start, end), with the features of their moments."""
    spec, versions = registry.load(settings.model), frames.take_versions(settings)
    known = str(lake.catalog(settings.lake)["as_of"])
    taken = snapshots.take(settings, versions, times.parse(start) - spec.horizon, times.parse(known))
    rows = frames.load(frames.build_window(settings, spec, versions, taken, known, start, end))
    days = (times.day(times.parse(start)), times.day(times.parse(end)))
    plan = lake.read(settings.lake, SCHEDULE, versions[SCHEDULE.name], days).to_pandas()
    return rows.merge(plan[[ENTITY, "sched_arr"]], on=ENTITY)


def ask(
    settings: Settings,
    rows: pd.DataFrame,
    worker: str = "asked",
    spoil: Spoil | None = None,
    later: timedelta = timedelta(0),
) -> int:
    """Log the champion's answer to each of the rows, after `spoil` has done to the features what it does. `later`:
    wall time since the first asking."""
    live = book.current(book.connect(settings.ledger_url), settings.model)
    assert live.champion is not None
    model = bundle.load(book.version(book.connect(settings.ledger_url), settings.model, live.champion).bundle)
    rows = rows if spoil is None else spoil(rows)
    given = data.matrix(rows, model.features)
    recorder = Recorder(settings.predictions, worker)
    for i, (flight, p) in enumerate(zip(rows.to_dict("records"), bundle.predict(model, given), strict=True)):
        at: datetime = flight[EVENT_TIME].to_pydatetime()
        recorder.put(
            Entry(
                prediction_id=f"{worker}-{i}",
                model=settings.model,
                version=live.champion,
                generation=live.generation,
                stage=live.stage,
                flight={k: flight[k] for k in (ENTITY, "carrier", "flight", "origin", "dest", "distance")}
                | {k: flight[k].to_pydatetime() for k in ("sched_dep", "sched_arr")},
                row=given[i],
                features=tuple(model.features),
                probability=float(p),
                error=None,
                stale="",
                given=False,  # fetched by the service itself: the audit holds them against the lake
                latency_us=300.0 + i % 50,
                model_us=30.0 + np.float64(i % 5),
                weight=1.0,
                at=at,
                wall=at + later,
                shadow=None,
                shadow_version=None,
            )
        )
    recorder.close()
    return len(rows)
