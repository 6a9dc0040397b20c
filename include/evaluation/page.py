"""The gate's verdict as a page: what was decided, each check, and pictures of what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from include import pictures
from include.evaluation.evidence import Evidence, Scored
from include.evaluation.gate import Verdict
from include.files import write_text
from include.metrics import METRICS, Estimate
from include.pictures import Span

TOP_FEATURES = 20
SHOWN_SHARE = 0.02  # of the holdout: a smaller slice is in the table, but would stretch the picture


def write(
    verdict: Verdict, evidence: Mapping[str, Any], path: Path, importance: Mapping[str, float] | None = None
) -> Path:
    """Write the page to `path`. `importance`: mean absolute contribution of each feature, in log odds."""
    return write_text(path, html(verdict, evidence, importance))


def html(verdict: Verdict, evidence: Mapping[str, Any], importance: Mapping[str, float] | None = None) -> str:
    """The page as text. Evidence that cannot be read still gives a page with the verdict and its checks."""
    word = "accepted" if verdict.accepted else "rejected"
    parts = [pictures.lead(f"Challenger {word}", verdict.reason, "good" if verdict.accepted else "bad")]
    known = None if verdict.rule == "unknown" else Evidence.model_validate(dict(evidence))
    if known is not None:
        parts.append(_what(known))
    parts.append(_checks(verdict))
    if known is not None and known.challenger.scores is not None:
        parts += [_scores(known), _days(known), _calibration(known), _slices(known)]
    if importance:
        parts.append(_importance(importance))
    return pictures.document(f"Gate: {word}", *parts)


def _what(known: Evidence) -> str:
    held = known.holdout
    champion = known.champion
    other = (
        f"champion version {champion.version}, trained until {champion.trained_until}"
        if isinstance(champion, Scored)
        else "no champion yet"
    )
    text = (
        f"{known.model}: challenger trained until {known.challenger.trained_until}; {other}. Both judged on "
        f"{held.rows:,} flights of {held.first} to {held.last} that none was trained on; {held.base_rate:.1%} of them "
        f"were not on time. Intervals are {known.confidence:.0%} t intervals over days."
    )
    return f'<p class="note">{text}</p>'


def _checks(verdict: Verdict) -> str:
    rows = [
        (c.passed, c.name, pictures.span(c.value, *(c.interval or (None, None))), c.threshold, c.unit, c.reason)
        for c in verdict.checks
    ]
    head = ("", "check", "value [interval]", "limit", "unit", "why")
    return pictures.section("Checks", "All must pass.", pictures.table(head, rows))


def _scores(known: Evidence) -> str:
    found = {"challenger": known.challenger.scores, "naive baseline": known.baseline}
    if isinstance(known.champion, Scored):
        found["champion"] = known.champion.scores
    models: dict[str, dict[str, Estimate | None]] = {who: dict(s) for who, s in found.items() if s is not None}
    order = [name for name in ("challenger", "champion", "naive baseline") if name in models]
    rows = [(METRICS[m].title, METRICS[m].unit or "–", *(_told(models[who].get(m)) for who in order)) for m in METRICS]
    losses = [_span(who, models[who].get("log_loss")) for who in order]
    picture = pictures.intervals("Log loss of each model", [s for s in losses if s])
    differences = {"challenger − champion": known.difference, "challenger − naive baseline": known.against_baseline}
    paired = [s for name, found in differences.items() if (s := _span(name, found))]
    return pictures.section(
        "Scores",
        "Single scores share the week's weather; the paired differences below do not, and they are what is judged.",
        pictures.table(("metric", "unit", *order), rows),
        pictures.figure(picture, "Log loss, nats; lower is better."),
        pictures.figure(
            pictures.intervals("Differences of log loss", paired, {"equal": 0.0}),
            "Log loss, challenger minus the other, nats; left of zero the challenger is better.",
        ),
    )


def _days(known: Evidence) -> str:
    series: dict[str, list[float | None]] = {"challenger": [d.challenger for d in known.daily]}
    if isinstance(known.champion, Scored):
        series["champion"] = [d.champion for d in known.daily]
    series["naive baseline"] = [d.baseline for d in known.daily]
    picture = pictures.lines("Log loss of each day", [d.day[5:] for d in known.daily], series)
    return pictures.section("Day by day", "", pictures.figure(picture, "Log loss of each day's flights, nats."))


def _calibration(known: Evidence) -> str:
    points = [(str(b.predicted), b.rate.value, b.rate.low, b.rate.high) for b in known.calibration]
    note = "Tenths of the flights by prediction. Above the diagonal more flights were not on time than predicted."
    return pictures.section("Calibration", note, pictures.calibration("Observed rate over prediction", points))


def _slices(known: Evidence) -> str:
    against = "champion" if isinstance(known.champion, Scored) else "naive baseline"
    head = ("slice", "flights", "base rate", "log loss", "bias", f"difference to {against}")
    parts = []
    for by in known.sliced_by:
        found = [s for s in known.slices if s.by == by]
        large = [s for s in found if s.rows >= SHOWN_SHARE * known.holdout.rows]
        shown: list[Span] = [(s.value, s.difference.value, s.difference.low, s.difference.high) for s in large]
        parts.append(
            pictures.figure(pictures.intervals(f"Differences by {by}", shown, {"equal": 0.0}), f"By {by}, nats.")
        )
        rows = [(s.value, s.rows, s.base_rate, _told(s.log_loss), _told(s.bias), _told(s.difference)) for s in found]
        parts.append(pictures.table(head, rows))
    note = (
        f"Log loss of the challenger minus that of the {against}; small slices have wide intervals and are not judged."
    )
    return pictures.section("Slices", note, *parts)


def _importance(importance: Mapping[str, float]) -> str:
    top = sorted(importance.items(), key=lambda item: -abs(item[1]))[:TOP_FEATURES]
    picture = pictures.bars("Feature contributions", [(name, float(value)) for name, value in top])
    note = "How far each feature moves a prediction, mean absolute contribution in log odds, on a sample."
    return pictures.section("Feature contributions", note, picture)


def _told(found: Estimate | None) -> str:
    return "–" if found is None else pictures.span(found.value, found.low, found.high)


def _span(name: str, found: Estimate | None) -> Span | None:
    return None if found is None else (name, found.value, found.low, found.high)
