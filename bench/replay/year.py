"""The year as one frame, and what of it was known when.

One frame of all flights, each with the features as of two hours before its departure. Replaying is slicing: a model of
cut-off t learns from the flights whose label was surely known at t (departed `label_maturity` before), and answers for
those that are asked about from t on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import january
from include.contracts import CLUSTER, EVENT_TIME, TARGET
from include.features import frame
from include.files import read_json, write_json
from include.loop import ingest
from include.loop.run import Run
from include.models.flights_on_time.spec import SPEC
from include.settings import Settings
from include.training import data

Array = np.ndarray[Any, Any]

END = "2014-01-01T05:00:00+00:00"
FIRST, LAST = "2013-03-01", "2013-12-31"  # days of the replay, from 05:00Z to 05:00Z: New York's winter midnight
REPORTED = "2013-07-01"  # from here on is reported; what lies before serves to choose
HOUR = "T05:00:00+00:00"
FRAME = "frame.json"


def settings(home: Path) -> Settings:
    return Settings(home=home, mlflow_uri=f"sqlite:///{home / 'mlflow.db'}")


def load(home: Path) -> Year:
    """The year of the installation at `home`, which is made when it is not there yet (two minutes, 0.5 GB)."""
    own = settings(home)
    if not (home / FRAME).exists():
        home.mkdir(parents=True, exist_ok=True)
        _fill(own)
        write_json(home / FRAME, frame.build(own, SPEC, *january.freeze(own, END), END, None))
    return Year(data.read(own, read_json(home / FRAME)))


def _fill(own: Settings) -> None:
    """Ingest the year through the steps of the `ingest` DAG."""
    run = Run(own, "ingest/bench", own.reports / "index.html", {"start": january.START, "end": END})
    interval = ingest.plan(run)
    landed = ingest.land(run, interval)
    written = ingest.facts(run, interval, landed, ingest.validate(run, interval, landed))
    ingest.publish(run, interval, landed, written, ingest.features(run, interval, written))


@dataclass(frozen=True)
class Year:
    """`rows`: all labelled flights [n], ordered by departure, so that "known at" is a prefix. Days are numbered from
    FIRST; day d is the flights asked about in [FIRST + d, FIRST + d + 1) at 05:00Z."""

    rows: pd.DataFrame

    def __post_init__(self) -> None:
        if not self.rows["sched_dep"].is_monotonic_increasing:
            raise ValueError("rows: expected in order of sched_dep, as a frame of the library is")

    @cached_property
    def x(self) -> Array:
        """float32 [n, k]."""
        return data.matrix(self.rows, SPEC.features)

    @cached_property
    def y(self) -> Array:
        """float64 [n] of 0 and 1."""
        return data.labels(self.rows, TARGET)

    @cached_property
    def times(self) -> pd.DatetimeIndex:
        """The daily cut-offs [d]: what is asked from one to the next is a day."""
        return pd.date_range(FIRST + HOUR, LAST + HOUR, freq="D")

    @property
    def days(self) -> int:
        return len(self.times)

    @cached_property
    def bounds(self) -> Array:
        """int [d + 1]: rows bounds[d] to bounds[d + 1] are day d."""
        edges = self.times.append(self.times[-1:] + pd.Timedelta(days=1))
        return np.asarray(self.rows[EVENT_TIME].searchsorted(edges, side="left"))

    @cached_property
    def day(self) -> Array:
        """The day [n] that each row is asked about; -1 before FIRST."""
        return np.searchsorted(self.bounds[1:], np.arange(len(self.rows)), side="right") - (
            np.arange(len(self.rows)) < self.bounds[0]
        )

    @cached_property
    def known(self) -> Array:
        """int [d]: at the cut-off of day d the labels of rows[:known[d]] are mature."""
        limit = self.times - SPEC.label_maturity
        return np.asarray(self.rows["sched_dep"].searchsorted(limit, side="right"))

    def holdout(self, day: int) -> slice:
        """Rows of the newest whole local dates whose labels are known at the cut-off: what the project's gate looks
        at. What lies before is what the project's own training at this cut-off learns from."""
        local = self.rows[CLUSTER].to_numpy()[: self.known[day]]
        recent = np.unique(local[local.searchsorted(_back(local[-1], 3 * SPEC.holdout_days)) :])
        first, partial = recent[-1 - SPEC.holdout_days], recent[-1]
        return slice(int(local.searchsorted(first)), int(local.searchsorted(partial)))

    def withheld(self, day: int) -> int:
        """Rows that the project's own training at a cut-off learns from: whole local dates before the holdout."""
        return self.holdout(day).start

    def window(self, day: int, span: int) -> slice:
        """Rows asked about in the `span` days before the cut-off."""
        times = self.rows[EVENT_TIME]
        first, last = times.searchsorted([self.times[day] - pd.Timedelta(days=span), self.times[day]], side="left")
        return slice(int(first), int(last))

    def number(self, date: str) -> int:
        """The day's number."""
        return int(self.times.get_loc(pd.Timestamp(date + HOUR)))

    @cached_property
    def week(self) -> Array:
        """int [d]: blocks of seven days from FIRST on; the weather of neighbouring days is not independent."""
        return np.arange(self.days) // 7


def _back(date: str, days: int) -> str:
    return str((pd.Timestamp(date) - pd.Timedelta(days=days)).date())
