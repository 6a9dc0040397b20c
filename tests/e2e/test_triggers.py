"""Doubled, lost and reordered asset events, retries and sweeps: one training for each request, on the real ledger."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from include import alerts, clock, lake
from include.loop import common, freeze, governor, sweep, train, why
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.release import ledger as book
from include.release import releases
from include.release.ledger import Decision
from include.settings import Settings
from include.sources import ingest as source
from include.times import iso, parse
from include.training import track
from tests.conftest import END, copy_home
from tests.e2e.chains import TRAIN, local, results, run_step

pytestmark = pytest.mark.xdist_group("loop")

MODEL = "flights_on_time"
WALL = datetime.now(UTC).replace(microsecond=0)  # of the installation's start
LIMITS = registry.load(MODEL).governor
WHY = [("age", "the champion is 22.0 days old"), ("surprise", "log loss is +0.05 nats above what it expects")]
_numbers = count()


def later(days: float = 0.0, hours: float = 0.0) -> str:
    return iso(parse(END) + timedelta(days=days, hours=hours))


@dataclass
class Loop:
    """An installation, the events that are under way to `train`, and what became of its runs."""

    settings: Settings
    name: int = field(default_factory=lambda: next(_numbers))
    events: list[dict[str, Any]] = field(default_factory=list)
    begun: list[dict[str, Any]] = field(default_factory=list)  # plans, in the order in which they were made
    runs: Iterator[int] = field(default_factory=count)

    @property
    def ledger(self) -> sa.Engine:
        return book.connect(self.settings.ledger_url)

    def run(self, dag: str, name: str = "", **more: Any) -> Run:
        name = name or f"{self.name}-{next(self.runs)}"
        return Run(self.settings, f"{dag}/{name}", self.settings.reports / "page.html", **{"wall": iso(WALL), **more})

    def ask(self, as_of: str = END, why: Any = WHY, run: Run | None = None) -> dict[str, Any]:
        return governor.ask(run or self.run("monitor"), MODEL, as_of, why, "monitor")

    def plan(self, *events: dict[str, Any], run: Run | None = None, **more: Any) -> Any:
        """A run of `train` that these events have woken, up to its plan; the reason, when it was skipped."""
        run = run or self.run("train", events=events, **more)
        try:
            job = train.plan(run)
        except Skip as reason:
            return str(reason)
        if run.name not in [kept["run"] for kept in self.begun]:
            self.begun.append({**job, "run": run.name})
        return job

    def answer(self, job: dict[str, Any], outcome: str = "refused: too noisy") -> None:
        """What every end of a training does."""
        run = next(kept["run"] for kept in self.begun if kept["request"] == job["request"])
        common.answer(self.run("train", run.partition("/")[2]), job, outcome)

    def trainings(self, request: int | None) -> list[str]:
        return [e["run"] for e in book.of_kind(self.ledger, MODEL, "training") if e["evidence"]["request"] == request]

    def sweep(self, minutes: float, name: str = "") -> Any:
        """A sweep so long after now, wall time."""
        looked = iso(datetime.now(UTC) + timedelta(minutes=minutes))
        try:
            return sweep.ring(self.run("sweep", name, looked=looked))
        except Skip as reason:
            return str(reason)

    def judge(self, state: str, as_of: str = END) -> None:
        why = f"it is {state}"
        key = f"{self.name}/{next(self.runs)}"
        book.record(self.ledger, Decision(key, MODEL, "monitor", "monitor", why, as_of, evidence={"state": state}))

    def freeze(self, frozen: bool) -> None:
        freeze.change(self.run("freeze", params={"frozen": frozen, "reason": "audit"}, actor="ann"))


@pytest.fixture(scope="module")
def home(history: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An installation with data, as if published for two months more, without a champion; its ledger is empty."""
    settings = local(copy_home(history.home, tmp_path_factory.mktemp("triggers") / "var"))
    lake.publish(settings.lake, {}, later(60), later(60), later(60))
    clock.start(settings.home / "clock.json", WALL, parse(END), speed=1.0)
    book.connect(settings.ledger_url).dispose()
    return settings


