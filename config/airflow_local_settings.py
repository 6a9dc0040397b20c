"""Imported by every airflow command. In the scheduler it imports the heavy libraries once, for all tasks.

LocalExecutor forks its workers from the scheduler, and each task from a worker, so a module that the scheduler has
imported costs a task nothing: without this each task that needs them pays seconds to tens of seconds of imports.
Only third-party modules are listed, never this project's own: tasks must see new code without a restart.

What cannot be imported is skipped with a line in the log: tasks then import it themselves. RATCHET_PRELOAD=0 turns
it off. With another executor nothing is forked from the scheduler, and nothing is imported.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import sys
import time

__all__: list[str] = []  # Airflow copies every public name of this module into its own settings

_MODULES = """
    numpy pandas pyarrow.parquet pyarrow.compute pyarrow.dataset duckdb deltalake sqlalchemy.orm pydantic_settings httpx
    sklearn.linear_model sklearn.pipeline sklearn.preprocessing sklearn.impute sklearn.compose sklearn.metrics
    xgboost optuna onnx onnxruntime
    mlflow.onnx mlflow.tracking great_expectations feast.infra.offline_stores.duckdb feast.infra.online_stores.sqlite
    feast.infra.registry.sql evidently evidently.presets bentoml
""".split()  # noqa: SIM905


def _is_forking_scheduler() -> bool:
    """Whether this process is the scheduler of a LocalExecutor that forks its workers."""
    if "scheduler" not in sys.argv[1:2] or os.environ.get("RATCHET_PRELOAD") == "0":
        return False
    executor = os.environ.get("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    chosen = os.environ.get("AIRFLOW__CORE__MP_START_METHOD") or multiprocessing.get_start_method(allow_none=True)
    return executor == "LocalExecutor" and (chosen or "fork") == "fork" and sys.platform == "linux"


def _preload() -> None:
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells of each of its own methods
    log, begin, missing = logging.getLogger("ratchet.preload"), time.monotonic(), []
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a library that does not import is its tasks' trouble, never the scheduler's
            missing.append(f"{name} ({error})")
    seconds = time.monotonic() - begin
    log.warning("preloaded %d modules in %.1f s; left out: %s", len(_MODULES), seconds, ", ".join(missing) or "none")


if _is_forking_scheduler():
    _preload()
