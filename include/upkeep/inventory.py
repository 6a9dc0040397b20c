"""What lies under home, as far as this module knows what it is: what it does not know it never names.

A thing is a file or a folder in its place (KINDS). Symlinks are neither followed nor named, at no level, and what lies
on another file system is left alone: removing is a rename.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_HASH = "[0-9a-f]{64}"
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ANY = r"[^.].*"
_DATE = r"\d{4}-\d{2}-\d{2}"
_OF_A_RUN = (r"\d+", "[0-9a-f]{32}", "artifacts", "model|bundle")  # what else is there is small, and stays
_SCRATCH = r"\..+-[a-z0-9_]{8}"  # of files.replacing and tempfile


@dataclass(frozen=True)
class Kind:
    """Where things of a kind lie: a regular expression a level below home. `age` is their limit's name in Retention.
    `key` is by what others refer to one; empty: nobody does."""

    name: str
    age: str
    levels: tuple[str, ...]
    folder: bool = False
    key: Callable[[Path], str] = lambda _: ""
    archived: bool = False


@dataclass(frozen=True)
class Entry:
    """One thing. `touched`: the newest modification of anything in it, wall time; `bytes`: of all its files."""

    kind: str
    age: str
    path: str  # below home
    key: str
    bytes: int
    touched: datetime
    archived: bool = False  # it is packed before it goes


def _name(path: Path) -> str:
    return path.name


def _stem(path: Path) -> str:
    return path.stem


def _run(path: Path) -> str:
    return path.parts[-3]  # …/<run id>/artifacts/model


BUNDLE, BENTO, FRAME, SNAPSHOT, MLFLOW = "bundle", "bento", "frame", "snapshot", "model in MLflow"
KINDS: tuple[Kind, ...] = (
    Kind("plan", "plans", ("plans", rf"{_HASH}\.json")),
    Kind("training's work", "trainings", ("trainings", "models|predictions", rf"{_HASH}\.(json|parquet)")),
    Kind("training's work", "trainings", ("trainings", "evidence", r"[0-9a-f]{16}\.json")),
    Kind(BUNDLE, "bundles", ("bundles", _HASH), folder=True, key=_name),
    Kind(BENTO, "bentos", ("bentos", rf"{_ANY}\.bento"), key=_name),
    Kind(FRAME, "frames", ("frames", rf"{_HASH}\.parquet"), key=_stem),
    Kind(SNAPSHOT, "snapshots", ("snapshots", _HASH), folder=True, key=_name),
    Kind("window", "windows", ("windows", rf"{_HASH}\.parquet")),
    Kind(MLFLOW, "mlflow_models", ("mlflow", "artifacts", *_OF_A_RUN), folder=True, key=_run),
    Kind(MLFLOW, "mlflow_models", ("mlruns", *_OF_A_RUN), folder=True, key=_run),  # of an MLflow without a server
    Kind("delivery", "inputs", ("deliveries", r"[a-z0-9_]+-[0-9a-f]{16}\.parquet")),
    Kind("checked rows", "inputs", ("quality", rf"{_HASH}\.parquet")),
    Kind("report", "reports", ("reports", _ANY, _ANY), folder=True, archived=True),
    Kind("archive", "archive", ("archive", r"\d{4}-\d{2}", _ANY, rf"{_ANY}\.tar\.gz")),
    Kind("Evidently snapshot", "evidently", ("evidently", _UUID, "snapshots", rf"{_UUID}\.json")),
    Kind("Airflow log", "airflow_logs", ("airflow", "logs", "dag_id=.+", "run_id=.+"), folder=True),
    Kind("Airflow log", "airflow_logs", ("airflow", "logs", "dag_processor|scheduler", _DATE), folder=True),
    Kind("stack log", "stack_logs", ("logs", rf"{_ANY}\.log\.\d+")),
    Kind("refused log lines", "refused", ("predictions", "refused", _ANY)),
    Kind("leftover", "leftovers", ("rehearsals", _ANY), folder=True),
    Kind("leftover", "leftovers", ("plans|bundles|bentos|frames|snapshots|windows|feast", _SCRATCH), folder=True),
    Kind("leftover", "leftovers", ("deliveries|quality", _SCRATCH), folder=True),
    Kind("leftover", "leftovers", ("trainings", "models|predictions|evidence", _SCRATCH), folder=True),
)


def take(home: Path) -> tuple[list[Entry], list[str]]:
    """All things that are known, by path; and what was passed over, one sentence each."""
    home = home.resolve()
    passed: list[str] = []
    found = [e for kind in KINDS for p in _matching(home, home, kind, 0, passed) if (e := _entry(home, kind, p))]
    return sorted(found, key=lambda e: e.path), sorted(set(passed))


def look(home: Path, path: str) -> Entry | None:
    """The thing at one path below home, as it is now; None when it is gone, or is none of those that are known."""
    home = home.resolve()
    parts = Path(path).parts
    for kind in KINDS:
        if len(parts) == len(kind.levels) and all(map(re.fullmatch, kind.levels, parts)):
            steps = [home.joinpath(*parts[: i + 1]) for i in range(len(parts))]
            if all(_plain(home, s, i < len(parts) - 1 or kind.folder) is None for i, s in enumerate(steps)):
                return _entry(home, kind, steps[-1])
    return None


def _matching(home: Path, folder: Path, kind: Kind, level: int, passed: list[str]) -> Iterator[Path]:
    try:
        names = sorted(p.name for p in folder.iterdir())
    except OSError:
        return
    last = level == len(kind.levels) - 1
    for name in names:
        if not re.fullmatch(kind.levels[level], name):
            continue
        path = folder / name
        if why := _plain(home, path, not last or kind.folder):
            if why != "other":
                passed.append(f"{path.relative_to(home)} is {why}: left alone")
            continue
        if last:
            yield path
        else:
            yield from _matching(home, path, kind, level + 1, passed)


def _plain(home: Path, path: Path, folder: bool) -> str | None:
    """None for a real file or folder, as asked, on home's own file system; else what is the matter."""
    try:
        found = path.lstat()
    except OSError:
        return "other"
    if stat.S_ISLNK(found.st_mode):
        return "a symlink"
    if not (stat.S_ISDIR(found.st_mode) if folder else stat.S_ISREG(found.st_mode)):
        return "other"
    return None if found.st_dev == home.stat().st_dev else "on another file system"


def _entry(home: Path, kind: Kind, path: Path) -> Entry | None:
    try:
        newest, size = _measure(path)
    except OSError:  # it has gone meanwhile
        return None
    return Entry(
        kind=kind.name,
        age=kind.age,
        path=path.relative_to(home).as_posix(),
        key=kind.key(path),
        bytes=size,
        touched=datetime.fromtimestamp(newest, UTC),
        archived=kind.archived,
    )


def _measure(path: Path) -> tuple[float, int]:
    """Newest modification and size of a file, or of everything in a folder. Nothing is followed."""
    own = path.lstat()
    if not stat.S_ISDIR(own.st_mode):
        return own.st_mtime, own.st_size
    newest, size = own.st_mtime, 0
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            found = Path(folder, name).lstat()
            newest = max(newest, found.st_mtime)
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return newest, size
