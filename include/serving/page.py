"""The page of a batch scoring: what was scored, by which version, as of when, where it lies, and what was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from include import pictures
from include.files import write_text
from include.serving.batch import BINS, Tally

REFUSED = "refused.txt"  # beside the page: every refused flight, its departure and why, with tabs
SHOWN = 200  # refused flights on the page itself
_EMPTY_SHOWN = 60  # days without a flight


def write(page: Path, about: Mapping[str, Any], parts: Sequence[tuple[str, Tally]], empty: Sequence[str]) -> Path:
    """Write the page. `about` is shown as a table; `parts` are the mapped tasks, by name; `empty` are days on which
    no flight was published. The list of refused flights must lie beside it."""
    whole = Tally()
    for _, tally in parts:
        whole.join(tally)
    return write_text(
        page,
        pictures.document(
            f"Scores: {whole.predicted:,} flights",
            _lead(whole, empty),
            pictures.section("What and where", "", pictures.table(("", ""), [(k, str(v)) for k, v in about.items()])),
            _distribution(whole),
            _refused(whole, page.parent / REFUSED),
            _parts(parts, empty),
        ),
    )


def write_again(page: Path, said: str, days: Sequence[str], refused: int) -> Path:
    """The page of scores that were made again, of whole days. The list of refused flights must lie beside it."""
    shown = f"{len(days)} days, from {days[0]} to {days[-1]}." if days else "No day held any."
    return write_text(
        page,
        pictures.document(
            "Scores made again",
            pictures.lead("Scores made again", said + ".", "warn" if refused else "good"),
            f'<p class="note">{shown}</p>',
            _listed(refused, page.parent / REFUSED) if refused else "",
        ),
    )


def _lead(whole: Tally, empty: Sequence[str]) -> str:
    sentence = f"{whole.predicted:,} of {whole.rows:,} published flights have a score"
    refused = whole.refused.total()
    sentence += f"; {refused:,} were refused, see below." if refused else "."
    if empty:
        sentence += f" On {len(empty)} days no flight was published."
    tone = "bad" if not whole.predicted else "warn" if refused or empty else "good"
    return pictures.lead(f"Scores of {whole.predicted:,} flights", sentence, tone)


def _distribution(whole: Tally) -> str:
    if not whole.predicted:
        return ""
    mean, share = whole.total / whole.predicted, whole.not_on_time / whole.predicted
    rows = [(f"{i / BINS:.2f} to {(i + 1) / BINS:.2f}", float(count)) for i, count in enumerate(whole.bins)]
    return pictures.section(
        "Probabilities",
        f"Mean {mean:.3f}; {share:.1%} lie at or above the threshold.",
        pictures.figure(pictures.bars("Flights by probability", rows), "Flights by probability of not being on time."),
    )


def _refused(whole: Tally, file: Path) -> str:
    if not whole.refused:
        return ""
    return pictures.section(
        "Refused",
        "These flights have no score: the model must not see such a row.",
        pictures.table(("why", "flights"), whole.refused.most_common()),
        _listed(whole.refused.total(), file),
    )


def _listed(count: int, file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        shown = [line.rstrip("\n").split("\t") for line in islice(lines, SHOWN)]
    link = f'<p class="note">The first {len(shown):,} of {count:,}. <a href="{REFUSED}">The whole list</a></p>'
    return link + pictures.table(("flight", "scheduled departure", "why"), shown)


def _parts(parts: Sequence[tuple[str, Tally]], empty: Sequence[str]) -> str:
    rows = [
        (
            name,
            tally.rows,
            tally.predicted,
            tally.refused.total(),
            tally.total / tally.predicted if tally.predicted else None,
            tally.not_on_time / tally.predicted if tally.predicted else None,
        )
        for name, tally in parts
    ]
    note = ""
    if empty:
        cut = " …" if len(empty) > _EMPTY_SHOWN else ""
        note = f"Days without a published flight: {', '.join(empty[:_EMPTY_SHOWN])}{cut}"
    head = ("scheduled departures", "flights", "scored", "refused", "mean probability", "share not on time")
    return pictures.section("Parts", note, pictures.table(head, rows))
