"""The committed suites: complete, equal to what the script writes, and never written to by a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from include.contracts import FEATURES
from include.files import hash_folder
from include.quality import validation
from include.settings import ROOT

SUITES = sorted(p.stem for p in (ROOT / "gx" / "expectations").glob("*.json"))


def expectations(suite: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / "gx" / "expectations" / f"{suite}.json").read_text())[
        "expectations"
    ]
    return found


def test_there_is_one_suite_a_boundary() -> None:
    assert SUITES == ["feed_volume", "raw_movements", "raw_schedule", "raw_weather", "training_frame"]


@pytest.mark.parametrize("suite", SUITES)
def test_every_expectation_has_a_name_of_its_own_a_severity_and_a_reason(suite: str) -> None:
    found = expectations(suite)
    names = [e["meta"]["rule"] for e in found]
    assert len(set(names)) == len(names)
    assert {e["severity"] for e in found} <= {"critical", "warning", "info"}
    assert {e["meta"]["scope"] for e in found} <= {"batch", "row"}
    assert all(len(e["notes"]) >= 15 for e in found)


def test_the_frame_suite_knows_every_feature() -> None:
    columns = {e["kwargs"].get("column") for e in expectations("training_frame")}
    assert set(FEATURES) <= columns


def test_the_committed_files_are_what_the_script_writes(tmp_path: Path) -> None:
    """An id that is drawn at random shows here too."""
    from scripts import make_suites

    made = make_suites.write(tmp_path / "gx")
    files = sorted(p.relative_to(made) for p in made.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(ROOT / "gx") for p in (ROOT / "gx").rglob("*") if p.is_file())
    for file in files:
        assert (made / file).read_text() == (ROOT / "gx" / file).read_text(), file


def test_a_run_writes_nothing_into_the_project_and_sends_nothing(checked: Any) -> None:
    before = hash_folder(ROOT / "gx")
    checked("2013-03-05T05:00:00+00:00", "2013-03-05T06:00:00+00:00")
    assert hash_folder(ROOT / "gx") == before
    assert not (ROOT / "gx" / "uncommitted").exists()
    with validation._context(None) as context:
        assert context.config.analytics_enabled is False


def test_importing_the_checks_does_not_import_gx() -> None:
    import subprocess
    import sys

    code = "import sys, include.quality, include.sources.ingest; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
