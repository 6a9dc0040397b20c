"""The final fit: repeatable to the byte in another process, blind to the holdout, better than knowing nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.contracts import CLUSTER, FRAME_IDENTITY, Ref
from include.files import canonical_json, hash_file, write_json
from include.models.spec import ModelSpec
from include.settings import ROOT, Settings
from include.training import data, export, fit

AS_OF = "2013-02-05T00:00:00+00:00"
CHOSEN: dict[str, dict[str, Any]] = {
    "logistic": {"family": "logistic", "params": {"C": 0.1}},
    "xgboost": {
        "family": "xgboost",
        "params": {"max_depth": 3, "learning_rate": 0.2, "n_estimators": 30, "subsample": 0.7, "colsample_bytree": 0.6},
    },
}
_SCRIPT = """
import sys
from pathlib import Path
from include.files import read_json
from include.models.spec import ModelSpec
from include.settings import Settings
from include.training import export, fit
job = read_json(Path(sys.argv[1]))
spec, settings = ModelSpec.model_validate(job["spec"]), Settings(home=Path(job["home"]))
for chosen in job["chosen"]:
    fitted = fit.fit(settings, spec, job["frame"], chosen)
    print(export.export(settings, spec, job["frame"], fitted, job["as_of"])["hash"], fitted["predictions"]["hash"])
"""


@pytest.mark.parametrize("family", CHOSEN)
def test_fit_describes_itself_and_beats_the_base_rate(
    settings: Settings, spec: ModelSpec, frame: Ref, family: str
) -> None:
    fitted = fit.fit(settings, spec, frame, CHOSEN[family])
    predictions = pd.read_parquet(fitted["predictions"]["uri"])
    holdout = data.split(spec, data.read(settings, frame)).holdout
    assert list(predictions.columns) == [*FRAME_IDENTITY, fit.PROBABILITY]
    assert predictions["flight_id"].tolist() == holdout["flight_id"].tolist()
    y, p = predictions[spec.target].to_numpy(), predictions[fit.PROBABILITY].to_numpy()
    loss = -np.mean(np.where(y == 1, np.log(p), np.log(1 - p)))
    base = y.mean()
    assert loss < -(base * np.log(base) + (1 - base) * np.log(1 - base))
    assert {c["feature"] for c in fitted["contributions"]} == set(spec.features)
    sizes = [c["mean_abs"] for c in fitted["contributions"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0
    canonical_json(fitted)  # travels between tasks


def test_another_process_gives_the_same_bytes(settings: Settings, spec: ModelSpec, frame: Ref, tmp_path: Path) -> None:
    """The ONNX's bytes are in the bundle's hash."""
    job = {"spec": spec.model_dump(mode="json"), "frame": frame, "chosen": list(CHOSEN.values()), "as_of": AS_OF}
    printed = []
    for number in range(2):
        file = write_json(tmp_path / f"job-{number}.json", {**job, "home": str(tmp_path / str(number))})
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.split())
    fitted = [fit.fit(settings, spec, frame, chosen) for chosen in CHOSEN.values()]
    here = [
        h for f in fitted for h in (export.export(settings, spec, frame, f, AS_OF)["hash"], f["predictions"]["hash"])
    ]
    assert printed[0] == printed[1] == here


@pytest.mark.parametrize("family", CHOSEN)
def test_model_does_not_depend_on_the_holdout(
    settings: Settings, spec: ModelSpec, frame: Ref, family: str, tmp_path: Path
) -> None:
    rows = data.read(settings, frame)
    held = rows[CLUSTER] >= data.split(spec, rows).holdout[CLUSTER].min()
    rows.loc[held, spec.target] = 1 - rows.loc[held, spec.target]
    rows.to_parquet(tmp_path / "other.parquet")
    other = Ref(uri=str(tmp_path / "other.parquet"), version="", hash=hash_file(tmp_path / "other.parquet"))
    one, two = (fit.fit(settings, spec, f, CHOSEN[family]) for f in (frame, other))
    assert one["model"] == two["model"]
    assert one["predictions"] != two["predictions"]  # they carry the labels


def test_fitting_again_writes_nothing_new(settings: Settings, spec: ModelSpec, frame: Ref) -> None:
    first = fit.fit(settings, spec, frame, CHOSEN["xgboost"])
    before = {p: p.stat().st_ino for p in settings.trainings.rglob("*") if p.is_file()}
    assert fit.fit(settings, spec, frame, CHOSEN["xgboost"]) == first
    assert {p: p.stat().st_ino for p in settings.trainings.rglob("*") if p.is_file()} == before
