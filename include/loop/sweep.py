"""Steps of the `sweep` DAG: what was missed. A lost event is sent again; a missed deadline becomes an alert."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from include import alerts, clock, lake
from include.alerts import NOTICE, PAGE, Alert
from include.loop import common, governor
from include.loop.common import Job
from include.loop.run import Run, Skip, Stop
from include.monitoring import governor as rules
from include.release import ledger as book
from include.release import releases
from include.sources import ingest as source
from include.times import iso, parse

_WARNING = timedelta(hours=12)  # before an approval expires: an evening's warning for the morning
_UNANSWERED = timedelta(days=1)  # wall time that a request may be open: a queue and a training take an hour


@dataclass(frozen=True)
class _Deadline:
    """`within`: what a schedule allows between two results, with time to run and to be retried."""

    dag: str
    kind: str  # of the decision that it enters in the ledger; empty: it publishes
    within: timedelta
    severity: Literal["page", "notice"]
    what: str
    meanwhile: str


_DEADLINES = (
    _Deadline("ingest", "", timedelta(hours=3), PAGE, "publication", "Predictions go on with features that grow old"),
    _Deadline("monitor", "monitor", timedelta(hours=30), NOTICE, "verdict", "The champion serves on, unwatched"),
    _Deadline("score", "scored", timedelta(hours=30), NOTICE, "nightly scores", "The scores of before are still there"),
)


# -- the bell --------------------------------------------------------------------------------------------------------
def ring(run: Run) -> Job:
    """Send the event of an open request again when no training has taken it up for too long. Returns what it carries.

    Skipped otherwise. A retry sends what it was about to send.
    """
    ledger, name = common.ledger(run), run.settings.model
    request = book.open_request(ledger, name)
    if request is None:
        raise Skip(f"no training of {name} is asked for")
    if taken := governor.takers(ledger, name, request.id):
        raise Skip(f"request {request.id} was taken up by {taken[-1]}")
    rung = governor.rings(ledger, name, request.id)
    if not any(entry["run"] == run.name for entry in rung):
        if held := governor.waits(ledger, request):
            raise Skip(held)
        silent = _wall(run) - max([request.recorded_at, *(entry["recorded_at"] for entry in rung)])
        if not rules.due(silent, len(rung)):
            raise Skip(f"request {request.id} was rung for {_minutes(silent)} ago: its run may still be queued")
        reason = f"Request {request.id} was rung for {_minutes(silent)} ago, and no training has taken it up."
        common.record(run, {"model": name, "as_of": run.now()}, governor.RUNG, reason, None, {"request": request.id})
    return governor.bell(ledger, request)


# -- deadlines -------------------------------------------------------------------------------------------------------
def watch(run: Run) -> Job:
    """Alert what is overdue, and say so when it no longer is. Returns the titles of what is overdue."""
    ledger, now = common.ledger(run), run.now()
    overdue = []
    for group, over, found in (_approval(run, ledger), _request(run, ledger), *_late(run, ledger)):
        if found is None:
            alerts.resolve(run.settings, group, over, now)
        else:
            alerts.send(run.settings, found)
            overdue.append(found.title)
    return {"overdue": overdue, "label": f"{len(overdue)} overdue"}


_Found = tuple[str, str, Alert | None]  # group, what to say when it is over, what is the matter


def _approval(run: Run, ledger: sa.Engine) -> _Found:
    """An approval that nobody has given and that is about to expire. Wall time: it is people's."""
    name = run.settings.model
    group, over = f"approval/{name}", f"No approval of {name} is about to expire any more"
    live = book.current(ledger, name)
    if live.stage != book.APPROVAL or live.release is None or releases.approval(ledger, live.release):
        return group, over, None
    release = releases.get(ledger, live.release)
    asked = min(
        book.utc(row["recorded_at"])
        for row in book.deployed(ledger, name)
        if row["release"] == live.release and row["stage"] == book.APPROVAL
    )
    allowed = timedelta(hours=float(release.policy["approval_hours"]))
    if _wall(run) < asked + max(allowed - _WARNING, allowed / 2):
        return group, over, None
    return (
        group,
        over,
        Alert(
            group=group,
            state=f"expiring/{release.id}",
            title=f"The approval of release {release.id} of {name} version {release.version} is about to expire",
            cause=f"It was asked for at {iso(asked)} and expires at {iso(asked + allowed)} (wall time)",
            action=f"Champion {release.champion} answers everything meanwhile. Approve or reject: Required Actions",
            time=run.now(),
            severity=NOTICE,
            runbook="release",
            link=alerts.link(release.run, "approval"),
        ),
    )


