"""What an action will meet, told with it: from the ledger, and from what Airflow knows of the DAG."""

from __future__ import annotations

from include.console.view import DagState, Tone
from include.loop.console import entries
from include.release import ledger as book
from include.release import releases
from include.settings import settings
from plugins.console import answers

_UNREAD = "The ledger cannot be read now, so nothing is said here of incidents or a freeze."


def training(model: str) -> str:
    """What holds back a training that nobody asks for by hand, and what becomes of this one."""
    try:
        ledger = entries.engine(settings())
        ice, seen = book.frozen(ledger, model), book.latest(ledger, model, "monitor")
    except Exception as error:  # the run is made all the same: its plan looks for itself
        answers.log.warning("the ledger could not be read: %s", error)
        return _UNREAD
    told = []
    if seen and seen["evidence"].get("state") == "incident":
        why = str(seen["reason"]).rstrip(".")
        told.append(
            f"A data incident is open ({why}). As a person wants it, it trains all the same; the ledger says so."
        )
    if ice is not None:
        told.append(
            f"The model is frozen by {ice.actor} ({ice.reason.rstrip('.')}): it is trained and judged all the same, "
            "and nothing is promoted before somebody lifts the freeze."
        )
    return " ".join(told) or "What it makes ships only if the gate lets it."


def rollback(model: str, version: int) -> str:
    """Why the DAG will refuse it; empty: it will not, as far as the ledger says."""
    try:
        deployed = book.deployed(entries.engine(settings()), model)
    except Exception as error:  # the run looks for itself
        answers.log.warning("the ledger could not be read: %s", error)
        return ""
    champions = [row["champion"] for row in deployed]
    if version not in champions:
        return f"It will fail and change nothing: version {version} of {model} was never champion."
    if champions[-1] == version and deployed[-1]["challenger"] is None:
        return f"It will fail and change nothing: version {version} of {model} is the champion already."
    return ""


def is_over(model: str, run: str) -> bool:
    """Whether the release of a run is no longer under way, as far as the ledger says."""
    try:
        ledger = entries.engine(settings())
        mine = releases.of_run(ledger, run)
        return mine is not None and book.current(ledger, model).release != mine.id
    except Exception as error:  # Airflow takes the answer, the release looks for itself
        answers.log.warning("the ledger could not be read: %s", error)
        return False


def freeze(model: str, frozen: bool) -> str:
    """What a freeze, or its lifting, changes."""
    try:
        ice = book.frozen(entries.engine(settings()), model)
    except Exception as error:
        answers.log.warning("the ledger could not be read: %s", error)
        return _UNREAD
    if frozen and ice is not None:
        was = f"It is frozen already, by {ice.actor} ({ice.reason.rstrip('.')})"
        return f"{was}; your name and reason will stand there instead."
    if frozen:
        return "When the run has ended nothing is promoted any more; a rollback is always possible."
    if ice is None:
        return "It is not frozen: the run changes nothing, and the ledger has your reason."
    return "When the run has ended releases may promote again."


def run(dag: str, known: DagState | None) -> tuple[str, Tone]:
    """What keeps a new run of a DAG from beginning at once; they take one at a time."""
    if known is not None and known.paused:
        return f"The DAG {dag} is paused: the run waits until somebody unpauses it.", "warn"
    if known is not None and known.running:
        return f"Run {known.running[0]} of it is under way: the new one begins when that has ended.", "good"
    return "", "good"
