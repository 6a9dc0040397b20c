"""A real window and the rows a champion was trained on: the session's history as a frame."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import planted, windows
from include import lake
from include.contracts import CLUSTER, OUTCOME, SCHEDULE, TARGET
from include.features import frame, snapshot
from include.models.flights_on_time.spec import SPEC
from include.monitoring import evidence
from include.settings import Settings
from include.times import parse

NOW = "2013-01-27T17:00:00+00:00"  # of the look: the last flight's label is ripe


@dataclass(frozen=True)
class Watched:
    """A champion's latest window [n flights] and its reference [m], with its predictions of both."""

    window: pd.DataFrame
    p: np.ndarray[Any, Any]
    reference: pd.DataFrame
    reference_p: np.ndarray[Any, Any]
    summary: dict[str, Any]

    def evidence(self, window: pd.DataFrame | None = None, days: float = 3.0) -> dict[str, Any]:
        """Evidence for a window with these predictions, of a champion so many days old."""
        now = parse(NOW)
        return evidence.collect(
            SPEC,
            self.window if window is None else window,
            self.p,
            self.reference,
            self.reference_p,
            self.summary,
            version="1",
            trained_as_of=(now - timedelta(days=days)).isoformat(),
            as_of=now.isoformat(),
        )


@pytest.fixture(scope="session")
def rows(history: Settings) -> pd.DataFrame:
    """The training frame of the session's history: 28 days of flights with their features and labels."""
    versions, as_of = frame.take_versions(history), lake.catalog(history.lake)["as_of"]
    assert as_of is not None
    taken = snapshot.take(history, versions, history.history_start - timedelta(days=3), parse(as_of))
    return frame.load(frame.build(history, SPEC, versions, taken, as_of, None))


@pytest.fixture(scope="session")
def watched(rows: pd.DataFrame) -> Watched:
    """Seven days of January after the nineteen that the champion was trained on; the newest labels are unknown."""
    old, window = rows[rows[CLUSTER] < "2013-01-20"], rows[rows[CLUSTER].between("2013-01-20", "2013-01-26")]
    champion = planted.fit(old, list(SPEC.features), 1)
    unknown = np.arange(len(window)) >= len(window) - 200
    window = window.assign(**{TARGET: window[TARGET].astype("Int64").mask(unknown)})
    made, summary = windows.of_frame(SPEC, window, planted.predict(champion, window), 1, NOW)
    return Watched(made, made["probability"].to_numpy(), old, planted.predict(champion, old), summary)


@pytest.fixture
def logging(history: Settings, tmp_path: Path) -> Settings:
    """An installation with the schedule and the outcomes of the session's history, and a log of its own."""
    settings = Settings(home=tmp_path / "var")
    settings.lake.mkdir(parents=True)
    for table in (SCHEDULE, OUTCOME):
        (settings.lake / table.name).symlink_to(history.lake / table.name)
    return settings
