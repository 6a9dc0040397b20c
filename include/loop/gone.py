"""What a version has lost to upkeep, so that it cannot be rehearsed and brought back."""

from __future__ import annotations

from pathlib import Path

from include.release.ledger import Version
from include.settings import Settings


def gone(settings: Settings, entry: Version) -> str:
    """What of a version its rehearsal would miss; empty: nothing."""
    frames = (Path(entry.frame["uri"]), settings.frames / f"{entry.frame['hash']}.parquet")
    missing = [] if Path(entry.bundle["uri"]).exists() else ["bundle"]
    return " and its ".join([*missing, *([] if any(f.exists() for f in frames) else ["training frame"])])
