"""Real days as the source delivers them, with defects planted into the delivery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from include import lake, quality
from include.contracts import RAW_TABLES, Interval
from include.settings import Settings
from include.sources import ingest, nycflights

Delivery = dict[str, pd.DataFrame]
Plant = Callable[[Delivery], None]
_EXTRACT = nycflights.extract


def land(
    home: Path, patch: pytest.MonkeyPatch, start: str, end: str, plant: Plant | None = None
) -> tuple[Settings, Interval, dict[str, Any]]:
    """Land a span whose delivery `plant` has changed in place; returns settings, interval and what landed."""
    settings = Settings(home=home)
    patch.setattr(nycflights, "extract", lambda days, as_of: _planted(_EXTRACT(days, as_of), plant))
    interval = ingest.plan(settings, start, end, end)
    return settings, interval, ingest.land(settings, interval)


def _planted(delivery: dict[str, pa.Table], plant: Plant | None) -> dict[str, pa.Table]:
    frames: Delivery = {name: rows.to_pandas() for name, rows in delivery.items()}
    if plant is None:
        return delivery
    plant(frames)
    made = {}
    for table in RAW_TABLES:
        rows = pa.Table.from_pandas(frames[table.name], preserve_index=False).replace_schema_metadata(None)
        for i, field in enumerate(rows.schema):
            known = field.name in table.columns and pa.types.is_timestamp(field.type)
            if known:  # as the real source: microseconds
                rows = rows.set_column(i, field.name, rows[i].cast(lake.schema(table).field(field.name).type))
        made[table.name] = rows
    return made


class Checked:
    """One check of a planted span: what it returned, or how it stopped; the page; the quarantine's rows."""

    def __init__(self, home: Path, start: str, end: str, plant: Plant | None = None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            self.settings, self.interval, self.landed = land(home, patch, start, end, plant)
        self.page = home / "page" / "index.html"
        self.result: dict[str, Any] = {}
        self.stopped = ""
        try:
            self.result = quality.check(self.settings, self.interval, self.landed, self.page)
        except quality.CriticalFailure as error:
            self.stopped = str(error)

    @property
    def bad(self) -> pd.DataFrame:
        return pd.read_parquet(self.result["bad_rows"]["uri"])


@pytest.fixture
def checked(tmp_path: Path) -> Callable[..., Checked]:
    def make(start: str, end: str, plant: Plant | None = None) -> Checked:
        return Checked(tmp_path, start, end, plant)

    return make


@pytest.fixture(scope="session")
def check_class() -> type[Checked]:
    return Checked