def _request(run: Run, ledger: sa.Engine) -> _Found:
    """A request that has been open for so long that something is wrong. Wall time."""
    name = run.settings.model
    group, over = f"request/{name}", f"No request to train {name} waits too long any more"
    request = book.open_request(ledger, name)
    if request is None or _wall(run) < request.recorded_at + _UNANSWERED:
        return group, over, None
    if taken := governor.takers(ledger, name, request.id):
        state, cause = "begun", f"{taken[-1]} has begun its training and has not answered it"
        action = "The request stays open. Clear that run's failed task, or trigger `train`"
    elif held := governor.waits(ledger, request):
        state, cause, action = "held", held, "The request stays open and is trained for when that is over"
    else:
        rung = len(governor.rings(ledger, name, request.id))
        state, cause = "lost", f"No training has taken it up, though its event was sent {rung} times again"
        action = (
            "The request stays open. See that `train` is not paused and that the scheduler runs, or trigger `train`"
        )
    return (
        group,
        over,
        Alert(
            group=group,
            state=f"{state}/{request.id}",
            title=f"Request {request.id} to train {name} has been open since {iso(request.recorded_at)} (wall time)",
            cause=cause,
            action=action,
            time=run.now(),
            severity=NOTICE,
            runbook="train",
            link=alerts.link(taken[-1]) if taken else "",
        ),
    )


def _late(run: Run, ledger: sa.Engine) -> Iterator[_Found]:
    """Results that are overdue. Data time; a fast clock gives a schedule, which is kept in wall time, as much more.

    What the others can know is what `ingest` has published: while that is late, it alone is.
    """
    name, published = run.settings.model, lake.catalog(run.settings.lake)["as_of"]
    try:
        speed = clock.load(run.settings.home / "clock.json").speed
    except clock.ClockNotStarted:
        return
    if published is None:
        return
    now = min(parse(run.now()), source.source(run.settings).ENDS)
    for deadline in _DEADLINES:
        group = f"late/{deadline.dag}"
        made = book.latest(ledger, name, deadline.kind) if deadline.kind else {"as_of": published}
        if made is None:
            continue
        reached = min(now, parse(published)) if deadline.kind else now
        late = reached - parse(made["as_of"]) > deadline.within * speed
        found = _overdue(run, deadline, made["as_of"]) if late else None
        yield group, f"`{deadline.dag}` has caught up", found


def _overdue(run: Run, deadline: _Deadline, last: str) -> Alert:
    hours = deadline.within / timedelta(hours=1)
    return Alert(
        group=f"late/{deadline.dag}",
        state=f"late/{last}",
        title=f"`{deadline.dag}` is late: no {deadline.what} since {last}",
        cause=f"Its schedule allows {hours:g} hours. It is paused, it fails, or the scheduler does not run",
        action=f"{deadline.meanwhile}. Look at the newest run of `{deadline.dag}`",
        time=run.now(),
        severity=deadline.severity,
        runbook=deadline.dag,
        link=f"/dags/{deadline.dag}",
    )


def _wall(run: Run) -> datetime:
    """When this look is made, wall time; the ledger's `recorded_at` is on the same scale, to the clocks' skew."""
    if (wall := run.looked or run.wall) is None:
        raise Stop("the run does not say when it looks: nothing can be overdue, nothing was done")
    return parse(wall)


def _minutes(span: timedelta) -> str:
    return f"{span / timedelta(minutes=1):,.0f} minutes"
