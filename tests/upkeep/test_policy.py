"""The policy: nothing that somebody needs, nothing that is young, and more protection never lets more go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.settings import Retention, Settings
from include.upkeep import inventory, policy, protect
from include.upkeep.inventory import Entry
from include.upkeep.policy import Standing
from include.upkeep.protect import Needs

NOW = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
DAY = timedelta(days=1)
AGES = {kind.name: kind.age for kind in inventory.KINDS}

entries = st.lists(
    st.builds(
        lambda kind, key, days, size: Entry(kind, AGES[kind], f"{kind}/{key}/{days}", key, size, NOW - days * DAY),
        st.sampled_from(sorted(AGES)),
        st.sampled_from(["", "a", "b", "c"]),
        st.floats(-5, 800),
        st.integers(0, 10**9),
    ),
    max_size=30,
)
keys = st.dictionaries(
    st.tuples(st.sampled_from([k.name for k in inventory.KINDS]), st.sampled_from(["a", "b", "c"])),
    st.just("somebody"),
)
days = st.integers(1, 400)
retentions = st.builds(
    lambda vacuum, plans, **more: Retention(vacuum=vacuum, plans=min(plans, vacuum), **more),
    days,
    days,
    **dict.fromkeys(sorted(set(AGES.values()) - {"plans"}), days),
    keep_days=days,
    keep_champions=st.integers(2, 6),
)


@given(entries, keys, keys, retentions)
def test_what_goes_is_old_and_nobodys(
    found: list[Entry], kept: dict[policy.Key, str], more: dict[policy.Key, str], retention: Retention
) -> None:
    items = policy.plan(found, kept, retention, NOW)
    assert not {(i.kind, i.key) for i in items} & kept.keys()
    assert all((NOW - i.touched) / DAY >= getattr(retention, AGES[i.kind]) for i in items)
    assert all(NOW - i.touched >= DAY for i in items)  # what a run has just made is in use
    paths = {i.path for i in items}
    left = [e for e in found if e.path not in paths]
    assert all((e.kind, e.key) in kept or (NOW - e.touched) / DAY < getattr(retention, e.age) for e in left)
    fewer = {i.path for i in policy.plan(found, {**kept, **more}, retention, NOW)}
    assert fewer <= paths


standings = st.lists(
    st.builds(
        lambda version, entered, reign, role: Standing(
            "m", version, NOW - entered * DAY, None if reign is None else NOW - reign * DAY, role
        ),
        st.integers(1, 30),
        st.floats(0, 900),
        st.none() | st.floats(0, 900),
        st.sampled_from(["", "", "", "champion", "challenger"]),
    ),
    unique_by=lambda s: s.version,
    max_size=12,
)


@given(standings, retentions)
def test_who_is_eligible(known: list[Standing], retention: Retention) -> None:
    kept = policy.eligible(known, retention, NOW)
    assert {("m", s.version) for s in known if s.role} <= kept.keys()
    assert {("m", s.version) for s in known if NOW - s.entered < retention.keep_days * DAY} <= kept.keys()
    reigned = sorted((s for s in known if s.reigned_until), key=lambda s: s.reigned_until or NOW)
    last = reigned[-retention.keep_champions :]
    assert {("m", s.version) for s in last} <= kept.keys()
    longer = retention.model_copy(update={"keep_days": retention.keep_days + 10})
    assert kept.keys() <= policy.eligible(known, longer, NOW).keys()
    others = [s for s in known if ("m", s.version) not in kept]
    assert all(not s.role and NOW - s.entered > retention.keep_days * DAY for s in others)


def test_a_models_champions_do_not_count_for_another() -> None:
    old = NOW - 500 * DAY
    known = [Standing(m, v, old, old + v * DAY) for m in ("one", "two") for v in (1, 2, 3, 4)]
    kept = policy.eligible(known, Retention(keep_champions=2), NOW)
    assert sorted(kept) == [("one", 3), ("one", 4), ("two", 3), ("two", 4)]
    assert set(kept.values()) == {"one of the last 2 champions"}


def test_the_largest_goes_first_and_says_why() -> None:
    found = [Entry("frame", "frames", f"frames/{n}", str(n), n, NOW - 20 * DAY) for n in (1, 3, 2)]
    items = policy.plan(found, {}, Retention(frames=14), NOW)
    assert all(a.bytes >= b.bytes for a, b in pairwise(items))
    assert items[0].reason == "last written 20 days ago, frames are kept for 14; nobody needs it"


def test_protection_names_all_for_whom() -> None:
    one = Needs("m version 1", "f", "b", "m-1.bento", "run", "s", {"schedule": 7})
    two = Needs("m version 2", "f", "b2", "m-2.bento", "run2")  # its manifest is gone
    kept = protect.protected([one, two], online=["s", "s9"])
    assert kept["frame", "f"] == "m version 1, m version 2"
    assert kept["snapshot", "s"] == "the online store, m version 1"
    assert kept["snapshot", "s9"] == "the online store"
    assert policy.needed_by(kept, "snapshot", "any other") == "m version 2"  # nobody knows which it was made of
    assert policy.needed_by(kept, "frame", "any other") is None
    assert (protect.unknown([one, two]), protect.unknown([one])) == (["m version 2"], [])
    assert protect.pins([one, two], {"schedule": 9, "outcome": 3}) == {"outcome": [3], "schedule": [7, 9]}


# -- the settings --------------------------------------------------------------------------------------------------
def test_the_environment_says_it_and_a_typo_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_RETENTION__REPORTS", "7")
    read = Settings()
    assert (read.retention.reports, read.retention.keep_days) == (7, 90)
    assert Settings(**read.model_dump()) == read
    monkeypatch.setenv("RATCHET_RETENTION__REPORT", "7")
    with pytest.raises(ValidationError, match="report"):
        Settings()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"frames": 0}, "greater than or equal to 1"),
        ({"keep_champions": 1}, "greater than or equal to 2"),
        ({"plans": 31, "vacuum": 30}, "a plan would outlive the tables"),
    ],
)
def test_a_policy_that_would_hurt_is_refused(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Retention(**wrong)
