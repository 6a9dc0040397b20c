"""Simple triggers, to be held against the project's: one number and one limit, looked at every day."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bench.replay.fits import Fits
from bench.replay.year import Array, Year
from include import metrics
from include.contracts import CLUSTER
from include.models.spec import ModelSpec
from include.monitoring import drift

_REFERENCE = 20_000  # rows of the training, evenly spread


class Signals:
    """Numbers of the week before a cut-off, for the model that learnt from the first `rows` of the year."""

    def __init__(self, spec: ModelSpec, year: Year, fits: Fits):
        self.spec, self.year, self.fits = spec, year, fits
        self.surprise = lru_cache(maxsize=None)(self._surprise)
        self.any_psi = lru_cache(maxsize=None)(self._any_psi)
        self.score_psi = lru_cache(maxsize=None)(self._score_psi)

    def _surprise(self, rows: int, day: int) -> tuple[float, float]:
        """Mean surprise of the week's mature, unseen labels and the lower end of its interval over days, nats."""
        part = self.year.window(day, self.spec.triggers.window_days)
        part = slice(max(part.start, rows), min(part.stop, int(self.year.known[day])))
        if part.stop - part.start < 1:
            return 0.0, -np.inf
        y, p = self.year.y[part], self.fits.p(rows, part)
        found = metrics.by_day(metrics.surprise(y, p), self.year.rows[CLUSTER].to_numpy()[part].astype(str))
        return found.value, -np.inf if found.low is None else found.low

    def _any_psi(self, rows: int, day: int) -> float:
        """The largest PSI of a feature against the rows learnt from."""
        part, some = self.year.window(day, self.spec.triggers.window_days), self._some(rows)
        found = (drift.psi(self.year.x[some, i], self.year.x[part, i]) for i in range(self.year.x.shape[1]))
        return max(value or 0.0 for value in found)

    def _score_psi(self, rows: int, day: int) -> float:
        part = self.year.window(day, self.spec.triggers.window_days)
        return drift.psi(self.fits.p(rows, self._some(rows)), self.fits.p(rows, part)) or 0.0

    def _some(self, rows: int) -> Array:
        return np.linspace(0, rows - 1, min(_REFERENCE, rows)).astype(int)
