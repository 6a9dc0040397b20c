"""MLflow's side of a training: one run and one version, however often and wherever it is killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from include import bundle, crashpoints
from include.contracts import Ref
from include.files import hash_folder, hash_text, write_json, write_text
from include.models.spec import ModelSpec
from include.settings import Settings
from include.training import data, export, fit, track
from tests import children

AS_OF = "2013-02-05T00:00:00+00:00"
SOURCES: list[track.Source] = [
    {"name": "frame", "digest": "f" * 64, "uri": "frames/f.parquet", "context": "training"},
    {"name": "schedule", "digest": "3", "uri": "lake/schedule", "context": "lake"},
]


@pytest.fixture(scope="module")
def made(settings: Settings, spec: ModelSpec, frame: Ref) -> Ref:
    fitted = fit.fit(settings, spec, frame, {"family": "xgboost", "params": {"max_depth": 2, "n_estimators": 10}})
    return export.export(settings, spec, frame, fitted, AS_OF)


def write(settings: Settings, made: Ref, folder: Path, name: str) -> str:
    """All that a training writes to MLflow, of the model `name`; returns the version."""
    files = {
        "manifest.json": write_json(folder / "manifest.json", {"form": 1}),
        "verdict/index.html": write_text(folder / "page.html", "<p>accepted</p>"),
    }
    run_id = track.open_run(settings, name, "train/manual'1", {"ratchet.as_of": AS_OF})
    track.log_training(
        settings,
        run_id,
        AS_OF,
        made,
        params={"family": "xgboost", **{f"p{i:03d}": i for i in range(120)}},
        metrics={"log_loss": {"value": 0.5, "low": 0.45, "high": None}, "auc": 0.7, "nothing": None},
        sources=SOURCES,
        files=files,
        tags={"verdict": "accepted"},
    )
    version = track.register(settings, run_id, name, {"bundle": made["hash"]})
    track.tag_version(settings, name, version, {"verdict": "accepted"})
    track.set_aliases(settings, name, {"challenger": version})
    track.close_run(settings, run_id)
    return version


@pytest.fixture
def work(tracked: Settings, made: Ref, tmp_path: Path) -> Callable[[str], str]:
    """The same, as a function of the model's name alone."""
    return partial(write, tracked, made, tmp_path)


