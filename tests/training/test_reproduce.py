"""A registered version, trained again from its manifest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from include import lake
from include.contracts import SCHEDULE, Ref
from include.files import write_json
from include.models.spec import ModelSpec
from include.settings import ROOT, Settings
from include.training import data, export, fit, manifest, reproduce, track

AS_OF = "2013-02-05T00:00:00+00:00"
CHOSEN = {"family": "xgboost", "params": {"max_depth": 3, "n_estimators": 12, "subsample": 0.8}}


@pytest.fixture
def install(tmp_path: Path, mlflow_uri: str, frame: Ref) -> tuple[Settings, Ref]:
    """An installation with a lake of one table, a snapshot and the frame, and a model named after the test."""
    settings = Settings(home=tmp_path / "var", mlflow_uri=mlflow_uri, model=tmp_path.name)
    settings.frames.mkdir(parents=True)
    copied = settings.frames / f"{frame['hash']}.parquet"
    copied.write_bytes(Path(frame["uri"]).read_bytes())
    (settings.snapshots / "s").mkdir(parents=True)
    lake.overwrite_days(settings.lake, SCHEDULE, pa.Table.from_pylist([], lake.schema(SCHEDULE)), ["2013-01-01"])
    return settings, Ref(uri=str(copied), version=frame["version"], hash=frame["hash"])


def _train(settings: Settings, spec: ModelSpec, frame: Ref, altered: dict[str, Any] | None = None) -> str:
    fitted = fit.fit(settings, spec, frame, CHOSEN)
    made = export.export(settings, spec, frame, fitted, AS_OF)
    whole = manifest.build(
        spec,
        run="train/1",
        as_of=AS_OF,
        families=None,
        versions={"schedule": 0},
        snapshot=Ref(uri=str(settings.snapshots / "s"), version="s", hash="s"),
        frame=frame,
        fitted=fitted,
        bundle=made,
    )
    file = write_json(settings.home / "manifest.json", {**whole, **(altered or {})})
    run_id = track.open_run(settings, settings.model, "train/1")
    files = {track.MANIFEST: file, track.PREDICTIONS: Path(fitted["predictions"]["uri"])}
    track.log_files(settings, run_id, files)
    version = track.register(settings, run_id, settings.model)
    track.close_run(settings, run_id)
    return version


def test_same_manifest_gives_the_identical_bundle(install: tuple[Settings, Ref], spec: ModelSpec) -> None:
    settings, frame = install
    version = _train(settings, spec, frame)
    before = sorted(p for p in settings.home.rglob("*") if p.is_file())
    report = reproduce.reproduce(settings, version)
    assert report["identical"] is True
    assert report["missing"] == []
    assert [d for d in report["differences"] if not d.startswith(("code commit", "uncommitted"))] == []
    assert "identical" in reproduce.text(report)
    assert sorted(p for p in settings.home.rglob("*") if p.is_file()) == before  # it leaves nothing behind


def test_what_differs_is_named(install: tuple[Settings, Ref], spec: ModelSpec) -> None:
    settings, frame = install
    params = {**CHOSEN["params"], "max_depth": 2}  # type: ignore[dict-item]
    version = _train(settings, spec, frame, altered={"params": params, "lock": "0" * 64})
    report = reproduce.reproduce(settings, version)
    assert report["identical"] is False
    named = "\n".join(report["differences"])
    for words in (
        "lock hash (requirements.txt): was 000000000000",
        "bundle hash: was",
        "predictions differ by at most",
    ):
        assert words in named


def test_what_is_missing_is_named(install: tuple[Settings, Ref], spec: ModelSpec) -> None:
    settings, frame = install
    version = _train(settings, spec, frame, altered=None)
    (settings.snapshots / "s").rmdir()
    for file in (settings.lake / SCHEDULE.name / "_delta_log").iterdir():
        file.unlink()
    report = reproduce.reproduce(settings, version)
    assert report["identical"] is True  # the frame alone suffices
    assert len(report["missing"]) == 2
    assert "snapshot s" in report["missing"][0]
    assert "table schedule has no version 0" in report["missing"][1]
    Path(frame["uri"]).unlink()
    report = reproduce.reproduce(settings, version)
    assert report["identical"] is None
    assert report["missing"][0].startswith(f"frame {frame['hash'][:12]} is neither at")
    assert "not reproducible" in reproduce.text(report)


def test_altered_frame_is_not_trained_on(install: tuple[Settings, Ref], spec: ModelSpec) -> None:
    settings, frame = install
    version = _train(settings, spec, frame)
    data.read(settings, frame).iloc[1:].to_parquet(frame["uri"])
    report = reproduce.reproduce(settings, version)
    assert report["identical"] is None
    assert "altered" in report["missing"][0]


def test_command_says_so_without_a_traceback(install: tuple[Settings, Ref]) -> None:
    settings, _ = install
    done = subprocess.run(
        [sys.executable, "-m", "scripts.reproduce", "99"],
        cwd=ROOT,
        env={"PATH": "", "RATCHET_MLFLOW_URI": settings.mlflow_uri, "RATCHET_HOME": str(settings.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "has no version 99 of flights_on_time" in done.stderr
    assert "Traceback" not in done.stderr
