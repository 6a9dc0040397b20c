"""Slices of a frame: parts that a good mean can hide (an airport, an airline, a time of day)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

# Bands of New York's scheduled hour. Early flights see little of the day's trouble two hours ahead, late ones all of
# it: a model ranks them very differently (AUC .68 before 12 h, .83 from 21 h), so one mean over them says little.
HOUR_BANDS = ((9, "00-08"), (12, "09-11"), (16, "12-15"), (21, "16-20"), (24, "21-23"))


class UnknownSlice(KeyError):
    """The frame has no such column and there is no such derived slice."""


def hour_band(hours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The band of each local hour 0-23, as text that sorts by time."""
    ends = np.array([end for end, _ in HOUR_BANDS])
    names = np.array([name for _, name in HOUR_BANDS])
    return names[np.searchsorted(ends, np.asarray(hours), side="right")]


def values(frame: pd.DataFrame, by: str) -> np.ndarray[Any, Any]:
    """The slice [n] that each row belongs to, as text. Raises UnknownSlice."""
    if by == "hour_band":
        return hour_band(frame["local_hour"].to_numpy())
    if by not in frame.columns:
        raise UnknownSlice(f"no slice {by!r}: the frame has {', '.join(map(str, frame.columns[:12]))} … and hour_band")
    return frame[by].astype(str).to_numpy()


def masks(frame: pd.DataFrame, names: Iterable[str]) -> Iterator[tuple[str, str, np.ndarray[Any, Any]]]:
    """(slice by, value, rows as booleans [n]) of every value of every named slice, in order."""
    for by in names:
        column = values(frame, by)
        for value in np.unique(column):
            yield by, str(value), column == value
