"""The monitor's page: the verdict first, coverage before numbers, the worst slice by name, nothing from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include import pictures
from include.contracts import ENTITY, TARGET
from include.models.flights_on_time.spec import SPEC
from include.monitoring import evidence as parts
from include.monitoring import page, skew, verdict

VOID = {"meta", "br"}


class Structure(HTMLParser):
    """Headings, text, addresses and unclosed tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "srcset")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def found(watched: Any) -> dict[str, Any]:
    made: dict[str, Any] = watched.evidence()
    return made


def shown(evidence: dict[str, Any], before: tuple[Any, ...] = (), url: str = "") -> Structure:
    made = Structure(page.html(verdict.judge(SPEC, evidence, before), evidence, url))
    assert made.open == []
    return made


def span(estimate: dict[str, Any]) -> str:
    return pictures.span(estimate["value"], estimate["low"], estimate["high"])


def test_the_verdict_and_its_sentence_come_first(found: dict[str, Any], tmp_path: Path) -> None:
    judged = verdict.judge(SPEC, found)
    path = page.write(judged, found, tmp_path / "index.html")
    text = path.read_text(encoding="utf-8")
    assert Structure(text).text.startswith(f"Monitor: {judged.state} :root")
    body = Structure(text.partition("<body>")[2].partition("</body>")[0]).text
    assert body.startswith(f"Champion: {judged.state} {judged.reason}")


def test_everything_that_was_looked_at_is_told(found: dict[str, Any]) -> None:
    text = shown(found).text
    for finding in verdict.judge(SPEC, found).findings:
        assert finding.name.removeprefix("level_").replace("_", " ") in text.replace("_", " ")
        if finding.interval:
            assert pictures.span(finding.value, *finding.interval) in text
    for name, check in found["feed"]["checks"].items():
        assert name in text
        for part in check["parts"][: page.PARTS]:
            assert " ".join(part["told"].split()) in text


def test_coverage_comes_before_every_number_that_needs_labels(found: dict[str, Any]) -> None:
    performance = found["performance"]
    told = f"{performance['labelled']:,} of {performance['rows']:,} flights"
    text = shown(found).text
    assert text.index(told) < text.index("What the verdict rests on") < text.index("Performance of the champion")
    assert "Partial" not in text


def test_what_is_partial_is_marked_wherever_labels_are_needed(watched: Any) -> None:
    few = watched.window.assign(**{TARGET: watched.window[TARGET].where(np.arange(len(watched.window)) % 5 == 0)})
    found = watched.evidence(few)
    assert found["performance"]["partial"]
    text = shown(found).text
    assert "Partial:" in text
    assert f"({found['performance']['coverage_all']:.0%}) have a mature, known label" in text
    for title in ("Performance of the champion", "Day by day", "Slices"):
        assert f"{title} (partial)" in text


def test_the_worst_slice_is_named_with_its_interval(found: dict[str, Any]) -> None:
    worst = found["performance"]["worst_slice"]
    text = shown(found).text
    assert f"{worst['by']} {worst['value']} ({worst['rows']:,} flights), surprise {span(worst['surprise'])}" in text


def test_estimates_stand_beside_the_truth_with_their_known_error(found: dict[str, Any]) -> None:
    text = shown(found).text
    estimated = found["performance"]["estimated"]
    assert pictures.number(estimated["log_loss"]) in text
    assert span(estimated["error"]["log_loss"]) in text


def test_what_fired_once_is_told_as_waiting(found: dict[str, Any]) -> None:
    surprised = {**found["performance"], "surprise": {"value": 0.2, "low": 0.1, "high": 0.3, "rows": 900, "days": 7}}
    once = {**found, "performance": surprised}
    earlier = [{"version": found["version"], "fired": ["surprise"]}] * 4
    assert "beyond, not yet at enough looks" in shown(once).text
    assert "beyond, persists surprise asks for a retrain" in shown(once, tuple(earlier)).text


def test_the_feeds_checks_are_unfolded_when_one_has_fired(watched: Any, found: dict[str, Any]) -> None:
    assert "<details>" in page.html(verdict.judge(SPEC, found), found)
    broken = watched.evidence(watched.window.assign(temp=np.float32(np.nan)))
    judged = verdict.judge(SPEC, broken)
    assert judged.state == "incident"
    assert "<details open>" in page.html(judged, broken)


