"""The families of models that can ship, by name: those with an exact ONNX form (see logistic.py and boosted.py)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

_MODULES = {"logistic": "include.training.logistic", "xgboost": "include.training.boosted"}


class UnknownFamily(LookupError):
    """No such family of models."""


def module(family: str) -> ModuleType:
    """The module of a family, imported only when it is used: a task pays for its own library alone."""
    if family not in _MODULES:
        raise UnknownFamily(f"no family {family!r}; there are {', '.join(sorted(_MODULES))}")
    return importlib.import_module(_MODULES[family])


def fit(
    family: str, x: np.ndarray, y: np.ndarray, features: Sequence[str], params: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """A fitted model: a dict that JSON can hold, with its family's name in it."""
    model: dict[str, Any] = module(family).fit(x, y, features, params, seed)
    return {"family": family, "params": dict(params), "seed": seed, **model}


def margin(model: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Log odds before calibration, float64 [n]."""
    result: np.ndarray = module(model["family"]).margin(model, x)
    return result


def contributions(model: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """What each feature adds to the log odds, float64 [n, k]."""
    result: np.ndarray = module(model["family"]).contributions(model, x)
    return result
