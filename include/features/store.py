"""Feast behind the few verbs that the project needs: `historical` to train, `materialize` and `online` to serve.

Training reads an immutable snapshot through a registry of its own, made for the call: so two trainings, or a training
and an ingest, never meet. Online features come from one registry and one online store under `settings.feast`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import pyarrow as pa
from feast import FeatureStore
from tqdm import tqdm

from feature_repo import definitions
from include import crashpoints, files, times
from include.contracts import VIEWS, Ref, View
from include.features import registry, snapshot
from include.settings import Settings

_STATE = "materialized.json"


class Materialized(TypedDict):
    """What the online store holds: everything up to `as_of`, from this snapshot."""

    as_of: str
    snapshot: Ref


def references(features: Sequence[str]) -> list[str]:
    """Feast's names, "view:feature". Raises KeyError for a feature that no view has."""
    owner = {f.name: v.name for v in VIEWS for f in v.features}
    return [f"{owner[name]}:{name}" for name in features]


def historical(settings: Settings, taken: Ref, entities: pa.Table, features: Sequence[str]) -> pd.DataFrame:
    """Point-in-time features: for each entity row the newest feature row that was usable at its event time.

    `entities` has the join keys and `event_timestamp`. Each of its rows comes back once, in any order, with the
    features beside it as float32 (NaN: no usable row, or nothing happened).
    """
    settings.feast.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=settings.feast) as work:
        store = registry.private(Path(work))
        with registry.quiet():
            store.apply(definitions.objects(Path(taken["uri"])))
        job = store.get_historical_features(
            entity_df=entities.to_pandas(),
            features=references(features),
            filter_by_created_timestamp=True,  # else a row would count before it was published
        )
        return job.to_df()


def materialize(settings: Settings, versions: dict[str, int], as_of: str) -> Ref:
    """Bring the online store to `as_of`: of each entity the newest row; returns the snapshot that it was filled from.

    It never moves back: at an older `as_of` than the store's own nothing is written, since an older window would
    overwrite newer values. An ingest that runs on the hour publishes the hour's row within the publication lag, so
    rows count from their event time here. Rows older than their view's TTL are dropped, because online reads do not
    look at it.
    """
    kept = state(settings)
    if kept and as_of < kept["as_of"]:
        return kept["snapshot"]
    end = times.parse(as_of)
    rows = {v.name: snapshot.rows(settings, versions, v, end - v.ttl, end) for v in VIEWS}
    taken = snapshot.keep(settings, {v.name: snapshot.newest(v, rows[v.name]) for v in VIEWS})
    registry.point(settings, taken)
    crashpoints.reached("ingest.materialize.offline")
    store = registry.shared(settings)
    crashpoints.reached("ingest.materialize.registry")
    for view in VIEWS:
        _write(store, view, end)
        crashpoints.reached(f"ingest.materialize.{view.name}")
    registry.forget(settings, end)
    files.write_json(settings.feast / _STATE, {"as_of": as_of, "snapshot": taken})
    crashpoints.reached("ingest.materialize.state")
    return taken


def _write(store: FeatureStore, view: View, end: datetime) -> None:
    """Materialize one view, by way of the provider: `FeatureStore.materialize` also appends every interval to the
    registry for ever (a year of hours made it 4 times slower) and shuts readers out while it works."""
    store.provider.materialize_single_feature_view(
        config=store.config,
        feature_view=store.get_feature_view(view.name),
        start_date=end - view.ttl,
        end_date=end,
        registry=store.registry,
        project=store.project,
        tqdm_builder=lambda total: tqdm(total=total, disable=True),
    )


def state(settings: Settings) -> Materialized | None:
    """The last materialization that ended well; None before the first."""
    file = settings.feast / _STATE
    if not file.exists():
        return None
    kept: Materialized = files.read_json(file)
    return kept


def online(
    settings: Settings, keys: Sequence[Mapping[str, Any]], features: Sequence[str], at: datetime | None = None
) -> pd.DataFrame:
    """What the online store holds for some flights, one row a key, in order: features as float32, NaN where missing.

    A key holds flight_id, carrier, flight, origin, dest and local_hour. `<view>__at` is the event time of the row that
    was read. With `at`, a value older than its view's TTL at that time counts as missing: Feast does not check.
    """
    if not keys:
        return pd.DataFrame(columns=list(features), dtype="float32")
    store = registry.shared(settings)
    found = store.get_online_features(references(features), [dict(key) for key in keys])
    return _fresh(found.to_dict(include_event_timestamps=True), features, at)


def _fresh(found: Mapping[str, list[Any]], features: Sequence[str], at: datetime | None) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    moments: dict[str, Any] = {}
    for view in VIEWS:
        for name in (f.name for f in view.features if f.name in features):
            seconds = pd.Series(found[f"{name}__ts"], dtype="int64")
            read = pd.to_datetime(seconds.where(seconds > 0), unit="s", utc=True)
            values = pd.Series(found[name], dtype="float32")
            columns[name] = values if at is None else values.where(read >= pd.Timestamp(at) - view.ttl)
            moments[f"{view.name}__at"] = read
    return pd.DataFrame({**{name: columns[name] for name in features}, **moments})
