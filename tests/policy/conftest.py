"""The DAGs as Airflow's own parser sees them, read once a session in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from include.settings import ROOT

Probe = Callable[[str], Any]

_PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({
    "errors": {str(file): text for file, text in bag.import_errors.items()},
    "dags": {
        dag.dag_id: {
            "file": dag.fileloc, "doc": dag.doc_md, "tags": sorted(dag.tags), "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs, "start_date": dag.start_date is not None,
            "params": {
                name: {"type": param.schema.get("type"), "description": param.description}
                for name, param in ((name, dag.params.get_param(name)) for name in dag.params)
            },
            "tasks": {
                task.task_id: {
                    "owner": task.owner, "retries": task.retries,
                    "timeout": task.execution_timeout.total_seconds() if task.execution_timeout else None,
                    "pool": task.pool, "outlets": [outlet.uri for outlet in task.outlets],
                }
                for task in dag.tasks
            },
        }
        for dag in bag.dags.values()
    },
}))
"""


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """Run code in a fresh Python that has never seen this session's modules; what it prints last is JSON."""
    home = tmp_path_factory.mktemp("airflow")

    def run(code: str, *arguments: str) -> Any:
        foreign = ("AIRFLOW", "PYTHONDONTWRITEBYTECODE", "RATCHET_")
        env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        env |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def parsed(probe: Callable[..., Any], shared_folder: Path) -> dict[str, Any]:
    """{"errors": …, "dags": {dag id: …}} of dags/, as Airflow's DagBag reads it."""
    kept = shared_folder / "dagbag.json"
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            kept.write_text(json.dumps(probe(_PARSE, str(ROOT / "dags"))))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found