# -- links ---------------------------------------------------------------------------------------------------------
def test_it_links_evidentlys_reports_beside_it_and_nothing_else(found: dict[str, Any]) -> None:
    assert shown(found).addresses == ["../report/day/evidently.html", "../report/week/evidently.html"]
    assert shown(found, url="http://127.0.0.1:8000").addresses[2:] == ["http://127.0.0.1:8000"]
    assert shown(found, url="javascript:alert(1)").addresses == shown(found).addresses


def test_it_needs_no_network_and_no_script_and_can_be_dark(found: dict[str, Any]) -> None:
    text = page.html(verdict.judge(SPEC, found), found)
    assert not any(word in text for word in ("http://", "https://", "<script", "src=", "@import", "url("))
    assert "prefers-color-scheme: dark" in text
    assert text.count("<svg") == 5


def test_words_from_elsewhere_are_text(found: dict[str, Any]) -> None:
    judged = verdict.judge(SPEC, found)
    bad = judged.model_copy(update={"reason": "<script>x</script>"})
    text = page.html(bad, {**found, "model": "<img src=x>"})
    assert "<script" not in text
    assert "<img" not in text


# -- parts that are there or not -----------------------------------------------------------------------------------
def audited(watched: Any, off: int) -> dict[str, Any]:
    """An audit of which `off` answers used another temperature than the lake has."""
    logged = watched.window.head(50)
    temp = logged["temp"] + np.where(np.arange(50) < off, 9.0, 0.0)
    again = logged[[ENTITY, *SPEC.features]].assign(temp=temp.astype(np.float32))
    return skew.compare(logged, again, list(SPEC.features))


def test_the_audit_names_the_feature_and_a_flight(watched: Any, found: dict[str, Any]) -> None:
    told = audited(watched, 3)
    text = shown({**found, "skew": {**told, "level": SPEC.levels.mismatch, "beyond": True}}).text
    assert "3 of 50 audited answers (6.00%)" in text
    assert f"flight {told['by_feature'][0]['example']['flight_id']}: used" in text
    clean = {**audited(watched, 0), "level": SPEC.levels.mismatch, "beyond": False}
    assert "0 of 50 audited answers (0.00%)" in shown({**found, "skew": clean}).text


def test_the_version_before_stands_beside(watched: Any, found: dict[str, Any]) -> None:
    y = watched.window[TARGET].to_numpy(dtype=float, na_value=np.nan)
    days = watched.window["local_date"].to_numpy()
    beside = {**parts.rival(y, watched.p, np.clip(watched.p + 0.1, 0, 1), days), "version": 7}
    text = shown({**found, "rival": beside}).text
    assert f"version {found['version']} minus that of version 7" in text
    assert span(beside["loss"]) in text


def test_versions_that_answered_are_told_apart(watched: Any, found: dict[str, Any]) -> None:
    two = watched.window.assign(answered_version=np.where(np.arange(len(watched.window)) % 4, 1, 2))
    text = shown(watched.evidence(two)).text
    assert "As answered, by version" in text
    assert "version 2" in text


def test_without_labels_there_is_a_page_that_says_so(watched: Any) -> None:
    none = watched.window.assign(**{TARGET: np.nan})
    text = shown(watched.evidence(none)).text
    assert "Champion: insufficient" in text
    assert "Without labels there is no performance." in text


@pytest.mark.parametrize("gone", ["feed", "service", "skew", "rival", "volume"])
def test_a_part_that_is_not_there_is_left_out(found: dict[str, Any], gone: str) -> None:
    judged = verdict.judge(SPEC, found)
    without = Structure(page.html(judged, {**found, gone: None}))
    assert without.open == []
    assert judged.reason in without.text


def test_a_window_without_flights_has_a_page(watched: Any, found: dict[str, Any]) -> None:
    judged = verdict.judge(SPEC, found)
    silent = {**watched.evidence(), **_nothing(watched)}
    text = Structure(page.html(judged, silent)).text
    assert "on no flights that were asked about" in text


def _nothing(watched: Any) -> dict[str, Any]:
    from include.monitoring import performance

    empty: pd.DataFrame = watched.window.head(0)
    return {
        "window": {"first": None, "last": None, "rows": 0, "rescored": 0},
        "performance": performance.measure(SPEC, empty, np.empty(0)),
        "drift": [],
        "feed": None,
    }
