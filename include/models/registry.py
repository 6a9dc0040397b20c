"""The models that this installation knows: every folder of include/models that holds a spec.py."""

from __future__ import annotations

import importlib
import pkgutil

import include.models
from include.models.spec import ModelSpec


class UnknownModel(LookupError):
    """No folder of that name."""


def names() -> list[str]:
    """Names of all models, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(include.models.__path__) if m.ispkg)


def load(name: str) -> ModelSpec:
    """The spec of a model. Raises UnknownModel, naming those that exist."""
    if name not in names():
        raise UnknownModel(f"no model {name!r}; there are {', '.join(names())} (one folder each in include/models)")
    spec: ModelSpec = importlib.import_module(f"include.models.{name}.spec").SPEC
    return spec
