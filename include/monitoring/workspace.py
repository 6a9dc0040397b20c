"""Evidently's workspace: one project a model, one run a look, and a dashboard that follows them.

`evidently ui` keeps a workspace in memory and learns of changes from the file system. It reads a file the moment that
it appears, and one file that it cannot read ends its watching, or its start. So everything is written beside the
workspace and moved in whole; a new project appears as a whole folder. Names are derived (a project's from its model, a
run's from model, version, span and the day or week it is of), so a later look at the same day or week replaces its run,
and two tasks make one project.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

os.environ.setdefault("DO_NOT_TRACK", "1")

from evidently.core.serialization import SnapshotModel
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.utils import NumpyEncoder
from evidently.sdk.models import DashboardModel, DashboardPanelPlot, DashboardTabModel, PanelMetric, ProjectModel
from evidently.sdk.panels import line_plot_panel
from evidently.ui.storage.local.base import DASHBOARD_FILE_NAME, PROJECT_FILE_NAME, SNAPSHOTS_DIR_NAME, LocalState

from include.crashpoints import reached
from include.files import locked, read_json
from include.monitoring.report import FLIGHTS, GAP, KNOWN, LATENCY, SCORE, SPANS, STALE
from include.settings import Settings

_NAMED_BY = ("model", "version", "span", "period")  # of a snapshot's metadata: what a run's name is made of
_BY_ROW = "DATA DRIFT"  # Evidently's title of a column's values in the order of rows
_ABOUT = "Predictions of the live model, looked at daily by Airflow's DAG `monitor`. The verdict is in Airflow."


def add(settings: Settings, snapshot: SnapshotModel) -> Path:
    """Add a report's snapshot (see report.make) to its model's project, made at its first; returns the run's file.

    A run of the same model, version, span and period is replaced, unless it knows more: its as-of is later. May be
    called from several processes. Raises ValueError naming the metadata that the snapshot lacks.
    """
    missing = [key for key in (*_NAMED_BY, "as_of") if not snapshot.metadata.get(key)]
    if missing:
        raise ValueError(f"the snapshot's metadata lacks {', '.join(missing)}: a run is named by them")
    model = str(snapshot.metadata["model"])
    with _alone(settings):
        folder = _project(settings, model)
        _dashboard(settings, folder, model)
        run = folder / SNAPSHOTS_DIR_NAME / f"{run_id(snapshot.metadata)}.json"
        if not run.exists() or read_json(run)["metadata"]["as_of"] <= snapshot.metadata["as_of"]:
            _write(settings, run, _light(snapshot).dict(), "run")
    return run


def project_id(model: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"ratchet/{model}")


def run_id(metadata: Mapping[str, Any]) -> UUID:
    """The name of a run, from the snapshot's metadata."""
    return uuid5(project_id(str(metadata["model"])), "/".join(str(metadata[key]) for key in _NAMED_BY))


def _light(snapshot: SnapshotModel) -> SnapshotModel:
    """The snapshot at a fifth of its size, since the UI keeps every run in memory.

    Without the pictures of single metrics, which the run's page repeats, and without each column's values in the order
    of rows. The whole report lies beside its task.
    """
    bare = {key: found.copy(update={"widget": []}) for key, found in snapshot.metric_results.items()}
    return snapshot.copy(update={"metric_results": bare, "widgets": [_shorter(w) for w in snapshot.widgets]})


def _shorter(widget: BaseWidgetInfo) -> BaseWidgetInfo:
    rows = widget.params.get("data") if isinstance(widget.params, dict) else None
    if widget.type != "big_table" or not rows:
        return widget
    kept = [[part for part in row["details"]["parts"] if part["title"] != _BY_ROW] for row in rows]
    named = {part["id"] for parts in kept for part in parts}
    rows = [{**row, "details": {**row["details"], "parts": parts}} for row, parts in zip(rows, kept, strict=True)]
    pictures = [graph for graph in widget.additionalGraphs if graph.id in named]
    return widget.copy(update={"params": {**widget.params, "data": rows}, "additionalGraphs": pictures})


