"""What an installation holds, as one comparable value: what must be the same whether a process was killed or not.

Left out, since they differ between any two runs: wall times, version numbers of Delta (a write repeated is a version
more of the same content), and measured latencies.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from deltalake import DeltaTable
from mlflow import MlflowClient

from include import lake
from include.contracts import ALL_TABLES, SCORES, Table
from include.files import hash_file, hash_value, write_text
from include.release.tables import metadata
from include.settings import Settings

_MEASURED = ("latency_ms",)


def digest(settings: Settings) -> dict[str, Any]:
    """All that counts, by name, small enough to read a difference."""
    return {
        "catalog": {k: v for k, v in lake.catalog(settings.lake).items() if k != "versions"},
        "tables": _tables(settings),
        "online": _online(settings.feast),
        "ledger": _ledger(settings),
        "mlflow": _mlflow(settings),
        "files": _files(settings.home),
    }


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two digests differ, one line each."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in sorted({*a, *b}) for d in differences(a.get(k), b.get(k), f"{path}/{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}/{i}")]
    return [] if a == b else [f"{path}: {a!r} != {b!r}"]


def _tables(settings: Settings) -> dict[str, Any]:
    """Content of what is published, and of what is written."""
    published = lake.catalog(settings.lake)["versions"]
    found: dict[str, Any] = {}
    for table in (*ALL_TABLES, SCORES):
        if not lake.path(settings.lake, table).exists():
            continue
        found[table.name] = _content(settings, table, lake.version(settings.lake, table))
        at = published.get(table.name)
        found[table.name + " published"] = None if at is None else _content(settings, table, at)
    return found


def _content(settings: Settings, table: Table, at: int) -> str:
    """Hash of a version's rows, remembered by the names of its files, which Delta never uses twice."""
    files = DeltaTable(str(lake.path(settings.lake, table)), version=at).file_uris()
    names = hash_value([table.name, *sorted(Path(f).name for f in files)])
    kept = settings.home.parent / "contents" / names
    if not kept.exists():
        write_text(kept, _hashed(lake.read(settings.lake, table, at)))
    return kept.read_text()


def _hashed(rows: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    return f"{rows.num_rows} rows {hashlib.sha256(sink.getvalue()).hexdigest()}"


def _online(folder: Path) -> dict[str, Any]:
    found = {}
    for file in sorted(folder.glob("online*.db")):
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
            names = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
            for name in names:
                found[name] = hash_value([repr(r) for r in db.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2')])
    return found


def _ledger(settings: Settings) -> dict[str, Any]:
    if not (settings.home / "ledger.db").exists():
        return {}
    engine = sa.create_engine(settings.ledger_url)
    with engine.connect() as db:
        rows = {name: [dict(r._mapping) for r in db.execute(sa.select(t))] for name, t in metadata.tables.items()}
    skip = {"recorded_at", "evidence", "evidence_hash"}
    return {n: [{k: v for k, v in row.items() if k not in skip} for row in found] for n, found in rows.items()}


def _mlflow(settings: Settings) -> dict[str, Any]:
    if not (settings.home / "mlflow.db").exists():
        return {}
    api = MlflowClient(settings.mlflow_uri)
    runs = [r for e in api.search_experiments() for r in api.search_runs([e.experiment_id])]
    versions = api.search_model_versions()
    return {
        "runs": [_mlflow_run(api, run) for run in runs],
        "versions": [(v.name, int(v.version), dict(v.tags)) for v in versions],
        "aliases": {m.name: {k: str(v) for k, v in m.aliases.items()} for m in api.search_registered_models()},
    }


def _mlflow_run(api: MlflowClient, run: Any) -> dict[str, Any]:
    def walk(path: str | None) -> list[str]:
        entries = api.list_artifacts(run.info.run_id, path)
        return [p for e in entries for p in (walk(e.path) if e.is_dir else [e.path])]

    return {
        "status": run.info.status,
        "params": dict(run.data.params),
        "metrics": {k: v for k, v in run.data.metrics.items() if k not in _MEASURED},
        "history": {k: len(api.get_metric_history(run.info.run_id, k)) for k in run.data.metrics},
        "tags": dict(run.data.tags),
        "inputs": sorted(i.dataset.name for i in run.inputs.dataset_inputs),
        "artifacts": walk(None),
    }


def _files(home: Path) -> dict[str, Any]:
    """Names of everything visible, and hashes of what is named by content or must repeat to the byte."""
    found: dict[str, Any] = {}
    for folder in ("snapshots", "frames", "bundles", "bentos", "trainings", "reports", "quality"):
        for file in sorted((home / folder).rglob("*")):
            name = file.relative_to(home).as_posix()
            if not file.is_file() or any(part.startswith(".") for part in Path(name).parts):
                continue
            stable = folder in ("snapshots", "frames", "bundles", "bentos")
            found[name] = hash_file(file) if stable else "there"
    return found
