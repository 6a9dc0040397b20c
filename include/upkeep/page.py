"""What would go, what has gone and what nobody uses, as pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from include import pictures
from include.files import write_text
from include.upkeep.inventory import Entry
from include.upkeep.policy import Item, Protected, needed_by
from include.upkeep.unused import Unused, sentences

SHOWN = 200


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def kinds(entries: Iterable[Entry], items: Iterable[Item], protected: Protected) -> dict[str, dict[str, int]]:
    """Kind -> {"things", "bytes", "goes", "goes_bytes", "protected"}, the largest first."""
    found: dict[str, dict[str, int]] = {}
    empty = {"things": 0, "bytes": 0, "goes": 0, "goes_bytes": 0, "protected": 0}
    for entry in entries:
        of = found.setdefault(entry.kind, dict(empty))
        of["things"] += 1
        of["bytes"] += entry.bytes
        of["protected"] += needed_by(protected, entry.kind, entry.key) is not None
    for item in items:
        found[item.kind]["goes"] += 1
        found[item.kind]["goes_bytes"] += item.bytes
    return dict(sorted(found.items(), key=lambda pair: -pair[1]["bytes"]))


def write_plan(
    path: Path,
    lead: str,
    counted: Mapping[str, Mapping[str, int]],
    items: Sequence[Item],
    kept: Iterable[tuple[str, int, str]],
    tables: Mapping[str, Mapping[str, Any]],
    notes: Sequence[str],
) -> Path:
    """`kept`: for whom something is protected, in words, the bytes, why; `tables`: table -> tables.describe."""
    parts = [
        pictures.lead("Upkeep: what would go", lead, "plain"),
        pictures.section(
            "By kind",
            "protected: an eligible version needs it, or the online store. Reports are packed into archive/ first.",
            pictures.table(
                ["kind", "things", "bytes", "go", "bytes", "protected"],
                [
                    [k, n["things"], size(n["bytes"]), n["goes"], size(n["goes_bytes"]), n["protected"]]
                    for k, n in counted.items()
                ],
            ),
        ),
        pictures.section(
            "Kept, and for whom",
            "Versions whose rollback and reproduction go on working. Others keep their ledger entries, and manifest, "
            "evidence and verdict in MLflow.",
            pictures.table(["version", "its own files", "why"], [[who, size(n), why] for who, n, why in kept]),
        ),
        pictures.section(
            "Tables",
            "crowded: days of so many files that they become one. loose: files that no version refers to that is young "
            "or pinned.",
            pictures.table(
                ["table", "files", "bytes", "crowded", "loose", "bytes", "pinned versions"],
                [
                    [
                        name,
                        t["files"],
                        size(t["bytes"]),
                        t["crowded"],
                        t["loose"],
                        size(t["loose_bytes"]),
                        ", ".join(map(str, t["pinned"])) + (f" (lost: {t['lost']})" if t["lost"] else ""),
                    ]
                    for name, t in tables.items()
                ],
            ),
        ),
        pictures.section(
            "What goes",
            f"The largest {min(len(items), SHOWN)} of {len(items)}; all of them are in plan.json beside this page.",
            pictures.table(
                ["path", "kind", "bytes", "why"], [[i.path, i.kind, size(i.bytes), i.reason] for i in items[:SHOWN]]
            ),
        ),
    ]
    if notes:
        parts.append(pictures.section("Passed over", "", pictures.table(["what"], [[note] for note in notes])))
    return write_text(path, pictures.document("Upkeep: what would go", *parts))


def write_done(path: Path, lead: str, gone: Mapping[str, int], stayed: Mapping[str, str]) -> Path:
    """What a clean did: `gone`: kind -> bytes; `stayed`: path -> why, of what was planned and did not go."""
    return write_text(
        path,
        pictures.document(
            "Upkeep: what has gone",
            pictures.lead("Upkeep: what has gone", lead, "good"),
            pictures.section("By kind", "", pictures.table(["kind", "bytes"], [[k, size(n)] for k, n in gone.items()])),
            pictures.section(
                "Planned, but stayed", "", pictures.table(["path", "why"], [list(pair) for pair in stayed.items()])
            ),
        ),
    )


def write_tables(path: Path, lead: str, done: Mapping[str, Mapping[str, Any]]) -> Path:
    """What became of the tables: table -> {"compacted", "files", "bytes", "forgotten"}."""
    rows = [[name, d["compacted"], d["files"], size(d["bytes"]), d["forgotten"]] for name, d in done.items()]
    head = ["table", "days compacted", "files gone", "bytes", "rows forgotten"]
    return write_text(
        path,
        pictures.document("Upkeep: tables", pictures.lead("Upkeep: tables", lead, "good"), pictures.table(head, rows)),
    )


def write_unused(path: Path, found: Unused, measured: Mapping[str, Mapping[str, float]]) -> Path:
    """What nobody uses, and the effect of every feature of every champion."""
    said = sentences(found)
    lead = f"{len(said)} things that nobody uses." if said else "Everything is used by somebody."
    charts = [
        pictures.section(
            f"Effects in the champion of {model}",
            "Mean change of the probability when the feature takes other flights' values, or none. 0: no effect.",
            pictures.bars(f"Effects, {model}", sorted(effects.items(), key=lambda pair: -pair[1])),
        )
        for model, effects in measured.items()
    ]
    return write_text(
        path,
        pictures.document(
            "Unused",
            pictures.lead("Features and models that nobody uses", lead, "warn" if said else "good"),
            pictures.table(["what"], [[sentence] for sentence in said]),
            *charts,
        ),
    )
