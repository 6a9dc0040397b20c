from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from include.serving.memory import measure


def test_a_process_tells_what_it_holds_and_what_the_machine_has(tmp_path: Path) -> None:
    found = measure(tmp_path)
    assert found["rss"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    assert found["memory_limit"] == psutil.virtual_memory().total


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_the_limit_of_a_container_counts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("123456789\n")
    assert measure(tmp_path)["memory_limit"] == 123456789
    (tmp_path / name).write_text("max\n")
    assert measure(tmp_path)["memory_limit"] == psutil.virtual_memory().total
