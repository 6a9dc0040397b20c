from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from include.contracts import Ref
from include.packaging import bento
from include.packaging.server import Server, serving
from include.settings import Settings
from tests.packaging import tiny

LABELS = {"mlflow_run_id": "0f3c", "as_of": "2013-03-01T00:00:00+00:00"}


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("packaging"))


@pytest.fixture(scope="session")
def bundle(settings: Settings) -> Ref:
    return tiny.save(settings)


@pytest.fixture(scope="session")
def archive(settings: Settings, bundle: Ref) -> Ref:
    """The one good Bento of the session."""
    return bento.build(settings, bundle, tiny.MODEL, "7", LABELS)


@pytest.fixture(scope="session")
def server(settings: Settings, archive: Ref) -> Iterator[Server]:
    """The good Bento, running."""
    with serving(Path(archive["uri"]), archive["version"], settings.home / "live", deadline=60) as running:
        yield running
