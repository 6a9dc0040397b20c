"""A home with January online, the same trees in every form that a contender serves, and real flights to ask about."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import mlflow.pyfunc
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier

from bench import january
from include import bundle, clock, lake
from include.contracts import SCHEDULE, Ref
from include.features.online import Reader
from include.files import read_json, write_json
from include.models.flights_on_time.spec import SPEC
from include.packed import code_hash
from include.release import ledger
from include.release.ledger import Decision, Version
from include.serving.plan import NAMES as BOOKED
from include.serving.predict import STORED
from include.settings import Settings
from include.times import parse
from include.training import boosted, data, export, families

PARAMS = january.PARAMS["xgboost"]
CODES = ["carrier_code", "origin_code"]
FORM = 1  # of a home; another one is made anew
AFTER = timedelta(minutes=5)  # the last materialization: the data time of what is asked
NOTHING = Ref(uri="", version="", hash="")


def home(folder: Path, end: str) -> Settings:
    """The installation in `folder`: made, or used again when it was made here for the same `end`.

    Raises ValueError for a folder that holds anything else: versions and deployments are written into its ledger.
    """
    settings, mark = Settings(home=folder), folder / "bench" / "home.json"
    wanted = {"form": FORM, "end": end, "code": code_hash()}
    if mark.exists() and read_json(mark) == wanted:
        return settings
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and was not made by this bench for {wanted}: name another folder")
    (folder / "bench").mkdir(parents=True)
    january.fill(settings, end)
    _models(settings, end)
    write_json(mark, wanted)
    return settings


def tell_time(settings: Settings, end: str) -> None:
    """Data time begins now, soon after the last materialization."""
    (settings.home / "clock.json").unlink(missing_ok=True)
    clock.start(settings.home / "clock.json", datetime.now(UTC), parse(end) + AFTER, 1.0)


# -- models --------------------------------------------------------------------------------------------------------
def _models(settings: Settings, end: str) -> None:
    rows = january.labelled(settings, *january.freeze(settings, end), end)
    x, y = data.matrix(rows, SPEC.features), data.labels(rows, SPEC.target)
    engine = ledger.connect(settings.ledger_url)
    for number in (1, 2):
        model = families.fit("xgboost", x, y, SPEC.features, PARAMS, SPEC.seed + number)
        model["calibration"] = {"slope": 1.0, "offset": 0.0}
        described = bundle.schema(
            SPEC.name, SPEC.features, "bench", end, "xgboost", PARAMS,
            export.reference(SPEC, rows), SPEC.serving.model_dump(mode="json"),
        )  # fmt: skip
        made = bundle.save(settings, export.to_onnx(model), described)
        version = Version(SPEC.name, number, "bench", "bench", end, end[:10], NOTHING, made, NOTHING, code_hash())
        ledger.add_version(engine, version)
    folder = settings.home / "bench"
    frame, params = pd.DataFrame(x, columns=list(SPEC.features)), _sklearn(SPEC.seed + 1)
    joblib.dump(_usual(params).fit(frame, y), folder / "usual.joblib")
    joblib.dump(_same(params).fit(frame, y), folder / "same.joblib")
    _pyfunc(folder)


def _sklearn(seed: int) -> dict[str, Any]:
    return {**PARAMS, "tree_method": "hist", "max_bin": boosted.MAX_BIN, "random_state": seed, "n_jobs": 1}


def _usual(params: Mapping[str, Any]) -> Any:
    """What tutorials build: numbers imputed and scaled, codes one-hot, then the classifier."""
    numbers = [name for name in SPEC.features if name not in CODES]
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            ("codes", OneHotEncoder(handle_unknown="ignore", sparse_output=False), CODES),
        ]
    )
    return make_pipeline(columns, XGBClassifier(**params))


def _same(params: Mapping[str, Any]) -> Any:
    """The leanest pipeline there is, with the trees of the bundle: columns are chosen, nothing is changed."""
    return make_pipeline(ColumnTransformer([("columns", "passthrough", list(SPEC.features))]), XGBClassifier(**params))


def _pyfunc(folder: Path) -> None:
    mlflow.pyfunc.save_model(
        folder / "mlflow",
        python_model=str(Path(__file__).with_name("pyfunc.py")),
        artifacts={"pipeline": str(folder / "usual.joblib")},
        pip_requirements=["mlflow"],
    )


def bundles(settings: Settings) -> dict[int, Ref]:
    """Of each version."""
    engine = ledger.connect(settings.ledger_url)
    return {number: ledger.version(engine, SPEC.name, number).bundle for number in (1, 2)}


def deploy(settings: Settings, challenger: int | None) -> int:
    """Version 1, and in the shadow the challenger if there is one; returns the generation."""
    engine = ledger.connect(settings.ledger_url)
    seen = ledger.current(engine, SPEC.name)
    key = f"bench/{seen.generation + 1}"
    decision = Decision(key, SPEC.name, "bench", "bench", "measured", january.END, 1)
    shadow: dict[str, Any] = {"stage": "shadow", "release": 1} if challenger else {}
    return ledger.deploy(engine, seen, decision, 1, challenger, **shadow).generation


# -- flights -------------------------------------------------------------------------------------------------------
def flights(settings: Settings, end: str) -> list[dict[str, Any]]:
    """Real flights of the hours after `end` that the store knows all required features of, in a seeded order."""
    day = parse(end).date()
    versions = lake.catalog(settings.lake)["versions"]
    days = (day.isoformat(), (day + timedelta(days=1)).isoformat())
    rows = [
        row
        for row in lake.read(settings.lake, SCHEDULE, versions[SCHEDULE.name], days=days).to_pylist()
        if row["sched_dep"] > parse(end)
    ]
    required = [i for i, name in enumerate(STORED) if name in _required(settings)]
    read = Reader(settings, STORED).read(rows, 0.0)
    known = [
        row for row, found in zip(rows, read, strict=True) if np.isfinite([found.values[i] for i in required]).all()
    ]
    random.Random(SPEC.seed).shuffle(known)
    named = ("carrier", "flight", "origin", "dest", "sched_dep", "sched_arr", "distance")
    return [{name: _plain(row[name]) for name in named} for row in known]


def _required(settings: Settings) -> set[str]:
    schema = bundle.load(bundles(settings)[1]).schema
    return {f["name"] for f in schema["features"] if not f["nullable"]} - set(BOOKED)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def write_bodies(flights: list[dict[str, Any]], folder: Path) -> dict[str, Path]:
    """The same flights in the two envelopes that are needed: MLflow has a protocol of its own."""
    envelopes: dict[str, list[dict[str, Any]]] = {
        "flight": [{"flight": flight} for flight in flights],
        "dataframe_records": [{"dataframe_records": [flight]} for flight in flights],
    }
    files = {}
    for name, bodies in envelopes.items():
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    return files
