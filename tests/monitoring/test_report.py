"""What people see: Evidently's report with a summary for machines, and the page that stands alone beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from include.contracts import TARGET
from include.models.flights_on_time.spec import SPEC
from include.monitoring import page, verdict


@pytest.fixture(scope="module")
def written(watched: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with its page."""
    from include.monitoring import report

    folder, found = tmp_path_factory.mktemp("report"), watched.evidence()
    report.write(SPEC, watched.window, watched.p, watched.reference, watched.reference_p, folder, found)
    page.write(verdict.judge(SPEC.triggers, found), found, folder / "index.html")
    return folder


def test_evidently_says_what_drifted_and_how_well_the_champion_does(written: Path, watched: Any) -> None:
    summary = json.loads((written / "evidently.json").read_text(encoding="utf-8"))
    assert set(summary["drift"]) == {*SPEC.features, "score"}
    assert summary["drift"]["minute_of_day"] < 0.1
    assert summary["drift"]["temp"] > 1  # it bins in another way than include.monitoring.drift: larger, not equal
    found = watched.evidence()["performance"]
    assert summary["quality"]["LogLoss"] == pytest.approx(found["scores"]["log_loss"]["value"], rel=0.05)
    assert summary["coverage"] == found["coverage"]
    assert summary["worst_slice"] == found["worst_slice"]
    assert {"value", "low", "high"} <= set(summary["worst_slice"]["log_loss"])


def test_evidentlys_page_needs_no_network(written: Path) -> None:
    text = (written / "evidently.html").read_text(encoding="utf-8")
    assert len(text) > 1_000_000
    assert "<script src=" not in text
    assert 'rel="stylesheet" href="http' not in text


def test_the_page_shows_the_verdict_and_links_the_report(written: Path, watched: Any) -> None:
    text = (written / "index.html").read_text(encoding="utf-8")
    worst = watched.evidence()["performance"]["worst_slice"]
    assert verdict.judge(SPEC.triggers, watched.evidence()).state in text
    assert 'href="evidently.html"' in text
    assert f"{worst['by']} {worst['value']}" in text
    assert "known label" in text
    assert text.count("<svg") == 3
    assert not any(word in text for word in ("http://", "https://", "<script", "src=", "@import"))
    assert "prefers-color-scheme: dark" in text


def test_without_labels_there_is_drift_and_a_page(watched: Any, tmp_path: Path) -> None:
    from include.monitoring import performance, report

    window, p = watched.window.assign(**{TARGET: None}).head(500), watched.p[:500]
    found = watched.evidence()
    found = found | {"performance": performance.measure(SPEC, window, p)}
    args = (window, p, watched.reference.head(2000), watched.reference_p[:2000], tmp_path, found)
    assert report.write(SPEC, *args)["quality"] is None
    text = page.html(verdict.judge(SPEC.triggers, found), found, linked=False)
    assert "insufficient" in text
    assert "evidently.html" not in text
