"""Entities, views and services of Feast, made from `include.contracts`: a feature is named there, and only there.

`objects(folder)` reads every view from `<folder>/<view>.parquet`, so that a training can look at its own immutable
snapshot while online features come from the newest one. The `feast` command, run in this folder with the repository
on PYTHONPATH, sees the newest.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Int64, String

from include.contracts import EVENT_TIME, KNOWN_AT, VIEWS, View
from include.models import registry

PROJECT = "ratchet"
_INTEGERS = ("flight", "local_hour")


def entities() -> dict[str, Entity]:
    """One entity a join key, of the key's own name."""
    names = dict.fromkeys(key for view in VIEWS for key in view.keys)
    return {n: Entity(name=n, value_type=ValueType.INT64 if n in _INTEGERS else ValueType.STRING) for n in names}


def view(spec: View, known: dict[str, Entity], folder: Path) -> FeatureView:
    """The Feast view of a contract's view, reading one Parquet file. Its rows are usable from `known_at` on."""
    keys = [Field(name=k, dtype=Int64 if k in _INTEGERS else String) for k in spec.keys]
    return FeatureView(
        name=spec.name,
        entities=[known[key] for key in spec.keys],
        ttl=spec.ttl,
        schema=[*keys, *(Field(name=f.name, dtype=Float32) for f in spec.features)],
        source=FileSource(
            name=spec.name,
            path=str(folder / f"{spec.name}.parquet"),
            timestamp_field=EVENT_TIME,
            created_timestamp_column=KNOWN_AT,
        ),
        online=True,
    )


def service(model: str, views: dict[str, FeatureView]) -> FeatureService:
    """What one model reads."""
    wanted = set(registry.load(model).features)
    parts = {v.name: [f.name for f in v.features if f.name in wanted] for v in VIEWS}
    return FeatureService(name=model, features=[views[name][names] for name, names in parts.items() if names])


def objects(folder: Path) -> list[Any]:
    """Everything there is to register."""
    known = entities()
    views = {spec.name: view(spec, known, folder) for spec in VIEWS}
    return [*known.values(), *views.values(), *(service(name, views) for name in registry.names())]


_home = Path(os.environ.get("RATCHET_HOME") or Path(__file__).resolve().parents[1] / "var")
# the `feast` command finds what is an attribute of a module
globals().update({f"{type(o).__name__}_{o.name}": o for o in objects(_home / "feast" / "offline")})
