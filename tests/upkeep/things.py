"""Things in their places under a home, as old as a test wants them."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

A, B, C = "a" * 64, "b" * 64, "c" * 64
RUN = "0" * 32
PROJECT, SNAP = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
# kind -> one place of it; a trailing slash makes a folder with a file in it
PLACES = {
    "plan": f"plans/{A}.json",
    "training's work": f"trainings/models/{A}.json",
    "bundle": f"bundles/{A}/",
    "bento": "bentos/flights-1-abc.bento",
    "frame": f"frames/{A}.parquet",
    "snapshot": f"snapshots/{A}/",
    "window": f"windows/{A}.parquet",
    "model in MLflow": f"mlflow/artifacts/1/{RUN}/artifacts/model/",
    "delivery": "deliveries/raw_weather-0123456789abcdef.parquet",
    "checked rows": f"quality/{A}.parquet",
    "report": "reports/train/manual__2026-01-01/",
    "archive": "archive/2026-01/train/manual__2026-01-01.tar.gz",
    "Evidently snapshot": f"evidently/{PROJECT}/snapshots/{SNAP}.json",
    "Airflow log": "airflow/logs/dag_id=train/run_id=manual__1/",
    "stack log": "logs/scheduler.log.1",
    "refused log lines": "predictions/refused/w1-000001.jsonl",
    "leftover": "snapshots/.new-abcdefgh/",
}
# nothing that upkeep knows: databases, notes, names that are none, what is alive
STRANGE = (
    *("ledger.db", "clock.json", "notes.txt", "snapshots/README", f"snapshots/{A[:-1]}/x", f"frames/{A}.csv"),
    *("frames/mine.parquet", "logs/scheduler.log", "predictions/w1/000001.jsonl", "predictions/closed/w1.json"),
    *("alerts/alerts.jsonl", "lake/catalog.json", "lake/schedule/ds=2013-01-01/part.parquet", "feast/online.db"),
    *("service/w1.json", "mlflow/mlflow.db", f"mlflow/artifacts/1/{RUN}/artifacts/manifest.json", "evidently/x.json"),
    *(f"evidently/{PROJECT}/metadata.json", "secrets/jwt", "bentoml/bentos/x/latest", ".ours/x", f"bundles/{A}.old/x"),
)


def put(home: Path, place: str, at: datetime, text: str = "some bytes") -> Path:
    """Make one thing, last written at `at`."""
    path = home / place
    file = path / "inner" / "file.txt" if place.endswith("/") else path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    age(path, at)
    return path


def age(path: Path, at: datetime) -> None:
    for one in (*path.rglob("*"), path):
        os.utime(one, (at.timestamp(), at.timestamp()), follow_symlinks=False)


def tree(home: Path, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Every file, link and folder below home, with what is in it."""
    found = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if name.startswith(but) and but:
            continue
        found[name] = (
            f"-> {path.readlink()}" if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        )
    return found