def with_ledger(home: Settings, folder: Path) -> Loop:
    """The installation with a ledger of its own, to write on."""
    number = next(_numbers)
    shutil.copy(home.home / "ledger.db", folder / f"{number}.db")
    return Loop(Settings(**{**home.model_dump(), "ledger_uri": f"sqlite:///{folder / f'{number}.db'}"}), number)


@pytest.fixture
def loop(home: Settings, tmp_path: Path) -> Loop:
    return with_ledger(home, tmp_path)


# -- asks ----------------------------------------------------------------------------------------------------------
def test_an_ask_is_a_row_and_a_retry_is_the_same_one(loop: Loop) -> None:
    run = loop.run("monitor")
    asked = loop.ask(run=run)
    assert asked["outcome"] == "ask"
    assert asked["cause"] == "; ".join(text for _, text in WHY)
    assert asked["reason"] == "Asked: training 1 of 6 allowed in 30 days."
    again = loop.ask(run=run)
    assert {**again, "reason": asked["reason"]} == asked
    assert len(book.causes(loop.ledger, asked["request"])) == len(WHY)
    job = loop.plan(asked)
    assert (job["request"], job["as_of"], job["cause"]) == (asked["request"], END, asked["cause"])
    loop.answer(job)
    late = loop.ask(run=run)  # cleared when all is over: it asks for nothing new
    assert (late["outcome"], late["request"]) == ("ask", asked["request"])
    assert book.open_request(loop.ledger, MODEL) is None


def test_asks_are_merged_and_the_training_tells_every_cause(loop: Loop) -> None:
    first = loop.ask()
    second = loop.ask(later(1), [("score", "the score's PSI is 0.310"), WHY[1]])
    assert (second["outcome"], second["request"], second["as_of"]) == ("merge", first["request"], END)
    job = loop.plan(first)
    assert job["cause"] == second["cause"] == "; ".join([*(text for _, text in WHY), "the score's PSI is 0.310"])
    (entry,) = book.of_kind(loop.ledger, MODEL, "training")
    assert job["cause"] in entry["reason"]
    assert [c.kind for c in book.causes(loop.ledger, first["request"])] == ["age", "surprise", "score", "surprise"]


def test_a_person_who_answers_a_request_keeps_the_own_reason(loop: Loop) -> None:
    asked = loop.ask()
    loop.plan(actor="ann", params={"note": "the storm is over"})
    (entry,) = book.of_kind(loop.ledger, MODEL, "training")
    assert (entry["actor"], entry["evidence"]["request"]) == ("ann", asked["request"])
    assert entry["reason"].startswith(f"the storm is over. {asked['cause'].rstrip('.')}. It is training 1 of 6")


def test_a_persons_reason_is_told_once(loop: Loop) -> None:
    loop.plan(actor="ann", params={"note": "the storm is over."})
    (entry,) = book.of_kind(loop.ledger, MODEL, "training")
    assert entry["reason"] == "the storm is over. It is training 1 of 6 allowed in 30 days."


@pytest.mark.parametrize("state", ["incident", "frozen"])
def test_an_ask_is_dropped_and_the_ledger_says_why(loop: Loop, state: str) -> None:
    if state == "incident":
        loop.judge("incident")
    else:
        loop.freeze(True)
    run = loop.run("monitor")
    dropped = loop.ask(run=run)
    assert (dropped["outcome"], dropped["request"]) == ("drop", None)
    assert loop.ask(run=run) == dropped
    (entry,) = book.of_kind(loop.ledger, MODEL, "request-dropped")  # the retry is the same entry
    assert entry["reason"].startswith(dropped["reason"])
    assert entry["evidence"] == {"causes": [{"kind": kind, "cause": text} for kind, text in WHY]}
    if state == "incident":
        loop.judge("healthy", later(-1))  # a look back closes no incident
        assert loop.ask(run=run) == dropped
        loop.judge("retrain")
    else:
        loop.freeze(False)
    assert loop.ask(run=run)["outcome"] == "ask"  # cleared, when that is over


