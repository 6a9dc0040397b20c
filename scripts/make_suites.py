"""Write gx/: context, suites, validation definitions and checkpoints. Run again after a change of suite_rules.py.

Ids are derived from names, so the same rules give the same files and a diff shows what changed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import great_expectations as gx  # noqa: E402

from scripts.suite_rules import SUITES  # noqa: E402

RESULT_FORMAT = {"result_format": "COMPLETE", "unexpected_index_column_names": ["_row"]}
LIMITS = {"max_quarantined_share": 0.05, "max_quarantined_rows": 20}

CONTEXT = """\
# Read by include/quality/validation.py, which runs on a copy: nothing is ever written into this folder.
config_version: 4.0
plugins_directory: plugins/
stores:
  expectations_store:
    class_name: ExpectationsStore
    store_backend:
      class_name: TupleFilesystemStoreBackend
      base_directory: expectations/
  validation_results_store:
    class_name: ValidationResultsStore
    store_backend:
      class_name: InMemoryStoreBackend
  checkpoint_store:
    class_name: CheckpointStore
    store_backend:
      class_name: TupleFilesystemStoreBackend
      suppress_store_backend_id: true
      base_directory: checkpoints/
  validation_definition_store:
    class_name: ValidationDefinitionStore
    store_backend:
      class_name: TupleFilesystemStoreBackend
      base_directory: validation_definitions/
expectations_store_name: expectations_store
validation_results_store_name: validation_results_store
checkpoint_store_name: checkpoint_store
data_docs_sites: {}
progress_bars:
  globally: false
analytics_enabled: false
data_context_id: %s
"""


def fixed_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"ratchet/gx/{name}"))


def write(folder: Path) -> Path:
    """Write a whole gx folder into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "great_expectations.yml").write_text(CONTEXT % fixed_id("context"), encoding="utf-8")
    context = gx.get_context(mode="file", context_root_dir=str(folder))
    source = context.data_sources.add_pandas("frames")
    for name, rules in SUITES.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")
        suite = gx.ExpectationSuite(name=name, expectations=rules(), meta=LIMITS)
        suite = context.suites.add(suite)
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        definition = context.validation_definitions.add(definition)
        context.checkpoints.add(
            gx.Checkpoint(name=name, validation_definitions=[definition], result_format=RESULT_FORMAT)
        )
    _fix_ids(folder)
    _tidy(folder)
    return folder


def _fix_ids(folder: Path) -> None:
    """Replace each random id by one that its name gives."""
    ids: dict[str, str] = {}
    for file in sorted(folder.glob("*/*.json")):
        _collect(json.loads(file.read_text(encoding="utf-8")), f"{file.parent.name}/{file.stem}", ids)
    config = folder / "great_expectations.yml"
    lines = config.read_text(encoding="utf-8").splitlines()
    path = "context"
    for line in lines:
        key, _, value = line.strip().partition(": ")
        if key == "id" and value not in ids:
            ids[value] = fixed_id(f"{path}/{len(ids)}")
    for file in (*folder.glob("*/*.json"), config):
        text = file.read_text(encoding="utf-8")
        for random, fixed in ids.items():
            text = text.replace(random, fixed)
        file.write_text(text.rstrip() + "\n", encoding="utf-8")


def _collect(node: Any, path: str, ids: dict[str, str]) -> None:
    if isinstance(node, dict):
        name = (node.get("meta") or {}).get("rule") or node.get("name") or ""
        if "id" in node and node["id"] not in ids:
            ids[node["id"]] = fixed_id(f"{path}/{name}")
        for key, value in node.items():
            _collect(value, f"{path}/{key}", ids)
    elif isinstance(node, list):
        for value in node:
            _collect(value, path, ids)


def _tidy(folder: Path) -> None:
    """Keep what a run reads; GX makes the rest again in its copy."""
    for name in ("uncommitted", "plugins"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for file in (folder / ".gitignore", folder / "expectations" / ".ge_store_backend_id"):
        file.unlink(missing_ok=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        made = write(Path(work) / "gx")
        target = ROOT / "gx"
        for part in ("expectations", "validation_definitions", "checkpoints"):
            shutil.rmtree(target / part, ignore_errors=True)
        shutil.copytree(made, target, dirs_exist_ok=True)
    for name, rules in SUITES.items():
        print(f"{name}: {len(rules())} expectations")


if __name__ == "__main__":
    main()
