"""The training frame as training sees it: read by reference, split in time, as a matrix.

The one split, used by tuning, fit, gate and reproduction alike. Days are local dates (contracts.CLUSTER), whole ones,
since flights of one day share their weather and intervals are clustered by day:

    ... fit rows ... | validation: tuning.validation_days | holdout: spec.holdout_days | the frame's last, partial day
                       before the holdout                   newest whole days            (left out)

The frame ends at as-of less the label's maturity, mostly in the middle of a day: its last day is taken to be cut
short and belongs to no part. Tuning sees fit and validation only; the final fit takes both; nothing is trained or
tuned on the holdout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from include.contracts import CLUSTER, Ref
from include.files import hash_file
from include.models.spec import ModelSpec
from include.settings import Settings


class FrameMissing(LookupError):
    """The frame's file is gone, or is not what its reference says."""


class TooLittleData(ValueError):
    """The frame has too few days or rows to be split and trained on."""


@dataclass(frozen=True)
class Parts:
    """The frame's rows by use, each in order of sched_dep."""

    fit: pd.DataFrame
    validation: pd.DataFrame
    holdout: pd.DataFrame

    @property
    def training(self) -> pd.DataFrame:
        """All rows that the final fit may see: those before the holdout."""
        return pd.concat([self.fit, self.validation], ignore_index=True)


def locate(settings: Settings, frame: Ref) -> Path:
    """Where the frame lies: at its uri, or, when `home` was moved, under settings.frames by its hash.

    Raises FrameMissing that names both places.
    """
    places = [Path(frame["uri"]), settings.frames / f"{frame['hash']}.parquet"]
    for place in places:
        if place.is_file():
            return place
    raise FrameMissing(f"frame {frame['hash'][:12]} is neither at {places[0]} nor at {places[1]}: build it again")


def read(settings: Settings, frame: Ref, verify: bool = False) -> pd.DataFrame:
    """All rows of a frame (contracts.FRAME_IDENTITY, then float32 features), sorted by sched_dep and flight_id.

    `verify` compares the file with the reference's hash first and raises FrameMissing when it differs.
    """
    path = locate(settings, frame)
    if verify and (found := hash_file(path)) != frame["hash"]:
        raise FrameMissing(f"{path} has hash {found[:12]}, its reference says {frame['hash'][:12]}: it was altered")
    return pd.read_parquet(path)


def split(spec: ModelSpec, rows: pd.DataFrame) -> Parts:
    """Cut a frame into fit, validation and holdout (see the module). Raises TooLittleData."""
    days = np.sort(rows[CLUSTER].unique())
    need = spec.holdout_days + spec.tuning.validation_days
    if len(days) < need + 2:
        raise TooLittleData(
            f"the frame has {len(days)} days; {spec.holdout_days} of holdout, {spec.tuning.validation_days} of "
            "validation, one to fit on and the partial last day are needed: ingest more history or take a later as_of"
        )
    held, tuned = days[-1 - spec.holdout_days], days[-1 - need]
    day = rows[CLUSTER]
    parts = Parts(
        fit=rows[day < tuned].reset_index(drop=True),
        validation=rows[(day >= tuned) & (day < held)].reset_index(drop=True),
        holdout=rows[(day >= held) & (day < days[-1])].reset_index(drop=True),
    )
    count = len(parts.fit) + len(parts.validation)
    if count < spec.min_training_rows:
        raise TooLittleData(
            f"{count} rows lie before the holdout, {spec.min_training_rows} are needed (min_training_rows of "
            f"{spec.name}): ingest more history or take a later as_of"
        )
    return parts


def describe(parts: Parts) -> dict[str, dict[str, str | int]]:
    """Rows and local dates (first, last; inclusive) of each part, for manifest and pages."""
    named = {"fit": parts.fit, "validation": parts.validation, "holdout": parts.holdout}
    return {
        name: {"rows": len(rows), "first": str(rows[CLUSTER].min()), "last": str(rows[CLUSTER].max())}
        for name, rows in named.items()
    }


def matrix(rows: pd.DataFrame, features: Sequence[str]) -> np.ndarray:
    """The model's input, float32 [n, k], in the order of `features`. Raises KeyError naming those that are absent."""
    absent = [f for f in features if f not in rows.columns]
    if absent:
        raise KeyError(f"the frame lacks the features {absent}")
    return np.ascontiguousarray(rows[list(features)].to_numpy(dtype=np.float32))


def labels(rows: pd.DataFrame, target: str) -> np.ndarray:
    """Labels, float64 [n] of 0 and 1. Raises ValueError when one is missing or something else."""
    values = rows[target].to_numpy(dtype=np.float64)
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(f"{target} holds values other than 0 and 1: a training row needs a known label")
    return values