def test_the_cooldown_and_the_budget_hold_asks_back(loop: Loop) -> None:
    loop.answer(loop.plan(loop.ask()))
    early = loop.ask(later(LIMITS.cooldown_days, hours=-1))
    assert early["outcome"] == "drop"
    assert f"the last request is of {END}" in early["reason"]
    for day in range(LIMITS.trainings - 1):
        loop.plan(params={"as_of": later(day), "note": "trying"}, actor="ann")
    spent = loop.ask(later(LIMITS.cooldown_days))
    assert spent["outcome"] == "drop"
    assert f"{LIMITS.trainings} trainings have begun in 30 days, of {LIMITS.trainings} allowed" in spent["reason"]
    assert loop.ask(later(LIMITS.budget_days))["outcome"] == "ask"


# -- events --------------------------------------------------------------------------------------------------------
def test_a_doubled_event_gives_one_training(loop: Loop) -> None:
    asked = loop.ask()
    job = loop.plan(asked, asked)  # Airflow hands both to one run
    assert f"was taken up by {loop.begun[0]['run']}" in loop.plan(asked)  # or to a second one, while the first goes on
    loop.answer(job)
    assert f"was answered by {loop.begun[0]['run']}" in loop.plan(asked)
    assert loop.trainings(asked["request"]) == [loop.begun[0]["run"]]


def test_a_cleared_run_works_on_what_it_was_planned_on(loop: Loop) -> None:
    asked = loop.ask()
    run = loop.run("train", events=(asked,))
    job = loop.plan(run=run)
    assert loop.plan(run=run) == job
    loop.answer(job)
    assert loop.plan(run=run) == job
    assert len(loop.trainings(asked["request"])) == 1


def test_a_lost_event_is_found_by_the_weekly_run(loop: Loop) -> None:
    asked = loop.ask()
    job = loop.plan(wall=iso(WALL + timedelta(days=2)))
    assert (job["request"], job["as_of"]) == (asked["request"], END)
    loop.answer(job)
    assert "was answered by" in loop.plan(asked)  # it was only late


def test_an_older_event_after_a_newer_one_trains_nothing_again(loop: Loop) -> None:
    first = loop.ask()
    loop.answer(loop.plan(first))
    second = loop.ask(later(10))
    job = loop.plan(first)  # the first one's event, doubled and late, is as good a bell
    assert (job["request"], job["as_of"]) == (second["request"], later(10))
    loop.answer(job)
    for events in ([second], [first], [second, first]):
        assert "was answered by" in loop.plan(*events)
    assert [len(loop.trainings(asked["request"])) for asked in (first, second)] == [1, 1]


def test_an_event_of_another_ledgers_request_trains_nothing(loop: Loop) -> None:
    assert "request 41 was answered by nobody, it is not in the ledger" in loop.plan({"request": 41, "as_of": END})
    assert book.of_kind(loop.ledger, MODEL, "training") == []


def test_a_training_that_failed_is_tried_again_by_the_weekly_run_not_by_an_event(loop: Loop) -> None:
    asked = loop.ask()
    loop.plan(asked)  # and dies in a later task
    assert "clear its failed task" in loop.plan(asked)
    assert loop.sweep(600) == f"request {asked['request']} was taken up by {loop.begun[0]['run']}"
    job = loop.plan()
    assert job["request"] == asked["request"]
    loop.answer(job)
    assert len(loop.trainings(asked["request"])) == 2


def test_a_request_older_than_the_champion_is_answered_without_a_training(loop: Loop) -> None:
    asked, ref = loop.ask(), {"uri": "x", "version": "v", "hash": "h"}
    new = later(1)
    book.add_version(loop.ledger, book.Version(MODEL, 7, "run", "hash", new, "2013-01-20", ref, ref, ref))  # type: ignore[arg-type]
    by_hand = Decision("k", MODEL, "champion", "ann", "by hand", new, version=7)
    book.deploy(loop.ledger, book.current(loop.ledger, MODEL), by_hand, 7, None)
    assert "needs no training: version 7, the champion" in loop.plan(asked)
    assert book.open_request(loop.ledger, MODEL) is None
    assert loop.trainings(asked["request"]) == []
    with pytest.raises(Stop, match=r"as_of: .* lies before the champion's"):
        train.plan(loop.run("train", params={"as_of": END}))


