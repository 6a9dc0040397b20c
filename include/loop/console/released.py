"""The release that is under way: how far it has come, and champion against challenger as the newest look saw them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from scipy.special import stdtrit

from include.console.view import Duel, Number, Progress
from include.loop.console import entries, kept, words
from include.loop.console.entries import Move
from include.release.ledger import APPROVAL, CANARY, SHADOW, WAITING
from include.settings import Settings
from include.times import iso

_TASKS = {SHADOW: ("shadow",), APPROVAL: ("shadow",), CANARY: ("canary", "shadow")}


def progress(settings: Settings, connection: sa.Connection, moves: Sequence[Move]) -> Progress | None:
    """Where the challenger stands; None without one."""
    live = moves[-1] if moves else None
    if live is None or live.challenger is None:
        return None
    # the move by which the challenger came where it stands
    begun = entries.first_of_newest(moves, lambda move: (move.challenger, move.stage, move.share))
    found = entries.release(connection, live.release) if live.release is not None else None
    stage = live.stage or WAITING
    run, policy = (found.run, json.loads(found.policy)) if found is not None else (None, {})
    seen = observation(settings, run, stage)
    need = _behind(_needs(policy, stage, seen, begun)) if found is not None else None
    return Progress(
        version=live.challenger,
        stage=stage,
        share=live.share,
        text=_text(policy, stage, need, begun),
        done=need[1] if need else None,
        of=need[2] if need else None,
        since=begun.at,
        as_of=str(seen.get("at") or begun.as_of),
        run=run,
    )


def observation(settings: Settings, run: str | None, stage: str) -> Mapping[str, Any]:
    """What the newest look at a release saw; empty before any."""
    for task in _TASKS.get(stage, ()):
        found = kept.beside(settings, run, task, "observation.json")
        if isinstance(found, dict):
            return found
    return {}


def _needs(policy: Mapping[str, Any], stage: str, seen: Mapping[str, Any], begun: Move) -> list[tuple[str, int, int]]:
    """What the stage must have seen before it may end: name, seen, wanted."""
    if stage == CANARY:
        own = seen.get("stage") == CANARY and str(seen.get("at", "")) > begun.as_of
        done = int(seen["answer_attempts"]) if own else 0
        return [("requests answered in this step", done, int(policy["canary_requests"]))]
    return [
        ("requests compared", int(seen.get("pairs") or 0), int(policy["shadow_requests"])),
        ("labelled flights", int(seen.get("labelled") or 0), int(policy["shadow_labelled"])),
    ]


def _behind(needs: Sequence[tuple[str, int, int]]) -> tuple[str, int, int]:
    """The need that is furthest from being met."""
    return min(needs, key=lambda need: need[1] / max(need[2], 1))


def _text(policy: Mapping[str, Any], stage: str, need: tuple[str, int, int] | None, begun: Move) -> str:
    if need is None:
        return "waits for its release to begin"
    if stage == APPROVAL:
        until = begun.at + timedelta(hours=float(policy["approval_hours"]))
        return f"the shadow is complete: approve or reject it until {iso(until)[:16].replace('T', ' ')} UTC (wall time)"
    if need[1] >= need[2]:
        return f"has seen enough: {need[1]:,} of {need[2]:,} {need[0]}; the next look decides"
    return f"{need[1]:,} of {need[2]:,} {need[0]}"


# -- champion against challenger -----------------------------------------------------------------------------------
def duel(settings: Settings, connection: sa.Connection, moves: Sequence[Move]) -> Duel | None:
    """Both on the same requests, as the newest look at the release under way saw it; None without one."""
    if not moves or moves[-1].challenger is None or moves[-1].release is None or moves[-1].champion is None:
        return None
    live = moves[-1]
    found = entries.release(connection, moves[-1].release)
    seen = observation(settings, found.run if found is not None else None, live.stage)
    if found is None or not seen:
        return None
    entry = entries.by_id(connection, live.decision)
    link = words.report(settings, found.run, "canary") if live.stage == CANARY else None
    return Duel(
        champion=int(found.champion),
        challenger=int(found.version),
        stage=live.stage,
        requests=float(seen.get("requests") or 0),
        flights=int(seen.get("flights") or 0),
        labelled=int(seen.get("labelled") or 0),
        rows=_rows(seen),
        reason=str(entry.reason) if entry is not None else "",
        link=link or words.report(settings, found.run, "shadow"),
    )


Numbers = tuple[str, str, Number | None, Number | None, Number | None]


def _rows(seen: Mapping[str, Any]) -> list[Numbers]:
    rows = [
        _pair("log loss", "nats", seen.get("log_loss"), _mean(seen.get("loss"), "nats")),
        _pair("Brier score", "", seen.get("brier"), None),
        _biases(seen.get("bias")),
        ("mean score", "", None, None, _mean(seen.get("shift"))),
        _times("time of the model", seen.get("model_us")),
        _times("time of the answer", seen.get("latency_us")),
        _errors(seen),
    ]
    return [row for row in rows if any(number is not None for number in row[2:])]


def _pair(name: str, unit: str, of: Mapping[str, float] | None, difference: Number | None) -> Numbers:
    if not of:
        return name, unit, None, None, difference
    ours, theirs = float(of["champion"]), float(of["challenger"])
    return (
        name,
        unit,
        Number(ours, unit=unit),
        Number(theirs, unit=unit),
        difference or Number(theirs - ours, unit=unit),
    )


def _biases(of: Mapping[str, Any] | None) -> Numbers:
    ours, theirs = (_mean((of or {}).get(side)) for side in ("champion", "challenger"))
    difference = None if ours is None or theirs is None else Number(theirs.value - ours.value)
    return "mean prediction minus base rate", "", ours, theirs, difference


def _times(name: str, of: Mapping[str, Any] | None) -> Numbers:
    """Medians; their interval is the look's own, wider than 95 %."""
    if not of:
        return name, "ms", None, None, None
    ours, theirs = (
        Number(t["median"] / 1e3, t["low"] / 1e3, t["high"] / 1e3, "ms") for t in (of["champion"], of["challenger"])
    )
    return name, "ms", ours, theirs, Number(theirs.value - ours.value, unit="ms")


def _errors(seen: Mapping[str, Any]) -> Numbers:
    attempts = int(seen.get("attempts") or 0)
    return "requests failed", "", None, Number(int(seen.get("errors") or 0) / attempts) if attempts else None, None


def _mean(found: Mapping[str, Any] | None, unit: str = "") -> Number | None:
    """A mean over flights with its 95 % t interval over blocks of departures (see include/release/observe.py)."""
    if not found:
        return None
    value, error, blocks = float(found["value"]), found.get("error"), float(found.get("blocks") or 0)
    if error is None or blocks <= 2:
        return Number(value, unit=unit)
    reach = float(stdtrit(blocks - 1, 0.975)) * float(error)
    return Number(value, value - reach, value + reach, unit) if np.isfinite(reach) else Number(value, unit=unit)
