"""Removing: exactly the plan, unless somebody needs it by now; killed anywhere and run again, the same end."""

from __future__ import annotations

import signal
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include import crashpoints
from include.settings import Retention
from include.upkeep import archive, inventory, policy, remove
from include.upkeep.policy import Item
from tests import children
from tests.upkeep.things import PLACES, STRANGE, A, B, C, age, put, tree

OLD = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEPT = {("snapshot", B): "version 1"}


def full(home: Path) -> list[Item]:
    """Old and young things of all kinds, strange ones, and one old snapshot that is needed; the plan of what goes."""
    for place in PLACES.values():
        put(home, place, OLD)
    for place in STRANGE:
        put(home, place, OLD)
    put(home, f"snapshots/{B}/", OLD, "needed")
    put(home, f"frames/{C}.parquet", NOW, "young")
    return policy.plan(inventory.take(home)[0], KEPT, Retention(), NOW)


def test_what_was_planned_goes_and_nothing_else(tmp_path: Path) -> None:
    items = full(tmp_path)
    gone = tuple(f"{i.path}/" for i in items)
    others = {k: v for k, v in tree(tmp_path).items() if not f"{k}/".startswith(gone)}
    done = remove.remove(tmp_path, items, lambda: KEPT)
    left = tree(tmp_path)
    assert not any(f"{k}/".startswith(gone) for k in left)
    packed = {k for k in left if k.startswith("archive/2024-01")}
    assert {k: v for k, v in left.items() if k not in packed} == others
    assert (done.things, done.archived, done.stayed) == (len(PLACES), 1, {})
    assert done.bytes == sum(done.kinds.values()) == 10 * len(PLACES)
    assert (tmp_path / f"snapshots/{B}/inner/file.txt").read_text() == "needed"
    assert not (tmp_path / remove.TRASH).exists()
    assert not (tmp_path / remove.GONE).exists()


def test_a_report_is_packed_before_it_goes_and_unpacks_to_what_it_was(tmp_path: Path) -> None:
    report = put(tmp_path, PLACES["report"], OLD, "<html>")
    (report / "link").symlink_to("/etc/passwd")
    age(report, OLD)
    (item,) = policy.plan(inventory.take(tmp_path)[0], {}, Retention(), NOW)
    assert item.action == "archive"
    first = archive.pack(tmp_path, item.path, item.touched).read_bytes()
    assert archive.pack(tmp_path, item.path, item.touched).read_bytes() == first
    remove.remove(tmp_path, [item], dict)
    assert not report.exists()
    kept = tmp_path / "archive/2024-01/train/manual__2026-01-01.tar.gz"
    with tarfile.open(kept) as tar:
        assert tar.getmember("reports/train/manual__2026-01-01/link").linkname == "/etc/passwd"  # not its content
        file = tar.extractfile("reports/train/manual__2026-01-01/inner/file.txt")
        assert file is not None
        assert file.read() == b"<html>"
    (entry,) = inventory.take(tmp_path)[0]
    assert (entry.kind, entry.touched) == ("archive", OLD)  # it ages on
    assert policy.plan([entry], {}, Retention(), NOW)[0].kind == "archive"


def test_a_long_name_is_packed_too(tmp_path: Path) -> None:
    put(tmp_path, f"reports/train/{'x' * 250}/", OLD)
    remove.remove(tmp_path, policy.plan(inventory.take(tmp_path)[0], {}, Retention(), NOW), dict)
    assert [e.kind for e in inventory.take(tmp_path)[0]] == ["archive"]


def test_what_changed_since_the_plan_stays(tmp_path: Path) -> None:
    items = full(tmp_path)
    age(tmp_path / PLACES["bundle"], NOW)  # a training has found it there, and uses it
    needed = {**KEPT, ("frame", A): "version 2"}
    done = remove.remove(tmp_path, items, lambda: needed)
    assert done.stayed == {
        f"bundles/{A}": "it was written to since the plan",
        f"frames/{A}.parquet": "version 2 needs it by now",
    }
    assert (tmp_path / PLACES["bundle"]).is_dir()
    assert (tmp_path / PLACES["frame"]).is_file()
    assert done.things == len(PLACES) - 2


