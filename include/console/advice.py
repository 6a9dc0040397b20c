"""What to do next about a model, in words, with the action that does it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from include.console import order
from include.console.view import Alert, Health, Row, Tone

Action = Literal["", "answer", "retrain", "rollback", "thaw"]
_STATES = {
    "healthy": "Healthy",
    "insufficient": "Too few labels",
    "incident": "Incident",
    "rollback": "Worse than before",
    "retrain": "Needs training",
    "unwatched": "Not watched yet",
}
_RULES = {
    "first": "The first model must beat the naive baseline",
    "refresh": "A refresh of the same configuration must be no worse, within a margin",
    "changed": "A changed configuration must be better",
}
_PREFIXES = ("Refused", "Healthy", "Incident", "Insufficient", "Retrain", "Roll back", "Rollback")
_UNDER_WAY = "Nothing: a training is under way. Its gate decides."
_TONES: tuple[Tone, ...] = ("bad", "warn", "warn", "warn", "good", "good", "quiet")  # by order.rank
# what the decisions of a model are filtered by: title, kinds of the ledger
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What matters", ()),
    ("Trainings", ("training", "gate", "rehearsal", "training-left-out", "request-dropped", "rung")),
    (
        "Releases",
        ("champion", "challenger", "shadow", "approval", "approved", "rejected", "expired", "canary", "promotion"),
    ),
    ("Rollbacks and freezes", ("rollback", "rescored", "freeze", "thaw")),
    ("Looks", ("monitor", "audit")),
)


@dataclass(frozen=True)
class Step:
    """What to do, and which of the page's actions does it; empty: none of them."""

    text: str
    action: Action = ""


def tone(row: Row) -> Tone:
    """How a model is, with its alerts and what waits for it."""
    return _TONES[order.rank(row)]


def state(health: Health) -> str:
    """The verdict in one or two words."""
    return _STATES.get(health.state, health.state)


def sentence(health: Health) -> str:
    """Its reason without the word that `state` says already."""
    return unstated(health.reason)


def unstated(reason: str) -> str:
    """A reason without the verdict that it begins with, where a pill says that."""
    if reason.startswith("Accepted as "):
        return reason.replace("Accepted as", "As", 1)
    begin, colon, rest = reason.partition(": ")
    if not colon or begin not in _PREFIXES or not rest:
        return reason
    return rest if "_" in rest.split()[0] else rest[0].upper() + rest[1:]  # a name stays as it is


def alerts(row: Row) -> list[Alert]:
    """The open alerts, without the one that says what the open question asks."""
    asked = row.question is not None and not row.question.over
    return [alert for alert in row.alerts if not (asked and "waits for an approval" in alert.title)]


def title(alert: Alert, model: str) -> str:
    """An alert's title without the model's name, where the place says that."""
    rest = alert.title.removeprefix(f"{model}: ")
    return rest[0].upper() + rest[1:]


def rule(name: str) -> str:
    """What the gate demanded, in words."""
    return _RULES.get(name, f"Rule: {name}")


def step(row: Row) -> Step:
    """The one thing to do next."""
    if row.health.state == "incident":
        own = (alert.action for alert in row.alerts if alert.cause == row.health.reason)
        return Step(next(own, "") or "Mend the feed, then take the days in again with `ingest`. Nothing trains before.")
    if row.health.state == "rollback":
        return Step("Look at the evidence, then go back to the version before, or leave it and say why.", "rollback")
    if row.question and row.question.over:
        return Step("Reject the open question: its release is over, and the next one waits for the answer.", "answer")
    if row.question:
        return Step("Read what the shadow has shown, then approve or reject the release.", "answer")
    if order.waits(row) and row.ours:
        return Step("Nothing: the question was answered, and the release goes on. If it does not, look at its run.")
    if order.waits(row):
        return Step("Its release waits for an approval, in the Airflow that runs it.")
    if row.health.state == "retrain":
        return _train(row)
    if row.health.state == "insufficient":
        return Step("Look whether `ingest` runs and the source delivers: without labels nobody can judge.")
    if row.health.state == "unwatched":
        return _begin(row)
    return _calm(row)


def _runs(row: Row, dag: str) -> bool:
    return any(dag in link.text for link in row.doing)


def _told(row: Row) -> str:
    return next((alert.action for alert in alerts(row) if alert.severity == order.PAGE and alert.action), "")


def _train(row: Row) -> Step:
    if _runs(row, "train"):
        return Step(_UNDER_WAY)
    if row.challenger:
        new = row.challenger
        return Step(f"Nothing: version {new.version} is on its way ({new.stage}); judge after it.")
    if row.request:
        return Step("Nothing: `train` begins by itself with what was asked for. Or begin one now.", "retrain")
    return Step("Begin a training: a new version must pass the gate before anything changes.", "retrain")


def _begin(row: Row) -> Step:
    if row.champion is None and _runs(row, "train"):
        return Step(_UNDER_WAY)
    if row.champion is None and _runs(row, "ingest"):
        return Step("Wait for `ingest`, which is under way; then train a first version.", "retrain")
    if row.champion is None:
        return Step("Train a first version: `ingest` must have run before.", "retrain")
    return Step("Nothing: `monitor` looks by itself, once predictions and their labels are there.")


def _calm(row: Row) -> Step:
    if row.frozen:
        held = f" Version {row.challenger.version} is on its way, and is held before its end." if row.challenger else ""
        return Step(f"Nothing is promoted while it is frozen.{held} Lift the freeze when its reason is gone.", "thaw")
    if told := _told(row):
        return Step(told)
    if row.challenger:
        return Step(f"Nothing: version {row.challenger.version} is on its way, and is rolled back if it does worse.")
    if open_ := alerts(row):
        return Step(f"Nothing must be done now. Look at: {title(open_[0], row.model)}.")
    return Step("Nothing.")
