"""Online features as a service reads them: Feast's online store, one read a view, through a short-lived cache.

`get_online_features` costs four times what its provider's `online_read` does, and neither looks at a row's age: the
reader hands out each row's event time, and whoever asks decides. Rows are kept for at most two seconds, so that a
published hour is served within them. The definitions are made from include.contracts; no registry is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    connection, used by the thread that asks. Rows are read again after `seconds`."""

    def __init__(self, settings: Settings, names: Collection[str], seconds: float = 2.0) -> None:
        self._config = _config(settings)
        self._provider = get_provider(self._config)
        self._views = [_Cached(view, names, seconds) for view in VIEWS]
        self.names = tuple(name for view in self._views for name in view.names)
        # a SQLite file that Feast makes by connecting would not be in WAL mode, nor hold a table
        self._awaited = settings.feast / "online.db" if self._config.online_store.type == "sqlite" else None

    def read(self, keys: Sequence[Mapping[str, Any]], now: float) -> list[Row]:
        """The features of some flights, in order. A key holds flight_id, carrier, flight, origin, dest and local_hour;
        `now` is any clock in seconds that only rises. Raises StoreMissing, and what the store's own client raises."""
        if self._awaited is not None:
            if not self._awaited.exists():
                raise StoreMissing("nothing was materialized yet: run `ingest`")
            self._awaited = None
        rows = [Row([], []) for _ in keys]
        for view in self._views:
            for row, (values, time) in zip(rows, view.rows(self, keys, now), strict=True):
                row.values.extend(values)
                row.times.append(time)
        return rows

    def fetch(self, view: Any, entities: list[EntityKey], names: list[str]) -> list[tuple[Any, Any]]:
        found: list[tuple[Any, Any]] = self._provider.online_read(self._config, view, entities, names)
        return found


_Found = tuple[tuple[float, ...], float]


class _Cached:
    """One view: its rows that were read since the last time the cache was emptied."""

    def __init__(self, view: View, names: Collection[str], seconds: float) -> None:
        self.feast = definitions.view(view, definitions.entities(), Path())
        self.keys = view.keys
        self.names = [f.name for f in view.features if f.name in names]
        self.nothing: _Found = ((_NAN,) * len(self.names), float("inf"))
        self.kept: dict[Any, _Found] = {}
        self.seconds, self.until = seconds, float("-inf")

    def rows(self, reader: Reader, keys: Sequence[Mapping[str, Any]], now: float) -> list[_Found]:
        if now >= self.until or len(self.kept) > _ROWS:
            self.kept = {}
            self.until = now + self.seconds
        names = self.keys
        if len(names) == 1:
            name = names[0]
            wanted = [key[name] for key in keys]
        else:
            wanted = [tuple([key[n] for n in names]) for key in keys]
        kept = self.kept
        if absent := [key for key in dict.fromkeys(wanted) if key not in kept]:
            found = reader.fetch(self.feast, [self._entity(key) for key in absent], self.names)
            kept.update(zip(absent, map(self._found, found), strict=True))
        return [kept[key] for key in wanted]

    def _entity(self, key: Any) -> EntityKey:
        values = (key,) if len(self.keys) == 1 else key
        parts = [
            Value(int64_val=value) if name in _INTEGERS else Value(string_val=value)
            for name, value in zip(self.keys, values, strict=True)
        ]
        return EntityKey(join_keys=self.keys, entity_values=parts)

    def _found(self, read: tuple[Any, Any]) -> _Found:
        time, values = read
        if values is None:
            return self.nothing
        return tuple(self._number(values.get(name)) for name in self.names), time.timestamp()

    @staticmethod
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
