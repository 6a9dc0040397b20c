"""An installation in the middle of its life, for tests of releases: real flights and outcomes of January, a ledger with
a champion and a challenger, and a service whose log says what a test wants it to have answered."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from include import clock, lake, times
from include.contracts import ENTITY, FEATURES, OUTCOME, SCHEDULE, TARGET
from include.loop import release
from include.loop.run import Run
from include.packed import code_hash
from include.release import ledger as book
from include.release.ledger import Decision, Version
from include.serving.recorder import Entry, Recorder
from include.serving.router import side
from include.settings import Settings
from include.training import track
from tests.conftest import END, copy_home
from tests.packaging import tiny

NAMES = tuple(FEATURES)
MODEL = "flights_on_time"
ASKED = {"chosen_options": ["Approve"], "params_input": {"reason": "looks good"}, "responded_by_user": {"name": "ann"}}


class Installation(NamedTuple):
    settings: Settings
    flights: pd.DataFrame


def local(home: Path) -> Settings:
    return Settings(home=home, mlflow_uri=f"sqlite:///{home / 'mlflow.db'}")


def prepare(history: Settings, settings: Settings) -> str:
    copy_home(history.home, settings.home)
    api = track.client(settings)
    api.create_registered_model(MODEL)
    ref = tiny.save(settings)
    ledger = book.connect(settings.ledger_url)
    for number in (1, 2, 3):
        api.create_model_version(MODEL, "runs:/x/model")
        entry = Version(MODEL, number, "x", "c", END, "2013-01-12", ref, ref, ref, code_hash())
        book.add_version(ledger, entry)
    book.deploy(ledger, book.current(ledger, MODEL), decided("champion", 1), 1, None)
    clock.start(settings.home / "clock.json", times.parse(END), times.parse(END), 1.0)
    return "made"


def decided(kind: str, version: int) -> Decision:
    return Decision(f"test/{kind}/{version}", MODEL, kind, "test", "because", END, version)


def of(settings: Settings) -> Installation:
    """With challenger 2, which waits."""
    ledger = book.connect(settings.ledger_url)
    book.deploy(ledger, book.current(ledger, MODEL), decided("challenger", 2), 1, 2, stage=book.WAITING)
    versions = lake.catalog(settings.lake)["versions"]
    flights = lake.read(settings.lake, SCHEDULE, versions[SCHEDULE.name], ("2013-01-14", "2013-01-29")).to_pandas()
    labels = lake.read(settings.lake, OUTCOME, versions[OUTCOME.name]).to_pandas()
    return Installation(settings, flights.merge(labels[[ENTITY, TARGET]], on=ENTITY).sort_values("sched_dep"))


def run(world: Installation, task: str, hours: float = 0.0, name: str = "release/r1", **params: Any) -> Run:
    page = world.settings.reports / name / task / "index.html"
    looked = times.iso(times.parse(END) + timedelta(hours=hours))
    return Run(world.settings, name, page, params, wall=looked, looked=looked)


def serve(world: Installation, shift: float = 0.0, every: int = 5, error: str | None = None) -> None:
    """Have the service's log say that it answered: champion and challenger as skilled as each other, the challenger's
    log odds moved by `shift`; or failing with `error`."""
    live = book.current(book.connect(world.settings.ledger_url), MODEL)
    rows = world.flights.iloc[::every]
    rng = np.random.default_rng(live.generation)
    odds = -1.3 + 1.2 * (rows[TARGET].to_numpy() - 0.25) + rng.normal(0, 0.6, len(rows))
    scores = {live.champion: sigmoid(odds), live.challenger: sigmoid(odds + rng.normal(0, 0.05, len(rows)) + shift)}
    recorder = Recorder(world.settings.predictions, "worker")
    for i, flight in enumerate(rows.to_dict("records")):
        aside = side(f"{MODEL}/{live.release}", flight[ENTITY]) < live.share if live.stage == book.CANARY else False
        answers, beside = (live.challenger, live.champion) if aside else (live.champion, live.challenger)
        assert answers is not None
        assert beside is not None
        at = flight["sched_dep"].to_pydatetime() - timedelta(hours=2)
        failed = error if answers == live.challenger else None

        def shadow(_: np.ndarray, p: float = scores[beside][i], version: int = beside) -> np.ndarray:
            if error and version == live.challenger:
                raise RuntimeError(error)
            return np.array([p])

        recorder.put(
            Entry(
                prediction_id=f"{live.generation}-{i}",
                model=MODEL,
                version=answers,
                generation=live.generation,
                stage=live.stage,
                flight={k: flight[k] for k in (ENTITY, "carrier", "flight", "origin", "dest", "distance")}
                | {k: flight[k].to_pydatetime() for k in ("sched_dep", "sched_arr")},
                row=np.zeros(len(NAMES), dtype=np.float32),
                features=NAMES,
                probability=None if failed else float(scores[answers][i]),
                error=failed,
                stale="",
                given=True,
                latency_us=300 + float(rng.uniform(0, 50)),
                model_us=30 + float(rng.uniform(0, 5)),
                weight=1.0,
                at=at,
                wall=at,
                shadow=shadow,
                shadow_version=beside,
            )
        )
    recorder.close()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def live(world: Installation) -> book.Deployment:
    return book.current(book.connect(world.settings.ledger_url), MODEL)


def kinds(world: Installation) -> list[str]:
    return [row["kind"] for row in book.history(book.connect(world.settings.ledger_url), MODEL)]


def in_shadow(world: Installation, **params: Any) -> dict[str, Any]:
    return release.plan(run(world, "plan", **params))
