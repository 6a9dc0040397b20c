"""The shipped model repeats the fitted one, and the fitted one repeats its library."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
import xgboost
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from include import bundle, platt
from include.contracts import Ref
from include.models.spec import ModelSpec
from include.settings import Settings
from include.training import data, export, families, fit

PARAMS: dict[str, dict[str, Any]] = {
    "logistic": {"C": 0.3},
    "xgboost": {"max_depth": 4, "learning_rate": 0.2, "n_estimators": 40, "subsample": 0.7},
}
BENT = platt.Calibration(slope=0.8, offset=-0.15)


@pytest.fixture(scope="module")
def parts(settings: Settings, spec: ModelSpec, frame: Ref) -> data.Parts:
    return data.split(spec, data.read(settings, frame))


@pytest.fixture(scope="module")
def models(parts: data.Parts, spec: ModelSpec) -> dict[str, dict[str, Any]]:
    x, y = data.matrix(parts.training, spec.features), data.labels(parts.training, spec.target)
    return {f: {**families.fit(f, x, y, spec.features, p, 1), "calibration": BENT} for f, p in PARAMS.items()}


@pytest.fixture(scope="module")
def sessions(models: dict[str, dict[str, Any]]) -> dict[str, ort.InferenceSession]:
    return {family: ort.InferenceSession(export.to_onnx(model)) for family, model in models.items()}


def _shipped(session: ort.InferenceSession, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = session.run([bundle.OUTPUT], {bundle.INPUT: x})[0]
    return found


@pytest.mark.parametrize("family", PARAMS)
def test_parity_on_every_real_row_missing_values_included(
    family: str, models: dict[str, Any], sessions: dict[str, Any], parts: data.Parts, spec: ModelSpec
) -> None:
    x = data.matrix(pd.concat([parts.training, parts.holdout]), spec.features)
    assert np.isnan(x).any()
    assert np.abs(_shipped(sessions[family], x) - fit.predict(models[family], x)).max() <= export.PARITY


_rows = arrays.arrays(
    np.float32, (3, 12), elements=st.one_of(st.just(np.nan), st.floats(-1000, 3000, width=32), st.integers(-2, 30))
)


@pytest.mark.parametrize("family", PARAMS)
@examples(deadline=None, max_examples=80)
@given(x=_rows)
def test_parity_on_any_row(family: str, x: np.ndarray, models: dict[str, Any], sessions: dict[str, Any]) -> None:
    """Unseen codes, values on thresholds and all values missing among them."""
    found, expected = _shipped(sessions[family], x), fit.predict(models[family], x)
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= export.PARITY


def test_values_on_a_threshold_go_the_same_way(
    models: dict[str, Any], sessions: dict[str, Any], parts: Any, spec: Any
) -> None:
    trees = models["xgboost"]["booster"]["learner"]["gradient_booster"]["model"]["trees"]
    base = data.matrix(parts.holdout, spec.features)[:1]
    rows = []
    for tree in trees:
        for left, index, value in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True
        ):
            if left != -1:
                rows.append(base[0].copy())
                rows[-1][index] = np.float32(value)
    x = np.array(rows)
    assert np.abs(_shipped(sessions["xgboost"], x) - fit.predict(models["xgboost"], x)).max() <= export.PARITY


def test_logistic_equals_a_pipeline_of_its_library(models: dict[str, Any], parts: data.Parts, spec: ModelSpec) -> None:
    codes = ["carrier_code", "origin_code"]
    numbers = [f for f in spec.features if f not in codes]
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            ("codes", OneHotEncoder(handle_unknown="ignore"), codes),
        ]
    )
    whole = make_pipeline(columns, LogisticRegression(C=0.3, max_iter=500))
    rows = parts.training[list(spec.features)].astype(np.float64)
    whole.fit(rows, parts.training[spec.target])
    expected = whole.predict_proba(parts.holdout[list(spec.features)].astype(np.float64))[:, 1]
    plain = {**models["logistic"], "calibration": platt.NONE}
    found = fit.predict(plain, data.matrix(parts.holdout, spec.features))
    assert np.abs(found - expected).max() < 1e-3  # another order of columns: the solver stops elsewhere


def test_boosted_margin_is_the_sum_of_its_trees(models: dict[str, Any], parts: data.Parts, spec: ModelSpec) -> None:
    model = models["xgboost"]
    x = data.matrix(parts.holdout, spec.features)[:200]
    booster = xgboost.Booster(model_file=bytearray(json.dumps(model["booster"]).encode()))
    whole = booster.predict(xgboost.DMatrix(x), pred_contribs=True).sum(axis=1)
    assert families.margin(model, x) == pytest.approx(whole, abs=1e-4)
    assert 1 / (1 + np.exp(-model["start"])) == pytest.approx(parts.training[spec.target].mean())


@pytest.mark.parametrize("family", PARAMS)
def test_contributions_add_up_to_the_margin(family: str, models: dict[str, Any], parts: Any, spec: Any) -> None:
    x = data.matrix(parts.holdout, spec.features)[:300]
    left = families.margin(models[family], x) - families.contributions(models[family], x).sum(axis=1)
    assert left == pytest.approx(left[0], abs=1e-4)


def test_calibration_is_a_node_of_its_own(models: dict[str, Any]) -> None:
    import onnx

    graph = onnx.load_from_string(export.to_onnx(models["xgboost"])).graph
    assert [n.name for n in graph.node][-3:] == ["calibration_slope", "calibration_offset", "to_probability"]
    values = {i.name: onnx.numpy_helper.to_array(i).item() for i in graph.initializer if i.name in ("slope", "offset")}
    assert values == BENT


@pytest.mark.parametrize("family", PARAMS)
def test_exported_bundle_and_its_check(settings: Settings, spec: ModelSpec, frame: Ref, family: str) -> None:
    fitted = fit.fit(settings, spec, frame, {"family": family, "params": PARAMS[family]})
    made = export.export(settings, spec, frame, fitted, "2013-02-05T00:00:00+00:00", ["logistic", "xgboost"])
    loaded = bundle.load(made)
    assert loaded.features == list(spec.features)
    assert loaded.schema["configuration_hash"] == spec.configuration_hash()
    assert (loaded.schema["family"], loaded.schema["params"]) == (family, PARAMS[family])
    moved = pd.read_parquet(fitted["predictions"]["uri"])
    moved[fit.PROBABILITY] += np.where(moved.index == 7, 1e-5, 0.0)
    path = settings.home / "moved.parquet"
    moved.to_parquet(path)
    wrong = fit.Fitted(**{**fitted, "predictions": Ref(uri=str(path), version="", hash="")})
    with pytest.raises(export.NotExact, match=r"differs from the fitted one by 1\.0e-05"):
        export.export(settings, spec, frame, wrong, "2013-02-05T00:00:00+00:00")


def test_the_bundle_carries_the_medians_of_training_and_the_policy_of_serving(
    settings: Settings, spec: ModelSpec, frame: Ref, parts: data.Parts
) -> None:
    fitted = fit.fit(settings, spec, frame, {"family": "logistic", "params": PARAMS["logistic"]})
    described = bundle.load(export.export(settings, spec, frame, fitted, "2013-02-08T00:00:00+00:00")).schema
    rows = data.matrix(parts.training, spec.features)
    assert list(described["reference"]) == sorted(spec.features)
    for name, median in zip(spec.features, np.nanmedian(rows, axis=0), strict=True):
        assert described["reference"][name] == pytest.approx(float(median), rel=1e-6), name
    assert described["serving"] == {"threshold": 0.4, "stale": "flag", "log_rate": 1.0}
    assert described["format"] == bundle.FORMAT
    empty = parts.training.assign(temp=np.float32(np.nan))
    assert export.reference(spec, empty)["temp"] is None


def test_unknown_family_names_those_that_exist() -> None:
    with pytest.raises(families.UnknownFamily, match="logistic, xgboost"):
        families.module("forest")
