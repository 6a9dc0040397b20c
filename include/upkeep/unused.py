"""Who uses what: features without effect, views that no model reads, models that predict nothing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from include.contracts import View


class Unused(TypedDict):
    """`features`: in no model's spec; `views`: of which no model's spec names a feature; `without_effect`: model ->
    features that its champion takes and that change no prediction; `models`: model -> why it counts as unused."""

    features: list[str]
    views: list[str]
    without_effect: dict[str, list[str]]
    models: dict[str, str]


def effects(predict: Callable[[np.ndarray], np.ndarray], x: np.ndarray, features: Sequence[str]) -> dict[str, float]:
    """Mean |change of the probability| of rows float32 [n, k] when one feature takes other rows' values, and when it is
    missing; the larger of both. 0: the feature has no effect at all on any of them, whatever kind of model it is."""
    before = predict(x)
    found = {}
    for i, name in enumerate(features):
        changes = []
        for column in (*(np.roll(x[:, i], len(x) * part // 4) for part in (1, 2, 3)), np.nan):
            other = x.copy()
            other[:, i] = column
            # a model may have no answer for a missing value: that says nothing about its weight
            difference = np.abs(predict(other) - before)
            changes.append(float(np.nan_to_num(difference).mean()))
        found[name] = max(changes)
    return found


def report(
    views: Iterable[View],
    specs: Mapping[str, Sequence[str]],
    measured: Mapping[str, Mapping[str, float]],
    idle: Mapping[str, str],
) -> Unused:
    """`specs`: model -> its features; `measured`: model -> `effects` of its champion; `idle`: model -> why."""
    read = {name for features in specs.values() for name in features}
    views = list(views)
    return Unused(
        features=[f.name for v in views for f in v.features if f.name not in read],
        views=[v.name for v in views if not any(f.name in read for f in v.features)],
        without_effect={
            model: names
            for model, found in measured.items()
            if (names := [name for name, effect in found.items() if effect == 0.0])
        },
        models=dict(idle),
    )


def sentences(found: Unused) -> list[str]:
    """The same for a person."""
    said = [f"view {name}: no model reads a feature of it" for name in found["views"]]
    said += [f"feature {name}: no model's spec names it" for name in found["features"]]
    for model, names in found["without_effect"].items():
        said += [f"feature {name}: the champion of {model} takes it and never minds it" for name in names]
    return said + [f"model {model}: {why}" for model, why in found["models"].items()]
