"""Files are swapped, never half-written; equal values have equal hashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include import files


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = files.write_text(tmp_path / "a.txt", "old")

    def write_half() -> None:
        with files.replacing(target) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_appears_whole_and_is_never_replaced(tmp_path: Path) -> None:
    def write(content: str) -> None:
        with files.replacing(tmp_path / "folder") as part:
            part.mkdir()
            (part / content).write_text(content)

    write("one")
    with pytest.raises(FileExistsError, match="its own name"):
        write("two")
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["one"]


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5))
def test_hash_does_not_depend_on_the_order_of_keys(value: dict[str, int | str]) -> None:
    assert files.hash_value(value) == files.hash_value(dict(reversed(value.items())))


def test_nan_has_no_json() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.canonical_json({"x": float("nan")})
