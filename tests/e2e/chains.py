"""The DAGs' steps as chains that run outside Airflow: each step in a process of its own, results as JSON, as XCom is.

Processes are forked from a server that has imported the heavy libraries once, as Airflow's scheduler does.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from include.crashpoints import AT, LOG
from include.files import read_json, write_json
from include.loop.run import Run, Skip, Stop
from include.settings import Settings
from tests.children import server

Step = tuple[str, str, tuple[str, ...]]  # result, function of include.loop, results that it takes
DEADLINE = 180  # seconds, of one step

INGEST: tuple[Step, ...] = (
    ("interval", "ingest.plan", ()),
    ("landed", "ingest.land", ("interval",)),
    ("checked", "ingest.validate", ("interval", "landed")),
    ("facts", "ingest.facts", ("interval", "landed", "checked")),
    ("features", "ingest.features", ("interval", "facts")),
    ("published", "ingest.publish", ("interval", "landed", "facts", "features")),
    ("online", "ingest.materialize", ("published",)),
)
TRAIN: tuple[Step, ...] = (
    ("job", "train.plan", ()),
    ("snapshot", "train.snapshot", ("job",)),
    ("frame", "train.frame", ("job", "snapshot")),
    ("checked", "train.check", ("job", "frame")),
    ("trials", "train.trials", ("job", "checked")),
    ("first", "each train.trial", ("trials", "job", "frame")),
    ("kept", "train.cut", ("job", "first")),
    ("final", "each train.trial", ("kept", "job", "frame")),
    ("fitted", "train.fit", ("job", "frame", "final")),
    ("evaluated", "train.evaluate", ("job", "frame", "fitted")),
    ("logged", "train.log", ("job", "snapshot", "frame", "fitted", "evaluated")),
    ("verdict", "promote.gate", ("job", "fitted", "evaluated", "logged")),
    ("registered", "promote.register", ("job", "fitted", "logged", "verdict")),
    ("archive", "promote.package", ("job", "fitted", "registered")),
    ("rehearsed", "promote.rehearse", ("job", "frame", "fitted", "registered", "archive")),
    ("released", "promote.release", ("job", "frame", "fitted", "evaluated", "registered", "archive", "verdict")),
)
MONITOR: tuple[Step, ...] = (
    ("watched", "monitor.plan", ()),
    ("collected", "monitor.collect", ("watched",)),
    ("seen", "monitor.window", ("watched",)),
    ("audited", "monitor.audit", ("watched", "seen")),
    ("judged", "monitor.measure", ("watched", "seen", "audited")),
    ("reported", "monitor.report", ("watched", "seen", "judged")),
    ("acted", "monitor.act", ("watched", "judged")),
)


class Killed(Exception):
    """The step died by SIGKILL, as asked."""


def local(home: Path) -> Settings:
    """Settings of an installation whose MLflow is a file of its own: its whole state lies below `home`."""
    return Settings(home=home, mlflow_uri=f"sqlite:///{home / 'mlflow.db'}")


def run_step(
    settings: Settings, step: Step, params: dict[str, Any], crash_at: str = "", log: Path | None = None
) -> None:
    """Run one step in a process of its own; its result joins home/results.json. Raises Killed."""
    child = server().Process(target=_in_child, args=(settings.model_dump(), step, params, crash_at, str(log or "")))
    child.start()
    child.join(DEADLINE)
    if child.exitcode is None:
        child.kill()
        raise TimeoutError(f"{step[1]} did not end within {DEADLINE} s")
    if child.exitcode == -signal.SIGKILL and crash_at:
        raise Killed(crash_at)
    assert child.exitcode == 0, f"{step[1]} failed with exit code {child.exitcode}; its traceback is above"


def fresh(function: Callable[[Settings], Any], settings: Settings) -> Any:
    """What `function` returns in a process of its own: no open database of a home that was replaced is looked at."""
    with tempfile.TemporaryDirectory() as work:
        answer = Path(work) / "answer.json"
        child = server().Process(target=_answer, args=(function, settings.model_dump(), answer))
        child.start()
        child.join(DEADLINE)
        assert child.exitcode == 0, f"{function.__name__} failed; its traceback is above"
        return read_json(answer)


def _answer(function: Callable[[Settings], Any], dumped: dict[str, Any], answer: Path) -> None:
    settings = Settings(**dumped)
    os.chdir(settings.home)
    write_json(answer, function(settings))


def results(settings: Settings) -> dict[str, Any]:
    file = settings.home / "results.json"
    kept: dict[str, Any] = read_json(file) if file.exists() else {}
    return kept


def _in_child(dumped: dict[str, Any], step: Step, params: dict[str, Any], crash_at: str, log: str) -> None:
    settings = Settings(**dumped)
    settings.home.mkdir(parents=True, exist_ok=True)
    os.chdir(settings.home)  # MLflow's files without a server go to the working directory
    os.environ.update({AT: crash_at} if crash_at else {}, **({LOG: log} if log else {}))
    name, function, takes = step
    mapped, _, path = function.rpartition(" ")
    module, _, work = path.partition(".")
    dag = {"promote": "train"}.get(module, module)
    run = Run(settings, f"{dag}/test", settings.reports / dag / "test" / work / "index.html", params)
    known = results(settings)
    call = getattr(import_module(f"include.loop.{module}"), work)
    given = [known[t] for t in takes]
    try:
        result = [call(run, *given[1:], item) for item in given[0]] if mapped else call(run, *given)
    except (Stop, Skip) as end:
        result = {"ended": f"{type(end).__name__}: {end}"}  # on purpose; whoever waits for another result will notice
    write_json(settings.home / "results.json", {**results(settings), name: result})
