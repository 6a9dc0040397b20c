"""The canary as it runs: 4,000 real flights, their shares within their binomial intervals, each on one side only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from include.serving.router import side
from include.settings import Settings
from tests.packaging import tiny
from tests.serving import planted
from tests.serving.following import Scene, flights, request, scene

pytestmark = pytest.mark.xdist_group("service")

CHAMPION, CHALLENGER = 1, 2
OUTSIDE = 0.001  # chance of an interval to miss a share that is right
RELEASES, SHARES = (1, 2), (0.05, 0.25)
_Sides = dict[tuple[int, float], list[bool]]  # by release and share: of each flight whether the canary answered


class Canary(NamedTuple):
    scene: Scene
    rows: list[dict[str, Any]]
    sides: _Sides


@pytest.fixture(scope="module")
def canary(history: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    with scene(history, tmp_path_factory.mktemp("canary")) as made:
        made.version(CHALLENGER, planted.constant(0.5))
        rows = flights(made.settings)
        sides: _Sides = {}
        for release in RELEASES:
            for share in SHARES:
                open_canary(made, share, release)
                sides[release, share] = batches(made, rows)
        yield Canary(made, rows, sides)


def open_canary(scene: Scene, share: float, release: int) -> None:
    scene.deploy(CHAMPION, CHALLENGER, stage="canary", share=share, release=release)


def batches(scene: Scene, rows: Sequence[dict[str, Any]]) -> list[bool]:
    """Which flights the canary answers, asked in batches."""
    answers = []
    for first in range(0, len(rows), 1000):
        flights = [request(row) for row in rows[first : first + 1000]]
        status, value = scene.service.ask("POST", "/predict/batch", {"flights": flights})
        assert status == 200, value
        answers += value["predictions"]
    assert len(answers) == len(rows)
    return [by_canary(answer) for answer in answers]


def by_canary(answer: dict[str, Any]) -> bool:
    assert (answer["version"], answer["stage"]) in ((CHAMPION, "champion"), (CHALLENGER, "canary"))
    return bool(answer["version"] == CHALLENGER)


def interval(count: int, share: float) -> tuple[int, int]:
    """Exact: a right share is outside of it with a chance of 0.1 % at most."""
    return int(binom.ppf(OUTSIDE / 2, count, share)), int(binom.ppf(1 - OUTSIDE / 2, count, share))


def test_each_flight_is_another_and_there_are_enough(canary: Canary) -> None:
    assert len({row["flight_id"] for row in canary.rows}) == len(canary.rows) >= 2000


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("release", RELEASES)
def test_the_share_lies_within_its_binomial_interval(canary: Canary, release: int, share: float) -> None:
    low, high = interval(len(canary.rows), share)
    assert low <= sum(canary.sides[release, share]) <= high


@pytest.mark.parametrize("release", RELEASES)
def test_whoever_is_in_five_percent_is_in_twentyfive(canary: Canary, release: int) -> None:
    few, many = (np.array(canary.sides[release, share]) for share in SHARES)
    assert few.any()
    assert not (few & ~many).any()


def test_two_releases_try_different_flights(canary: Canary) -> None:
    first, second = (np.array(canary.sides[release, 0.25]) for release in RELEASES)
    low, high = interval(int(first.sum()), 0.25)
    assert low <= (first & second).sum() <= high


def test_a_flight_stays_on_its_side_however_it_is_asked(canary: Canary) -> None:
    scene, rows = canary.scene, canary.rows
    open_canary(scene, 0.25, 1)  # the release goes on in a later generation
    due = canary.sides[1, 0.25]
    backwards = batches(scene, rows[::-1])[::-1]
    assert backwards == due
    for row, side_ in list(zip(rows, due, strict=True))[::20]:  # alone, and later again, with another time zone
        flight = request(row)
        local = {n: row[n].astimezone(None).isoformat() for n in ("sched_dep", "sched_arr")}
        for asked in (flight, {**flight, **local}, {**flight, "features": {"temp": 30.0}}):
            status, value = scene.service.predict(asked)
            assert status == 200, value
            assert by_canary(value) == side_


def test_the_side_is_what_the_architecture_says(canary: Canary) -> None:
    """Anybody can say on which side a flight is: also a monitor, another worker, another day."""
    for (release, share), sides in canary.sides.items():
        assert sides == [side(f"{tiny.MODEL}/{release}", row["flight_id"]) < share for row in canary.rows]


@pytest.mark.parametrize("salt", [f"{tiny.MODEL}/{release}" for release in range(5)])
def test_sides_of_real_flights_are_uniform(canary: Canary, salt: str) -> None:
    assert kstest([side(salt, row["flight_id"]) for row in canary.rows], "uniform").pvalue > OUTSIDE


@examples(max_examples=200, deadline=None)
@given(
    salts=st.lists(st.text(max_size=8), min_size=2, max_size=2, unique=True),
    prefix=st.text(max_size=8),
    share=st.floats(0.02, 0.98),
)
def test_any_salt_gives_fair_shares_and_another_salt_others(salts: list[str], prefix: str, share: float) -> None:
    names = [f"{prefix}{i}" for i in range(400)]
    first, second = (np.array([side(salt, name) for name in names]) for salt in salts)
    low, high = binom.ppf(1e-9, 400, share), binom.ppf(1 - 1e-9, 400, share)
    assert low <= (first < share).sum() <= high
    assert (first != second).mean() > 0.99
