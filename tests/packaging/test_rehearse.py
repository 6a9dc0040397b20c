from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from include.contracts import Ref
from include.files import hash_file
from include.packaging import bento, leash, page
from include.packaging.checks import Limits, check_service
from include.packaging.rehearse import rehearse
from include.packaging.server import Server, free_port
from include.settings import ROOT, Settings
from tests.packaging import tiny

Report = dict[str, Any]
FRAME = tiny.frame(1200)
EXPECTED = tiny.scores(FRAME.to_numpy())


def failed(report_or_checks: Report | list[Report]) -> list[str]:
    checks = report_or_checks["checks"] if isinstance(report_or_checks, dict) else report_or_checks
    return [c["name"] for c in checks if not c["passed"]]


def described() -> Report:
    schema = {"features": [{"name": n, **vars(f)} for n, f in tiny.FEATURES.items()]}
    return {"schema": schema, "identity": {"labels": {"model_name": tiny.MODEL, "model_version": "7"}}}


def check(server: Server, frame: pd.DataFrame, expected: np.ndarray, **limits: Any) -> list[Report]:
    return check_service(server, described(), frame, expected, Limits(requests=50, **limits), {})


@pytest.fixture(scope="module")
def report(settings: Settings, archive: Ref) -> Report:
    """A good package, rehearsed from its archive, with the holdout in a file."""
    rows = settings.home / "holdout.parquet"
    FRAME.assign(flight_id="x").to_parquet(rows)
    return rehearse(settings, archive, rows, EXPECTED)


def test_a_good_package_passes_every_check(report: Report) -> None:
    assert failed(report) == []
    assert report["passed"]
    assert report["rows"] == len(FRAME)
    assert {"archive", "no pickle", "ready", "identity", "parity", "latency", "missing values"} <= {
        c["name"] for c in report["checks"]
    }
    assert sum(c["name"].startswith("refuses: ") for c in report["checks"]) == 18
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    json.dumps(report, allow_nan=False)


def test_nothing_is_left_running_or_lying_about(settings: Settings, report: Report) -> None:
    assert leash.inside(settings.home / "rehearsals") == []
    assert list((settings.home / "rehearsals").iterdir()) == []


def test_the_page_is_self_contained_and_shows_each_check(report: Report, tmp_path: Path) -> None:
    broken = {"name": "<script>", "passed": False, "value": None, "threshold": 1, "unit": "s", "reason": "a & b"}
    bad = {**report, "passed": False, "checks": [*report["checks"], broken], "log": "<log>"}
    text = page.write(bad, tmp_path / "rehearsal" / "index.html").read_text()
    assert all(c["name"] in text for c in report["checks"])
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert text.index("&lt;script&gt;") < text.index("no pickle")
    assert "http" not in text.lower().replace("over http", "")
    assert "prefers-color-scheme" in text


def test_a_difference_of_two_millionths_fails_parity(server: Server) -> None:
    expected = EXPECTED.copy()
    assert failed(check(server, FRAME, expected)) == []
    expected[777] += 2e-6
    checks = check(server, FRAME, expected)
    assert failed(checks) == ["parity"]
    assert "row 777" in next(c for c in checks if c["name"] == "parity")["reason"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_expectation_that_is_no_number_fails_parity(server: Server, value: float) -> None:
    expected = EXPECTED.copy()
    expected[3] = value
    assert failed(check(server, FRAME, expected)) == ["parity"]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (FRAME.head(0), EXPECTED[:0]),
        (FRAME, EXPECTED[:-1]),
        (FRAME.drop(columns="temp"), EXPECTED),
    ],
    ids=["no rows", "too few expectations", "a feature absent"],
)
def test_with_nothing_to_compare_the_check_fails(server: Server, frame: pd.DataFrame, expected: np.ndarray) -> None:
    assert failed(check(server, frame, expected)) == ["parity"]


def test_a_holdout_that_breaks_the_schema_fails_with_the_field(server: Server) -> None:
    frame = FRAME.copy()
    frame.loc[600, "distance"] = np.float32(9e6)
    checks = check(server, frame, EXPECTED)
    assert failed(checks) == ["parity"]
    assert "distance" in next(c for c in checks if c["name"] == "parity")["reason"]


def test_too_slow_and_another_version_fail_their_checks(server: Server) -> None:
    assert failed(check(server, FRAME, EXPECTED, p99_ms=0.001)) == ["latency"]
    other = described()
    other["identity"]["labels"]["model_version"] = "8"
    assert failed(check_service(server, other, FRAME, EXPECTED, Limits(requests=50), {})) == ["identity"]


def test_a_service_that_died_is_a_failed_check(tmp_path: Path) -> None:
    checks = check(Server(free_port(), tmp_path, 0.0), FRAME, EXPECTED)
    assert failed(checks) == [c["name"] for c in checks]
    assert all("did not answer" in c["reason"] or "no longer" in c["reason"] for c in checks)


def test_an_altered_and_an_unreadable_archive_fail_before_anything_starts(
    settings: Settings, archive: Ref, tmp_path: Path
) -> None:
    torn = tmp_path / "torn.bento"
    torn.write_bytes(Path(archive["uri"]).read_bytes()[:3000])
    altered = rehearse(settings, {**archive, "uri": str(torn)}, FRAME, EXPECTED)
    assert failed(altered) == ["archive"]
    assert "was altered" in altered["checks"][0]["reason"]
    unreadable = rehearse(settings, {**archive, "uri": str(torn), "hash": hash_file(torn)}, FRAME, EXPECTED)
    assert failed(unreadable) == ["archive"]
    assert not unreadable["passed"]
    assert failed(rehearse(settings, {**archive, "uri": str(tmp_path / "none")}, FRAME, EXPECTED)) == ["archive"]


def test_a_model_that_does_not_load_is_a_failed_check_with_the_log(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    archive = bento.build(settings, tiny.save(settings, b"no model"), tiny.MODEL, "9", {})
    report = rehearse(settings, archive, FRAME, EXPECTED)
    assert failed(report) == ["ready"]
    assert "model.onnx" in report["checks"][-1]["reason"]
    assert leash.inside(tmp_path) == []
    page.write(report, tmp_path / "page.html")


def test_a_deadline_that_passes_is_a_failed_check(settings: Settings, archive: Ref) -> None:
    report = rehearse(settings, archive, FRAME, EXPECTED, Limits(ready_seconds=0.3))
    assert failed(report) == ["ready"]
    assert "deadline" in report["checks"][-1]["reason"]
    assert leash.inside(settings.home / "rehearsals") == []


def test_a_rehearsal_killed_half_way_leaves_no_server(settings: Settings, archive: Ref, tmp_path: Path) -> None:
    code = (
        "import json, sys; from include.settings import Settings; from tests.packaging import tiny;"
        "from include.packaging.rehearse import rehearse; home, archive = json.loads(sys.argv[1]);"
        "rehearse(Settings(home=home), archive, tiny.frame(5), [0] * 5)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RATCHET_CRASH_AT": "train.rehearse.started"}
    killed = subprocess.run([sys.executable, "-c", code, json.dumps([str(tmp_path), archive])], env=env)
    assert killed.returncode == -signal.SIGKILL
    left = [p for p in psutil.process_iter() if str(tmp_path) in " ".join(cmdline(p))]
    assert psutil.wait_procs([*left, *leash.inside(tmp_path)], timeout=20)[1] == []
    assert leash.inside(tmp_path) == []
    assert list((tmp_path / "rehearsals").iterdir()) == []


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
