from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from include.contracts import Ref
from include.files import hash_file
from include.packaging import bento
from include.settings import ROOT, Settings
from tests.packaging import tiny
from tests.packaging.conftest import LABELS


def members(archive: Ref) -> dict[str, bytes]:
    with tarfile.open(archive["uri"], "r:xz") as tar:
        files = {m.name: tar.extractfile(m) for m in tar.getmembers() if m.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def imported(code: bytes) -> set[str]:
    """Modules that a source file imports, dotted."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_same_inputs_make_the_same_archive_to_the_byte(archive: Ref, tmp_path: Path) -> None:
    elsewhere = Settings(home=tmp_path)
    again = bento.build(elsewhere, tiny.save(elsewhere), tiny.MODEL, "7", LABELS)
    assert again["hash"] == archive["hash"]
    assert again["version"] == archive["version"]


def test_an_archive_of_the_same_inputs_is_reused(settings: Settings, bundle: Ref, archive: Ref) -> None:
    before = Path(archive["uri"]).stat()
    assert bento.build(settings, bundle, tiny.MODEL, "7", dict(reversed(LABELS.items()))) == archive
    after = Path(archive["uri"]).stat()
    assert before.st_ino == after.st_ino  # its time is new: `maintain` takes it for used


def test_a_torn_archive_is_replaced_and_other_inputs_make_another(settings: Settings, bundle: Ref) -> None:
    one = bento.build(settings, bundle, tiny.MODEL, "8", LABELS)
    path = Path(one["uri"])
    path.write_bytes(path.read_bytes()[:2000])
    assert bento.tag_of(path) is None
    assert bento.build(settings, bundle, tiny.MODEL, "8", LABELS) == one
    assert hash_file(path) == one["hash"]
    other = bento.build(settings, bundle, tiny.MODEL, "8", {**LABELS, "mlflow_run_id": "another"})
    assert other["uri"] != one["uri"]  # a version that is live keeps its archive
    assert hash_file(path) == one["hash"]


def test_labels_lead_back_to_training_bundle_and_code(bundle: Ref, archive: Ref) -> None:
    content = members(archive)
    due = {
        **LABELS,
        "model_name": tiny.MODEL,
        "model_version": "7",
        "bundle_hash": bundle["hash"],
        "code_hash": bento.code_hash(),
    }
    assert yaml.safe_load(content["bento.yaml"])["labels"] == due
    assert json.loads(content["src/identity.json"]) == {"labels": due, "tag": archive["version"]}
    assert re.fullmatch(tiny.MODEL + r":7-[0-9a-f]{12}", archive["version"])


def test_the_archive_holds_the_code_the_bundle_and_nothing_else(archive: Ref) -> None:
    source = {name.removeprefix("src/") for name in members(archive) if name.startswith("src/")}
    assert source == {
        *bento.CODE,
        bento.LOCK,
        "bundle/model.onnx",
        "bundle/schema.json",
        "identity.json",
        "bentofile.yaml",
    }


def test_no_pickle_in_the_archive_nor_in_what_its_code_imports(archive: Ref) -> None:
    for name, content in members(archive).items():
        assert not re.search(r"\.(pkl|pickle|joblib|dill|cloudpickle)$", name)
        if name.endswith(".py"):
            roots = {module.partition(".")[0] for module in imported(content)}
            assert not roots & {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}


def test_the_code_is_self_contained_and_its_packages_are_locked(archive: Ref) -> None:
    names = {"pydantic_settings": "pydantic-settings", "yaml": "pyyaml", "prometheus_client": "prometheus-client"}
    locked = {re.split(r"[=\s;]", line)[0] for line in lock_lines(ROOT / bento.LOCK)}
    only_for_a_migration = {"alembic"}  # the service never migrates a ledger
    packed = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in bento.CODE}
    for name, content in members(archive).items():
        if name.endswith(".py"):
            ours = {m for m in imported(content) if m.partition(".")[0] in ("include", "feature_repo")}
            assert ours <= packed | {"feature_repo"}, name
            roots = {m.partition(".")[0] for m in imported(content)} - {"include", "feature_repo"}
            assert {names.get(r, r) for r in roots} <= set(sys.stdlib_module_names) | locked | only_for_a_migration, (
                name
            )


def lock_lines(path: Path) -> set[str]:
    return {line for line in path.read_text().splitlines() if re.match(r"[a-z0-9]", line)}


def test_the_small_lock_agrees_with_the_projects_lock() -> None:
    small = lock_lines(ROOT / bento.LOCK)
    assert small <= lock_lines(ROOT / "requirements.txt")
    assert {"bentoml", "feast", "msgspec", "numpy", "onnxruntime"} <= {re.split(r"[=\s]", line)[0] for line in small}


def test_an_altered_bundle_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    bundle = tiny.save(settings)
    (Path(bundle["uri"]) / "schema.json").write_text("{}")
    with pytest.raises(ValueError, match="its reference says"):
        bento.build(settings, bundle, tiny.MODEL, "7", LABELS)


def test_a_failed_build_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(bento.PackagingFailed, match="not a valid BentoML tag"):
        bento.build(settings, tiny.save(settings), "no model", "7", LABELS)
    assert list(settings.bentos.iterdir()) == []


def test_a_kill_after_the_archive_is_written_loses_and_doubles_nothing(tmp_path: Path, archive: Ref) -> None:
    settings = Settings(home=tmp_path)
    bundle = tiny.save(settings)
    code = (
        "import json, sys; from include.settings import Settings; from include.packaging import bento;"
        "home, bundle, labels = json.loads(sys.argv[1]);"
        f"bento.build(Settings(home=home), bundle, {tiny.MODEL!r}, '7', labels)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RATCHET_CRASH_AT": "train.package.bento"}
    command = [sys.executable, "-c", code, json.dumps([str(tmp_path), bundle, LABELS])]
    assert subprocess.run(command, env=env, cwd=tmp_path).returncode == -signal.SIGKILL
    again = bento.build(settings, bundle, tiny.MODEL, "7", LABELS)
    assert again["hash"] == archive["hash"]
    assert [p.name for p in settings.bentos.iterdir() if not p.name.startswith(".")] == [Path(again["uri"]).name]