# -- who may train -------------------------------------------------------------------------------------------------
def test_a_request_waits_for_the_end_of_an_incident(loop: Loop) -> None:
    asked = loop.ask()
    loop.judge("incident")
    assert "waits: a data incident is open" in loop.plan(asked)
    assert "waits: a data incident is open" in loop.sweep(60)
    assert book.open_request(loop.ledger, MODEL) is not None
    loop.judge("healthy")
    assert loop.plan(loop.sweep(60))["request"] == asked["request"]


def test_the_weekly_training_is_left_out_and_a_person_may(loop: Loop) -> None:
    loop.judge("incident")
    run = loop.run("train")
    reason = loop.plan(run=run)
    assert reason == loop.plan(run=run)
    assert "The scheduled training is left out: a data incident is open, and a model must not learn from it" in reason
    (entry,) = book.of_kind(loop.ledger, MODEL, "training-left-out")
    assert (entry["reason"], entry["run"]) == (reason, run.name)
    job = loop.plan(actor="ann")
    assert job["admitted"].startswith("A person wants it, although a data incident is open")
    loop.judge("healthy")
    for _ in range(LIMITS.trainings - 1):
        assert loop.plan()["admitted"].startswith("It is training")
    assert f"{LIMITS.trainings} trainings have begun in 30 days" in loop.plan()
    assert "A person wants it, although" in loop.plan(params={"note": "a try"})["admitted"]
    assert loop.plan(wall=iso(WALL + timedelta(days=LIMITS.budget_days)))["admitted"].startswith("It is training 1 of")
    assert len(book.of_kind(loop.ledger, MODEL, "training")) == LIMITS.trainings + 2


# -- whatever happens ----------------------------------------------------------------------------------------------
acts = st.one_of(
    st.tuples(st.just("ask"), st.floats(0, 9)),
    st.tuples(st.sampled_from(["deliver", "double", "lose", "keep"]), st.integers(0, 5)),
    st.tuples(st.sampled_from(["close", "sweep", "weekly"]), st.none()),
    st.tuples(st.sampled_from(["incident", "freeze"]), st.booleans()),
)


