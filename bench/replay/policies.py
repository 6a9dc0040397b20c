"""When to train: days of a replay as numbers, the first training on day 0. Pure.

A *schedule* is the sorted list of days at whose cut-off a model is trained; it serves from then on until the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from include.metrics import Array

Schedule = list[int]


def never() -> Schedule:
    return [0]


def every(step: int, days: int) -> Schedule:
    """Day 0, and every `step` days. Raises ValueError for a step below one day."""
    if step < 1:
        raise ValueError(f"step {step}: a calendar trains at most once a day")
    return list(range(0, days, step))


def spread(trainings: int, days: int, phase: float) -> Schedule:
    """A calendar of exactly so many trainings: day 0, and the others at equal distances. `phase` in (0, 1) says which
    share of a distance passes before the second, so that a calendar's luck with its dates can be averaged out."""
    _budget(trainings, days)
    if not 0 < phase < 1:
        raise ValueError(f"phase {phase} lies outside (0, 1)")
    if trainings == 1:
        return [0]
    step = days / (trainings - 1)
    return [0, *(max(1, int(step * (phase + k))) for k in range(trainings - 1))]


def random(trainings: int, days: int, seed: int) -> Schedule:
    """Day 0 and so many less one other days by chance."""
    _budget(trainings, days)
    drawn = np.random.default_rng(seed).choice(np.arange(1, days), trainings - 1, replace=False)
    return [0, *sorted(int(d) for d in drawn)]


def triggered(fires: Callable[[int, int], bool], days: int, cooldown: int, budget: int, budget_days: int) -> Schedule:
    """Trained when asked: `fires(day, last)` says whether the model of day `last` asks for a successor at the cut-off
    of `day`. Not within `cooldown` days of the last training, and at most `budget` in any `budget_days`."""
    found = [0]
    for day in range(1, days):
        if day - found[-1] < cooldown or sum(day - d < budget_days for d in found) >= budget:
            continue
        if fires(day, found[-1]):
            found.append(day)
    return found


def serving(schedule: Sequence[int], days: int) -> Array:
    """int [days]: the position in the schedule of the model that serves each day. Raises ValueError when no model
    serves day 0, or when days repeat or go back."""
    if not schedule or schedule[0] != 0 or any(b <= a for a, b in pairwise(schedule)):
        raise ValueError(f"schedule {list(schedule)}: expected rising days from day 0 on")
    return np.searchsorted(np.asarray(schedule), np.arange(days), side="right") - 1


def ages(schedule: Sequence[int], days: int) -> Array:
    """Days [days] since the serving model's training."""
    return np.arange(days) - np.asarray(schedule)[serving(schedule, days)]


def _budget(trainings: int, days: int) -> None:
    if trainings < 1 or 2 * trainings > days:
        raise ValueError(f"{trainings} trainings do not fit into {days} days")
