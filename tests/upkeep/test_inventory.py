"""Taking stock: everything that is known is seen, nothing that is not, and no link is followed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.settings import Retention
from include.upkeep import inventory, policy
from tests.upkeep.things import PLACES, PROJECT, RUN, STRANGE, A, B, age, put, tree

OLD = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_every_kind_is_seen_with_its_size_and_age(tmp_path: Path) -> None:
    for place in PLACES.values():
        put(tmp_path, place, OLD)
    found, passed = inventory.take(tmp_path)
    assert {e.kind: e.path for e in found} == {k: p.rstrip("/") for k, p in PLACES.items()}
    assert {e.kind for e in found} == {k.name for k in inventory.KINDS}
    assert {(e.bytes, e.touched) for e in found} == {(10, OLD)}
    assert passed == []
    keys = {e.kind: e.key for e in found if e.key}
    assert keys == {
        **dict.fromkeys(("bundle", "frame", "snapshot"), A),
        "bento": "flights-1-abc.bento",
        "model in MLflow": RUN,
    }
    assert all(inventory.look(tmp_path, e.path) == e for e in found)
    assert all(hasattr(Retention(), e.age) for e in found)


def test_what_is_not_known_is_not_named(tmp_path: Path) -> None:
    for place in STRANGE:
        put(tmp_path, place, OLD)
    assert inventory.take(tmp_path)[0] == []
    assert all(inventory.look(tmp_path, place) is None for place in STRANGE)
    assert inventory.look(tmp_path, "../etc/passwd") is None
    assert inventory.look(tmp_path, f"plans/../frames/{A}.parquet") is None


def test_a_folder_is_as_young_as_the_youngest_thing_in_it(tmp_path: Path) -> None:
    put(tmp_path, PLACES["snapshot"], OLD)
    young = tmp_path / PLACES["snapshot"] / "inner" / "young.parquet"
    young.write_text("1234")
    age(young, NOW)
    (entry,) = inventory.take(tmp_path)[0]
    assert (entry.touched, entry.bytes) == (NOW, 14)


def test_links_are_neither_followed_nor_named(tmp_path: Path) -> None:
    home, outside = tmp_path / "var", tmp_path / "outside"
    put(outside, f"snapshots/{A}/", OLD)
    put(outside, f"frames/{A}.parquet", OLD)
    put(outside, f"{PROJECT}/snapshots/22222222-2222-2222-2222-222222222222.json", OLD)
    (home / "frames").mkdir(parents=True)
    (home / "evidently").mkdir()
    (home / "snapshots").symlink_to(outside / "snapshots")  # an area
    (home / "frames" / f"{A}.parquet").symlink_to(outside / "frames" / f"{A}.parquet")  # a thing
    (home / "evidently" / PROJECT).symlink_to(outside / PROJECT)  # a level between
    put(home, f"bundles/{B}/", OLD)
    (home / "bundles" / B / "link").symlink_to(outside)  # inside of a thing
    age(home / "bundles", OLD)
    found, passed = inventory.take(home)
    assert [e.path for e in found] == [f"bundles/{B}"]
    assert found[0].bytes == 10 + 0  # the link itself is no file
    assert passed == [
        f"evidently/{PROJECT} is a symlink: left alone",
        f"frames/{A}.parquet is a symlink: left alone",
        "snapshots is a symlink: left alone",
    ]
    assert inventory.look(home, f"snapshots/{A}") is None
    assert inventory.look(home, f"frames/{A}.parquet") is None


def test_taking_stock_and_planning_change_nothing(tmp_path: Path) -> None:
    for place in (*PLACES.values(), *STRANGE):
        put(tmp_path, place, OLD)
    before = tree(tmp_path)
    items = policy.plan(inventory.take(tmp_path)[0], {}, Retention(), NOW)
    assert len(items) == len(PLACES)
    assert tree(tmp_path) == before
    assert policy.plan(inventory.take(tmp_path)[0], {}, Retention(), OLD + timedelta(hours=23)) == []
