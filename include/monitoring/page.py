"""The monitor's page: the verdict, what it rests on, and what explains it. It stands alone; Evidently's reports lie in
the folder of the task `report` beside it.

Coverage comes with every number that needs labels: a mean over the few flights that are known early is a mean over
those that were on time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from include import pictures
from include.files import write_text
from include.metrics import METRICS
from include.monitoring.verdict import Finding, Verdict
from include.pictures import Span

Found = Mapping[str, Any]

REPORTS = {"day": "../report/day/evidently.html", "week": "../report/week/evidently.html"}  # of the task beside
TOP_FEATURES = 15
STATED = 14  # days of which it is told what was said before
PARTS = 3  # of a feed check that are shown
_TONES = {"healthy": "good", "retrain": "warn", "rollback": "bad", "incident": "bad", "insufficient": "plain"}
_MEANS = {
    "incident": "is an incident",
    "labels": "stops the judgement",
    "rollback": "asks for a rollback",
    "trigger": "asks for a retrain",
    "level": "tells somebody to look",
    "explains": "explains only",
}
_TITLES = {name: metric.title for name, metric in METRICS.items()} | {
    "accuracy": "accuracy of the answers",
    "base_rate": "share not on time",
}
_UNITS = {name: metric.unit or "–" for name, metric in METRICS.items()} | {"accuracy": "share", "base_rate": "share"}


def write(verdict: Verdict, evidence: Found, path: Path, evidently_url: str = "") -> Path:
    """Write the page to `path`. `evidently_url`: where `evidently ui` answers, for a link; empty: nowhere."""
    return write_text(path, html(verdict, evidence, evidently_url))


def html(verdict: Verdict, evidence: Found, evidently_url: str = "") -> str:
    """The page as text. `evidence`: see evidence.collect; parts that are None or absent are left out."""
    performance, drift = evidence["performance"], evidence["drift"]
    return pictures.document(
        f"Monitor: {verdict.state}",
        pictures.lead(f"Champion: {verdict.state}", verdict.reason, _TONES[verdict.state]),
        _about(evidence),
        _links(evidently_url),
        _partial(performance),
        _findings(verdict),
        _feed(evidence.get("feed"), any(f.kind == "incident" and f.fired for f in verdict.findings)),
        _scores(performance),
        _answered(performance.get("answered"), evidence["version"]),
        _rival(evidence.get("rival"), evidence["version"]),
        _estimated(performance),
        _days(performance),
        _stated(evidence.get("history")),
        _slices(performance),
        _levels(verdict, evidence.get("service")),
        _skew(evidence.get("skew")),
        _volume(evidence.get("volume")),
        _drift(drift),
    )


# -- head ----------------------------------------------------------------------------------------------------------
def _about(evidence: Found) -> str:
    window = evidence["window"]
    flights = f"the flights of {window['first']} to {window['last']}" if window["first"] else "no flights"
    told = (
        f"{evidence['model']} version {evidence['version']}, {evidence['age_days']:.1f} days old, on {flights} that"
        f" were asked about, as known at {evidence['as_of']}."
    )
    if again := window.get("rescored"):
        told += f" {again:,} of them this version did not score when they were asked about: it has done so now."
    return f'<p class="note">{escape(told)}</p>'


def _links(evidently_url: str) -> str:
    links = [f'<a href="{address}">the {span}</a>' for span, address in REPORTS.items()]
    text = f"Evidently’s reports of {' and of '.join(links)}, once the task <em>report</em> has written them"
    if evidently_url.startswith(("http://", "https://")):
        text += f'; all of them, with a dashboard: <a href="{escape(evidently_url)}">Evidently</a>'
    return f"<p>{text}.</p>"


def _partial(performance: Found) -> str:
    """Said before any number: what share of the flights the numbers are of."""
    told = _coverage(performance)
    if not performance.get("partial"):
        return f"<p>{escape(told)}</p>"
    loud = f"Partial: {told} What needs labels is marked as partial, and is of flights that need not be like the rest."
    return f'<div class="lead warn"><strong>{escape(loud)}</strong></div>'


def _coverage(performance: Found) -> str:
    told = f"{performance['labelled']:,} of {performance['rows']:,} flights"
    if "coverage_all" not in performance:
        return f"{told} ({performance['coverage']:.0%}) have a known label."
    return (
        f"{told} ({performance['coverage_all']:.0%}) have a mature, known label; of the {performance['mature']:,} whose"
        f" label is mature, {performance['coverage']:.0%}."
    )


def _marked(title: str, performance: Found) -> str:
    return f"{title} (partial)" if performance.get("partial") else title


# -- the verdict ---------------------------------------------------------------------------------------------------
def _findings(verdict: Verdict) -> str:
    looked = [f for f in verdict.findings if f.kind != "level"]
    rows = [
        (
            *(_status(f), f.name, _MEANS[f.kind], pictures.span(f.value, *(f.interval or (None, None)))),
            *(f.threshold, f.unit, f.reason),
        )
        for f in sorted(looked, key=lambda f: (f.kind == "explains", not f.persistent, not f.fired))
    ]
    note = "Incidents come before labels, labels before a rollback, that before triggers. What is beyond its limit "
    note += "decides once it persists: at enough of the last looks, this one included."
    head = ("", "looked at", "if it persists", "value [interval]", "limit", "unit", "in words")
    return pictures.section("What the verdict rests on", note, pictures.table(head, rows))


def _status(finding: Finding) -> str:
    if finding.fired and finding.kind in ("level", "explains"):
        return "beyond"
    if finding.fired:
        return "beyond, persists" if finding.persistent else "beyond, not yet at enough looks"
    return "within" if finding.value is not None else "cannot be told"


# -- the feed ------------------------------------------------------------------------------------------------------
def _feed(feed: Found | None, broken: bool) -> str:
    """Folded while nothing is broken: the worst of each check stands above."""
    if not feed:
        return ""
    checks = feed["checks"].values()
    rows = [(c["name"], p["of"], p["value"], c["unit"], p["told"]) for c in checks for p in c["parts"][:PARTS]]
    silent = [c["name"] for c in checks if not c["parts"]]
    note = "What broken feeds leave behind and seasons do not, in the newest flights."
    if silent:
        note += f" Too few flights to tell: {', '.join(silent)}."
    table = pictures.table(("check", "of", "value", "unit", "in words"), rows)
    folded = f"<details{' open' if broken else ''}><summary>The {PARTS} worst of each check</summary>{table}</details>"
    return pictures.section("The feed", note, folded)


# -- performance ---------------------------------------------------------------------------------------------------
def _scores(performance: Found) -> str:
    note = f"{_coverage(performance)} Intervals are 95 % t intervals over days."
    title = _marked("Performance of the champion", performance)
    if performance["surprise"] is None:
        return pictures.section(title, f"{note} Without labels there is no performance.")
    training = performance.get("training") or {}
    rows = [
        (_TITLES.get(name, name), _UNITS.get(name, "–"), _told(value), training.get(name))
        for name, value in performance["scores"].items()
    ]
    rows.append(("surprise: log loss above the model's own expectation", "nats", _told(performance["surprise"]), None))
    rows.append((_TITLES["base_rate"], "share", pictures.number(performance["base_rate"]), training.get("base_rate")))
    return pictures.section(
        title, note, pictures.table(("metric", "unit", "value [interval]", "on its training rows"), rows)
    )


def _answered(answered: Found | None, champion: str) -> str:
    """What clients were told, beside what the champion says of the same flights."""
    if not answered:
        return ""
    rows = [
        (f"version {version}", of["rows"], of["log_loss"], of["champion_log_loss"])
        for version, of in answered["by_version"].items()
    ]
    all_of = (_told(answered["log_loss"]), _told(answered["champion_log_loss"]))
    note = f"{answered['rows']:,} labelled answers, whichever version gave them. Log loss, nats: as answered "
    note += f"{all_of[0]}, of version {champion} on the same flights {all_of[1]}, difference "
    note += f"{_told(answered['difference'])}."
    head = ("answered by", "answers", "log loss as answered", f"log loss of version {champion}")
    return pictures.section("As answered, by version", note, pictures.table(head, rows))


def _rival(rival: Found | None, champion: str) -> str:
    if not rival or not rival.get("loss"):
        return ""
    note = f"Log loss of version {champion} minus that of version {rival['version']} on the same flights, which neither"
    note += f" was trained on: {_told(rival['loss'])} nats. Above zero, the version before did better."
    return pictures.section("Beside the version before", note)


def _estimated(performance: Found) -> str:
    """Expected before labels come, beside what came, and how far such estimates have been off."""
    expected = performance.get("estimated")
    if not expected:
        return ""
    came = {name: (performance["scores"].get(name) or {}).get("value") for name in ("log_loss", "accuracy")}
    came["base_rate"] = performance["base_rate"]
    waiting = expected["unlabelled"] or {}
    rows = [
        (_TITLES[name], expected[name], waiting.get(name), came[name], _told(expected["error"][name])) for name in came
    ]
    bend = expected["bend"]
    note = "From the champion's own scores, calibrated on the labels of earlier days "
    note += (
        f"({bend['rows']:,} labels of {bend['days']} days: slope {bend['slope']:.3f}, offset {bend['offset']:+.3f}). "
    )
    note += "The known error is estimate minus truth where a label has come; a change of what scores mean is unseen."
    head = ("", "estimate, all flights", f"not yet labelled ({waiting.get('rows', 0):,})", "labelled: truth")
    return pictures.section(
        "Estimated before labels come", note, pictures.table((*head, "known error of the estimate [interval]"), rows)
    )


def _stated(history: Found | None) -> str:
    """What looks said of a day first and say now, and what estimates made before the labels have been worth."""
    if not history or not history["days"]:
        return ""
    errors, rows = history["errors"], []
    for told in history["days"][-STATED:]:
        first, newest = told["first"] or {}, told["newest"]
        shares = (f"{found['coverage']:.0%}" if found else "–" for found in (first, newest))
        change = told["changed"]["log_loss"]
        rows.append(
            (
                *(told["day"], told["version"], told["looks"], told["estimated"]["estimated_log_loss"]),
                *(first.get("log_loss"), newest["log_loss"], None if change is None else f"{change:+.4f}", *shares),
            )
        )
    head = ("day", "version", "looks", "estimated first", "first", "now", "change", "coverage first", "now")
    note = f"Log loss of each day as looks stated it. {errors['days']} of the last days have their labels: "
    found = errors["log_loss"]
    note += (
        f"their first estimates were off by {_told(found)} nats in the mean, and by {found['absolute']:.4f} on a day."
        if found
        else "what the estimates are worth is not known yet."
    )
    return pictures.section("Stated before, and stated anew", note, pictures.table(head, rows))


def _days(performance: Found) -> str:
    days = performance["daily"]
    if not days:
        return ""
    names, estimates = [d["day"][5:] for d in days], _by_day(performance)
    loss = {"log loss": [d["log_loss"] for d in days], "estimated": _series(estimates, days, "log_loss")}
    rate = {"share not on time": [d["base_rate"] for d in days], "mean prediction": [d["predicted"] for d in days]}
    rate["estimated share"] = _series(estimates, days, "base_rate")
    shown = [
        pictures.figure(pictures.lines(title, names, series), caption)
        for title, series, caption in (
            ("Log loss, day by day", loss, "Log loss (nats) of each local day's labelled flights, and its estimate."),
            ("Rate, day by day", rate, "Share of flights not on time, mean prediction, and the estimated share."),
        )
        if any(v is not None for values in series.values() for v in values)
    ]
    rows = [
        (d["day"], d["rows"], d.get("mature"), d["labelled"], f"{d['coverage']:.0%}", d["log_loss"], d["base_rate"])
        for d in days
    ]
    head = ("day", "flights", "label mature", "labelled", "coverage", "log loss", "share not on time")
    note = "A day's numbers are stated anew as its labels come: the newest days are of few."
    return pictures.section(_marked("Day by day", performance), note, *shown, pictures.table(head, rows))


def _by_day(performance: Found) -> dict[str, Found]:
    return {d["day"]: d for d in (performance.get("estimated") or {"daily": ()})["daily"]}


def _series(by_day: Mapping[str, Found], days: Sequence[Found], name: str) -> list[float | None]:
    return [by_day.get(d["day"], {}).get(name) for d in days]


def _slices(performance: Found) -> str:
    worst = performance["worst_slice"]
    if worst is None:
        return ""
    shown: list[Span] = [
        (f"{s['by']} {s['value']}", s["surprise"]["value"], s["surprise"]["low"], s["surprise"]["high"])
        for s in performance["slices"]
        if s["rows"] >= 0.02 * performance["labelled"] or s == worst
    ]
    note = (
        f"Worst, by the lower end of its interval: {worst['by']} {worst['value']} ({worst['rows']:,} flights), "
        f"surprise {_told(worst['surprise'])} nats, log loss {_told(worst['log_loss'])}, mean prediction minus rate "
        f"{_told(worst['bias'])}."
    )
    picture = pictures.intervals("Surprise by slice", shown, {"as expected": 0.0})
    caption = "Surprise of each slice with at least 2 % of the labelled flights, nats; right is worse."
    return pictures.section(_marked("Slices", performance), note, pictures.figure(picture, caption))


# -- the service ---------------------------------------------------------------------------------------------------
def _levels(verdict: Verdict, service: Found | None) -> str:
    """The levels that the verdict looked at, and what is behind those of the service."""
    levels = [f for f in verdict.findings if f.kind == "level"]
    told = {f"level_{name}": part for name, part in (service or {}).items()}
    rows = [
        (
            *(_status(f), f.name.removeprefix("level_").replace("_", " "), f.value),
            *(f.threshold, told.get(f.name, {}).get("unit") or f.unit, told.get(f.name, {}).get("told") or f.reason),
        )
        for f in sorted(levels, key=lambda f: not f.fired)
    ]
    return pictures.section(
        "Levels",
        "Beyond one of these somebody should look. None says anything about the model, and none asks for a retrain.",
        pictures.table(("", "level of", "value", "level", "unit", "in words"), rows),
    )


def _skew(skew: Found | None) -> str:
    title = "Skew audit"
    if not skew:
        return pictures.section(title, "Nothing was audited: nobody asked in the day before.")
    if skew["rate"] is None:
        note = "No audited answer used features that the service had fetched itself."
    else:
        note = f"{skew['mismatched']:,} of {skew['rows']:,} audited answers ({skew['rate']:.2%}) used other features "
        note += "than the lake gives for their moment, compared to the bit."
    given = skew.get("given") or {}
    if given.get("rows"):
        note += f" Of {given['rows']:,} answers to features that the request brought, {given['mismatched']:,} differ."
    if skew.get("unmatched"):
        note += f" {skew['unmatched']:,} could not be made again."
    rows = [
        (of["feature"], of["mismatched"], of["missing"], of["largest"], _example(of["example"]))
        for of in skew["by_feature"]
    ]
    head = ("feature", "answers that differ", "of them without a value", "largest difference", "for example")
    return pictures.section(title, note, pictures.table(head, rows) if rows else "")


def _example(found: Found | None) -> str | None:
    if not found:
        return None
    used, there = (pictures.number(found[side]) for side in ("logged", "recomputed"))
    return f"flight {found['flight_id']}: used {used}, the lake has {there}"


def _volume(volume: Found | None) -> str:
    if not volume or not volume.get("days"):
        return ""
    days = volume["days"]
    series: dict[str, Sequence[float | None]] = {
        "asked about": [d["asked"] for d in days],
        "scheduled": [d["scheduled"] for d in days],
    }
    latency = volume.get("latency_ms") or {}
    note = f"{volume['predictions']:,} answers for {volume['flights']:,} flights, of which {volume['sampled']:,} are "
    note += f"looked at in detail; latency p50 {_ms(latency.get('p50'))}, p99 {_ms(latency.get('p99'))}."
    picture = pictures.lines("Volume", [d["day"][5:] for d in days], series)
    return pictures.section(
        "Volume", note, pictures.figure(picture, "Flights of each local date: asked about, and scheduled.")
    )


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} ms"


# -- what explains -------------------------------------------------------------------------------------------------
def _drift(drift: Sequence[Found]) -> str:
    if not drift:
        return ""
    top = [d for d in drift if d["psi"] is not None][:TOP_FEATURES]
    picture = pictures.bars("Population stability index", [(d["feature"], d["psi"]) for d in top])
    rows = [
        (d["feature"], d["psi"], d["reference_mean"], d["mean"], f"{d['reference_nulls']:.1%}", f"{d['nulls']:.1%}")
        for d in drift
    ]
    head = ("feature", "PSI", "mean before", "mean now", "missing before", "missing now")
    return pictures.section(
        "Drift of features, which only explains",
        "Against the rows that the champion was trained on. Most move every week, with season and weather.",
        pictures.figure(picture, f"The {len(top)} features that moved furthest.") if top else "",
        pictures.table(head, rows),
    )


def _told(found: Found | None) -> str:
    return "–" if found is None else pictures.span(found["value"], found["low"], found["high"])
