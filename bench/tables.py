"""Tables of docs/gate.md: shares with their Wilson intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any

# case and rule, in the order shown, with the verdict one would wish
WISHED = {
    ("shuffled labels", "first"): "reject",
    ("shuffled labels", "refresh"): "reject",
    ("half of recent positives lost", "first"): "reject",
    ("half of recent positives lost", "refresh"): "reject",
    ("hourly features an hour late", "refresh"): "reject",
    ("trained an hour ahead (leak)", "refresh"): "reject",
    ("same data, other seed", "changed"): "reject",
    ("same data, other seed", "refresh"): "accept",
    ("newer data", "first"): "accept",
    ("newer data", "refresh"): "accept",
    ("really better", "changed"): "accept",
}
STATES = ("healthy", "retrain", "incident", "insufficient")


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share; honest also at 0 and at 1. Raises ZeroDivisionError without trials."""
    share = hits / of
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(hits: Iterable[bool]) -> str:
    """ "41 % [24, 61]" """
    values = list(hits)
    low, high = wilson(sum(values), len(values))
    return f"{sum(values) / len(values):.0%} [{low * 100:.0f}, {high * 100:.0f}]".replace("%", " %")


def gate(judged: Sequence[dict[str, Any]], cut_offs: int) -> str:
    """Accepted and refused by case; what simpler gates would have done."""
    rows = []
    for (case, rule), wish in WISHED.items():
        of = [j for j in judged if (j["case"], j["rule"]) == (case, rule)]
        failed = Counter(
            name.partition(".")[0] for j in of for name in sorted({f.partition(".")[0] for f in j["failed"]})
        )
        why = ", ".join(f"{name} {count}" for name, count in failed.most_common())
        rows.append([case, rule, wish, share(j["accepted"] for j in of), _difference(of), why or "–"])
    head = ["challenger", "rule", "wished", "accepted", "log loss against champion, mean (sd)", "refused by (cut-offs)"]
    first = f"### The gate, at {cut_offs} cut-offs\n\n" + table(head, rows)
    return first + "\n### What other gates would have accepted\n\n" + _others(judged)


def _others(judged: Sequence[dict[str, Any]]) -> str:
    cases = [
        ("newer data", "refresh"),
        ("same data, other seed", "changed"),
        ("really better", "changed"),
        ("half of recent positives lost", "refresh"),
        ("hourly features an hour late", "refresh"),
    ]
    of = {case: [j for j in judged if (j["case"], j["rule"]) == case] for case in cases}
    names = [name for name, value in of[cases[0]][0].items() if isinstance(value, bool) and name != "accepted"]
    rows = [[name, *(share(j[name] for j in of[case]) for case in cases)] for name in names]
    return table(["comparison alone", *(case for case, _ in cases)], rows)


def monitor(seen: Sequence[dict[str, Any]]) -> str:
    """Verdicts by fault."""
    cases = list(dict.fromkeys(s["case"] for s in seen))
    rows = []
    for case in cases:
        of = [s for s in seen if s["case"] == case]
        counts = [str(sum(s["state"] == state for s in of)) for state in STATES]
        rows.append([case, *counts, f"{sum(s['moved'] for s in of) / len(of):.0f}"])
    head = ["window", *STATES, "features with PSI above .2, mean"]
    return "### The monitor on the same weeks\n\n" + table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _difference(of: Sequence[dict[str, Any]]) -> str:
    values = [j["difference"]["value"] for j in of if j["difference"]]
    if not values:
        return "–"
    mean = sum(values) / len(values)
    spread = sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))
    return f"{mean:+.4f} ({spread:.4f})"
