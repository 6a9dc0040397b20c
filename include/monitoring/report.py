"""Evidently's reports of the last day and the last week against what the champion was trained on.

Each span is one Evidently snapshot made of three runs, because three questions need three sets of rows:

- *drift and summary*: all flights that were asked about in the span, beside the training's rows (PSI by feature, the
  score among them);
- *quality*: flights whose label became mature in the span. A day's flights are not labelled when it ends, and those
  that are known early are the ones that were on time, so a day's quality is that of the labels of that day;
- *service*: volume, staleness, latency and coverage, which Evidently knows as means and quantiles of columns.

Importing Evidently takes 4 to 7 s, so only this module and workspace.py do. It costs some fifty times a plain PSI, so
large windows are sampled; the verdict does not rest on it but on include.monitoring.drift, over all rows.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args

os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.core.report import Snapshot
from evidently.core.serialization import ReportModel, SnapshotModel
from evidently.metrics import MeanValue, QuantileValue
from evidently.presets import ClassificationQuality, DataDriftPreset, DatasetStats

from include import pictures
from include.contracts import CLUSTER
from include.files import replacing, write_json, write_text
from include.metrics import Array
from include.models.spec import ModelSpec
from include.monitoring.drift import MIN_ROWS
from include.times import parse

Span = Literal["day", "week"]
SPANS: tuple[Span, ...] = get_args(Span)
HTML, JSON = "evidently.html", "evidently.json"  # in a folder of the span's name; the HTML is gzipped (.gz)
SAMPLE = 5_000  # rows of each side: of a week of 6,000 nearly all, of ten million a picture
SCORE, GAP = "score", "gap"  # the model's answer; that answer minus what came
LATENCY, STALE, KNOWN, FLIGHTS = "latency_ms", "stale", "known", "flights_a_day"
_P99 = 0.99
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Made:
    """One span's report: Evidently's snapshot, and its numbers by name."""

    snapshot: SnapshotModel
    summary: dict[str, Any]


def make(
    spec: ModelSpec,
    window: pd.DataFrame,
    p: Array,
    reference: pd.DataFrame,
    reference_p: Array,
    evidence: Mapping[str, Any],
    span: Span,
    unseen_after: str = "",
) -> Made | None:
    """Report on the last `span` of a window [n flights, see window.build] with a version's scores `p` [n].

    `p` is NaN where the version did not score a flight: such rows count for volume only. `reference` [m] are rows
    that the version was trained on, `reference_p` [m] its scores of them. `evidence`: see evidence.collect.
    `unseen_after`: the version's trained_until; quality is that of later local dates.
    None when nobody asked in the span. Raises ValueError when `p` does not fit the window, or for another span.
    """
    if span not in SPANS:
        raise ValueError(f"span {span!r} is none of {', '.join(SPANS)}")
    if np.shape(p) != (len(window),):
        raise ValueError(f"expected a score for each of {len(window)} flights of the window, got shape {np.shape(p)}")
    asked, judged = rows(spec, window, p, evidence["as_of"], span)
    judged = judged[judged[CLUSTER].astype(str) > unseen_after]
    if asked.empty:
        return None
    before = _scored(spec, reference, reference_p)
    parts = {
        "service": _service(spec, window, asked, evidence, span),
        "drift": _drift(spec, asked[np.isfinite(asked[SCORE])], before),
        "quality": _quality(spec, judged, before),
    }
    shown = {name: part for name, part in parts.items() if part is not None}
    counted = {"asked": len(asked), "judged": len(judged), "sample": min(SAMPLE, len(asked))}
    snapshot = _merged([shown[name] for name in ("drift", "quality", "service") if name in shown], evidence, span)
    return Made(snapshot, _summary(spec, shown, evidence, span, counted))


def period(as_of: str, span: Span) -> str:
    """The day or ISO week that the last `span` before as-of belongs to, e.g. 2013-04-07 or 2013-W14.

    A look in the early morning is about the day before; a week is looked at daily, and its last look stays.
    """
    middle = parse(as_of) - _DAY / 2
    return f"{middle:%Y-%m-%d}" if span == "day" else f"{middle:%G-W%V}"


def write(made: Made, folder: Path) -> dict[str, Any]:
    """Write evidently.html.gz and evidently.json into folder/<span>; returns the JSON's content."""
    own = folder / made.summary["span"]
    text = Snapshot.load_model(made.snapshot).get_html_str(as_iframe=False)
    with replacing(own / f"{HTML}.gz") as part:
        part.write_bytes(gzip.compress(text.encode(), mtime=0))
    write_json(own / JSON, made.summary)
    return made.summary


