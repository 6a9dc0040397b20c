"""Who may import whom, read from the source: the rules of docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from include.settings import ROOT

AREAS = (
    *("sources", "features", "training", "evaluation", "packaging", "serving", "release", "monitoring", "quality"),
    *("upkeep", "console"),
)
LIGHT = ("contracts", "settings", "times", "files", "clock", "crashpoints", "pages")
LIGHT_MAY = {"pydantic", "pydantic_settings"}
MODULES = sorted((ROOT / "include").rglob("*.py"))
FEATURE_REPO_MAY = ("include.contracts", "include.models", "include.features", "include.settings")
TAIL = "; see docs/architecture.md"


def imports(path: Path) -> set[str]:
    """Full names of everything that a file imports, wherever in it, also `from include import x` as include.x."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def area(module: str) -> str | None:
    """The area of a dotted name, e.g. sources of include.sources.facts.extract."""
    parts = module.split(".")
    return parts[1] if parts[0] == "include" and len(parts) > 1 and parts[1] in AREAS else None


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def internal(path: Path) -> Iterator[str]:
    return (module for module in imports(path) if module.split(".")[0] in ("include", "dags", "plugins", "scripts"))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_library_knows_no_airflow_and_no_caller(path: Path) -> None:
    roots = {module.split(".")[0] for module in imports(path)}
    assert not roots & {"airflow", "dags", "plugins", "scripts", "tests", "bench"}, name(path) + TAIL


@pytest.mark.parametrize("path", [p for p in MODULES if area(name(p))], ids=name)
def test_areas_do_not_import_each_other(path: Path) -> None:
    own = area(name(path))
    others = {module for module in internal(path) if area(module) not in (None, own)}
    assert not others, f"{name(path)} imports {sorted(others)}: let include/loop join them{TAIL}"
    assert not {m for m in internal(path) if m.startswith("include.loop")}, f"{name(path)} imports its caller{TAIL}"


@pytest.mark.parametrize("path", [ROOT / "include" / f"{module}.py" for module in LIGHT], ids=name)
def test_what_dag_files_import_is_light(path: Path) -> None:
    import sys

    foreign = {module.split(".")[0] for module in imports(path)} - set(sys.stdlib_module_names) - {"include"}
    assert foreign <= LIGHT_MAY, f"{name(path)} imports {sorted(foreign)}; a DAG file imports it while it is parsed"


@pytest.mark.parametrize("path", sorted((ROOT / "feature_repo").rglob("*.py")), ids=name)
def test_feature_repo_knows_names_only(path: Path) -> None:
    wrong = [module for module in internal(path) if not module.startswith(FEATURE_REPO_MAY)]
    assert not wrong, f"{name(path)} imports {wrong}{TAIL}"


def test_importing_all_of_the_library_leaves_airflow_out(probe: Callable[..., Any]) -> None:
    modules = [name(path).removesuffix(".__init__") for path in MODULES]
    code = "import importlib, json, sys\n"
    code += f"for module in {modules!r}: importlib.import_module(module)\n"
    code += "print(json.dumps(sorted(m for m in sys.modules if m.split('.')[0] == 'airflow')))"
    assert probe(code) == []


def test_the_library_never_reads_the_wall_clock() -> None:
    """Data time is handed in. Durations (perf_counter, monotonic) are no times."""
    reading = {"now", "utcnow", "today", "time"}
    wrong = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in reading:
                owner = node.func.value
                clock = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
                if clock in ("datetime", "date", "time", "Timestamp", "dt"):
                    wrong.append(f"{name(path)}:{node.lineno} {clock}.{node.func.attr}()")
    assert not wrong, wrong
