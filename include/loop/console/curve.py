"""The performance curve: what the looks have stated of each local day, for the version that was in charge of it.

A day is stated anew at every look while it lies in the look's window. What counts is the newest statement that covers
the day: the window cuts its first day, and nine flights of that day are no news of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from deltalake import DeltaTable, QueryBuilder

from include import metrics
from include.console.view import Day, Number
from include.contracts import DAY, PERFORMANCE
from include.loop.console.entries import Move
from include.models import registry
from include.models.spec import Triggers
from include.settings import Settings
from include.times import parse

SPAN = 7  # days that are pooled
FEWEST = 3  # days that an interval needs: of two it is wider than any chart
WHOLE = 0.9  # of the most flights that were ever stated of a day: from there on a statement covers it
_ZONE = ZoneInfo("America/New_York")  # of local dates
_MANY = 60  # partitions from which on a span of days is read, not a list
_QUERY = f"""
SELECT model, version, day, flights, labelled, log_loss, bias, expected, as_of
FROM (
    SELECT *, row_number() OVER (PARTITION BY model, version, day ORDER BY as_of DESC) AS place
    FROM (
        SELECT model, version, day, flights, labelled, log_loss, predicted - base_rate AS bias,
            CAST(as_of AS BIGINT) AS as_of,
            first_value(estimated_log_loss) OVER (PARTITION BY model, version, day ORDER BY as_of) AS expected,
            max(flights) OVER (PARTITION BY model, version, day) AS most
        FROM {PERFORMANCE.name} WHERE {{where}}
    )
    WHERE flights >= {WHOLE} * most
)
WHERE place = 1 ORDER BY model, day, version
"""  # noqa: S608 — names of the project's own; the days in it are checked below


@dataclass(frozen=True)
class Told:
    """The newest whole statement of one day of one version. `as_of`: of the look, microseconds."""

    model: str
    version: int
    day: str
    flights: int
    labelled: int
    log_loss: float | None
    bias: float | None
    expected: float | None  # log loss, before any label came
    as_of: int

    @property
    def coverage(self) -> float:
        return self.labelled / max(self.flights, 1)


@dataclass
class _Table:
    """What is held of a table: which files each day was read from, and what they say."""

    opened: DeltaTable | None = None
    stamp: int = -1
    files: dict[str, frozenset[str]] = field(default_factory=dict)  # by day, of those in the newest version
    read: dict[str, frozenset[str]] = field(default_factory=dict)  # of those that were read
    told: dict[str, dict[str, list[Told]]] = field(default_factory=dict)  # by day and model
    days: dict[tuple[str, int | None], tuple[int, Sequence[Day]]] = field(default_factory=dict)  # by model and span
    lock: threading.RLock = field(default_factory=threading.RLock)


@lru_cache(maxsize=8)
def _table(path: Path) -> _Table:  # noqa: ARG001 — one for each
    return _Table()


def days(settings: Settings, model: str, moves: Sequence[Move], last: int | None = None) -> Sequence[Day]:
    """A model's days, oldest first: all that were ever stated, or the last `last` up to the newest. Empty before any.
    Raises what deltalake raises for a table that cannot be read."""
    table = _table(settings.lake / PERFORMANCE.name)
    with table.lock:
        _refresh(table, settings.lake / PERFORMANCE.name)
        _read(table, last)
        held = table.days.get((model, last))
        if held is None or held[0] != len(moves):
            held = table.days[model, last] = (len(moves), _days(table, model, moves, last))
        return held[1]


def overall(settings: Settings, model: str) -> dict[int, Number]:
    """Each version's log loss over all of its days that are told well enough. Call `days` first."""
    table = _table(settings.lake / PERFORMANCE.name)
    found: dict[int, list[Told]] = {}
    with table.lock:
        for day in table.told.values():
            for told in day.get(model, ()):
                if told.coverage >= enough(model) and told.log_loss is not None:
                    found.setdefault(told.version, []).append(told)
    pooled = {version: _pooled(some, [t.log_loss for t in some], "nats") for version, some in found.items()}
    return {version: number for version, number in pooled.items() if number is not None}


@lru_cache(maxsize=256)
def enough(model: str) -> float:
    """The share of a day's labels from which on its numbers are told."""
    known = model in registry.names()
    return registry.load(model).triggers.min_coverage if known else Triggers().min_coverage


# -- the table -----------------------------------------------------------------------------------------------------
def stamp(settings: Settings) -> int:
    """Changes when anything is appended to the table; cheap."""
    try:
        return (settings.lake / PERFORMANCE.name / "_delta_log").stat().st_mtime_ns
    except OSError:
        return 0