def index(summaries: Sequence[Mapping[str, Any]], path: Path, evidently_url: str = "") -> Path:
    """Write the page that leads to the reports written (see `write`) in its folder; at `path`, as HTML.

    `evidently_url`: where `evidently ui` answers; empty: nowhere.
    """
    links = [f'<a href="{told["span"]}/{HTML}">The {told["span"]} {told["period"]}</a>' for told in summaries]
    if evidently_url.startswith(("http://", "https://")):
        links.append(f'<a href="{escape(evidently_url)}">All of them, with a dashboard: Evidently</a>')
    names = [told["span"] for told in summaries]
    absent = [f"Nobody asked in the {span}: no report of it." for span in SPANS if span not in names]
    note = " ".join([_HOW, *absent])
    rows = [(name, *(_told(read, told) for told in summaries)) for name, read in _SHOWN.items()]
    table = pictures.table(("", *names), rows) if summaries else ""
    text = pictures.document(
        "Evidently’s reports",
        "<h1>Evidently’s reports</h1>",
        *(f"<p>{link}</p>" for link in links),
        pictures.section("In short", note, table),
    )
    return write_text(path, text)


_HOW = (
    "Measured by Evidently, on a sample where there are many flights. Quality is that of the labels that became mature "
    "in the span. Drift explains; it asks for nothing. PSI is by Evidently's bins and of this span: the verdict goes "
    "by the monitor's own, which is on its page."
)
_SHOWN: dict[str, tuple[str, ...]] = {
    "flights asked about": ("rows", "asked"),
    "labels that became mature": ("rows", "judged"),
    "log loss, nats": ("quality", "LogLoss"),
    "mean prediction minus rate": ("quality", GAP),
    "PSI of the score": ("drift", SCORE),
    "share of columns with a PSI beyond its level": ("drifted_share",),
    "share of stale answers": ("service", STALE),
    "latency p99, ms": ("service", LATENCY),
}


def _told(keys: Sequence[str], summary: Mapping[str, Any]) -> float | None:
    value: Any = summary
    for key in keys:
        value = (value or {}).get(key)
    return None if value is None else float(value)


# -- rows ----------------------------------------------------------------------------------------------------------
def rows(spec: ModelSpec, window: pd.DataFrame, p: Array, as_of: str, span: Span) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The flights asked about in the span, and those with a score whose label became mature in it.

    Looks a day apart judge each label in one day. A week is the whole window.
    """
    scored, now = window.assign(**{SCORE: np.asarray(p, dtype=np.float64)}), pd.Timestamp(parse(as_of))
    judged = scored[scored["mature"].astype(bool) & scored[spec.target].notna() & np.isfinite(scored[SCORE])]
    if span == "week":
        return scored, judged
    asked = scored[pd.to_datetime(scored["event_timestamp"], utc=True) >= now - _DAY]
    ready = pd.to_datetime(judged["sched_dep"], utc=True) + spec.label_maturity
    return asked, judged[ready > now - _DAY]


def _scored(spec: ModelSpec, rows: pd.DataFrame, p: Array) -> pd.DataFrame:
    return rows[[*spec.features, spec.target]].assign(**{SCORE: np.asarray(p, dtype=np.float64)})


def _sampled(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    return rows if len(rows) <= SAMPLE else rows.sample(SAMPLE, random_state=seed)


# -- the three runs ------------------------------------------------------------------------------------------------
def _drift(spec: ModelSpec, now: pd.DataFrame, before: pd.DataFrame) -> Snapshot | None:
    """Drift of the score and of each feature that has values on both sides (Evidently refuses an empty column)."""
    if min(len(now), len(before)) < MIN_ROWS:
        return None
    sides = [_finite(_sampled(side, spec.seed), [*spec.features, SCORE]) for side in (now, before)]
    columns = [name for name in sides[0] if all(side[name].notna().any() for side in sides)]
    made = DataDriftPreset(columns=columns, num_method="psi", num_threshold=spec.levels.psi)
    definition = DataDefinition(numerical_columns=columns)
    current, reference = (Dataset.from_pandas(side[columns], definition) for side in sides)
    return Report([made, DatasetStats()]).run(current, reference)


def _quality(spec: ModelSpec, now: pd.DataFrame, before: pd.DataFrame) -> Snapshot | None:
    """How good the scores were, beside the training's own; None unless both outcomes came."""
    before = before[before[spec.target].notna()]
    if now[spec.target].nunique() < 2 or before[spec.target].nunique() < 2:
        return None
    task = BinaryClassification(target=spec.target, prediction_probas=SCORE, pos_label=1)
    definition = DataDefinition(numerical_columns=[GAP], classification=[task])
    current, reference = (
        Dataset.from_pandas(_with_gap(spec, _sampled(side, spec.seed)), definition) for side in (now, before)
    )
    shown = ClassificationQuality(probas_threshold=spec.serving.threshold, conf_matrix=True, pr_curve=True)
    return Report([shown, MeanValue(column=GAP)]).run(current, reference)


