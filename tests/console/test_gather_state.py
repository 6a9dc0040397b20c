"""The fingerprint: the same while nothing happens, another one after whatever a page would show."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from include import pages
from include.console.view import Airflow, Gap
from include.files import write_json
from include.loop.console import model, models, state
from include.release import ledger as book
from include.release import releases
from include.release.ledger import Decision
from include.settings import Settings
from tests.console import planted
from tests.console.planted import OURS
from tests.console.test_gather_curve import keep, stated


def decided(settings: Settings) -> None:
    about = Decision("k", OURS, "monitor", "ada", "Healthy: it is.", planted.as_of(59), 1, "monitor/x")
    book.record(book.connect(settings.ledger_url), about)


def asked(settings: Settings) -> None:
    book.request_retrain(book.connect(settings.ledger_url), OURS, planted.as_of(59), "why", "ada", "train/x")


def answered(settings: Settings) -> None:
    asked(settings)
    state.fingerprint(settings)
    book.close_request(book.connect(settings.ledger_url), 1, "train/x", "done")


def approved(settings: Settings) -> None:
    releases.answer(book.connect(settings.ledger_url), 2, "approved", "ada", "why not")


def looked_at_the_release(settings: Settings) -> None:
    write_json(pages.folder(settings, "release", "under_way", "shadow") / "observation.json", {"stage": "shadow"})


def stated_days(settings: Settings) -> None:
    keep(settings, "new", stated("2013-03-05", "2013-03-08"))


def began_a_page(settings: Settings) -> None:
    write_json(pages.folder(settings, "train", "new", "log") / "manifest.json", {})


def published(settings: Settings) -> None:
    write_json(settings.lake / "catalog.json", {"versions": {}, "as_of": "2014-01-01T00:00:00+00:00"})


def alerted(settings: Settings) -> None:
    planted.alert(settings, "verdict/x")


@pytest.fixture
def under_way(one: Settings) -> Settings:
    """A release that has begun, and looked once."""
    ledger = book.connect(one.ledger_url)
    run = "release/under_way"
    begun = releases.begin(ledger, OURS, 1, 4, planted.POLICY, planted.as_of(59), "release", run)
    about = Decision("begun", OURS, "shadow", "release", "begins", planted.as_of(59), 1, run)
    book.deploy(ledger, book.current(ledger, OURS), about, 4, 1, "shadow", 0.0, begun.id)
    looked_at_the_release(one)
    return one


@pytest.mark.parametrize(
    "happens",
    [decided, asked, answered, approved, looked_at_the_release, stated_days, began_a_page, published, alerted],
)
def test_whatever_happens_is_seen(under_way: Settings, happens: Callable[[Settings], None]) -> None:
    before = state.fingerprint(under_way)
    assert state.fingerprint(under_way) == before
    happens(under_way)
    assert state.fingerprint(under_way) != before


def test_where_nothing_is_there_is_one_too(empty: Settings) -> None:
    assert state.fingerprint(empty) == state.fingerprint(empty)
    assert not empty.home.exists()
    before = state.fingerprint(empty)
    planted.plant(empty, days=3)
    assert state.fingerprint(empty) != before


def test_pages_made_at_the_same_time_while_looks_come_in_are_whole(empty: Settings) -> None:
    planted.plant(empty, planted.names(3), days=30)
    done, wrong = threading.Event(), list[Exception | Gap]()

    def read() -> None:
        while not done.is_set():
            try:
                found = models.index(empty, Airflow(), planted.WALL)
                found_model = model.page(empty, OURS, Airflow(), planted.WALL)
            except Exception as error:
                wrong.append(error)
                return
            wrong.extend(gap for gap in (*found.gaps, *found_model.gaps) if gap.what != "MLflow")

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    ledger = book.connect(empty.ledger_url)
    champion = book.current(ledger, OURS).champion
    for number in range(30, 45):
        state_ = "incident" if number % 2 else "healthy"
        about = (
            OURS,
            "monitor",
            "ada",
            planted.SENTENCES[state_],
            planted.as_of(number),
            champion,
            f"monitor/n{number}",
        )
        book.record(ledger, Decision(f"n{number}", *about, {"state": state_}))
        keep(empty, str(number), stated(planted.as_of(number - 1)[:10], planted.as_of(number)[:10]))
    done.set()
    for reader in readers:
        reader.join(60)
    assert {gap for gap in wrong if not isinstance(gap, Gap) or gap.what != "drift and slices"} == set()
    row = next(row for row in models.index(empty, Airflow(), planted.WALL).rows if row.ours)
    assert (row.health.state, row.health.as_of) == ("healthy", planted.as_of(44))
    assert row.days[-1].day == planted.as_of(43)[:10]
