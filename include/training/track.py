"""What MLflow keeps of a training: one run, its artifacts, one model version. Every call may be repeated.

A run is found by its key (one a run of the DAG), kept as a tag that is set in the request that creates it; a retry
reopens that run. Metrics carry the as-of as their time, so writing one twice is writing it once. No `log_model`: each
call would make another LoggedModel; the bundle is logged as files that `mlflow.onnx.load_model` and
`mlflow models serve` read.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import httpx
import mlflow.onnx
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import Schema, TensorSpec

from include import bundle, crashpoints, times
from include.contracts import Ref
from include.files import hash_text
from include.settings import Settings

KEY = "ratchet.key"  # hash of the key: MLflow's filters cannot quote every character that a run id may hold
RUN = "ratchet.run"  # the key itself, for people
MODEL_FOLDER = "model"  # in MLflow's own form; what the model version's source names
BUNDLE_FOLDER = "bundle"  # the bundle, file by file
MANIFEST = "manifest.json"
PREDICTIONS = "predictions.parquet"
_BATCH = 100  # the server's limit on tags and params in one request


class Missing(LookupError):
    """MLflow has no such run, version or artifact."""


class Source(TypedDict):
    """One input of a training: a table at a version, a snapshot or a frame."""

    name: str
    digest: str  # version or content hash
    uri: str
    context: str  # "training", "lake", …


def client(settings: Settings) -> MlflowClient:
    return MlflowClient(tracking_uri=settings.mlflow_uri)


def check_server(settings: Settings) -> None:
    """Raise Missing at once when the tracking server does not answer; its client would go on trying for minutes."""
    if not settings.mlflow_uri.startswith("http"):
        return
    try:
        httpx.get(f"{settings.mlflow_uri.rstrip('/')}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        raise Missing(f"MLflow at {settings.mlflow_uri} does not answer (`make up` starts it): {error}") from error


def run_url(settings: Settings, run_id: str) -> str:
    """The run's page in MLflow's own UI."""
    experiment = client(settings).get_run(run_id).info.experiment_id
    return f"{settings.mlflow_uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"


# -- the run -----------------------------------------------------------------------------------------------------
def open_run(settings: Settings, model: str, key: str, tags: Mapping[str, str] | None = None) -> str:
    """The id of the one run with this key, in the experiment named after the model: made now, or reopened."""
    api = client(settings)
    experiment = _experiment(api, model)
    crashpoints.reached("train.log.experiment")
    run_id = find_run(settings, model, key)
    if run_id is None:
        made = api.create_run(experiment, tags={**(tags or {}), RUN: key, KEY: hash_text(key)}, run_name=key)
        run_id = str(made.info.run_id)
    else:
        api.update_run(run_id, status="RUNNING")
    crashpoints.reached("train.log.run")
    return run_id


def find_run(settings: Settings, model: str, key: str) -> str | None:
    """The run with this key, or None. Of several (two attempts that raced), the first made."""
    api = client(settings)
    experiment = api.get_experiment_by_name(model)
    if experiment is None:
        return None
    same = f"tags.`{KEY}` = '{hash_text(key)}'"
    found = api.search_runs([experiment.experiment_id], same, order_by=["start_time ASC"])
    return str(found[0].info.run_id) if found else None


def _experiment(api: MlflowClient, name: str) -> str:
    found = api.get_experiment_by_name(name)
    if found is None:
        try:
            return str(api.create_experiment(name))
        except MlflowException as error:  # another run was first
            if not _is(error, RESOURCE_ALREADY_EXISTS) or (found := api.get_experiment_by_name(name)) is None:
                raise
    if found.lifecycle_stage != "active":
        raise Missing(f"MLflow's experiment {name!r} was deleted: restore it (mlflow experiments restore) and retry")
    return str(found.experiment_id)


def log_training(
    settings: Settings,
    run_id: str,
    as_of: str,
    bundle_ref: Ref,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    sources: Iterable[Source],
    files: Mapping[str, Path],
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write all of a training into its run; again after a kill at any place gives the same run.

    `metrics`: name -> number, or {"value", "low", "high"} (an interval makes `name.low` and `name.high`; None is left
    out). `files`: artifact path -> file, e.g. {"manifest.json": …, "verdict/index.html": …}.
    """
    api = client(settings)
    for some in _chunks([Param(k, str(v)) for k, v in params.items()]):
        api.log_batch(run_id, params=some)
    crashpoints.reached("train.log.params")
    api.log_batch(run_id, metrics=_metrics(metrics, as_of), tags=[RunTag(k, str(v)) for k, v in (tags or {}).items()])
    crashpoints.reached("train.log.metrics")
    api.log_inputs(run_id, [_input(source) for source in sources])
    crashpoints.reached("train.log.inputs")
    with tempfile.TemporaryDirectory() as work:
        log_files(settings, run_id, {**_model_files(bundle_ref, as_of, Path(work)), **files})


def log_files(settings: Settings, run_id: str, files: Mapping[str, Path]) -> None:
    """Upload files to their artifact paths; a file that is there already is replaced."""
    api = client(settings)
    with tempfile.TemporaryDirectory() as work:
        for number, (name, file) in enumerate(sorted(files.items())):
            target = Path(name)
            source = Path(file)
            if source.name != target.name:  # an artifact takes its file's name
                source = Path(work) / str(number) / target.name
                source.parent.mkdir()
                shutil.copyfile(file, source)
            folder = target.parent.as_posix()
            api.log_artifact(run_id, str(source), None if folder == "." else folder)
            crashpoints.reached(f"train.log.file.{name}")


