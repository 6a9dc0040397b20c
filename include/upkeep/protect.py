"""What eligible versions need, and so what must stay, by the names under which the inventory knows it.

`reproduce` reads a version's frame and its MLflow run; the frame's own origin, by which a lost one can be built anew,
is the snapshot and the tables' versions. `rollback` reads frame and bundle, and packs a Bento anew; the Bento that was
released is kept beside them, since it is what other machines were given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from include.upkeep.inventory import BENTO, BUNDLE, FRAME, MLFLOW, SNAPSHOT
from include.upkeep.policy import ALL, Key


@dataclass(frozen=True)
class Needs:
    """What one version needs: hashes, the Bento's file name, the MLflow run's id, the version of each table."""

    who: str  # e.g. "flights_on_time version 3 (champion)"
    frame: str
    bundle: str
    bento: str
    mlflow_run: str
    snapshot: str | None = None  # None: its manifest is gone, nobody can say which one, nor which tables' versions
    tables: Mapping[str, int] = field(default_factory=dict)

    def named(self) -> list[Key]:
        named = ((FRAME, self.frame), (BUNDLE, self.bundle), (BENTO, self.bento), (MLFLOW, self.mlflow_run))
        snapshot = ALL if self.snapshot is None else self.snapshot
        return [(kind, key) for kind, key in (*named, (SNAPSHOT, snapshot)) if key]


def protected(needs: Iterable[Needs], online: Iterable[str] = ()) -> dict[Key, str]:
    """Key -> for whom. `online`: snapshots that the online store is filled from."""
    kept = {(SNAPSHOT, digest): "the online store" for digest in online}
    for need in needs:
        for key in need.named():
            kept[key] = f"{kept[key]}, {need.who}" if key in kept else need.who
    return kept


def pins(needs: Iterable[Needs], published: Mapping[str, int]) -> dict[str, list[int]]:
    """Table -> versions that must stay readable: those of eligible versions, and what is published now.

    Of a version whose manifest is gone nobody knows them: see `unknown`.
    """
    found: dict[str, set[int]] = {name: {version} for name, version in published.items()}
    for need in needs:
        for name, version in need.tables.items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in sorted(found.items())}


def unknown(needs: Iterable[Needs]) -> list[str]:
    """The eligible versions of which nobody can say what they were made of. While there is one, no snapshot goes and no
    table is vacuumed: it may be that MLflow is not the one that it should be."""
    return [need.who for need in needs if need.snapshot is None]