class Player:
    """Plays acts on a loop. Runs of `train` follow each other, as Airflow lets them: max_active_runs is 1."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.day, self.wall = loop, 0.0, 0.0
        self.asked: list[dict[str, Any]] = []
        self.running: dict[str, Any] | None = None

    def play(self, act: str, value: Any) -> None:
        if act in ("deliver", "double", "lose", "keep"):
            if self.loop.events:
                self.event(act, self.loop.events[value % len(self.loop.events)])
        elif act == "ask":
            self.ask(value)
        elif act == "weekly":
            self.begin()
        elif act == "sweep":
            self.sweep()
        elif act == "close":
            self.close()
        elif act == "incident":
            self.loop.judge("incident" if value else "healthy", later(self.day))
        else:
            self.loop.freeze(value)

    def ask(self, days: float) -> None:
        self.day += days
        asked = self.loop.ask(later(self.day), [("age", f"cause {len(self.asked)}")])
        self.asked.append(asked)
        if asked["outcome"] != "drop":
            self.loop.events.append(asked)

    def event(self, act: str, event: dict[str, Any]) -> None:
        if act == "double":
            self.loop.events.append(event)
            return
        if act in ("deliver", "lose"):
            self.loop.events.remove(event)
        if act in ("deliver", "keep"):  # keep: it is delivered, and will be once more
            self.begin(event)

    def sweep(self) -> None:
        self.wall += 2 * 24 * 60
        if isinstance(found := self.loop.sweep(self.wall), dict):
            self.loop.events.append(found)

    def close(self) -> None:
        if self.running:
            self.loop.answer(self.running)
            self.running = None

    def begin(self, *events: dict[str, Any]) -> None:
        if self.running and not (events and self.running["request"]):
            return  # queued behind the run that goes on, as all are; here only events of its own request are not
        found = self.loop.plan(*events, wall=iso(WALL + timedelta(days=self.day)))
        if isinstance(found, dict):
            assert self.running is None, "a second training while the first goes on"
            self.running = found

    def end(self) -> None:
        """All is well again, and the last run ends."""
        for act in (("incident", False), ("freeze", False), ("close", None), ("sweep", None)):
            self.play(*act)
        while self.loop.events:
            self.play("deliver", 0)
            self.play("close", None)


@budget(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(acts, max_size=25))
def test_each_request_that_was_accepted_is_trained_for_once(home: Settings, happened: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        loop = with_ledger(home, Path(folder))
        player = Player(loop)
        for act, value in happened:
            player.play(act, value)
        player.end()
        accepted = {a["request"] for a in player.asked if a["outcome"] == "ask"}
        assert {a["request"] for a in player.asked if a["outcome"] == "merge"} <= accepted
        for number in accepted:
            assert len(loop.trainings(number)) == 1, number
            assert book.answered_by(loop.ledger, number) == loop.trainings(number)[0]
            told = {c.cause for c in book.causes(loop.ledger, number)}
            assert told == {f"cause {i}" for i, a in enumerate(player.asked) if a["request"] == number}
        dropped = [a for a in player.asked if a["outcome"] == "drop"]
        assert len(book.of_kind(loop.ledger, MODEL, "request-dropped")) == len(dropped)
        begun = [parse(e["as_of"]) for e in book.of_kind(loop.ledger, MODEL, "training")]
        for first in begun:
            window = [t for t in begun if first <= t < first + timedelta(days=LIMITS.budget_days)]
            assert len(window) <= LIMITS.trainings


# -- the sweep -----------------------------------------------------------------------------------------------------
def test_a_sweep_rings_for_what_was_missed_and_ever_more_rarely(loop: Loop) -> None:
    assert loop.sweep(0) == f"no training of {MODEL} is asked for"
    asked = loop.ask()
    assert "its run may still be queued" in loop.sweep(29)
    bell = {key: asked[key] for key in ("request", "as_of", "cause")}
    assert loop.sweep(31, "a") == bell
    assert loop.sweep(31, "a") == bell  # killed before its event was out
    assert "may still be queued" in loop.sweep(59)
    assert loop.sweep(61, "b") == bell
    assert "may still be queued" in loop.sweep(119)
    rung = book.of_kind(loop.ledger, MODEL, "rung")
    assert [entry["evidence"] for entry in rung] == [{"request": asked["request"]}] * 2
    loop.answer(loop.plan(bell))
    assert loop.sweep(10_000) == f"no training of {MODEL} is asked for"


def watch(loop: Loop, hours: float, **more: Any) -> list[str]:
    looked = iso(datetime.now(UTC) + timedelta(hours=hours))
    found: list[str] = sweep.watch(loop.run("sweep", looked=looked, **more))["overdue"]
    return found


def states(loop: Loop) -> dict[str, str]:
    return {alert["group"]: alert["state"] for alert in alerts.sent(loop.settings)}


@pytest.fixture
def alone(home: Settings, tmp_path: Path) -> Loop:
    """A loop with alerts, a clock and a catalog of its own: as of now, `ingest` has just published."""
    var = tmp_path / "var"
    settings = local(var)
    clock.start(var / "clock.json", datetime.now(UTC), parse(END), speed=1.0)
    lake.publish(settings.lake, {}, END, END, END)
    return Loop(settings)


def test_late_results_are_told_once_and_their_end_too(alone: Loop) -> None:
    assert watch(alone, 2) == []
    assert watch(alone, 4) == watch(alone, 5) == [f"`ingest` is late: no publication since {END}"]
    assert states(alone) == {"late/ingest": f"late/{END}"}  # what was never made is not awaited
    assert len(alerts.sent(alone.settings)) == 1
    alone.judge("healthy")
    lake.publish(alone.settings.lake, {}, later(hours=29), END, later(hours=29))
    assert watch(alone, 29) == []
    assert states(alone) == {"late/ingest": "resolved"}
    lake.publish(alone.settings.lake, {}, later(hours=31), END, later(hours=31))
    assert watch(alone, 31) == [f"`monitor` is late: no verdict since {END}"]
    # while ingest stands still there is nothing new to judge: it alone is late
    alone.judge("healthy", later(hours=31))
    assert watch(alone, 100) == [f"`ingest` is late: no publication since {later(hours=31)}"]


def test_a_fast_clock_gives_schedules_as_much_more(home: Settings, tmp_path: Path) -> None:
    settings = local(tmp_path / "var")
    clock.start(settings.home / "clock.json", datetime.now(UTC), parse(END), speed=24.0)
    lake.publish(settings.lake, {}, END, END, END)
    loop = Loop(settings)
    assert watch(loop, 2) == []
    assert watch(loop, 4) == [f"`ingest` is late: no publication since {END}"]


def test_after_the_end_of_the_data_nothing_is_late(alone: Loop) -> None:
    ends = iso(source.source(alone.settings).ENDS)
    lake.publish(alone.settings.lake, {}, ends, END, ends)
    assert watch(alone, 24 * 400) == []


def test_a_request_that_waits_for_a_day_is_told_with_its_cause(alone: Loop) -> None:
    lake.publish(alone.settings.lake, {}, later(60), END, later(60))
    asked = alone.ask()
    assert watch(alone, 23) == []
    (title,) = watch(alone, 25)
    assert title.startswith(f"Request {asked['request']} to train {MODEL} has been open since")
    group = f"request/{MODEL}"
    assert states(alone)[group] == f"lost/{asked['request']}"
    alone.freeze(True)
    watch(alone, 26)
    assert states(alone)[group] == f"held/{asked['request']}"
    alone.freeze(False)
    book.record(alone.ledger, Decision("t", MODEL, "training", "t", "t", END, run="train/x", evidence={"request": 1}))
    watch(alone, 27)
    assert states(alone)[group] == f"begun/{asked['request']}"
    assert alerts.sent(alone.settings)[-1]["link"] == "/dags/train/runs/x"
    book.close_request(alone.ledger, asked["request"], "train/x", "refused")
    watch(alone, 28)
    assert states(alone)[group] == "resolved"


def test_an_approval_is_told_before_it_expires(alone: Loop) -> None:
    lake.publish(alone.settings.lake, {}, later(60), END, later(60))
    ledger, policy = alone.ledger, {"approval_hours": 72.0}

    def deploy(kind: str, **more: Any) -> None:
        decision = Decision(f"{kind}", MODEL, kind, "test", "because", END)
        book.deploy(ledger, book.current(ledger, MODEL), decision, **more)

    deploy("champion", champion=1, challenger=None)
    release = releases.begin(ledger, MODEL, 2, 1, policy, END, "test", "release/r")
    deploy("shadow", champion=1, challenger=2, stage=book.SHADOW, release=release.id)
    assert watch(alone, 61) == []
    deploy("approval", champion=1, challenger=2, stage=book.APPROVAL, release=release.id)
    assert watch(alone, 59) == []
    assert watch(alone, 61) == [f"The approval of release {release.id} of {MODEL} version 2 is about to expire"]
    assert alerts.sent(alone.settings)[-1]["link"] == "/dags/release/runs/r/tasks/approval"
    releases.answer(ledger, release.id, releases.APPROVED, "ann", "yes")
    assert watch(alone, 62) == []
    assert states(alone) == {f"approval/{MODEL}": "resolved"}


# -- a whole training ----------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_whole_way_from_a_lost_event_to_one_gate(history: Settings, tmp_path: Path) -> None:
    settings = local(copy_home(history.home, tmp_path / "var"))
    clock.start(settings.home / "clock.json", WALL, parse(END), speed=1.0)
    loop = Loop(settings)
    asked = loop.ask()
    loop.ask(later(0.5), [("score", "the score's PSI is 0.310")])
    rung = loop.sweep(31)
    for step in TRAIN:
        run_step(settings, step, {"trials": 3})
    assert results(settings)["job"]["request"] == asked["request"]
    for events in ([rung], [asked, rung], [asked]):
        assert "was answered by train/test" in loop.plan(*events)
    gates = book.of_kind(loop.ledger, MODEL, "gate")
    assert len(gates) == len(book.of_kind(loop.ledger, MODEL, "training")) == 1
    found = why.why(settings, 1)
    assert [c["cause"] for c in found["request"]["causes"]] == [*(text for _, text in WHY), "the score's PSI is 0.310"]
    told = why.text(found)
    assert f"request {asked['request']}" in told
    assert "score by monitor" in told
    tags = track.client(settings).get_run(results(settings)["logged"]["run_id"]).data.tags
    assert tags["cause"] == results(settings)["job"]["cause"]
