"""Vega's script: made once, by a process of its own, and a failure says what to do."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from include.console import vega
from include.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_it_is_made_once_even_when_many_ask(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: vega.script(settings), range(4)))
    assert len(paths) == 1
    path = paths.pop()
    assert "vegaEmbed" in path.read_text()
    assert vega.tag() in path.name
    monkeypatch.setattr(sys, "executable", "/nowhere")
    assert vega.script(settings) == path


def test_a_failure_says_why_and_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere")
    with pytest.raises(vega.Unmade, match="install the locked requirements"):
        vega.script(settings)
    assert not list(settings.home.rglob("*.js"))
