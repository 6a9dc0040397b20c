"""Two hundred seeded releases on real January flights: bad challengers leave within their stage, good ones stay.

The year, hourly looks and smaller faults: bench/bench_rollouts.py, docs/release.md.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from bench import planted_releases as planted
from bench import tables
from bench.planted_releases import BAD, GOOD, Case, Kind, Outcome
from include import lake
from include.contracts import CLUSTER
from include.features import frame, snapshot
from include.models.flights_on_time.spec import SPEC
from include.settings import Settings
from include.times import parse

LOOKS = timedelta(hours=6)
EACH = 20  # of five kinds of bad ones, and as many good ones as bad ones
KINDS = {kind.name: kind for kind in BAD}
SHIFTED = ("log odds + 1", "log odds - 1")
PLANTED = ("errs 2 %", "errs 10 %", "slow: its answers take 3 times as long", "shifted", "always 0.5")


@pytest.fixture(scope="module")
def january(history: Settings) -> Case:
    """Champion of 12 days, challengers of the same or of three more, and the flights after."""
    versions, as_of = frame.take_versions(history), lake.catalog(history.lake)["as_of"]
    assert as_of is not None
    taken = snapshot.take(history, versions, history.history_start - timedelta(days=3), parse(as_of))
    rows = frame.load(frame.build(history, SPEC, versions, taken, as_of, None))
    before, newer = rows[rows[CLUSTER] < "2013-01-14"], rows[rows[CLUSTER] < "2013-01-17"]
    return planted.case(before, newer, rows[rows[CLUSTER].between("2013-01-17", "2013-01-29")], 3)


@pytest.fixture(scope="module")
def play(january: Case) -> Callable[[Kind, int], Outcome]:
    return lambda kind, seed: planted.run(SPEC.rollout, january, GOOD[seed % 3], kind, seed, every=LOOKS)


def test_bad_ones_are_rolled_back_within_their_stage(play: Callable[[Kind, int], Outcome]) -> None:
    found = []
    for name in PLANTED:
        for seed in range(EACH):
            kind = KINDS[SHIFTED[seed % 2]] if name == "shifted" else KINDS[name]
            found.append((kind.name, seed, play(kind, seed)))
    missed = [
        (name, seed, o.stage, o.reason) for name, seed, o in found if (o.kind, o.stage) != ("roll_back", "shadow")
    ]
    caught = tables.share(o.kind == "roll_back" and o.stage == "shadow" for *_, o in found)
    assert len(missed) <= 0.05 * len(found), f"rolled back: {caught}; not: {missed}"
    assert sum(o.answered for *_, o in found if o.kind == "roll_back") == 0


def test_good_ones_are_not(play: Callable[[Kind, int], Outcome]) -> None:
    found = [play(Kind("good"), 1000 + seed) for seed in range(EACH * len(PLANTED))]
    wronged = [o.reason for o in found if o.kind == "roll_back"]
    assert len(wronged) <= 0.05 * len(found), f"{tables.share(o.kind == 'roll_back' for o in found)}: {wronged}"
    assert sum(o.kind == "promote" for o in found) >= 0.9 * len(found)


def test_what_fails_only_when_it_answers_is_found_in_the_canary(play: Callable[[Kind, int], Outcome]) -> None:
    kind = KINDS["errs 10 % of its answers only"]
    found = [play(kind, seed) for seed in range(8)]
    assert [o.kind for o in found] == ["roll_back"] * len(found)
    assert {o.check for o in found} == {"errors.answers"}
    assert max(o.answered for o in found) < 500


def test_at_a_high_rate_nothing_bad_is_promoted(january: Case) -> None:
    """A hundred requests a second over a week long past, looked at every two minutes. A week holds little of how wrong
    low scores are, however often it is asked for: such a challenger waits."""
    assert planted.run(SPEC.rollout, january, GOOD[0], Kind("good"), 1, "burst").kind == "promote"
    ends = {kind.name: planted.run(SPEC.rollout, january, GOOD[0], kind, 2, "burst").kind for kind in BAD}
    assert "promote" not in ends.values()
    assert {name for name, end in ends.items() if end != "roll_back"} <= {"log odds - 1"}, ends