def _service(
    spec: ModelSpec, window: pd.DataFrame, asked: pd.DataFrame, evidence: Mapping[str, Any], span: Span
) -> Snapshot:
    """Volume, staleness, latency and coverage, over all rows: these metrics are cheap."""
    flights = (evidence.get("volume") or {}).get("flights", len(window))
    days = 1.0 if span == "day" else _days(asked)
    rows = pd.DataFrame(
        {
            LATENCY: asked["latency_us"].to_numpy(np.float64) / 1000,
            STALE: asked["stale"].to_numpy(np.float64),
            KNOWN: asked[spec.target].notna().astype(np.float64).where(asked["mature"].astype(bool)).to_numpy(),
            FLIGHTS: len(asked) * flights / len(window) / days,  # the window may be a sample: its own count is exact
        }
    )
    metrics = [MeanValue(column=name) for name in (FLIGHTS, STALE, KNOWN) if rows[name].notna().any()]
    if rows[LATENCY].notna().any():
        metrics.append(QuantileValue(column=LATENCY, quantile=_P99))
    return Report(metrics).run(Dataset.from_pandas(rows, DataDefinition(numerical_columns=list(rows))), None)


def _finite(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return rows[list(columns)].astype(np.float64).replace([np.inf, -np.inf], np.nan)


def _with_gap(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    y = rows[spec.target].astype("int64")
    return pd.DataFrame({spec.target: y, SCORE: rows[SCORE], GAP: rows[SCORE] - y})


def _days(rows: pd.DataFrame) -> float:
    return float(max(rows[CLUSTER].astype(str).nunique(), 1))


# -- one snapshot --------------------------------------------------------------------------------------------------
def _merged(parts: Sequence[Snapshot], evidence: Mapping[str, Any], span: Span) -> SnapshotModel:
    """The runs as one snapshot, told apart by metadata and by tags, which the dashboard filters by."""
    models = [part.to_snapshot_model() for part in parts]
    version, as_of = str(evidence["version"]), evidence["as_of"]
    return SnapshotModel(
        report=ReportModel(items=[]),
        name=f"{span} {period(as_of, span)}, version {version}",
        timestamp=parse(as_of),
        metadata={
            **{"model": evidence["model"], "version": version, "span": span},
            **{"period": period(as_of, span), "as_of": as_of},
        },
        tags=[span, f"version {version}"],
        metric_results={key: found for model in models for key, found in model.metric_results.items()},
        top_level_metrics=[key for model in models for key in model.top_level_metrics],
        widgets=[widget for model in models for widget in model.widgets],
        tests_widgets=[],
    )


def _summary(
    spec: ModelSpec, parts: Mapping[str, Snapshot], evidence: Mapping[str, Any], span: Span, rows: dict[str, int]
) -> dict[str, Any]:
    """What Evidently measured, by name, beside what it cannot know."""
    drift = _measured(parts.get("drift"))
    moved = next((value for kind, _, value in drift if kind == "DriftedColumnsCount"), None)
    psi = {config["column"]: float(value) for kind, config, value in drift if kind == "ValueDrift"}
    performance = evidence["performance"]
    return {
        **{key: evidence[key] for key in ("model", "as_of")},
        "version": str(evidence["version"]),
        "span": span,
        "period": period(evidence["as_of"], span),
        "rows": rows,
        "drifted_columns": None if moved is None else int(moved["count"]),
        "drifted_share": None if moved is None else float(moved["share"]),
        "drift": psi,
        "empty": [f for f in spec.features if psi and f not in psi],
        "quality": _plain(parts.get("quality")),
        "service": _plain(parts["service"]),
        "coverage": performance["coverage"],
        "scores": performance["scores"],
        "surprise": performance["surprise"],
        "worst_slice": performance["worst_slice"],
    }


def _measured(part: Snapshot | None) -> list[tuple[str, Mapping[str, Any], Any]]:
    """Type, configuration and value of each metric."""
    found = part.dict()["metrics"] if part else []
    return [(m["config"]["type"].rpartition(":")[2], m["config"], m["value"]) for m in found if m]


def _plain(part: Snapshot | None) -> dict[str, float] | None:
    """Numbers by metric, or by column where the metric is of one; None without a part."""
    told = {config.get("column", kind): value for kind, config, value in _measured(part)}
    return {name: float(v) for name, v in told.items() if isinstance(v, (int, float))} if part else None
