"""Who may have a model trained, and when. Pure: the ledger's state comes in, an answer with its reason goes out.

Three questions. `decide`: does an ask open a request, join the open one, or is it dropped? `admit`: may a training
begin? `due`: has a request's bell been silent for so long that it is rung again?

All times but the bell's are data time, as include.times.iso writes them: those texts compare as the times they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from include.models.spec import Governor
from include.times import iso, parse

Outcome = Literal["ask", "merge", "drop"]
Who = Literal["request", "schedule", "person"]

# A run that is queued behind a training of 20 minutes, or waits for a scheduler that was restarted, needs no second
# bell. Each ring doubles the wait, so that a week in which `train` is paused leaves a handful of events, not 168.
FIRST_RING = timedelta(minutes=30)
LAST_RING = timedelta(days=1)


@dataclass(frozen=True)
class State:
    """What the ledger says of a model."""

    open: int | None = None  # the request that no training has answered
    last: str | None = None  # as-of of the newest request, open or closed
    trainings: tuple[str, ...] = ()  # as-of of each training that has begun, whoever began it
    incident: str | None = None  # the newest verdict's reason, when it is a data incident
    frozen: str | None = None  # who froze the model, and why


@dataclass(frozen=True)
class Answer:
    """`reason`: one sentence that names the decisive numbers."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Admission:
    """May the training begin? A person always may; `reason` then says what would have held others back."""

    may: bool
    reason: str


def decide(limits: Governor, as_of: str, state: State) -> Answer:
    """What becomes of an ask as of a data time. What is asked for does not matter, only when: causes are merged."""
    if held := _held(state):
        return Answer("drop", f"Dropped: {held}.")
    if state.open is not None:
        return Answer("merge", f"Merged: request {state.open} is open, and one training answers both.")
    if state.last is not None and parse(as_of) < (rested := parse(state.last) + _days(limits.cooldown_days)):
        return Answer(
            "drop",
            f"Dropped: the last request is of {state.last}, and another one may follow {limits.cooldown_days:g} days "
            f"later, from {iso(rested)} on.",
        )
    if spent := _spent(limits, as_of, state):
        return Answer("drop", f"Dropped: {spent}.")
    return Answer("ask", f"Asked: {_left(limits, as_of, state)}.")


def admit(limits: Governor, who: Who, as_of: str, state: State) -> Admission:
    """May a training as of a data time begin? `who` wants it: the open request, the weekly schedule or a person.

    A request has had its place in the budget since it was asked: no other governed training begins while it is open.
    One that is held back stays open, and is trained for when nothing holds it back any more.
    """
    against = [_held(state), None if who == "request" else _spent(limits, as_of, state)]
    told = "; ".join(text for text in against if text)
    if not told:
        return Admission(True, f"It is {_left(limits, as_of, state)}.")
    if who == "person":
        return Admission(True, f"A person wants it, although {told}.")
    subject = f"Request {state.open} waits" if who == "request" else "The scheduled training is left out"
    return Admission(False, f"{subject}: {told}.")


def due(silent: timedelta, rung: int) -> bool:
    """Whether a request that no training has taken up is rung for again. Wall time.

    `silent`: since the newest bell, the request's own or a sweep's; `rung`: how often sweeps have rung for it.
    """
    wait = FIRST_RING
    for _ in range(rung):
        wait = min(2 * wait, LAST_RING)
    return silent >= wait


def merged(causes: Sequence[str]) -> str:
    """The causes of a request as one text, each once, in their order."""
    distinct = list(dict.fromkeys(causes))
    return distinct[0] if len(distinct) == 1 else "; ".join(text.rstrip(".") for text in distinct)


def _held(state: State) -> str | None:
    """Why nothing of the model is trained, whatever the numbers."""
    if state.incident is not None:
        return f"a data incident is open, and a model must not learn from it ({state.incident.rstrip('.')})"
    if state.frozen is not None:
        return f"the model is frozen, and nothing of it could be promoted ({state.frozen.rstrip('.')})"
    return None


def _spent(limits: Governor, as_of: str, state: State) -> str | None:
    counted = _counted(limits, as_of, state)
    if len(counted) < limits.trainings:
        return None
    free = parse(counted[-limits.trainings]) + _days(limits.budget_days)
    return (
        f"{len(counted)} trainings have begun in {limits.budget_days:g} days, of {limits.trainings} allowed, "
        f"and the next may begin on {iso(free)}"
    )


def _left(limits: Governor, as_of: str, state: State) -> str:
    number = len(_counted(limits, as_of, state)) + 1
    return f"training {number} of {limits.trainings} allowed in {limits.budget_days:g} days"


def _counted(limits: Governor, as_of: str, state: State) -> list[str]:
    """Trainings that share a window of `budget_days` with one at `as_of`, oldest first. Later ones count too, or a
    request of old, served late, would be one too many in a window that began before them."""
    since = parse(as_of) - _days(limits.budget_days)
    return sorted(text for text in state.trainings if parse(text) > since)


def _days(number: float) -> timedelta:
    return timedelta(days=number)
