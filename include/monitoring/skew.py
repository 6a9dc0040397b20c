"""Does serving see what training sees? The features of logged predictions beside those recomputed from the lake.

Both come from the same texts over the same facts, so they are equal to the bit, and each difference is a fault: a
feature published late, a value rewritten, two codes that have grown apart. Features that a request brought along are
its own, and are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from include.contracts import ENTITY
from include.metrics import Array


def compare(logged: pd.DataFrame, recomputed: pd.DataFrame, features: Sequence[str]) -> dict[str, Any]:
    """Compare rows of the same flights, exactly as float32; NaN equals NaN.

    `logged`: rows as window.build writes them (flight_id, given, features), `recomputed`: flight_id and the features,
    each flight once, in any order. Returns JSON: "rows" (compared, of features that the service fetched itself),
    "mismatched" (rows with any difference), "rate", "by_feature" [{"feature", "mismatched", "rate", "missing" (logged
    without a value that there is), "largest" (difference), "example" {"flight_id", "logged", "recomputed"}}] of those
    that differ, the most frequent first; "given", the same for features that requests brought along; "unmatched",
    logged flights that were not recomputed. A rate without rows is None. Raises KeyError for columns that are not
    there, ValueError for a flight that comes twice.
    """
    for name, rows in (("logged", logged), ("recomputed", recomputed)):
        absent = [c for c in (ENTITY, *features) if c not in rows.columns]
        if absent:
            raise KeyError(f"the {name} rows lack the columns {absent}")
        if rows[ENTITY].duplicated().any():
            twice = rows[ENTITY][rows[ENTITY].duplicated()].iloc[0]
            raise ValueError(f"flight_id: {twice} is in the {name} rows more than once")
    where = pd.Index(recomputed[ENTITY]).get_indexer(logged[ENTITY])
    found = where >= 0
    both = logged[found].reset_index(drop=True)
    ours = both[list(features)].to_numpy(np.float32)
    theirs = recomputed[list(features)].to_numpy(np.float32)[where[found]]
    given = both["given"].to_numpy(dtype=bool)
    return {
        **_told(both[~given], ours[~given], theirs[~given], features),
        "given": _told(both[given], ours[given], theirs[given], features),
        "unmatched": int((~found).sum()),
    }


def _told(rows: pd.DataFrame, ours: Array, theirs: Array, features: Sequence[str]) -> dict[str, Any]:
    off = (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    count = int(off.any(axis=1).sum())
    flights = rows[ENTITY].to_numpy()
    told = [_one(name, flights, ours[:, i], theirs[:, i], off[:, i]) for i, name in enumerate(features)]
    return {
        "rows": len(rows),
        "mismatched": count,
        "rate": count / len(rows) if len(rows) else None,
        "by_feature": sorted((t for t in told if t["mismatched"]), key=lambda t: (-t["mismatched"], t["feature"])),
    }


def _one(name: str, flights: Array, ours: Array, theirs: Array, off: Array) -> dict[str, Any]:
    gaps = np.abs(ours.astype(np.float64) - theirs)[off]
    gaps = gaps[np.isfinite(gaps)]
    first = int(off.argmax()) if off.any() else None
    return {
        "feature": name,
        "mismatched": int(off.sum()),
        "rate": float(off.mean()) if len(off) else None,
        "missing": int((off & np.isnan(ours)).sum()),
        "largest": float(gaps.max()) if len(gaps) else None,
        "example": None
        if first is None
        else {"flight_id": str(flights[first]), "logged": _value(ours[first]), "recomputed": _value(theirs[first])},
    }


def _value(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
