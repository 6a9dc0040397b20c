"""What a training was made of, as one JSON-able dict: enough to make it again and to tell what has changed since."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from include.contracts import Ref
from include.files import hash_file, hash_text
from include.models.spec import ModelSpec
from include.settings import ROOT
from include.training.fit import Fitted

UNKNOWN = "unknown"
# the packages whose arithmetic or file form can change a model's bytes
_PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "xgboost", "onnx", "onnxruntime")


def build(
    spec: ModelSpec,
    *,
    run: str,
    as_of: str,
    families: Sequence[str] | None,
    versions: Mapping[str, int],
    snapshot: Ref,
    frame: Ref,
    fitted: Fitted,
    bundle: Ref,
    root: Path = ROOT,
) -> dict[str, Any]:
    """The manifest of one training: code, data, lock, hardware, what was asked for and what came out.

    `versions`: Delta version of every table read; `families`: those that were tuned (None: all of the spec's);
    `run`: the DAG run that made it.
    """
    return {
        "form": 1,
        "model": spec.name,
        "run": run,
        "as_of": as_of,
        "code": code(root),
        "lock": lock_hash(root),
        "packages": packages(),
        "hardware": hardware(),
        "data": {"versions": dict(versions), "snapshot": dict(snapshot), "frame": dict(frame)},
        "spec": spec.model_dump(mode="json"),
        "configuration_hash": spec.configuration_hash(tuple(families) if families else None),
        "families": list(families) if families else [c.family for c in spec.candidates],
        "features": list(spec.features),
        "seed": spec.seed,
        "family": fitted["family"],
        "params": fitted["params"],
        "split": fitted["split"],
        "calibration": fitted["calibration"],
        "contributions": fitted["contributions"],
        "result": {
            "bundle": dict(bundle),
            "fitted": fitted["model"]["hash"],
            "predictions": fitted["predictions"]["hash"],
        },
    }


def code(root: Path = ROOT) -> dict[str, Any]:
    """Commit of the code and whether the tree differed from it; `diff` hashes the difference, untracked names included.

    All unknown where there is no git or no repository (e.g. inside an image).
    """
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain")
    if commit is None or status is None:
        return {"commit": UNKNOWN, "dirty": UNKNOWN, "diff": None}
    dirty = bool(status.strip())
    changes = (_git(root, "diff", "HEAD") or "") + status
    return {"commit": commit.strip(), "dirty": dirty, "diff": hash_text(changes) if dirty else None}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def lock_hash(root: Path = ROOT) -> str:
    """SHA-256 of requirements.txt, or "unknown" when there is none."""
    lock = root / "requirements.txt"
    return hash_file(lock) if lock.is_file() else UNKNOWN


def packages() -> dict[str, str]:
    """Installed versions of the packages that can change a model's bytes."""
    return {name: _installed(name) for name in _PACKAGES}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return UNKNOWN


def hardware() -> dict[str, Any]:
    """CPU, cores, memory in GB, operating system and Python."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or UNKNOWN


# -- then and now ------------------------------------------------------------------------------------------------
_COMPARED = {
    "as_of": "as_of",
    "code.commit": "code commit",
    "code.dirty": "uncommitted changes",
    "code.diff": "uncommitted changes (hash of the difference)",
    "lock": "lock hash (requirements.txt)",
    "hardware.cpu": "cpu",
    "hardware.os": "operating system",
    "hardware.python": "Python",
    "data.frame.hash": "frame hash",
    "data.snapshot.hash": "snapshot hash",
    "configuration_hash": "configuration hash",
    "features": "features",
    "seed": "seed",
    "family": "family",
    "split": "split into fit, validation and holdout",
    "calibration": "calibration",
    "result.fitted": "fitted model's hash",
    "result.bundle.hash": "bundle hash",
    "result.predictions": "predictions' hash",
}


def compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two manifests, one sentence each, causes before effects; empty when nothing does."""
    pairs = [(name, _at(then, path), _at(now, path)) for path, name in _COMPARED.items()]
    for group, word in (("packages", "package"), ("params", "parameter"), ("data.versions", "version of table")):
        old, new = _at(then, group) or {}, _at(now, group) or {}
        pairs[-3:-3] = [(f"{word} {key}", old.get(key), new.get(key)) for key in sorted({*old, *new})]
    return [f"{name}: was {_short(old)}, is {_short(new)}" for name, old, new in pairs if old != new]


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _short(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64:
        return value[:12]
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "…"
