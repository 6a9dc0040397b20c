"""The planted cases of the gate: challengers of which one knows beforehand whether they deserve to pass.

Each makes the training rows of a challenger from good ones; the holdout stays as it was. Used by the tests (one week,
the verdict one would wish) and by bench_gate.py (many weeks, how often the gate errs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

from include.contracts import CLUSTER, EVENT_TIME, PUBLICATION_LAG, TARGET, VIEWS

HOURLY = {view.keys: [f.name for f in view.features] for view in VIEWS if view.cadence == "hourly"}
PARAMS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 4,
    "learning_rate": 0.06,
    "min_child_weight": 100.0,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "reg_lambda": 10.0,
    "nthread": 1,
}
ROUNDS = 120


def shuffled(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The labels belong to other flights: nothing is to be learnt but the base rate."""
    labels = np.random.default_rng(seed).permutation(train[TARGET].to_numpy())
    return train.assign(**{TARGET: labels})


def mislabelled(train: pd.DataFrame, seed: int, days: int = 28) -> pd.DataFrame:
    """Half of the positives of the last `days` days say "on time": a label feed that lost rows."""
    recent = train[CLUSTER].isin(np.sort(train[CLUSTER].unique())[-days:]).to_numpy()
    lost = recent & (np.random.default_rng(seed).random(len(train)) < 0.5)
    return train.assign(**{TARGET: np.where(lost, 0, train[TARGET].to_numpy())})


def shifted(train: pd.DataFrame, hours: int = 1) -> pd.DataFrame:
    """Hourly features are those of `hours` later: the model learns from what serving will not yet know."""
    hour = (train[EVENT_TIME] - PUBLICATION_LAG).dt.floor("h")  # of the snapshot that the row sees
    moved = train.copy()
    for keys, names in HOURLY.items():
        later = train.assign(_hour=hour - pd.Timedelta(hours=hours)).groupby([*keys, "_hour"])[names].first()
        found = train[list(keys)].assign(_hour=hour).join(later, on=[*keys, "_hour"], rsuffix="_later")
        present = pd.MultiIndex.from_frame(found[[*keys, "_hour"]]).isin(later.index)
        for name in names:
            moved[name] = np.where(present, found[name], train[name]).astype(np.float32)
    return moved


def without_hourly(features: Sequence[str]) -> list[str]:
    """The features less the strongest group (what happened at the airport in the last hours): a poorer model."""
    poorer = {name for names in HOURLY.values() for name in names}
    return [f for f in features if f not in poorer]


def booked(features: Sequence[str]) -> list[str]:
    """The features known when a ticket is sold: a much poorer model."""
    known = {f.name for view in VIEWS if view.cadence == "plan" for f in view.features}
    return [f for f in features if f in known]


def fit(train: pd.DataFrame, features: Sequence[str], seed: int, **params: float) -> xgb.Booster:
    """One XGBoost with fixed parameters (PARAMS, `params` instead of some), one thread."""
    rows = xgb.DMatrix(train[list(features)], train[TARGET], nthread=1)
    return xgb.train({**PARAMS, **params, "seed": seed}, rows, ROUNDS)


def predict(model: xgb.Booster, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Probabilities, float64 [n]."""
    return model.predict(xgb.DMatrix(rows[model.feature_names], nthread=1)).astype(np.float64)
