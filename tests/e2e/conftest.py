"""Installations that the tests of the loop share: made once by the real steps, copied by who writes on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.settings import Settings
from tests.conftest import END, copy_home, once
from tests.e2e.chains import TRAIN, local, results, run_step


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
