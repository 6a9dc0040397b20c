"""Online features as a service reads them: Feast's online store, one read a view, through a short-lived cache.

`get_online_features` costs four times what its provider's `online_read` does, and neither looks at a row's age: the
reader hands out each row's event time, and whoever asks decides. Every two seconds the rows that are kept are
forgotten if the store was written to, so that a published hour is served within them. SQLite says whether it was;
Redis does not, and is read again each time. The definitions are made from include.contracts; no registry is needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from feast.infra.provider import get_provider
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig

from feature_repo import definitions
from include.contracts import VIEWS, View
from include.settings import ROOT, Settings

_INTEGERS = ("flight", "local_hour")
_ROWS = 50_000  # of each view, before the cache is emptied early
_NAN = float("nan")


class StoreMissing(LookupError):
    """Nothing was ever materialized here."""


class Row(NamedTuple):
    """`values` in the order of the reader's features, NaN where missing; `times` of each view in VIEWS: event time of
    the row that was read, in seconds since 1970, infinite when there was none."""

    values: list[float]
    times: list[float]


class Reader:
    """Some features of an installation's online store, in the order of include.contracts. Not thread-safe: one
    connection, used by the thread that asks. Every `seconds` it looks whether rows are to be read again."""

    def __init__(self, settings: Settings, names: Collection[str], seconds: float = 2.0) -> None:
        self._config = _config(settings)
        self._provider = get_provider(self._config)
        self._views = [_View(view, names) for view in VIEWS]
        self._seconds, self._until = seconds, float("-inf")
        self.names = tuple(name for view in self._views for name in view.names)
        # a SQLite file that Feast makes by connecting would not be in WAL mode, nor hold a table
        self._awaited = settings.feast / "online.db" if self._config.online_store.type == "sqlite" else None
        self._watch: sqlite3.Connection | None = None
        self._state: int | None = None

    def read(self, keys: Sequence[Mapping[str, Any]], now: float) -> list[Row]:
        """The features of some flights, in order. A key holds flight_id, carrier, flight, origin, dest and local_hour;
        `now` is any clock in seconds that only rises. Raises StoreMissing, and what the store's own client raises."""
        if self._awaited is not None:
            if not self._awaited.exists():
                raise StoreMissing("nothing was materialized yet: run `ingest`")
            self._watch = sqlite3.connect(self._awaited, check_same_thread=False)
            self._awaited = None
        if now >= self._until:
            self._until = now + self._seconds
            self._forget()
        if len(keys) > 1:  # one read a view, not one a flight
            for view in self._views:
                self._fill(view, [view.key(key) for key in keys])
        return [self._row(key) for key in keys]

    def _forget(self) -> None:
        """Drop the rows that were read, unless the store is known to be as it was."""
        state = None if self._watch is None else self._watch.execute("PRAGMA data_version").fetchone()[0]
        if state is None or state != self._state:
            self._state = state
            for view in self._views:
                view.kept = {}

    def _row(self, key: Mapping[str, Any]) -> Row:
        values: list[float] = []
        times: list[float] = []
        for view in self._views:
            mine = view.key(key)
            if mine not in view.kept:
                self._fill(view, [mine])
            found, time = view.kept[mine]
            values += found
            times.append(time)
        return Row(values, times)

    def _fill(self, view: _View, keys: Sequence[Any]) -> None:
        """Read those rows that are not kept."""
        if absent := [key for key in dict.fromkeys(keys) if key not in view.kept]:
            entities = [view.entity(key) for key in absent]
            found = self._provider.online_read(self._config, view.feast, entities, view.names)
            if len(view.kept) > _ROWS:
                view.kept = {key: view.kept[key] for key in keys if key in view.kept}
            view.kept.update(zip(absent, map(view.found, found), strict=True))


class _View:
    """A view as Feast reads it, and its rows that were read: {key: (values, event time)}. A key of one part is that
    part, one of several a tuple."""

    def __init__(self, view: View, names: Collection[str]) -> None:
        self.feast = definitions.view(view, definitions.entities(), Path())
        self.parts, self.key = view.keys, itemgetter(*view.keys)
        self.names = [f.name for f in view.features if f.name in names]
        self.kept: dict[Any, tuple[tuple[float, ...], float]] = {}

    def entity(self, key: Any) -> EntityKey:
        values = (key,) if len(self.parts) == 1 else key
        parts = [
            Value(int64_val=value) if name in _INTEGERS else Value(string_val=value)
            for name, value in zip(self.parts, values, strict=True)
        ]
        return EntityKey(join_keys=self.parts, entity_values=parts)

    def found(self, read: tuple[Any, Any]) -> tuple[tuple[float, ...], float]:
        time, values = read
        if values is None:
            return (_NAN,) * len(self.names), float("inf")
        return tuple(_number(values.get(name)) for name in self.names), time.timestamp()


def _number(value: Any) -> float:
    return _NAN if value is None or not value.HasField("float_val") else value.float_val


def _config(settings: Settings) -> RepoConfig:
    """Feast's own configuration, without the offline store, which takes a second to import and is not read."""
    file = ROOT / "feature_repo" / "feature_store.yaml"
    config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    del config["offline_store"]
    if config["online_store"]["type"] == "sqlite":
        config["online_store"]["path"] = str(settings.feast / "online.db")
    return RepoConfig(**config)
