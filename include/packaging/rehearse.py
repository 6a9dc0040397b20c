"""Rehearse a package: start it from its archive as production would, and see it do what the training side did.

Whatever goes wrong is a failed check with its reason, never a traceback: a release stops on it and people read it.
"""

from __future__ import annotations

import json
import lzma
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from include import crashpoints
from include.contracts import Ref
from include.files import hash_file
from include.packaging.checks import Check, Limits, check, check_service
from include.packaging.server import NotReady, serving
from include.settings import Settings

_PICKLES = {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle"}


def rehearse(
    settings: Settings,
    archive: Ref,
    rows: pd.DataFrame | Path | str,
    expected: Sequence[float] | np.ndarray,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Serve the archive, replay `rows` and compare with `expected`, the training side's probabilities of those rows.

    `rows`: a frame, or the path of a parquet file, with a column for each feature; other columns are ignored.
    Returns {passed, archive, rows, checks: [{name, passed, value, threshold, unit, reason}], ready_seconds,
    latency_ms: {p50, p99}, log}. All processes are ended and all scratch files removed when it returns.
    """
    limits = limits or Limits()
    report: dict[str, Any] = {"archive": archive, "rows": 0, "ready_seconds": None, "latency_ms": None, "log": ""}
    checks, described = _check_archive(archive)
    if described is not None and all(c["passed"] for c in checks):
        frame = rows if isinstance(rows, pd.DataFrame) else pd.read_parquet(rows)
        home = settings.home / "rehearsals" / archive["version"].replace(":", "-")
        try:
            with serving(Path(archive["uri"]), archive["version"], home, limits.ready_seconds) as server:
                crashpoints.reached("train.rehearse.started")
                report["ready_seconds"] = round(server.started_in, 2)
                checks.append(check("ready", True, server.started_in, limits.ready_seconds, "s", "it became ready"))
                checks += check_service(server, described, frame, np.asarray(expected, dtype=float), limits, report)
                report["log"] = server.log() if not all(c["passed"] for c in checks) else ""
        except NotReady as error:
            checks.append(check("ready", False, None, limits.ready_seconds, "s", str(error)))
    return {**report, "passed": all(c["passed"] for c in checks), "checks": checks}


def _check_archive(archive: Ref) -> tuple[list[Check], dict[str, Any] | None]:
    """The file is the one that the reference means, holds no pickle, and holds a bundle; its schema and identity."""
    path = Path(archive["uri"])
    try:
        if (content := hash_file(path)) != archive["hash"]:
            why = f"{path.name} has hash {content[:12]}, its reference says {archive['hash'][:12]}: it was altered"
            return [check("archive", False, content[:12], archive["hash"][:12], "hash", why)], None
        with tarfile.open(path, "r:xz") as tar:
            pickles = [n for n in tar.getnames() if PurePosixPath(n).suffix in _PICKLES]
            described = {
                "schema": _read(tar, "src/bundle/schema.json"),
                "identity": _read(tar, "src/identity.json"),
            }
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError, KeyError, ValueError) as error:
        return [check("archive", False, None, None, "", f"{path.name} cannot be read as a Bento: {error}")], None
    checks = [
        check("archive", True, content[:12], archive["hash"][:12], "hash", "the archive is the one that was packed"),
        check("no pickle", not pickles, len(pickles), 0, "files", f"pickles: {pickles}" if pickles else "none found"),
    ]
    return checks, described


def _read(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return json.loads(file.read())
