"""Train a registered version once more from its manifest, and say whether it comes out identical."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from pydantic import ValidationError

from include import lake
from include.contracts import ALL_TABLES, Ref
from include.files import hash_file, hash_folder, read_json
from include.models.spec import ModelSpec
from include.settings import Settings
from include.training import data, export, fit, manifest, track


class SpecChanged(LookupError):
    """The code of today cannot read the spec of then."""


class Report(TypedDict):
    """`missing`: what is gone; `differences`: what has changed since (manifest.compare); both as sentences."""

    version: str
    run_id: str
    identical: bool | None  # None: it could not be trained again
    missing: list[str]
    differences: list[str]


def reproduce(settings: Settings, version: str, name: str | None = None) -> Report:
    """Retrain version `version` of the model `name` (settings.model) in a scratch folder and compare bundle hashes.

    Only the frame is needed to train again; the snapshot and the tables' versions, of which a lost frame can be built
    anew, are looked for and named when they are gone. Raises track.Missing when MLflow knows no such version.
    """
    name = name or settings.model
    run_id = track.run_of(settings, name, version)
    with tempfile.TemporaryDirectory(prefix="ratchet-reproduce-") as work:
        then = read_json(track.fetch(settings, run_id, track.MANIFEST, Path(work) / "then"))
        missing = absent(settings, then)
        try:
            frame, spec = _found_frame(settings, then), _spec(then)
        except (data.FrameMissing, SpecChanged) as error:
            return Report(
                version=str(version), run_id=run_id, identical=None, missing=[str(error), *missing], differences=[]
            )
        now, predictions = _retrain(settings, spec, then, frame, Path(work))
        differences = manifest.compare(then, now)
        identical = bool(now["result"]["bundle"]["hash"] == then["result"]["bundle"]["hash"])
        if not identical:
            differences.append(_prediction_gap(settings, run_id, predictions, Path(work)))
    return Report(version=str(version), run_id=run_id, identical=identical, missing=missing, differences=differences)


def absent(settings: Settings, then: Mapping[str, Any]) -> list[str]:
    """What the manifest refers to and cannot be found any more, the frame aside."""
    gone = []
    snapshot = then["data"]["snapshot"]
    places = [Path(snapshot["uri"]), settings.snapshots / snapshot["hash"]]
    if not any(place.is_dir() for place in places):
        gone.append(f"snapshot {snapshot['hash'][:12]} is not at {places[0]}")
    tables = {table.name: table for table in ALL_TABLES}
    for name, version in sorted(then["data"]["versions"].items()):
        if name not in tables:
            gone.append(f"table {name} is in no contract any more")
            continue
        try:
            lake.read(settings.lake, tables[name], version, days=("0000", "0000"))  # opens the version, reads no row
        except lake.UnknownVersion:
            gone.append(f"table {name} has no version {version} any more")
    return gone


def _found_frame(settings: Settings, then: Mapping[str, Any]) -> Ref:
    kept = then["data"]["frame"]
    frame = Ref(uri=kept["uri"], version=kept["version"], hash=kept["hash"])
    path = data.locate(settings, frame)
    if (found := hash_file(path)) != frame["hash"]:
        raise data.FrameMissing(f"frame {frame['hash'][:12]}: {path} now has hash {found[:12]}, it was altered")
    return Ref(uri=str(path), version=frame["version"], hash=frame["hash"])


def _spec(then: Mapping[str, Any]) -> ModelSpec:
    """The spec of then; what takes no part in training or in the bundle may have changed its form since."""
    kept = {k: v for k, v in then["spec"].items() if k not in ("gate", "triggers", "rollout")}
    try:
        return ModelSpec.model_validate(kept)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
        raise SpecChanged(
            f"the spec's form has changed since ({fields}): check out commit {then['code']['commit']}"
        ) from error


def _retrain(
    settings: Settings, spec: ModelSpec, then: Mapping[str, Any], frame: Ref, work: Path
) -> tuple[dict[str, Any], Path]:
    """The manifest of the training made anew, and its predictions."""
    scratch = Settings(**{**settings.model_dump(), "home": work / "home"})
    chosen = {"family": then["family"], "params": then["params"]}
    fitted = fit.fit(scratch, spec, frame, chosen)
    made = export.export(scratch, spec, frame, fitted, then["as_of"], then["families"])
    now = manifest.build(
        spec,
        run=then["run"],
        as_of=then["as_of"],
        families=then["families"],
        versions=then["data"]["versions"],
        snapshot=then["data"]["snapshot"],
        frame=frame,
        fitted=fitted,
        bundle=made,
    )
    assert hash_folder(Path(made["uri"])) == made["hash"]
    return now, Path(fitted["predictions"]["uri"])


def _prediction_gap(settings: Settings, run_id: str, predictions: Path, work: Path) -> str:
    try:
        old = pd.read_parquet(track.fetch(settings, run_id, track.PREDICTIONS, work / "then"))
    except track.Missing as error:
        return f"predictions cannot be compared: {error}"
    new = pd.read_parquet(predictions)
    both = old.merge(new, on="flight_id", suffixes=("_then", "_now"))
    if len(both) != len(old) or len(both) != len(new):
        return f"predictions are of other rows: {len(old)} then, {len(new)} now, {len(both)} in both"
    gap = np.abs(both[f"{fit.PROBABILITY}_then"] - both[f"{fit.PROBABILITY}_now"]).max()
    return f"predictions differ by at most {gap:.2e} on {len(both)} rows of the holdout"


def text(report: Report) -> str:
    """The report for a person."""
    verdict = {
        True: "identical: training again from the manifest gave the same bundle, byte for byte",
        False: "different: training again from the manifest gave another bundle",
        None: "not reproducible here: what training needs is missing",
    }[report["identical"]]
    lines = [f"version {report['version']} (MLflow run {report['run_id']})", verdict]
    lines += ["", "missing:", *(f"  - {m}" for m in report["missing"])] if report["missing"] else []
    lines += ["", "differs from then:", *(f"  - {d}" for d in report["differences"])] if report["differences"] else []
    return "\n".join(lines) + "\n"
