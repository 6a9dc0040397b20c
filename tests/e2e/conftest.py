"""Installations that the tests of the loop share: made once by the real steps, copied by who writes on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.settings import Settings
from tests.conftest import END, copy_home, once
from tests.e2e import running
from tests.e2e.chains import TRAIN, local, results, run_step

_LAST = ("test_demo.py", "test_console.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those who share the demo's stack come last, so that it runs beside no others; the console's tests change it."""
    here = Path(__file__).parent
    items.sort(key=lambda item: _LAST.index(item.path.name) + 1 if item.path in [here / n for n in _LAST] else 0)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Demo]:
    """Ten minutes, once a session."""
    with running.demo(tmp_path_factory.mktemp("new-user") / "ratchet") as made:
        yield made


@pytest.fixture(scope="session")
def trained(history: Settings, shared_folder: Path) -> Settings:
    """An installation with a first champion, made by the train DAG's steps; MLflow is a file below its home."""
    settings = local(shared_folder / "trained")

    def make() -> dict[str, Any]:
        copy_home(history.home, settings.home)
        for step in TRAIN:
            run_step(settings, step, {"as_of": END, "trials": 3, "note": "the first"})
        return results(settings)

    once(shared_folder, "trained_results", make)
    return settings
