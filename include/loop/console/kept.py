"""What runs have left: files beside their pages, and the artifacts of MLflow's runs, asked for over HTTP.

MLflow's own client takes seconds to import and minutes to give up; two GET requests are all that is needed.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, cast

import httpx

from include import pages
from include.console.view import Gap
from include.files import hash_text, read_json
from include.settings import Settings

PATIENCE = httpx.Timeout(1.5, connect=0.5)  # seconds: a page must not wait for what it can do without
_SILENT = 5.0  # seconds for which MLflow is not asked again when it did not answer
_LARGEST = 5_000_000  # bytes of an artifact that is read
_HELD = 10_000_000  # bytes of files, as they lie on disk, that are held
_lock = threading.Lock()
_files: OrderedDict[Path, tuple[tuple[int, int], Any]] = OrderedDict()
_answers: OrderedDict[tuple[str, str], Any] = OrderedDict()  # of MLflow: artifacts and experiments never change
_silent: dict[str, tuple[float, str]] = {}  # MLflow's address: until when it is not asked, why


# -- beside the pages of tasks -------------------------------------------------------------------------------------
def beside(settings: Settings, run: str | None, task: str, name: str) -> Any | None:
    """A JSON file that a task has left beside its page; None when it is not there (any more) or cannot be read."""
    if not run or "/" not in run:
        return None
    dag_id, _, run_id = run.partition("/")
    return file(pages.folder(settings, dag_id, run_id, task) / name)


def file(path: Path) -> Any | None:
    """A JSON file, read once for as long as it is the same."""
    try:
        found = path.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        with _lock:
            if path in _files and _files[path][0] == stamp:
                _files.move_to_end(path)
                return _files[path][1]
        value = read_json(path)
    except (OSError, ValueError):
        return None
    with _lock:
        _files[path] = (stamp, value)
        while len(_files) > 1 and sum(stamp[1] for stamp, _ in _files.values()) > _HELD:
            _files.popitem(last=False)
    return value


def evidence(settings: Settings, run: str, digest: str | None) -> Any | None:
    """A training's evidence as `evaluate` has written it, if it is still what the gate has seen (`digest`)."""
    path = settings.trainings / "evidence" / f"{hash_text(run)[:16]}.json"
    try:
        text = path.read_text(encoding="utf-8") if digest else ""
        return json.loads(text) if digest and hash_text(text) == digest else None
    except (OSError, ValueError):
        return None


# -- MLflow --------------------------------------------------------------------------------------------------------
class Tracking:
    """MLflow as one page asks it. What fails is said once, in `gaps`."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.mlflow_uri.rstrip("/")
        self.gaps: list[Gap] = []

    def artifact(self, run_id: str, path: str, digest: str | None = None) -> Any | None:
        """A JSON artifact of a run. With `digest`, only if it is still what the ledger says that it was."""
        text = self._get("/get-artifact", {"path": path, "run_uuid": run_id}, f"{path} of the training's run")
        if text is None:
            return None
        if digest and hash_text(text) != digest:
            self._miss(path, "MLflow's copy is not what the gate has seen: its hash differs from the ledger's")
            return None
        try:
            return json.loads(text)
        except ValueError:
            self._miss(path, "MLflow's copy cannot be read")
            return None

    def run_url(self, run_id: str, links: Mapping[str, Any] | None = None) -> str | None:
        """The run's page in MLflow's own UI: as the task has noted it, else as MLflow says."""
        noted = str((links or {}).get("MLflow run", ""))
        if noted.startswith(("http://", "https://")):
            return noted
        text = self._get("/api/2.0/mlflow/runs/get", {"run_id": run_id}, "the link to the training's run")
        try:
            experiment = json.loads(text)["run"]["info"]["experiment_id"] if text else None
        except (ValueError, KeyError, TypeError):
            experiment = None
        return f"{self.root}/#/experiments/{experiment}/runs/{run_id}" if experiment else None

    def _get(self, path: str, params: Mapping[str, str], what: str) -> str | None:
        key = (self.root + path, json.dumps(params, sort_keys=True))
        with _lock:
            if key in _answers:
                _answers.move_to_end(key)
                return cast(str, _answers[key])
        why = self._why_silent()
        if why is None:
            try:
                answer = httpx.get(self.root + path, params=dict(params), timeout=PATIENCE, follow_redirects=False)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                why = f"MLflow at {self.root} does not answer ({type(error).__name__}); everything else is shown"
                with _lock:
                    _silent[self.root] = (monotonic() + _SILENT, why)
        if why is not None:
            self._miss("MLflow", why)
            return None
        if answer.status_code != httpx.codes.OK or len(answer.content) > _LARGEST:
            self._miss(what, f"MLflow does not have it (it answered {answer.status_code})")
            return None
        text = answer.content.decode("utf-8", errors="replace")
        with _lock:
            _answers[key] = text
            while len(_answers) > 256:
                _answers.popitem(last=False)
        return text

    def _why_silent(self) -> str | None:
        if not self.root.startswith(("http://", "https://")):
            return f"MLflow at {self.root} is not reached over HTTP; everything else is shown"
        until, why = _silent.get(self.root, (0.0, ""))
        return why if monotonic() < until else None

    def _miss(self, what: str, why: str) -> None:
        gap = Gap(what, why)
        if gap not in self.gaps:
            self.gaps.append(gap)


def forget() -> None:
    """Ask MLflow and the disk anew."""
    with _lock:
        _files.clear()
        _answers.clear()
        _silent.clear()
