"""Every DAG has what an operator needs, and costs the parser next to nothing."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include import contracts
from include.settings import ROOT
from scripts.stack.config import POOLS

FILES = sorted(path for path in (ROOT / "dags").glob("*.py"))
HEAVY = {
    *(
        "pandas",
        "numpy",
        "pyarrow",
        "sklearn",
        "scipy",
        "xgboost",
        "mlflow",
        "feast",
        "great_expectations",
        "evidently",
    ),
    *("bentoml", "duckdb", "deltalake", "optuna", "onnx", "onnxruntime", "skl2onnx", "matplotlib", "polars"),
}
PARSE_SECONDS = 1.0  # of CPU, beyond airflow.sdk itself; 0.1 on a quiet machine
LINES = 120

_COST = """
import json, sys, time
import airflow.sdk
airflow.sdk.dag, airflow.sdk.task, airflow.sdk.Asset, airflow.sdk.Param
before, begin = set(sys.modules), time.process_time()
import runpy
runpy.run_path(sys.argv[1])
print(json.dumps({"seconds": time.process_time() - begin, "modules": sorted(set(sys.modules) - before)}))
"""


def test_every_file_parses(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert {"ingest", "train", "monitor"} <= set(parsed["dags"])


def test_one_file_one_dag(parsed: dict[str, Any]) -> None:
    files = {dag_id: Path(dag["file"]).stem for dag_id, dag in parsed["dags"].items()}
    assert all(dag_id == stem for dag_id, stem in files.items()), files


def test_doc_is_the_files_own_runbook(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        own = ast.get_docstring(ast.parse(Path(dag["file"]).read_text()), clean=False) or ""
        assert dag["doc"].strip() == own.strip(), dag_id
        for part in ("**Does:**", "**Runs", "**Run again", "**When it fails"):
            assert part in dag["doc"], f"{dag_id}: its doc says nothing under {part}"


def test_tags_and_limits(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        assert "ratchet" in dag["tags"], dag_id
        assert len(dag["tags"]) > 1, dag_id
        assert dag["catchup"] is False, f"{dag_id}: unpausing would run every hour since its start date"
        assert dag["max_active_runs"] == 1, f"{dag_id}: two runs at once would write the same tables"
        assert dag["start_date"], f"{dag_id}: without a start date Airflow never schedules it"


def test_tasks_have_owner_retries_and_timeout(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        assert dag["tasks"], dag_id
        for task_id, task in dag["tasks"].items():
            name = f"{dag_id}.{task_id}"
            assert task["owner"] not in ("", "airflow"), f"{name}: nobody owns it"
            assert task["retries"] >= 1, f"{name}: a lost connection would fail the run"
            assert task["timeout"], f"{name}: it could hang for ever"
            assert task["timeout"] <= 3600, name


def test_form_fields_are_explained(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        for name, field in dag["params"].items():
            assert field["type"], f"{dag_id}.{name}: the form cannot check it"
            assert field["description"], f"{dag_id}.{name}: the form does not explain it"


def test_pools_exist(parsed: dict[str, Any]) -> None:
    used = {task["pool"] for dag in parsed["dags"].values() for task in dag["tasks"].values()}
    assert used <= {"default_pool", *POOLS}, "the stack does not make this pool: tasks would wait in it for ever"


def test_assets_are_named_in_contracts(parsed: dict[str, Any]) -> None:
    known = {value for name, value in vars(contracts).items() if name.startswith("ASSET_")}
    used = {uri for dag in parsed["dags"].values() for task in dag["tasks"].values() for uri in task["outlets"]}
    assert used
    assert {uri.rstrip("/") for uri in used} <= {uri.rstrip("/") for uri in known}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_parsing_is_cheap(file: Path, probe: Callable[..., Any]) -> None:
    probe(_COST, str(file))  # compiles what was never compiled
    cost = probe(_COST, str(file))
    heavy = {name.split(".")[0] for name in cost["modules"]} & HEAVY
    assert not heavy, f"{file.name} imports {sorted(heavy)} while it is parsed: import it inside of the task"
    assert cost["seconds"] < PARSE_SECONDS


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_files_stay_thin(file: Path) -> None:
    assert len(file.read_text().splitlines()) < LINES