def _refresh(table: _Table, path: Path) -> None:
    try:
        now = (path / "_delta_log").stat().st_mtime_ns
    except OSError:
        return
    if now == table.stamp:
        return
    if table.opened is None:
        table.opened = DeltaTable(str(path))
    else:
        table.opened.update_incremental()
    added = table.opened.get_add_actions(flatten=True)
    files: dict[str, set[str]] = {}
    columns = (added.column(f"partition.{DAY}").to_pylist(), added.column("path").to_pylist())
    for day, file in zip(*columns, strict=True):
        files.setdefault(str(day), set()).add(str(file))
    table.files, table.stamp = {day: frozenset(some) for day, some in files.items()}, now


def _read(table: _Table, last: int | None) -> None:
    """Read the days whose files have changed; with `last`, of the newest days only, and those pooled with them."""
    wanted = sorted(table.files)
    if last is not None and wanted:
        first = (date.fromisoformat(wanted[-1]) - timedelta(days=last + SPAN)).isoformat()
        wanted = [day for day in wanted if day >= first]
    changed = [day for day in wanted if table.files[day] != table.read.get(day)]
    gone = table.read.keys() - table.files.keys()
    if not changed and not gone:
        return
    new: dict[str, dict[str, list[Told]]] = {day: {} for day in changed}
    for told in _query(table, changed) if changed else ():
        new[told.day].setdefault(told.model, []).append(told)
    before = {day: table.told.pop(day, {}) for day in (*changed, *gone)}
    other = {
        model
        for day, old in before.items()
        for model in {*old, *new.get(day, {})}
        if old.get(model) != new.get(day, {}).get(model)
    }
    table.told.update(new)
    table.read.update({day: table.files[day] for day in changed})
    for day in gone:
        del table.read[day]
    table.days = {key: found for key, found in table.days.items() if key[0] not in other}


def _query(table: _Table, changed: Sequence[str]) -> Iterable[Told]:
    assert table.opened is not None
    changed = [date.fromisoformat(day).isoformat() for day in changed]
    within = ", ".join(f"'{day}'" for day in changed)
    span = f"{DAY} BETWEEN '{changed[0]}' AND '{changed[-1]}'"
    query = _QUERY.format(where=f"{DAY} IN ({within})" if len(changed) <= _MANY else span)
    rows = QueryBuilder().register(PERFORMANCE.name, table.opened).execute(query).read_all()
    of = set(changed)
    for values in zip(*(rows.column(i).to_pylist() for i in range(rows.num_columns)), strict=True):
        told = Told(*values)
        if told.day in of:
            yield told


# -- the curve -----------------------------------------------------------------------------------------------------
def _days(table: _Table, model: str, moves: Sequence[Move], last: int | None) -> Sequence[Day]:
    stated = {day: some[model] for day, some in table.told.items() if model in some}
    shown = sorted(stated) if last is None else sorted(stated)[-last:]
    charge = _in_charge(moves)
    return tuple(_day(_chosen(stated[day], charge, day), stated, enough(model)) for day in shown)


def _in_charge(moves: Sequence[Move]) -> list[tuple[str, int | None]]:
    """(local date from which on, champion), in the order of deployments."""
    return [(parse(move.as_of).astimezone(_ZONE).date().isoformat(), move.champion) for move in moves]


def _chosen(stated: Sequence[Told], charge: Sequence[tuple[str, int | None]], day: str) -> Told:
    """What was stated of the champion at the day's end; else of the version that was looked at last."""
    champion = next((version for since, version in reversed(charge) if since <= day), None)
    return max(stated, key=lambda told: (told.version == champion, told.as_of, told.version))


def _day(own: Told, stated: dict[str, list[Told]], least: float) -> Day:
    """`own`: of the version in charge. What it is pooled with is that version's, too: also of days on which another
    one was champion, and its scores were known."""
    told = own.coverage >= least and own.log_loss is not None
    week = [one for day in _week(own.day) for one in stated.get(day, ())] if told else []
    pool = [one for one in week if one.version == own.version]
    pool = [one for one in pool if one.coverage >= least and one.log_loss is not None and one.bias is not None]
    return Day(
        day=own.day,
        version=own.version,
        flights=own.flights,
        coverage=own.coverage,
        daily=own.log_loss if told else None,
        estimated=own.expected,
        log_loss=_pooled(pool, [one.log_loss for one in pool], "nats"),
        bias=_pooled(pool, [one.bias for one in pool], ""),
    )


def _week(day: str) -> list[str]:
    end = date.fromisoformat(day).toordinal()
    return [date.fromordinal(end - back).isoformat() for back in range(SPAN)]


def _pooled(pool: Sequence[Told], means: Sequence[float | None], unit: str) -> Number | None:
    if not pool:
        return None
    found = metrics.of_days(np.array(means, dtype=np.float64), np.array([one.labelled for one in pool]))
    if len(pool) < FEWEST:
        return Number(found.value, unit=unit)
    return Number(found.value, found.low, found.high, unit)
