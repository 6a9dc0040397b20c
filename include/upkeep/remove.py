"""How things go: into the trash by a rename, out of it only after another look, and then for good.

    home/.trash/<path as below home>    may come back: each is looked at again, by those who protect, before it goes
    home/.trash-gone/                   will not come back; a killed run's is emptied by the next

A run may be killed anywhere; the next one first takes back what lies in the trash, then does its own. What was written
since the plan, or is protected by now, stays where it was or goes back there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from include.crashpoints import reached
from include.upkeep import archive, inventory
from include.upkeep.policy import Item, Protected, needed_by

TRASH, GONE = ".trash", ".trash-gone"


@dataclass
class Removed:
    """What became of a plan. `stayed`: path -> why."""

    things: int = 0
    bytes: int = 0
    archived: int = 0
    kinds: dict[str, int] = field(default_factory=dict)  # bytes
    stayed: dict[str, str] = field(default_factory=dict)


def remove(home: Path, items: Iterable[Item], protected: Callable[[], Protected]) -> Removed:
    """Carry a plan out. `protected` is asked before anything moves, and again before anything is gone for good."""
    home = home.resolve()
    done = Removed()
    items = list(items)
    known = {i.path: i.touched for i in items}
    now = protected()
    undo(home)
    for item in items:
        _trash(home, item, now, done)
    _settle(home, protected(), known, done)
    return done


def _trash(home: Path, item: Item, protected: Protected, done: Removed) -> None:
    entry = inventory.look(home, item.path)
    if entry is None:
        return  # gone already, by an earlier try
    if who := needed_by(protected, item.kind, item.key):
        done.stayed[item.path] = f"{who} needs it by now"
        return
    if entry.touched != item.touched:
        done.stayed[item.path] = "it was written to since the plan"
        return
    if item.action == "archive":
        archive.pack(home, item.path, item.touched)
        reached("maintain.packed")
        done.archived += 1
    target = home / TRASH / item.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        (home / item.path).rename(target)
        reached("maintain.trashed")
        done.things += 1
        done.bytes += item.bytes
        done.kinds[item.kind] = done.kinds.get(item.kind, 0) + item.bytes


def _settle(home: Path, protected: Protected, known: dict[str, datetime], done: Removed) -> None:
    """Put back what is needed after all, then end the rest."""
    trash = home / TRASH
    if not trash.is_dir():
        return
    for entry in inventory.take(trash)[0]:
        why = needed_by(protected, entry.kind, entry.key)
        why = f"{why} needs it by now" if why else None
        if entry.touched != known.get(entry.path, entry.touched):
            why = "it was written to since the plan"
        place = home / entry.path
        if why and not place.exists():
            _restore(home, entry.path)
            done.stayed[entry.path] = why
            done.things -= 1
            done.bytes -= entry.bytes
            done.kinds[entry.kind] -= entry.bytes
    trash.rename(home / GONE)
    reached("maintain.settled")
    _empty(home)


def undo(home: Path) -> None:
    """Put back what a killed run had moved, as its plan was made under what was needed then; empty what was gone."""
    home = home.resolve()
    _empty(home)
    for entry in inventory.take(home / TRASH)[0]:
        if not (home / entry.path).exists():
            _restore(home, entry.path)


def _restore(home: Path, path: str) -> None:
    (home / path).parent.mkdir(parents=True, exist_ok=True)
    (home / TRASH / path).rename(home / path)
    reached("maintain.restored")


def _empty(home: Path) -> None:
    for own in (home / GONE, home / TRASH):
        if own.is_symlink():  # nothing behind it is ours
            own.unlink()
    gone = home / GONE
    if gone.exists():
        shutil.rmtree(gone)
        reached("maintain.emptied")
