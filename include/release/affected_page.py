"""What a version that was rolled back has answered: the blast radius as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from include import pictures
from include.contracts import ENTITY
from include.files import write_text

SHOWN = 50


def write(made: pa.Table, job: Mapping[str, Any], path: Path) -> Path:
    """`made`: rows of PREDICTIONS that the bad version answered; all of them lie beside the page as a Parquet file."""
    flights = pc.count_distinct(made[ENTITY]).as_py() if made.num_rows else 0
    told = (
        f"Version {job['bad']} has answered {made.num_rows:,} requests about {flights:,} flights, as far as "
        f"the log was sampled and kept. Version {job['version']} is champion."
    )
    newest = made.sort_by([("wall", "descending")]).slice(0, SHOWN)
    columns = ["prediction_id", ENTITY, "stage", "probability", "at", "wall", "weight"]
    rows = [[_text(value) for value in row.values()] for row in newest.select(columns).to_pylist()]
    return write_text(
        path,
        pictures.document(
            f"Rolled back: {job['model']} version {job['bad']}",
            pictures.lead("What the bad version has answered", told, "warn" if made.num_rows else "plain"),
            pictures.section("Why", job["reason"]),
            pictures.section(
                "The newest",
                f"The newest {len(rows)} of {made.num_rows:,}; all of them are in affected.parquet beside this page.",
                pictures.table(columns, rows),
            ),
        ),
    )


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