def _state(settings: Settings, name: str) -> dict[str, Any]:
    """All that MLflow holds of a model, without ids and wall times."""
    api = track.client(settings)
    experiment = api.get_experiment_by_name(name)
    assert experiment is not None
    runs = api.search_runs([experiment.experiment_id])
    return {
        "runs": [
            {
                "status": run.info.status,
                "params": run.data.params,
                "metrics": {
                    k: [(m.value, m.timestamp) for m in api.get_metric_history(run.info.run_id, k)]
                    for k in run.data.metrics
                },
                "tags": {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
                "inputs": sorted(
                    (i.dataset.name, i.dataset.digest) for i in (run.inputs.dataset_inputs if run.inputs else ())
                ),
                "files": _files(settings, run.info.run_id),
            }
            for run in runs
        ],
        "versions": [
            (str(v.version), v.tags, str(v.source).startswith("runs:/"))
            for v in api.search_model_versions(f"name = '{name}'")
        ],
        "aliases": track.get_aliases(settings, name),
    }


def _files(settings: Settings, run_id: str, path: str | None = None) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for info in track.client(settings).list_artifacts(run_id, path):
        found |= _files(settings, run_id, info.path) if info.is_dir else {info.path: info.file_size}
    return found


def test_killed_at_any_point_and_retried_it_is_as_if_never_killed(
    work: Callable[[str], str], tracked: Settings, made: Ref, tmp_path: Path
) -> None:
    log, given = tmp_path / "points", (tracked, made, tmp_path)
    assert children.run(write, *given, "never-killed", **{crashpoints.LOG: str(log)}) == 0
    expected = _state(tracked, "never-killed")
    assert work("never-killed") == "1"  # a clear
    assert _state(tracked, "never-killed") == expected
    points = log.read_text().split()
    assert len(points) == len(set(points)) >= 17
    for number, point in enumerate(points):
        name = f"killed-{number}"
        assert children.run(write, *given, name, **{crashpoints.AT: point}) == -signal.SIGKILL, point
        assert work(name) == "1", point
        assert _state(tracked, name) == expected, point


def test_what_is_logged(work: Callable[[str], str], tracked: Settings, made: Ref) -> None:
    assert work("logged") == "1"
    (run,) = _state(tracked, "logged")["runs"]
    assert run["status"] == "FINISHED"
    assert len(run["params"]) == 121
    assert {k: v[0][0] for k, v in run["metrics"].items()} == {"log_loss": 0.5, "log_loss.low": 0.45, "auc": 0.7}
    assert run["tags"] == {
        "ratchet.run": "train/manual'1",
        "ratchet.key": hash_text("train/manual'1"),
        "ratchet.as_of": AS_OF,
        "verdict": "accepted",
    }
    assert run["inputs"] == [("frame", "f" * 32), ("schedule", "3")]
    assert {"manifest.json", "verdict/index.html", "bundle/model.onnx", "bundle/schema.json", "model/MLmodel"} <= set(
        run["files"]
    )
    assert not [f for f in run["files"] if Path(f).suffix in (".pkl", ".pickle", ".joblib", ".cloudpickle")]


def test_reopened_run_is_running_until_closed(tracked: Settings) -> None:
    run_id = track.open_run(tracked, "reopened", "train/1")
    track.close_run(tracked, run_id, "FAILED")
    assert track.open_run(tracked, "reopened", "train/1") == run_id
    assert track.client(tracked).get_run(run_id).info.status == "RUNNING"
    track.close_run(tracked, run_id)
    assert track.client(tracked).get_run(run_id).info.status == "FINISHED"
    assert track.open_run(tracked, "reopened", "train/2") != run_id
    assert track.find_run(tracked, "reopened", "train/3") is None
    assert run_id in track.run_url(tracked, run_id)


def test_mlflow_and_the_bundle_load_what_was_logged(
    work: Callable[[str], str], tracked: Settings, made: Ref, spec: ModelSpec, frame: Ref, tmp_path: Path
) -> None:
    version = work("loaded")
    run_id = track.run_of(tracked, "loaded", version)
    x = data.matrix(data.split(spec, data.read(tracked, frame)).holdout, spec.features)[:50]
    expected = bundle.predict(bundle.load(made), x)
    folder = track.fetch(tracked, run_id, track.BUNDLE_FOLDER, tmp_path / "bundle")
    assert hash_folder(folder) == made["hash"]
    local = track.fetch(tracked, run_id, track.MODEL_FOLDER, tmp_path / "model")
    loaded = mlflow.pyfunc.load_model(str(local))  # as `mlflow models serve` does
    np.testing.assert_array_equal(loaded.predict({"features": x})["probability"], expected)
    assert mlflow.onnx.load_model(str(local)).graph.input[0].name == "features"


def test_registry_answers_for_what_it_does_not_have(tracked: Settings, tmp_path: Path) -> None:
    assert track.get_aliases(tracked, "nobody") == {}
    with pytest.raises(track.Missing, match="no version 7 of nobody"):
        track.run_of(tracked, "nobody", "7")
    run_id = track.open_run(tracked, "nothing-logged", "k")
    with pytest.raises(track.Missing, match=r"no artifact manifest\.json"):
        track.fetch(tracked, run_id, track.MANIFEST, tmp_path)


def test_aliases_mirror_what_they_are_told(work: Callable[[str], str], tracked: Settings) -> None:
    version = work("aliased")
    assert track.set_aliases(tracked, "aliased", {"champion": version, "challenger": None}) == [
        "challenger",
        "champion",
    ]
    assert track.get_aliases(tracked, "aliased") == {"champion": version}
    assert track.set_aliases(tracked, "aliased", {"champion": version, "challenger": None}) == []
