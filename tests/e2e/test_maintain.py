"""Upkeep of a trained installation: what must work works after it, what nobody needs is gone."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from include import alerts, lake
from include.contracts import SCHEDULE, VIEWS, Ref
from include.crashpoints import AT, LOG
from include.features import store
from include.files import read_json
from include.loop import maintain, rollback
from include.loop.run import Run, Skip, Stop
from include.models.flights_on_time.spec import SPEC
from include.release import ledger as book
from include.settings import Retention, Settings
from include.training import reproduce, track
from include.upkeep import tables
from tests.children import server
from tests.conftest import END, copy_home
from tests.e2e.chains import local, results
from tests.upkeep.things import PLACES, STRANGE, A, put, tree

pytestmark = pytest.mark.xdist_group("loop")
LATER = datetime.now(UTC) + timedelta(days=400)  # by then all that the fixture has made is old
YOUNG = LATER - timedelta(hours=2)
STRANGERS = [p for p in STRANGE if not p.endswith((".db", "clock.json", "catalog.json"))]  # not over real ones
NOTHING = Ref(uri="", version="", hash="")


def run(
    settings: Settings, task: str, name: str = "maintain/scheduled__1", wall: datetime = LATER, **params: Any
) -> Run:
    page = settings.reports / "maintain" / "now" / task / "index.html"
    return Run(settings, name, page, {"as_of": END, **params}, looked=wall.isoformat())


@pytest.fixture
def old(trained: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A copy of `trained`, 400 days on: version 1 was champion, version 2, of the same making, is. Version 3 was
    entered and never released; its files are others. Beside them old and young things of every kind, strange ones."""
    # it lies where the original was, which is moved out of reach meanwhile: a reference finds the copy, or nothing
    home, aside = trained.home, tmp_path / "aside"
    home.rename(aside)
    copy_home(aside, home)
    outside = put(tmp_path, "outside.parquet", LATER)
    settings = local(home)
    ledger = book.connect(settings.ledger_url)
    first = book.version(ledger, SPEC.name, 1)
    book.add_version(ledger, book.Version(**{**vars(first), "version": 2}))
    seen = book.current(ledger, SPEC.name)
    book.deploy(ledger, seen, book.Decision("p", SPEC.name, "promotion", "t", "better", END, 2), 2, None)
    for place in (*PLACES.values(), *STRANGERS):
        put(home, place, LATER - timedelta(days=900 if place.startswith("archive") else 500))
    refused = {name: {**NOTHING, "hash": A} for name in ("frame", "bundle")}
    third = {
        **vars(first),
        **refused,
        "bento": {**NOTHING, "uri": PLACES["bento"]},
        "version": 3,
        "mlflow_run": "0" * 32,
    }
    book.add_version(ledger, book.Version(**third))
    put(home, f"snapshots/{'d' * 64}/", YOUNG)
    put(home, f"reports/train/{'young'}/", YOUNG)
    (home / "frames" / f"{'e' * 64}.parquet").symlink_to(outside)
    before = Path.cwd()
    os.chdir(home)  # MLflow's files without a server go to the working directory
    yield settings
    os.chdir(before)
    shutil.rmtree(home)
    aside.rename(home)


