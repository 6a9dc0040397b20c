"""Real weeks for the gate: the session's history as a frame, split like a training run splits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import planted
from include import lake
from include.contracts import CLUSTER
from include.evaluation import evidence
from include.features import frame, snapshot
from include.models.flights_on_time.spec import SPEC
from include.settings import Settings
from include.times import parse

FEATURES = list(SPEC.features)
SEED = 3


@dataclass(frozen=True)
class Weeks:
    """Rows to train on, and the seven whole days after them."""

    train: pd.DataFrame
    held: pd.DataFrame

    @cached_property
    def good(self) -> np.ndarray[Any, Any]:
        return self.scores(self.train)

    @cached_property
    def baseline(self) -> np.ndarray[Any, Any]:
        return evidence.baseline(self.train, self.held)

    def scores(
        self,
        train: pd.DataFrame,
        features: list[str] = FEATURES,
        seed: int = SEED,
        held: pd.DataFrame | None = None,
        **params: float,
    ) -> np.ndarray[Any, Any]:
        """Train with fixed parameters and predict the holdout."""
        model = planted.fit(train, features, seed, **params)
        return planted.predict(model, self.held if held is None else held)

    def evidence(self, p: Any, champion: Any = None, same: bool = True, **more: Any) -> dict[str, Any]:
        """Evidence for predictions `p` of the holdout against those of a champion (None: there is none)."""
        last = str(self.train[CLUSTER].max())
        known = {"p": champion, "configuration_hash": "a" if same else "b", "version": 1, "trained_until": last}
        given = {"latency_ms": 0.1, "size_mb": 0.5, "trained_until": last, **more}
        return evidence.collect(SPEC, self.held, p, None if champion is None else known, self.baseline, "a", **given)


@pytest.fixture(scope="session")
def weeks(history: Settings) -> Weeks:
    """Eighteen days of January to train on, seven to judge on."""
    versions, as_of = frame.take_versions(history), lake.catalog(history.lake)["as_of"]
    assert as_of is not None
    taken = snapshot.take(history, versions, history.history_start - timedelta(days=3), parse(as_of))
    rows = frame.load(frame.build(history, SPEC, versions, taken, as_of, None))
    # fixed days: the verdicts below are those of this very week, however long the session's history is
    return Weeks(rows[rows[CLUSTER] < "2013-01-19"], rows[rows[CLUSTER].between("2013-01-19", "2013-01-25")])


@pytest.fixture(scope="session")
def accepted(weeks: Weeks) -> Callable[[], dict[str, Any]]:
    """A maker of fresh copies of evidence that the gate accepts as a refresh: the champion is slightly worse."""
    import copy

    blurred = 0.9 * weeks.good + 0.1 * weeks.baseline
    found = weeks.evidence(weeks.good, blurred)
    return lambda: copy.deepcopy(found)
