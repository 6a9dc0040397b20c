"""Where Feast keeps its definitions and its online values: opened, kept up to date, kept small."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from feast import FeatureStore
from feast.repo_config import RepoConfig

from feature_repo import definitions
from include import files
from include.contracts import VIEWS, Ref
from include.models import registry
from include.settings import ROOT, Settings

_CONFIG = ROOT / "feature_repo" / "feature_store.yaml"
_APPLIED = "applied.json"  # hash of the definitions that the shared registry holds
_BUSY_SECONDS = 30


def private(folder: Path) -> FeatureStore:
    """A store with an empty registry in `folder`, for one call's use."""
    config = _config()
    config["registry"] = {"registry_type": "file", "path": str(folder / "registry.pb")}
    config["online_store"] = {"type": "sqlite", "path": str(folder / "online.db")}
    return FeatureStore(config=RepoConfig(**config))


def shared(settings: Settings) -> FeatureStore:
    """The installation's store. Definitions are applied when they differ from what was applied last."""
    config = _config()
    if config["registry"]["path"].startswith("sqlite:"):
        config["registry"]["path"] = f"sqlite:///{_wal(settings.feast / 'registry.db')}"
    if config["online_store"]["type"] == "sqlite":
        config["online_store"]["path"] = str(_wal(settings.feast / "online.db"))
    store = FeatureStore(config=RepoConfig(**config))
    folder = settings.feast / "offline"
    wanted, applied = _fingerprint(folder), settings.feast / _APPLIED
    if not applied.exists() or files.read_json(applied) != wanted:
        with quiet():
            store.apply(definitions.objects(folder))
        files.write_json(applied, wanted)
    return store


def _fingerprint(folder: Path) -> str:
    """Changes when anything changes that the registered definitions are made of."""
    sources = [files.hash_file(path) for path in (_CONFIG, Path(definitions.__file__))]
    services = {name: registry.load(name).features for name in registry.names()}
    return files.hash_value([sources, [asdict(view) for view in VIEWS], services, str(folder)])


def point(settings: Settings, taken: Ref) -> None:
    """Make `offline` mean this snapshot: what the registered sources read, and the `feast` command."""
    link = settings.feast / "offline"
    link.parent.mkdir(parents=True, exist_ok=True)
    part = link.with_name(f".offline-{os.getpid()}")
    part.unlink(missing_ok=True)
    part.symlink_to(Path(taken["uri"]).resolve())
    part.replace(link)


def forget(settings: Settings, as_of: datetime) -> None:
    """Drop online rows beyond their TTL: nobody may use them, and past flights would pile up for ever.

    Only for SQLite; Redis drops them itself, by `key_ttl_seconds`.
    """
    file = settings.feast / "online.db"
    if not file.exists():
        return
    with contextlib.closing(sqlite3.connect(file, timeout=_BUSY_SECONDS)) as con, con:
        for view in VIEWS:
            limit = (as_of - view.ttl).astimezone(UTC).replace(tzinfo=None)  # as Feast's own adapter stores it
            con.execute(f'DELETE FROM "{definitions.PROJECT}_{view.name}" WHERE event_ts < ?', (limit,))  # noqa: S608


def _config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(_CONFIG.read_text(encoding="utf-8"))
    return config


def _wal(file: Path) -> Path:
    """A SQLite file whose readers do not wait for its writer. The mode is kept in the file."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(file, timeout=_BUSY_SECONDS)) as con:
            con.execute("PRAGMA journal_mode=WAL")
    return file


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Feast prints progress bars; a task's log has better uses."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