def test_after_a_clean_what_must_work_works_and_the_rest_is_gone(old: Settings) -> None:
    before, given = tree(old.home), results(old)
    materialized = store.state(old)
    assert materialized is not None
    online = materialized["snapshot"]
    job = maintain.plan(run(old, "plan"))
    assert job["dry_run"] is False
    done = maintain.clean(run(old, "clean"), job)
    left = tree(old.home)
    assert done["things"] == job["things"]
    assert done["stayed"] == 0
    planned = read_json(Path(job["file"]))
    assert {i["kind"] for i in planned} == set(PLACES)
    # of versions 1 and 2 nothing went, of version 3 everything but its ledger row
    gone = {i["path"] for i in planned}
    assert {PLACES[k].rstrip("/") for k in PLACES} <= gone
    for ref in (given["frame"], given["snapshot"], given["fitted"]["bundle"], given["archive"], online):
        assert Path(ref["uri"]).exists()
    assert book.version(book.connect(old.ledger_url), SPEC.name, 3).mlflow_run == "0" * 32
    # strange and young things, links and what they lead to: as they were
    for place in (*STRANGERS, f"snapshots/{'d' * 64}", "reports/train/young", f"frames/{'e' * 64}.parquet"):
        assert left[place] == before[place], place
    assert (old.home / "frames" / f"{'e' * 64}.parquet").read_text() == "some bytes"
    # reports are packed, all else that went is gone
    assert len([k for k in left if k.startswith("archive/") and k.endswith("/train/manual__2026-01-01.tar.gz")]) == 1
    assert not any(f"{k}/".startswith(f"{path}/") for path in gone for k in left)
    assert maintain.plan(run(old, "plan"))["kinds"] == {"report": 1}  # its own, which was not there the first time
    # and what must work works
    report = reproduce.reproduce(old, "1")
    assert report["identical"] is True
    assert report["missing"] == []
    back = rollback.plan(run(old, "plan", "rollback/x", reason="it is bad"))
    assert (back["version"], back["bad"]) == (1, 2)
    assert rollback.rehearse(run(old, "rehearse", "rollback/x"), back)["passed"]


def test_a_dry_run_says_it_and_removes_nothing(old: Settings) -> None:
    before = tree(old.home, but=("reports/maintain", "ledger.db", "mlflow.db"))
    by_hand = run(old, "plan", "maintain/manual__1")
    job = maintain.plan(by_hand)
    assert job["dry_run"] is True
    assert job["things"] >= len(PLACES)
    with pytest.raises(Skip, match=r"things of .* would go, nothing was touched"):
        maintain.clean(run(old, "clean", "maintain/manual__1"), job)
    assert tree(old.home, but=("reports/maintain", "ledger.db", "mlflow.db")) == before
    page = by_hand.page.read_text()
    for words in ("flights_on_time version 2 (champion)", "version 1 (one of the last 3 champions)", "snapshots is"):
        assert (words in page) == (words != "snapshots is")
    assert maintain.plan(run(old, "plan", "maintain/manual__1", dry_run=False))["dry_run"] is False
    assert maintain.plan(run(old, "plan", dry_run=True))["dry_run"] is True


def test_pinned_versions_of_tables_outlive_a_vacuum(old: Settings) -> None:
    versions = results(old)["job"]["versions"]
    view = next(v for v in VIEWS if v.cadence == "hourly").table
    for table in (SCHEDULE, view):  # every day written anew, and published
        path = lake.path(old.lake, table)
        rows = DeltaTable(str(path), version=versions[table.name]).to_pyarrow_table()
        write_deltalake(str(path), rows, mode="overwrite", partition_by=["ds"])
        lake.publish(old.lake, {table.name: lake.version(old.lake, table)}, END, END, END)
    wanted = maintain.needs(run(old, "compact"), book.connect(old.ledger_url), LATER)
    pinned = maintain.protect.pins(wanted, lake.catalog(old.lake)["versions"])
    assert len(pinned[SCHEDULE.name]) == 2
    done = maintain.compact(run(old, "compact"), {}, {})
    assert done["files"] == 0  # they are young, whatever `now` says: Delta asks its own clock
    for table in (SCHEDULE, view):
        assert tables.vacuum(lake.path(old.lake, table), pinned[table.name], timedelta(0)) == (0, 0)
    assert reproduce.reproduce(old, "1")["missing"] == []
    published = [lake.catalog(old.lake)["versions"][SCHEDULE.name]]  # what would have happened without the pin
    assert tables.vacuum(lake.path(old.lake, SCHEDULE), published, timedelta(0))[0] > 0