# -- the dashboard -------------------------------------------------------------------------------------------------
def dashboard(model: str) -> DashboardModel:
    """The panels of a project: the same ones for days and for weeks, which the snapshots' tags tell apart.

    The open-source UI shows no tabs but all panels in their order, so each title names its span too.
    """
    tabs, panels = [], []
    for span in SPANS:
        own = [panel.copy(update={"id": _named(model, panel.title)}) for panel in _panels(span)]
        panels += own
        tabs.append(DashboardTabModel(id=_named(model, span), title=f"By {span}", panels=[p.id for p in own]))
    return DashboardModel(tabs=tabs, panels=panels)


def _named(*parts: str) -> UUID:
    return uuid5(NAMESPACE_URL, "/".join(("ratchet", "dashboard", *parts)))


def _panels(span: str) -> list[DashboardPanelPlot]:
    def line(title: str, about: str, metric: str, legend: str, **labels: str) -> DashboardPanelPlot:
        value = PanelMetric(metric=metric, legend=legend, metric_labels=labels, tags=[span])
        return line_plot_panel(f"{title}, by {span}", [value], about, size="half")

    return [
        line("Log loss", "nats, of the labels that became mature", "LogLoss", "log loss"),
        line("Calibration", "mean prediction minus rate: zero is right", "MeanValue", "gap", column=GAP),
        line(
            "Drift of the score",
            "PSI by Evidently's bins; the verdict goes by its own",
            "ValueDrift",
            "PSI",
            column=SCORE,
        ),
        line(
            "Share of drifted columns",
            "PSI beyond its level. Season and weather move most columns every week: this explains, it asks for nothing",
            "DriftedColumnsCount",
            "share",
            value_type="share",
        ),
        line("Volume", "flights asked about, a day", "MeanValue", "flights", column=FLIGHTS),
        line(
            "Staleness", "share of answers with a feature beyond its time to live", "MeanValue", "share", column=STALE
        ),
        line("Latency p99", "ms, as the service measured it", "QuantileValue", "ms", column=LATENCY),
        line("Coverage", "share of the mature labels that are known", "MeanValue", "share", column=KNOWN),
    ]


def _dashboard(settings: Settings, folder: Path, model: str) -> None:
    """Bring our tabs and panels up to date; those that somebody else has added stay."""
    wanted, state = dashboard(model), LocalState(str(settings.evidently))
    found = state.read_dashboard(folder.name)
    ours = {tab.id for tab in wanted.tabs}
    old = {panel for tab in found.tabs if tab.id in ours for panel in tab.panels} | {p.id for p in wanted.panels}
    merged = DashboardModel(
        tabs=[*wanted.tabs, *(tab for tab in found.tabs if tab.id not in ours)],
        panels=[*wanted.panels, *(panel for panel in found.panels if panel.id not in old)],
    )
    if merged != found:
        _write(settings, folder / DASHBOARD_FILE_NAME, merged.dict(), "dashboard")


# -- files ---------------------------------------------------------------------------------------------------------
def _project(settings: Settings, model: str) -> Path:
    """The folder of a model's project, made whole."""
    project = ProjectModel(id=project_id(model), name=model, description=_ABOUT)
    folder = settings.evidently / str(project.id)
    if not (folder / PROJECT_FILE_NAME).exists():
        with _beside(settings) as work:
            (work / "project" / SNAPSHOTS_DIR_NAME).mkdir(parents=True)
            _dump(work / "project" / PROJECT_FILE_NAME, project.dict())
            shutil.rmtree(folder, ignore_errors=True)  # a folder without a project: nothing that Evidently knows
            reached("monitor.report.project.beside")
            (work / "project").replace(folder)
            reached("monitor.report.project")
    return folder


def _write(settings: Settings, path: Path, value: Any, what: str) -> None:
    with _beside(settings) as work:
        _dump(work / path.name, value)
        reached(f"monitor.report.{what}.beside")
        (work / path.name).replace(path)
        reached(f"monitor.report.{what}")


def _dump(path: Path, value: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, cls=NumpyEncoder)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _beside(settings: Settings) -> Iterator[Path]:
    """A folder on the same disk that `evidently ui` does not watch: a file moved from one it watches is not seen."""
    work = Path(tempfile.mkdtemp(prefix=".evidently-", dir=settings.home))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One writer at a time, of all processes. What a killed one has left beside the workspace is cleared away."""
    settings.evidently.mkdir(parents=True, exist_ok=True)
    with locked(settings.home / ".evidently.lock"):
        for left in settings.home.glob(".evidently-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
