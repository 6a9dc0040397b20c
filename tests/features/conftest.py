"""Facts of the shared January and the feature rows made of them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from include import lake
from include.contracts import FACTS
from include.features import compute
from include.settings import Settings
from tests.features.cases import AS_OF, DAYS_OF


@pytest.fixture(scope="session")
def facts(history: Settings) -> dict[str, pa.Table]:
    """Every published fact of January, by table name."""
    versions = lake.catalog(history.lake)["versions"]
    return {t.name: lake.read(history.lake, t, versions[t.name]) for t in FACTS}


@pytest.fixture(scope="session")
def made(facts: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The feature rows of some days, by view name."""
    return compute.rows(facts, DAYS_OF, AS_OF)
