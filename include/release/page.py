"""A release as a page: how far it has come, what was decided and on which numbers; and as the approval's text."""

from __future__ import annotations

from html import escape
from pathlib import Path

from include import pictures
from include.files import write_text
from include.metrics import METRICS
from include.models.spec import Rollout
from include.pictures import Span
from include.release.observe import Mean, Observation, Speed
from include.release.rollout import APPROVAL, CANARY, SHADOW, Check, Move, State, sequence

TITLES = {
    "wait": ("is being watched", "plain"),
    "ask": ("needs an approval", "warn"),
    "advance": ("goes on", "good"),
    "promote": ("is promoted", "good"),
    "roll_back": ("is rolled back", "bad"),
    "hold": ("is on hold", "warn"),
}


def write(policy: Rollout, seen: Observation, state: State, move: Move, path: Path, about: str = "") -> Path:
    """Write the page to `path`. `state`: where the release stood when it was judged; `about`: who challenges whom."""
    return write_text(path, html(policy, seen, state, move, about))


def html(policy: Rollout, seen: Observation, state: State, move: Move, about: str = "") -> str:
    """The page as text."""
    title, tone = TITLES[move.kind]
    note = (
        f"{about + '. ' if about else ''}Seen at {seen.at} (data time), {seen.release_hours:.1f} h after the release "
        f"began. Intervals hold at {policy.confidence:.0%} over all looks together."
    )
    return pictures.document(
        f"Release: {move.kind}",
        pictures.lead(f"Challenger {title}", move.reason, tone),
        f'<p class="note">{escape(note)}</p>',
        _stages(policy, seen, state, move),
        _checks(move),
        _quality(policy, seen),
        _traffic(seen),
    )


def evidence_text(policy: Rollout, seen: Observation, move: Move) -> str:
    """Short Markdown for the approval's body: what was compared, and each check in a line."""
    rows = [("check", "value", "limit", ""), ("---", "---", "---", "---")]
    rows += [(c.name, _value(c), f"{c.threshold:g} {c.unit}".strip(), _word(c)) for c in move.checks]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    steps = " → ".join(f"{share:.0%}" for share in policy.steps)
    return (
        f"{move.reason}\n\n{table}\n\n"
        f"Compared in the shadow for {seen.release_hours:.1f} h: {seen.pairs:,} requests of {seen.flights:,} flights, "
        f"{seen.labelled:,} of them labelled. Intervals hold at {policy.confidence:.0%} over all looks together.\n\n"
        f"Approved, it answers {steps} of the flights, is judged at each step, and is rolled back by itself if it is "
        "bad. Rejected, or not approved in time, it leaves; the champion stays either way until the last step.\n"
    )


def _word(check: Check) -> str:
    return "bad" if check.bad else "holds" if check.passed else "open"


def _value(check: Check) -> str:
    return pictures.span(check.value, *(check.interval or (None, None)))


# -- parts ---------------------------------------------------------------------------------------------------------
def _stages(policy: Rollout, seen: Observation, state: State, move: Move) -> str:
    """The way, and where the release stands on it."""
    way = [State(stage=SHADOW), *([State(stage=APPROVAL)] if policy.approval else [])]
    way += [State(stage=CANARY, step=step) for step in range(len(policy.steps))]
    names = [s.stage if s.stage != CANARY else f"canary {s.share(policy):.0%}" for s in way]
    here = way.index(state) if state in way else -1
    rows = [(name, _progress(i, here, seen, move)) for i, name in enumerate(names)]
    rows.append(("champion", "reached" if move.kind == "promote" else "ahead"))
    needs: list[tuple[str, int, int, bool]] = [(n.name, n.have, n.wanted, n.met) for n in move.needs]
    return pictures.section(
        "Stages",
        "A stage ends when its sample is complete and every check holds; a bad check ends the release at any time.",
        pictures.table(("stage", "state"), rows),
        pictures.table(("needed before this stage may end", "seen", "wanted", ""), needs),
    )


def _progress(number: int, here: int, seen: Observation, move: Move) -> str:
    if number < here:
        return "done"
    if number > here:
        return "ahead"
    if move.kind in ("ask", "advance", "promote"):
        return f"done after {seen.hours:.1f} h"
    return f"{'ended' if move.kind == 'roll_back' else 'here'}, {seen.hours:.1f} h"


def _checks(move: Move) -> str:
    rows = [(_word(c), c.name, _value(c), c.threshold, c.unit, c.reason) for c in move.checks]
    note = (
        "bad: surely beyond its limit. holds: the number is within it. open: beyond, but not surely; more is awaited."
    )
    return pictures.section(
        "Checks", note, pictures.table(("", "check", "value [interval]", "limit", "unit", "why"), rows)
    )


def _quality(policy: Rollout, seen: Observation) -> str:
    if seen.loss is None or seen.log_loss is None or seen.brier is None or seen.bias is None:
        return pictures.section("Quality", "No label is known yet.")
    order = ("challenger", "champion")
    rows: list[tuple[str | float, ...]] = [
        (METRICS["log_loss"].title, "nats", *(seen.log_loss[who] for who in order)),
        (METRICS["brier"].title, "–", *(seen.brier[who] for who in order)),
        (METRICS["bias"].title, "probability", *(_told(policy, seen.bias[who]) for who in order)),
    ]
    losses = [_span(policy, "log loss, nats", seen.loss)]
    shifts = [_span(policy, "score", seen.shift)] if seen.shift else []
    margin, shift = policy.loss_margin, policy.max_shift
    return pictures.section(
        "Quality",
        f"On {seen.labelled:,} labelled flights that both have scored; each counts once.",
        pictures.table(("metric", "unit", *order), rows),
        pictures.figure(
            pictures.intervals("Log loss", losses, {"equal": 0.0, "limit": margin}),
            "Log loss, challenger minus champion; left of zero the challenger is better.",
        ),
        pictures.figure(
            pictures.intervals("Mean score", shifts, {"": 0.0, "limit": shift, "limit ": -shift}),
            "Mean score, challenger minus champion, on the same requests.",
        ),
    )


def _traffic(seen: Observation) -> str:
    rows: list[tuple[str, str]] = [
        ("requests compared", f"{seen.pairs:,} logged, about {seen.requests:,.0f} made"),
        ("flights compared", f"{seen.flights:,}, {seen.labelled:,} labelled"),
        ("answers in this stage", ", ".join(f"version {v}: {n:,}" for v, n in seen.answers.items()) or "none"),
        ("with stale features", "–" if seen.stale is None else f"{seen.stale:.1%}"),
    ]
    timed: list[tuple[str, int, float, float]] = [
        row for name, speed in (("model", seen.model_us), ("answer", seen.latency_us)) for row in _times(name, speed)
    ]
    return pictures.section(
        "Traffic",
        "",
        pictures.table(("what", "seen"), rows),
        pictures.table(("microseconds", "requests", "median", "99 %"), timed),
    )


def _times(name: str, speed: Speed | None) -> list[tuple[str, int, float, float]]:
    if speed is None:
        return []
    of = {"challenger": speed.challenger, "champion": speed.champion}
    return [(f"{name}, {who}", t.rows, round(t.median), round(t.p99)) for who, t in of.items()]


def _told(policy: Rollout, found: Mean) -> str:
    return pictures.span(found.value, *(sequence(found, policy.confidence) or (None, None)))


def _span(policy: Rollout, name: str, found: Mean) -> Span:
    low, high = sequence(found, policy.confidence) or (None, None)
    return name, found.value, low, high
