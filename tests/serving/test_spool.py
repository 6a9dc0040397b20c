"""The spool's format: what is no line is found out, numbers and locks say who may take what."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts import DAY, FEATURES, PREDICTIONS
from include.serving import spool
from include.serving.recorder import _line
from tests.serving.entries import entry

GOOD = _line(entry(1))
assert GOOD is not None
TEXT = spool.encode([GOOD])


def test_a_line_has_what_the_table_has() -> None:
    own = set(spool.Line.__struct_fields__) - {"features"}
    assert own | set(FEATURES) | {DAY, "worker"} == set(PREDICTIONS.columns)


@given(st.binary(max_size=300))
def test_rubbish_is_never_a_line_and_never_an_error(rubbish: bytes) -> None:
    lines, bad = spool.decode(rubbish)
    assert lines == []
    assert bool(bad) == bool(rubbish.strip(b"\n\r\t "))


@given(st.lists(st.one_of(st.just(TEXT.strip()), st.binary(min_size=1, max_size=40).filter(lambda b: b"\n" not in b))))
def test_good_lines_are_found_among_rubbish(texts: list[bytes]) -> None:
    lines, bad = spool.decode(b"".join(text + b"\n" for text in texts))
    good = [text == TEXT.strip() for text in texts]
    assert len(lines) == sum(good)
    if any(text.strip() and not fits for text, fits in zip(texts, good, strict=True)):
        assert {n for n, _ in bad} == {n for n, fits in enumerate(good, start=1) if not fits}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"version":1', b'"version":"1"', r"`\$\.version`"),
        (b'"version":1', b'"version":99999999999999999999', "version"),
        (b'"given":false', b'"given":false,"more":1', "`more`"),
        (b'"stale":"",', b"", "`stale`"),
        (b'"at":"2013-01-05T12:00:01Z"', b'"at":"2013-01-05T12:00:01"', r"`\$\.at`"),
    ],
)
def test_a_line_of_a_wrong_form_is_refused_with_its_field(old: bytes, new: bytes, reason: str) -> None:
    assert old in TEXT
    lines, bad = spool.decode(TEXT + TEXT.replace(old, new) + TEXT)
    assert len(lines) == 2
    assert [number for number, _ in bad] == [2]
    assert re.search(reason, bad[0][1])


@pytest.mark.parametrize("cut", range(0, 2 * len(TEXT), 331))
def test_a_torn_line_is_cut_off(cut: int) -> None:
    assert spool.whole((TEXT * 2)[:cut]) == TEXT * (cut // len(TEXT))


def test_a_lock_says_who_lives(tmp_path: Path) -> None:
    writer = spool.Writer(tmp_path, "w")
    other = spool.Writer(tmp_path, "w")
    assert writer.folder != other.folder  # a name that comes again would hide its segments behind older ones
    assert spool.lock(writer.folder) is None
    writer.close()
    held = spool.lock(writer.folder)
    assert held is not None
    assert spool.lock(writer.folder) is None
    os.close(held)
    assert spool.lock(tmp_path / "gone") is None


def test_counts_are_read_while_they_grow(tmp_path: Path) -> None:
    writer = spool.Writer(tmp_path, "w")
    writer.counts.cells[spool.CELL["answered"]] += 5
    writer.append(TEXT)
    assert spool.read_counts(writer.folder)["answered"] == 5
    assert spool.read_counts(writer.folder)["segments"] == 1
    assert set(spool.read_counts(tmp_path / "gone").values()) == {0}
    writer.close()
    assert [path.name for path in writer.folder.glob("0*")] == ["00000001.jsonl"]
    assert (writer.folder / "00000001.jsonl").read_bytes() == TEXT
