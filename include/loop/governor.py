"""The governor at work: the ledger's state -> the rules of include/monitoring/governor.py -> the ledger."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from include.loop import common
from include.loop.common import Job
from include.loop.run import Run, Skip
from include.models import registry
from include.monitoring import governor as rules
from include.release import ledger as book
from include.release.ledger import Request

TRAINING = "training"  # kind of the decision that `train` enters once a run, when it begins
DROPPED = "request-dropped"
LEFT_OUT = "training-left-out"
RUNG = "rung"  # a sweep has sent a request's event again
_ATTEMPTS = 5  # of an ask that met another one, or a training that was just answering


def state(ledger: sa.Engine, model: str, but: str = "") -> rules.State:
    """What the rules look at. Requests and trainings of the run `but` do not count against it."""
    now, last, ice = (
        book.open_request(ledger, model),
        book.last_request(ledger, model, but=but),
        book.frozen(ledger, model),
    )
    seen = book.latest(ledger, model, "monitor")
    begun = [entry["as_of"] for entry in book.of_kind(ledger, model, TRAINING) if entry["run"] != but]
    return rules.State(
        open=None if now is None else now.id,
        last=None if last is None else last.as_of,
        trainings=tuple(begun),
        incident=str(seen["reason"]) if seen and seen["evidence"].get("state") == "incident" else None,
        frozen=None if ice is None else f"{ice.actor}: {ice.reason}",
    )


def ask(run: Run, model: str, as_of: str, kinds_and_causes: Sequence[tuple[str, str]], actor: str) -> Job:
    """Ask for a training, for causes as (kind, sentence); kind: age, surprise, score, person …

    Returns {"outcome": ask, merge or drop, "request": its number or None, "as_of", "cause": all of the request's
    causes, "reason"}. A retry of a run gets the request that it asked for, whatever has become of it; what was dropped
    is decided anew. Raises Superseded when the request changes hands again and again meanwhile.
    """
    ledger, limits = common.ledger(run), registry.load(model).governor
    for _ in range(_ATTEMPTS):
        mine = book.request_of(ledger, model, run.name)
        if mine is not None and book.answered_by(ledger, mine.id) is not None:
            return _asked(ledger, run, mine, "This run has asked for it before, and it was answered.")
        now = state(ledger, model, but=run.name)
        answer = rules.decide(limits, as_of, now)
        if mine is not None and now.open == mine.id:  # a retry; it may bring a cause more
            answer = rules.Answer("merge", "This run has asked for it before.")
        if answer.outcome == "drop":
            return _dropped(run, model, as_of, kinds_and_causes, answer)
        try:
            found = book.enter_request(ledger, now.open, model, as_of, kinds_and_causes, actor, run.name)
        except book.Superseded:
            continue
        return _asked(ledger, run, found, answer.reason)
    raise book.Superseded(f"{model}: its requests come and go while one is being made; nothing was asked, ask again")


def _asked(ledger: sa.Engine, run: Run, found: Request, reason: str) -> Job:
    outcome = "ask" if found.run == run.name else "merge"
    return {"outcome": outcome, **bell(ledger, found), "reason": reason}


def _dropped(
    run: Run, model: str, as_of: str, kinds_and_causes: Sequence[tuple[str, str]], answer: rules.Answer
) -> Job:
    cause = rules.merged([text for _, text in kinds_and_causes])
    kept = {"causes": [{"kind": kind, "cause": text} for kind, text in kinds_and_causes]}
    common.record(run, {"model": model, "as_of": as_of}, DROPPED, f"{answer.reason} It was for: {cause}", None, kept)
    return {"outcome": "drop", "request": None, "as_of": as_of, "cause": cause, "reason": answer.reason}


def bell(ledger: sa.Engine, request: Request) -> Job:
    """What the event carries that wakes `train`; the request itself is what counts."""
    return {"request": request.id, "as_of": request.as_of, "cause": cause_of(ledger, request)}


def cause_of(ledger: sa.Engine, request: Request) -> str:
    """All causes of a request, as one text."""
    return rules.merged([found.cause for found in book.causes(ledger, request.id)] or [request.cause])


# -- what the sweep asks ---------------------------------------------------------------------------------------------
def rings(ledger: sa.Engine, model: str, request: int) -> list[Job]:
    """The decisions by which sweeps have rung for a request, oldest first."""
    return [entry for entry in book.of_kind(ledger, model, RUNG) if entry["evidence"].get("request") == request]


def waits(ledger: sa.Engine, request: Request) -> str | None:
    """Why no training may begin for an open request now; None when one may."""
    found = rules.admit(registry.load(request.model).governor, "request", request.as_of, state(ledger, request.model))
    return None if found.may else found.reason


# -- what `train` asks -----------------------------------------------------------------------------------------------
def admitted(run: Run, ledger: sa.Engine, model: str, as_of: str, request: Request | None, by_hand: bool) -> str:
    """Why this training may begin. Raises Skip, entered in the ledger, when it may not."""
    who: rules.Who = "person" if by_hand else "schedule" if request is None else "request"
    found = rules.admit(registry.load(model).governor, who, as_of, state(ledger, model, but=run.name))
    if not found.may:
        job = {"model": model, "as_of": as_of}
        common.record(run, job, LEFT_OUT, found.reason, None, {"request": None if request is None else request.id})
        raise Skip(found.reason)
    return found.reason


def begun(run: Run, job: Job) -> None:
    """Enter that the training begins: once a run, however often its plan is repeated. It counts towards the budget.

    A person who trains while a request is open answers it, and has reasons of the own: the entry holds both.
    """
    own = job.get("note") or ""  # absent in plans of older releases, as `admitted`
    told = (own if own != job["cause"] else "", job["cause"], job.get("admitted", ""))
    entry = book.Decision(
        key=f"{run.name}/{TRAINING}",
        model=job["model"],
        kind=TRAINING,
        actor=run.actor or run.name.split("/")[0],
        reason=". ".join(part.rstrip(".") for part in told if part) + ".",
        as_of=job["as_of"],
        run=run.name,
        evidence={"request": job["request"]},
    )
    book.record(common.ledger(run), entry)


def takers(ledger: sa.Engine, model: str, request: int) -> list[str]:
    """The runs that have begun a training for a request, oldest first."""
    return [
        entry["run"] for entry in book.of_kind(ledger, model, TRAINING) if entry["evidence"].get("request") == request
    ]
