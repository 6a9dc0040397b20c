"""Tables and the picture of docs/retraining.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import tables
from bench.replay import faults, scores
from bench.replay.scores import Interval, Measured
from bench.replay.year import Array
from include import pictures

_STYLE = (
    "<style>:root{--one:#1f6feb;--ink:#1c2330;--soft:#5b6577;--line:#d9dee7;--bad:#c9252d}"
    "@media (prefers-color-scheme:dark){:root{--one:#6cb0ff;--ink:#e6eaf1;--soft:#9aa5b8;--line:#313a49;--bad:#ff7b72}}"
    "text{fill:var(--ink);font:12px system-ui,sans-serif}.soft{fill:var(--soft)}.grid{stroke:var(--line)}"
    ".limit{stroke:var(--bad);stroke-dasharray:4 3}</style>"
)


@dataclass(frozen=True)
class Policy:
    """What a policy did and what its predictions were worth. `losses`: sums of log loss by day [d]; where a policy has
    phases or seeds, means over them. `spread`: lowest and highest log loss of them, Mar-Dec and reported days."""

    name: str
    group: str
    trainings: float
    promotions: float | None
    losses: Array
    whole: Measured
    reported: Measured
    spread: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Period:
    """Days of a replay: flights [d] and week [d] of each, all of the replay's days."""

    rows: Array
    week: Array
    days: slice

    def difference(self, one: Policy, other: Policy, level: float = 0.95) -> Interval:
        """Mean log loss of one policy above another's, paired."""
        of = self.days
        return scores.mean((one.losses - other.losses)[of], self.rows[of], self.week[of], level)

    def share(self, one: Policy, worst: Policy, best: Policy) -> Interval:
        """Which part of the gain of `best` over `worst` a policy has."""
        of = self.days
        return scores.ratio((worst.losses - one.losses)[of], (worst.losses - best.losses)[of], self.week[of])


def policies(found: Sequence[Policy], period: Period, never: Policy, daily: Policy) -> str:
    """One row a policy, under headings of groups."""
    head = [
        *("policy", "trainings", "promoted", "log loss, Mar–Dec", "log loss, Jul–Dec", "above daily's, Jul–Dec"),
        *("share of daily's gain", "Brier", "AUC", "AUC, mean of weeks", "worst week", "worst slice"),
    ]
    text = ""
    for group in dict.fromkeys(p.group for p in found):
        rows = [_row(p, period, never, daily) for p in found if p.group == group]
        text += f"**{group}**\n\n{tables.table(head, rows)}\n"
    return text


def _row(p: Policy, period: Period, never: Policy, daily: Policy) -> list[str]:
    m = p.reported
    above = "–" if p is daily else signed(period.difference(p, daily))
    gain = "–" if p in (never, daily) else share(period.share(p, never, daily))
    low = ["", ""] if p.spread is None else [f" ({a:.4f}–{b:.4f})" for a, b in p.spread]
    return [
        p.name,
        f"{p.trainings:g}",
        "–" if p.promotions is None else f"{p.promotions:g}",
        f"{p.whole.log_loss:.4f}{low[0]}",
        f"{m.log_loss:.4f}{low[1]}",
        above,
        gain,
        f"{m.brier:.4f}",
        f"{m.auc:.4f}",
        f"{m.weekly_auc:.4f}",
        f"{m.worst_week:.3f}",
        f"{m.worst_slice} {m.worst_slice_surprise:+.3f}",
    ]


def pairs(told: Sequence[tuple[str, Interval, Interval]]) -> str:
    """Named differences, on the reported days and on all of them."""
    rows = [[name, signed(reported), signed(whole), "yes" if reported.sure else "no"] for name, reported, whole in told]
    return tables.table(["log loss of … less that of …", "Jul–Dec", "Mar–Dec", "more than chance, Jul–Dec"], rows)


def signed(found: Interval) -> str:
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def share(found: Interval) -> str:
    return f"{found.value * 100:.0f} % [{found.low * 100:.0f}, {found.high * 100:.0f}]"


# -- faults --------------------------------------------------------------------------------------------------------
WAYS = {"psi": "PSI of any feature > 0.2", "labels": "surprise > 0.03", "verdict": "this project's verdict"}


def broken(found: Sequence[Mapping[str, Any]]) -> str:
    """One row a fault: what it costs, and for each way to watch when it was seen, what was done, what that saved."""
    head = ["fault", "costs, if nothing is done"]
    for way in WAYS.values():
        head += [f"{way}: seen after", "done", "saved"]
    rows = []
    for name in dict.fromkeys(f["fault"] for f in found):
        of = [f for f in found if f["fault"] == name]
        cost = np.mean([f["none"]["loss"] - f["sound"] for f in of])
        rows.append(
            [name, "–" if name == faults.SOUND else f"{cost:+.4f}", *(c for way in WAYS for c in _way(of, way))]
        )
    return tables.table(head, rows)


def _way(of: Sequence[Mapping[str, Any]], way: str) -> list[str]:
    days = [f[way]["days"] for f in of if f[way]["days"] is not None]
    saved = [f["none"]["loss"] - f[way]["loss"] for f in of]
    when = "never" if not days else f"{np.median(days):.0f} d in {len(days)} of {len(of)}"
    done = Counter(f[way]["action"] for f in of)
    return [when, ", ".join(f"{action} {n}" for action, n in done.most_common()), f"{np.mean(saved):+.4f}"]


# -- the monitor's looks at a sound year ---------------------------------------------------------------------------
def looks(told: Sequence[Mapping[str, Any]], dates: Sequence[str], cut: int) -> str:
    """How often each verdict was given, and each spell of incidents with what fired; `dates` are those of the days."""
    parts = {"Mar–Jun": [t for t in told if t["day"] < cut], "Jul–Dec": [t for t in told if t["day"] >= cut]}
    states = ("healthy", "retrain", "incident", "insufficient", "rollback")
    counts = [[name, *(str(sum(t["state"] == s for t in of)) for s in states)] for name, of in parts.items()]
    spells: list[list[Mapping[str, Any]]] = []
    for t in told:
        if t["state"] == "incident":
            follows = bool(spells) and spells[-1][-1]["day"] == t["day"] - 1
            spells = [*spells[:-1], [*spells[-1], t]] if follows else [*spells, [t]]
    rows = [
        [dates[s[0]["day"]], str(len(s)), ", ".join(dict.fromkeys(c for t in s for c in t["causes"]))] for s in spells
    ]
    spelt = (
        tables.table(["incident called on", "looks in a row", "because of"], rows)
        if rows
        else "No incident was called.\n"
    )
    return f"{tables.table(['looks', *states], counts)}\n{spelt}"


# -- picture -------------------------------------------------------------------------------------------------------
def picture(title: str, found: Sequence[Policy], period: Period, daily: Policy) -> str:
    """Log loss above daily's, with its interval over weeks, one row a policy: an SVG that stands alone."""
    rows = []
    for p in found:
        if p is not daily:
            d = period.difference(p, daily)
            rows.append((f"{p.name.partition(' (')[0]} ({p.trainings:g})", d.value * 1e3, d.low * 1e3, d.high * 1e3))
    svg = pictures.intervals(title, rows, {"daily": 0.0})
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{_STYLE}", 1) + "\n"
