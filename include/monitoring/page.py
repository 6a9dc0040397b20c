"""The monitor's page: the verdict, how the champion does, what has moved. Evidently's report lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from include import pictures
from include.files import write_text
from include.metrics import METRICS
from include.monitoring.verdict import Finding, Verdict
from include.pictures import Span

EVIDENTLY = "evidently.html"  # beside the page
TOP_FEATURES = 15
_TONES = {"healthy": "good", "retrain": "warn", "incident": "bad", "insufficient": "plain"}
_MEANS = {
    "incident": "is an incident",
    "labels": "stops the judgement",
    "trigger": "asks for a retrain",
    "explains": "explains only",
}


def write(verdict: Verdict, evidence: Mapping[str, Any], path: Path) -> Path:
    """Write the page to `path`; it links to evidently.html in the same folder if that is there."""
    linked = (path.parent / EVIDENTLY).exists()
    return write_text(path, html(verdict, evidence, linked))


def html(verdict: Verdict, evidence: Mapping[str, Any], linked: bool = True) -> str:
    """The page as text."""
    window = evidence["window"]
    about = (
        f"{evidence['model']} version {evidence['version']}, {evidence['age_days']:.1f} days old, on the flights of "
        f"{window['first']} to {window['last']}, as known at {evidence['as_of']}."
    )
    link = f'<p><a href="{EVIDENTLY}">Evidently’s full report</a> (a sample of the flights)</p>' if linked else ""
    return pictures.document(
        f"Monitor: {verdict.state}",
        pictures.lead(f"Champion: {verdict.state}", verdict.reason, _TONES[verdict.state]),
        f'<p class="note">{about}</p>{link}',
        _findings(verdict),
        _performance(evidence["performance"]),
        _slices(evidence["performance"]),
        _drift(evidence["drift"]),
    )


def _findings(verdict: Verdict) -> str:
    rows = [
        (_status(f), f.name, _MEANS[f.kind], pictures.span(f.value, *(f.interval or (None, None))), f.threshold, f.unit)
        for f in verdict.findings
    ]
    table = pictures.table(("", "looked at", "if beyond its limit", "value [interval]", "limit", "unit"), rows)
    return pictures.section("What was looked at", "Incidents come before labels, labels before triggers.", table)


def _status(finding: Finding) -> str:
    return "beyond" if finding.fired else "within"


def _performance(found: Mapping[str, Any]) -> str:
    note = f"{found['labelled']:,} of {found['rows']:,} flights ({found['coverage']:.0%}) have a known label."
    if found["surprise"] is None:
        return pictures.section("Performance", note)
    rows = [(METRICS[name].title, METRICS[name].unit or "–", _told(value)) for name, value in found["scores"].items()]
    rows.append(("surprise: log loss above the model's own expectation", "nats", _told(found["surprise"])))
    days = found["daily"]
    series = {"log loss": [d["log_loss"] for d in days], "rate": [d["base_rate"] for d in days]}
    series["mean prediction"] = [d["predicted"] for d in days]
    picture = pictures.lines("Day by day", [d["day"][5:] for d in days], series)
    return pictures.section(
        "Performance",
        note + " Intervals are 95 % t intervals over days.",
        pictures.table(("metric", "unit", "value [interval]"), rows),
        pictures.figure(picture, "Each day's log loss (nats), share of flights not on time, and mean prediction."),
    )


def _slices(found: Mapping[str, Any]) -> str:
    worst = found["worst_slice"]
    if worst is None:
        return ""
    shown: list[Span] = [
        (f"{s['by']} {s['value']}", s["surprise"]["value"], s["surprise"]["low"], s["surprise"]["high"])
        for s in found["slices"]
        if s["rows"] >= 0.02 * found["labelled"]
    ]
    note = (
        f"Worst, by the lower end of its interval: {worst['by']} {worst['value']} ({worst['rows']:,} flights), "
        f"surprise {_told(worst['surprise'])} nats, log loss {_told(worst['log_loss'])}."
    )
    picture = pictures.intervals("Surprise by slice", shown, {"as expected": 0.0})
    return pictures.section("Slices", note, pictures.figure(picture, "Surprise of each slice, nats; right is worse."))


def _drift(drift: list[Mapping[str, Any]]) -> str:
    top = [d for d in drift if d["psi"] is not None][:TOP_FEATURES]
    picture = pictures.bars("Population stability index", [(d["feature"], d["psi"]) for d in top])
    rows = [
        (d["feature"], d["psi"], d["reference_mean"], d["mean"], f"{d['reference_nulls']:.1%}", f"{d['nulls']:.1%}")
        for d in drift
    ]
    head = ("feature", "PSI", "mean before", "mean now", "missing before", "missing now")
    return pictures.section(
        "Drift of features",
        "Against the rows that the champion was trained on. Most move every week, with season and weather.",
        pictures.figure(picture, f"The {len(top)} features that moved furthest."),
        pictures.table(head, rows),
    )


def _told(found: Mapping[str, Any] | None) -> str:
    return "–" if found is None else pictures.span(found["value"], found["low"], found["high"])
