"""The manifest names what a model was made of, and `compare` what has changed since."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from include.contracts import Ref
from include.files import canonical_json, hash_file
from include.models.spec import ModelSpec
from include.settings import ROOT, Settings
from include.training import export, fit, manifest

AS_OF = "2013-02-05T00:00:00+00:00"


@pytest.fixture(scope="module")
def made(settings: Settings, spec: ModelSpec, frame: Ref) -> dict[str, Any]:
    fitted = fit.fit(settings, spec, frame, {"family": "logistic", "params": {"C": 0.1}})
    shipped = export.export(settings, spec, frame, fitted, AS_OF)
    return manifest.build(
        spec,
        run="train/1",
        as_of=AS_OF,
        families=None,
        versions={"schedule": 3},
        snapshot=Ref(uri="snapshots/s", version="s", hash="s" * 64),
        frame=frame,
        fitted=fitted,
        bundle=shipped,
    )


def test_manifest_names_all_that_lineage_asks_for(made: dict[str, Any], spec: ModelSpec, frame: Ref) -> None:
    canonical_json(made)
    assert made["data"]["frame"] == frame
    assert made["data"]["versions"] == {"schedule": 3}
    assert made["lock"] == hash_file(ROOT / "requirements.txt")
    assert made["configuration_hash"] == spec.configuration_hash()
    assert ModelSpec.model_validate(made["spec"]) == spec
    assert made["params"] == {"C": 0.1}
    assert (made["seed"], made["run"], made["as_of"]) == (spec.seed, "train/1", AS_OF)
    assert {c["feature"] for c in made["contributions"]} == set(spec.features)  # the console weighs drift by them
    assert made["hardware"]["cores"] >= 1
    assert made["packages"]["xgboost"][0].isdigit()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_code_tells_clean_from_dirty_and_one_change_from_another(tmp_path: Path) -> None:
    assert manifest.code(tmp_path) == {"commit": "unknown", "dirty": "unknown", "diff": None}
    assert manifest.lock_hash(tmp_path) == "unknown"
    _git(tmp_path, "init", "-q")
    file = tmp_path / "a.py"
    file.write_text("1\n")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    clean = manifest.code(tmp_path)
    assert clean == {"commit": _git(tmp_path, "rev-parse", "HEAD"), "dirty": False, "diff": None}
    file.write_text("2\n")
    second = manifest.code(tmp_path)
    file.write_text("3\n")
    third = manifest.code(tmp_path)
    assert second["dirty"] is third["dirty"] is True
    assert len({second["diff"], third["diff"]}) == 2


def test_code_without_git_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifest.code(ROOT)["commit"] == "unknown"


def test_equal_manifests_differ_in_nothing(made: dict[str, Any]) -> None:
    assert manifest.compare(made, copy.deepcopy(made)) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("lock",), "b" * 64, "lock hash (requirements.txt): was {then}, is bbbbbbbbbbbb"),
        (("code", "commit"), "c" * 40, "code commit"),
        (("hardware", "cpu"), "abacus", "cpu: was {then}, is abacus"),
        (("packages", "numpy"), "0.1", "package numpy: was {then}, is 0.1"),
        (("params", "C"), 9.0, "parameter C: was 0.1, is 9.0"),
        (("data", "versions", "schedule"), 4, "version of table schedule: was 3, is 4"),
        (("data", "versions", "weather"), 1, "version of table weather: was None, is 1"),
        (("result", "bundle", "hash"), "d" * 64, "bundle hash"),
    ],
)
def test_each_difference_is_named(made: dict[str, Any], path: tuple[str, ...], value: Any, says: str) -> None:
    now = copy.deepcopy(made)
    place = now
    old: Any = made
    for name in path[:-1]:
        place, old = place[name], old[name]
    place[path[-1]] = value
    then = str(old.get(path[-1]))
    (sentence,) = manifest.compare(made, now)
    assert sentence.startswith(says.format(then=then[:12] if len(then) == 64 else then))