def close_run(settings: Settings, run_id: str, status: str = "FINISHED") -> None:
    """End the run with FINISHED or FAILED. Its end keeps the time of the first close."""
    api = client(settings)
    if api.get_run(run_id).info.status != status:
        api.set_terminated(run_id, status)
    crashpoints.reached("train.log.close")


def _chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[i : i + _BATCH] for i in range(0, len(items), _BATCH))


def _metrics(metrics: Mapping[str, Any], as_of: str) -> list[Metric]:
    time = int(times.parse(as_of).timestamp() * 1000)
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            named = {name: value["value"], f"{name}.low": value.get("low"), f"{name}.high": value.get("high")}
            flat.update({k: v for k, v in named.items() if v is not None})
        elif value is not None:
            flat[name] = value
    return [Metric(name, float(value), time, 0) for name, value in flat.items()]


def _input(source: Source) -> DatasetInput:
    dataset = Dataset(
        name=source["name"],
        digest=source["digest"][:32],  # the server keeps 36 characters
        source_type="ratchet",
        source=json.dumps({"uri": source["uri"], "digest": source["digest"]}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", source["context"])])


def _model_files(ref: Ref, as_of: str, work: Path) -> dict[str, Path]:
    """The bundle as it is and in MLflow's form. Ids and times in it are the bundle's, so a retry writes equal files."""
    loaded = bundle.load(ref)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(loaded.features)), bundle.INPUT)]),
        outputs=Schema([TensorSpec(np.dtype("float64"), (-1,), bundle.OUTPUT)]),
    )
    folder = work / MODEL_FOLDER
    created = datetime.fromisoformat(as_of).replace(tzinfo=None)
    mlflow.onnx.save_model(
        onnx.load(str(loaded.path / bundle.MODEL)),
        str(folder),
        mlflow_model=Model(model_uuid=loaded.hash[:32], utc_time_created=created),
        signature=signature,
        pip_requirements=[f"onnx=={onnx.__version__}", f"onnxruntime=={bundle.ort.__version__}"],
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
        metadata={"bundle": loaded.hash, "features": loaded.features},
        save_as_external_data=False,
    )
    made = {f"{MODEL_FOLDER}/{p.relative_to(folder).as_posix()}": p for p in folder.rglob("*") if p.is_file()}
    return made | {f"{BUNDLE_FOLDER}/{name}": loaded.path / name for name in (bundle.MODEL, bundle.SCHEMA)}


# -- the registry ------------------------------------------------------------------------------------------------
def register(settings: Settings, run_id: str, name: str, tags: Mapping[str, str] | None = None) -> str:
    """The version of the run's model, registered under `name`: made now, or the one that the run already has."""
    api = client(settings)
    try:
        api.create_registered_model(name)
    except MlflowException as error:
        if not _is(error, RESOURCE_ALREADY_EXISTS):
            raise
    crashpoints.reached("train.register.model")
    versions = [int(v.version) for v in api.search_model_versions(f"run_id = '{run_id}'") if v.name == name]
    if versions:
        return str(min(versions))
    source = f"runs:/{run_id}/{MODEL_FOLDER}"
    made = api.create_model_version(name, source, run_id, tags=dict(tags or {}), await_creation_for=0)
    crashpoints.reached("train.register.version")
    return str(made.version)


def tag_version(settings: Settings, name: str, version: str, tags: Mapping[str, str]) -> None:
    """Set tags of a model version; the same again changes nothing."""
    api = client(settings)
    for key, value in sorted(tags.items()):
        api.set_model_version_tag(name, version, key, value)
        crashpoints.reached(f"train.register.tag.{key}")


def set_aliases(settings: Settings, name: str, aliases: Mapping[str, str | None]) -> list[str]:
    """Make the registry's aliases say this (alias -> version, None removes it). Returns the aliases that it changed.

    Aliases mirror the ledger, which decides; MLflow offers no compare-and-set on them.
    """
    api = client(settings)
    there = get_aliases(settings, name)
    changed = []
    for alias, version in sorted(aliases.items()):
        if there.get(alias) == version:
            continue
        if version is None:
            api.delete_registered_model_alias(name, alias)
        else:
            api.set_registered_model_alias(name, alias, version)
        changed.append(alias)
        crashpoints.reached(f"train.register.alias.{alias}")
    return changed


def get_aliases(settings: Settings, name: str) -> dict[str, str]:
    """alias -> version of a registered model; empty when there is no such model."""
    try:
        found = client(settings).get_registered_model(name).aliases
    except MlflowException as error:
        if _is(error, RESOURCE_DOES_NOT_EXIST):
            return {}
        raise
    return {alias: str(version) for alias, version in found.items()}


def run_of(settings: Settings, name: str, version: str) -> str:
    """The run that a model version came from. Raises Missing."""
    try:
        return str(client(settings).get_model_version(name, str(version)).run_id)
    except MlflowException as error:
        raise Missing(f"MLflow at {settings.mlflow_uri} has no version {version} of {name}: {error.message}") from error


def fetch(settings: Settings, run_id: str, artifact: str, into: Path) -> Path:
    """Download one artifact (file or folder) of a run below `into`. Raises Missing."""
    into.mkdir(parents=True, exist_ok=True)
    try:
        return Path(client(settings).download_artifacts(run_id, artifact, str(into)))
    except (MlflowException, OSError) as error:
        raise Missing(f"run {run_id} has no artifact {artifact}: {error}") from error


def _is(error: MlflowException, code: int) -> bool:
    return bool(error.error_code == ErrorCode.Name(code))
