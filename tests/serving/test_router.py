"""Which version is due for whom, and what becomes of a deployment that cannot be served as it stands."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include.bundle import load
from include.contracts import Ref
from include.release.ledger import Deployment
from include.serving.router import Live, Model, ModelFailed, Package, Router, model, side
from include.settings import Settings
from tests.packaging import tiny
from tests.serving import planted


class Shelf:
    """Packages by version."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        self.packages: dict[int, Package] = {}
        self.asked: list[int] = []

    def put(self, version: int, content: bytes, code: str | None = "code") -> Ref:
        made = planted.save(self.settings, content, log_rate=1 / version)  # another content for each
        self.packages[version] = Package(made, code)
        return made

    def __call__(self, version: int) -> Package:
        self.asked.append(version)
        return self.packages[version]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    for version in (1, 2, 3):
        shelf.put(version, planted.constant(version / 10))
    return shelf


def wanted(generation: int, champion: int | None, challenger: int | None = None, stage: str = "") -> Deployment:
    return Deployment(tiny.MODEL, generation, champion, challenger, stage, 0.25 if stage == "canary" else 0.0, 4)


def versions(live: Live) -> tuple[int | None, int | None]:
    return (live.champion and live.champion.version, live.challenger and live.challenger.version)  # type: ignore[return-value]


# -- sides -----------------------------------------------------------------------------------------------------------
@examples(max_examples=300)
@given(salt=st.text(max_size=10), entity=st.text(max_size=20), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_side_is_stable_and_whoever_is_in_a_share_is_in_every_larger_one(
    salt: str, entity: str, low: float, high: float
) -> None:
    place = side(salt, entity)
    assert 0 <= place < 1
    assert place == side(salt, entity)
    small, large = sorted((low, high))
    assert not place < small or place < large


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_shares_are_kept_and_releases_are_independent(share: float) -> None:
    entities = [f"2013{m:02}{d:02}-B6-{n}-JFK" for m in range(1, 13) for d in range(1, 29) for n in range(30)]
    first = np.array([side("m/1", e) < share for e in entities])
    second = np.array([side("m/2", e) < share for e in entities])
    four = 4 * sqrt(share * (1 - share) / len(entities))
    assert abs(first.mean() - share) < four
    assert abs(second[first].mean() - share) < 4 * sqrt(share * (1 - share) / first.sum())


def test_nobody_is_below_zero_and_everybody_below_one() -> None:
    assert all(0 < side("m/1", str(i)) < 1 for i in range(1000))


# -- following -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("stage", "serves", "shadowed"),
    [("", None, False), ("waiting", None, False), ("shadow", 2, True), ("approval", 2, True), ("canary", 2, True)],
)
def test_a_challenger_is_served_in_the_stages_that_look_at_it(
    shelf: Shelf, stage: str, serves: int | None, shadowed: bool
) -> None:
    live = Router(tiny.MODEL, "code").follow(wanted(1, 1, 2, stage), shelf)
    assert versions(live) == (1, serves)
    routes = {tuple(m and m.version for m in live.route(str(i))) for i in range(200)}
    if stage == "canary":
        assert routes == {(1, 2), (2, 1)}
    else:
        assert routes == {(1, 2 if shadowed else None)}


def test_what_is_loaded_is_not_loaded_again(shelf: Shelf) -> None:
    router = Router(tiny.MODEL, "code")
    router.follow(wanted(1, 1, 2, "shadow"), shelf)
    router.follow(wanted(2, 1, 2, "canary"), shelf)
    live = router.follow(wanted(3, 2), shelf)
    assert shelf.asked == [1, 2]
    assert versions(live) == (2, None)
    router.follow(wanted(4, 1), shelf)
    assert shelf.asked == [1, 2, 1]


def test_a_corrupt_challenger_is_left_out_and_named(shelf: Shelf) -> None:
    router = Router(tiny.MODEL, "code")
    planted.corrupt(shelf.packages[2].bundle)
    live = router.follow(wanted(1, 1, 2, "canary"), shelf)
    assert versions(live) == (1, None)
    assert (live.generation, live.stage, live.share) == (1, "", 0.0)
    assert "altered" in router.broken[2]


def test_a_corrupt_champion_leaves_the_old_one_alone_in_place(shelf: Shelf) -> None:
    router = Router(tiny.MODEL, "code")
    router.follow(wanted(1, 1, 3, "shadow"), shelf)
    planted.corrupt(shelf.packages[2].bundle)
    live = router.follow(wanted(2, 2, 3, "shadow"), shelf)
    assert versions(live) == (1, None)
    assert live.generation == 2
    assert set(router.broken) == {2}
    shelf.put(2, planted.constant(0.9))
    assert versions(router.follow(wanted(2, 2, 3, "shadow"), shelf)) == (2, 3)
    assert router.broken == {}


def test_a_challenger_of_other_code_is_left_out_a_champion_goes_on(shelf: Shelf) -> None:
    router = Router(tiny.MODEL, "code")
    shelf.put(1, planted.constant(0.1), code="older")
    shelf.put(2, planted.constant(0.2), code="older")
    live = router.follow(wanted(1, 1, 2, "shadow"), shelf)
    assert versions(live) == (1, None)
    assert "other code" in router.broken[2]


def test_an_unknown_version_and_a_missing_bundle_are_broken_not_raised(shelf: Shelf) -> None:
    router = Router(tiny.MODEL, "code")
    shelf.packages[3] = Package(Ref(uri="/nowhere", version="x", hash="x"), None)
    live = router.follow(wanted(1, 9, 3, "shadow"), shelf)
    assert versions(live) == (None, None)
    assert set(router.broken) == {9}
    live = router.follow(wanted(2, 1, 3, "shadow"), shelf)
    assert versions(live) == (1, None)
    assert set(router.broken) == {3}


# -- models ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.01, 1.01])
@pytest.mark.parametrize("rows", [1, 40])
def test_what_is_no_probability_is_no_answer(tmp_path: Path, wrong: float, rows: int) -> None:
    loaded = load(planted.save(Settings(home=tmp_path), planted.constant(wrong)))
    with pytest.raises(ModelFailed):
        model("m", 1, loaded).score(np.zeros((rows, 36), dtype=np.float32))


def test_an_old_bundle_still_loads_with_defaults(tmp_path: Path) -> None:
    from include import bundle

    described = bundle.schema(tiny.MODEL, tiny.NAMES, "c" * 64, planted.AS_OF, "logistic", {})
    del described["format"]
    loaded: Model = model("m", 1, load(bundle.save(Settings(home=tmp_path), tiny.model(), described)))
    assert (loaded.threshold, loaded.refuse_stale, loaded.log_rate, loaded.reference) == (0.5, False, 1.0, None)
