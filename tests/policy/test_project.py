"""Lock, documents and settings agree with what they describe."""

from __future__ import annotations

import re

import pytest
import yaml

from include.settings import ROOT
from scripts import runbooks

STACK = (
    *("apache-airflow", "great-expectations", "feast", "mlflow", "scikit-learn", "xgboost", "evidently", "pandas"),
    "bentoml",
)
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md", "docs/decisions")
_NAME = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(>=|==)\s*([0-9][^\s;]*)")


def entries(file: str) -> dict[str, str]:
    """Package and version of each line of a requirements file."""
    found = (_NAME.match(line) for line in (ROOT / file).read_text().splitlines())
    return {m[1].lower().replace("_", "-").replace(".", "-"): m[3] for m in found if m}


def key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


@pytest.mark.parametrize("package", STACK)
def test_the_stack_is_pinned(package: str) -> None:
    assert package in entries("requirements.txt")


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_satisfies_what_is_asked_for(lock: str) -> None:
    pinned = entries(lock)
    asked = entries("requirements.in") | (entries("requirements-dev.in") if "dev" in lock else {})
    for package, low in asked.items():
        assert package in pinned, f"{package} is in no line of {lock}: run `make lock`"
        assert key(pinned[package]) >= key(low), f"{package}: {lock} is older than asked for: run `make lock`"


def test_both_locks_agree() -> None:
    run, dev = entries("requirements.txt"), entries("requirements-dev.txt")
    assert {package: dev.get(package) for package in run} == run


def test_locks_name_no_index() -> None:
    for lock in ("requirements.txt", "requirements-dev.txt"):
        assert "://" not in (ROOT / lock).read_text(), f"{lock} says where it was compiled"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_exist(document: str) -> None:
    assert (ROOT / document).exists()


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY:(.*)$", text, re.M)[1].split())  # type: ignore[index]
    explained = set(re.findall(r"^([a-z-]+):.*## \S", text, re.M))
    assert targets == explained


def test_hooks_run_the_locked_tools() -> None:
    """pre-commit runs what `make check` runs, from .venv: another version would format otherwise."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert all(repo["repo"] == "local" for repo in hooks["repos"])


def test_runbooks_are_what_the_dags_say() -> None:
    wanted = runbooks.texts()
    assert {p.name: p.read_text() for p in runbooks.FOLDER.glob("*.md")} == wanted
    dags = {path.stem for path in (ROOT / "dags").glob("*.py")} - {"__init__", "shared", "context"}
    assert set(wanted) == {f"{name}.md" for name in dags}