def test_what_comes_to_be_needed_while_it_lies_in_the_trash_comes_back(tmp_path: Path) -> None:
    items = full(tmp_path)
    before = tree(tmp_path)
    answers = iter([KEPT, {**KEPT, ("snapshot", A): "version 2", ("bento", "flights-1-abc.bento"): "version 2"}])
    done = remove.remove(tmp_path, items, lambda: next(answers))
    after = tree(tmp_path)
    for path in (PLACES["snapshot"].rstrip("/"), PLACES["bento"]):
        assert after[path] == before[path]
        assert done.stayed[path] == "version 2 needs it by now"
    assert done.things == len(PLACES) - 2
    assert done.bytes == sum(done.kinds.values())


def test_without_an_answer_nothing_moves(tmp_path: Path) -> None:
    items = full(tmp_path)
    before = tree(tmp_path)

    def silent() -> policy.Protected:
        raise ConnectionError("the ledger does not answer")

    with pytest.raises(ConnectionError):
        remove.remove(tmp_path, items, silent)
    assert tree(tmp_path) == before


def test_a_forged_plan_reaches_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "var"
    outside = put(tmp_path, "outside/file", OLD)
    (item, *_) = full(home)
    before = tree(tmp_path)
    for path in ("../outside", "ledger.db", "../var/ledger.db", str(outside), "lake/schedule", f"frames/{C}.parquet"):
        remove.remove(home, [replace(item, path=path)], lambda: KEPT)
    assert tree(tmp_path) == before | {}


def test_a_trash_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    home = tmp_path / "var"
    put(tmp_path / "outside", f"snapshots/{A}/", OLD)
    home.mkdir()
    for name in (remove.TRASH, remove.GONE):
        (home / name).symlink_to(tmp_path / "outside")
    remove.remove(home, [], dict)
    assert (tmp_path / "outside" / f"snapshots/{A}/inner/file.txt").is_file()
    assert tree(home) == {}


# -- killed --------------------------------------------------------------------------------------------------------
def _child(home: Path, items: list[Item]) -> None:
    answers = [KEPT, {**KEPT, ("bento", "flights-1-abc.bento"): "version 2"}]
    remove.remove(home, items, lambda: answers.pop(0) if len(answers) > 1 else answers[0])


def test_killed_anywhere_and_run_again_it_ends_the_same(tmp_path: Path) -> None:
    log = tmp_path / "points"
    items = full(tmp_path / "whole")
    assert children.run(_child, tmp_path / "whole", items, **{crashpoints.LOG: str(log)}) == 0
    wanted = tree(tmp_path / "whole")
    points = list(dict.fromkeys(log.read_text().split()))
    assert set(points) == {f"maintain.{p}" for p in ("packed", "trashed", "restored", "settled", "emptied")}
    for point in points:
        home = tmp_path / point
        items = full(home)
        assert children.run(_child, home, items, **{crashpoints.AT: point}) == -signal.SIGKILL
        assert children.run(_child, home, items) == 0
        assert tree(home) == wanted, f"killed at {point}"


def test_a_half_emptied_trash_is_never_put_back(tmp_path: Path) -> None:
    put(tmp_path / remove.GONE, f"snapshots/{B}/", OLD)  # killed while it was emptying
    remove.remove(tmp_path, [], lambda: KEPT)
    assert tree(tmp_path) == {}


def test_what_a_killed_run_had_put_into_the_trash_comes_back(tmp_path: Path) -> None:
    put(tmp_path / remove.TRASH, f"snapshots/{A}/", OLD, "whole")
    put(tmp_path / remove.TRASH, f"snapshots/{B}/", OLD, "old")
    put(tmp_path, f"snapshots/{B}/", NOW, "made anew meanwhile")
    remove.remove(tmp_path, [], dict)
    assert (tmp_path / f"snapshots/{A}/inner/file.txt").read_text() == "whole"
    assert (tmp_path / f"snapshots/{B}/inner/file.txt").read_text() == "made anew meanwhile"
    assert not (tmp_path / remove.TRASH).exists()