def test_when_mlflow_does_not_answer_nothing_goes(old: Settings) -> None:
    job = maintain.plan(run(old, "plan"))
    before = tree(old.home)
    away = Settings(**{**old.model_dump(), "mlflow_uri": "http://127.0.0.1:9"})
    with pytest.raises(track.Missing, match="does not answer"):
        maintain.clean(run(away, "clean"), job)
    with pytest.raises(track.Missing, match="does not answer"):
        maintain.plan(run(away, "plan"))
    assert tree(old.home, but=("ledger.db",)) == {k: v for k, v in before.items() if not k.startswith("ledger.db")}


def test_a_policy_that_keeps_longer_lets_less_go(old: Settings) -> None:
    longer = Settings(**{**old.model_dump(), "retention": Retention(keep_days=1000).model_dump()})
    few, many = maintain.plan(run(longer, "plan")), maintain.plan(run(old, "plan"))
    assert few["kinds"].get("frame", 0) < many["kinds"]["frame"]  # version 3 is young enough for this policy


def test_what_nobody_uses_is_told_once(old: Settings) -> None:
    found = maintain.idle(run(old, "idle", as_of="2013-06-01T00:00:00Z"))
    assert "model flights_on_time: its champion, version 2, has predicted nothing" in " ".join(found["first"])
    page = run(old, "idle").page.read_text()
    assert "origin_late_3h" in page  # the effects of every feature
    maintain.idle(run(old, "idle", as_of="2013-06-01T00:00:00Z"))
    told = [a for a in alerts.sent(old) if a["group"] == "unused"]
    assert [a["severity"] for a in told] == ["notice"]


def test_a_rollback_to_what_was_cleaned_away_says_so(old: Settings) -> None:
    entry = book.version(book.connect(old.ledger_url), SPEC.name, 1)
    for part in ("bundle", "frame"):
        (old.home / "gone").mkdir(exist_ok=True)
        Path(getattr(entry, part)["uri"]).rename(old.home / "gone" / part)
    with pytest.raises(Stop, match=r"version: 1 has lost its bundle and its training frame"):
        rollback.plan(run(old, "plan", "rollback/x", reason="it is bad"))


# -- killed --------------------------------------------------------------------------------------------------------
def _all(dumped: dict[str, Any], environment: dict[str, str]) -> None:
    settings = Settings(**dumped)
    os.chdir(settings.home)
    os.environ.update(environment)
    job = maintain.plan(run(settings, "plan"))
    done = maintain.clean(run(settings, "clean"), job)
    maintain.compact(run(settings, "compact"), job, done)


def _child(settings: Settings, **environment: str) -> int | None:
    child = server().Process(target=_all, args=(settings.model_dump(), environment))
    child.start()
    child.join(180)
    return child.exitcode


def _state(settings: Settings) -> dict[str, str]:
    """What is left; databases and Delta's logs are written to by every run."""
    found = tree(settings.home, but=("reports/maintain", "lake/", "alerts/", ".trash"))
    return {k: v for k, v in found.items() if ".db" not in k}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_after_any_write_and_run_again_it_ends_the_same(old: Settings, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    home, kept, log = old.home, tmp_path / "kept", tmp_path / "points"
    for table in (home / "lake").iterdir():  # three tables are as good as twenty, and seven times as fast
        if table.is_dir() and table.name not in ("schedule", "outcome"):
            shutil.rmtree(table)
    for number in range(3):
        rows: Any = pa.table({"ds": ["2013-01-01"], "x": [number]})
        write_deltalake(str(home / "lake" / "performance"), rows, mode="append", partition_by=["ds"])
    old = Settings(**{**old.model_dump(), "retention": Retention(compact_files=2).model_dump()})
    copy_home(home, kept)
    assert _child(old, **{LOG: str(log)}) == 0
    wanted = _state(old)
    points = list(dict.fromkeys(log.read_text().split()))
    assert {p.split(".")[1] for p in points} >= {
        "plan",
        "packed",
        "trashed",
        "settled",
        "emptied",
        "guarded",
        "compacted",
    }
    for point in points:
        shutil.rmtree(home)
        copy_home(kept, home)
        assert _child(old, **{AT: point}) == -signal.SIGKILL, point
        assert _child(old) == 0, point
        assert _state(old) == wanted, f"killed at {point}"
