"""Is what the champion is fed still what it was trained on? Measures of faults, which seasons and storms do not move.

A distribution that moved says little: weather, rates and traffic move every week. A fault leaves other traces, and
each check here looks for one: values that are missing, stuck, impossible or never seen before; one key with several
values in one hour, or with another constant than ever; hours and days that repeat; a level or a spread that jumped; a
feature that no longer resembles itself an hour or a day ago; flights that are not asked about, or twice.

Most checks look at *entities* (an airport in an hour), each once, and so do not depend on the mix of flights: more
evening flights are no fault. All are shares or ratios to what the reference itself shows. What the limits are and
where they come from: docs/monitoring.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from include.contracts import CLUSTER, ENTITY, EVENT_TIME, FEATURES, PUBLICATION_LAG, VIEWS, View
from include.models.spec import ModelSpec
from include.times import iso

Array = np.ndarray[Any, Any]

ZONE = ZoneInfo("America/New_York")  # of local dates
DAILY_HOUR = 9  # UTC: from then on a day's own daily rows are what is served
PROFILED_DAYS = 60  # newest days of the reference from which the ranges of daily statistics are taken
SHORT = 20  # days: ranges of so few days are doubled, those of n days widened by SHORT / n
LEVELS = ("origin_weather",)  # views whose level moves slowly; that of delays leaps whenever a storm begins
NEAR = timedelta(hours=50)  # before the recent rows: the day before, of daily rows too
STEADY = 0.65  # rank correlation with the value before that a feature has on its worst days, to be judged by it
MIN_ENTITIES = 12  # (entity, hour) rows below which a day's statistic says nothing
FLIGHT = ("carrier", "flight", "origin", "dest")  # the same flight on another day
KEYED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("distance", ("origin", "dest")),
    ("carrier_code", ("carrier",)),
    ("origin_code", ("origin",)),
    ("weekday", ("_weekday",)),
)
LAST_FLIGHTS = timedelta(hours=4)  # a day whose flights are asked about until so short before its end is whole


class Part(TypedDict):
    """What one check found of one feature or view: a number to hold against the check's limit, and a sentence."""

    of: str
    value: float
    told: str


class Check(TypedDict):
    """One check. `parts`: the largest value first; empty when nothing could be said."""

    name: str
    unit: str
    parts: list[Part]


UNITS = {
    "nulls": "share above training's worst day",
    "stuck": "share above training's worst day",
    "outside": "share",
    "novel": "share",
    "keyed": "share",
    "disagree": "share",
    "frozen": "share above training's worst day",
    "repeated": "share above training's worst day",
    "jump": "of the largest in training",
    "spread": "doublings beyond training's",
    "continuity": "rank correlation below training's worst days",
    "volume": "doublings",
}


# -- what the reference shows --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Profile:
    """A reference, summed up once. Arrays by feature name; `views` by view name."""

    rows: int
    nulls: Mapping[str, float]  # share of the flights of the worst day
    values: Mapping[str, tuple[Array, Array]]  # distinct values, ascending, each with its share on its worst day
    gridded: frozenset[str]  # features with a fixed set of values, e.g. whole knots
    keyed: Mapping[str, pd.Series]
    disagree: Mapping[str, float]
    frozen: Mapping[str, float]  # by view: share of repeated rows on the reference's worst days
    repeated: Mapping[str, float]
    step: Mapping[str, float]  # largest change of a daily median from one day to the next
    spread: Mapping[str, tuple[float, float]]  # smallest and largest interquartile range of a day
    continuity: Mapping[str, float]  # low quantile of the days' rank correlation with the value before


@dataclass(frozen=True)
class _Rows:
    """Rows with what all views need: codes of their keys [n], and the slot [n] of each cadence."""

    rows: pd.DataFrame
    codes: Mapping[str, Array]
    slots: Mapping[str, Array]


@dataclass(frozen=True)
class _Table:
    """Rows of one view as they were served: one row an entity and slot (hour or day), in that order."""

    names: tuple[str, ...]
    entity: Array  # [n]
    slot: Array  # [n] whole hours or days
    values: Array  # [n, features]
    odd: Array  # [rows, features] a flight that has another value than the first of its entity and slot
    shared: Array  # [rows] a flight that is not alone with its entity and slot


def profile(spec: ModelSpec, reference: pd.DataFrame) -> Profile:
    """Sum up the rows that a champion was trained on. Raises KeyError for features that are not there, ValueError
    for no rows."""
    _check(spec, reference, "reference")
    newest = np.sort(reference[CLUSTER].astype(str).unique())[-PROFILED_DAYS:]
    days = reference[CLUSTER].astype(str)
    recent = reference[days.isin(newest).to_numpy()]
    wider = 1 + SHORT / len(newest)  # few days show but part of what a sound feature does
    old = (days < newest[-max(1, len(newest) // 4)]).to_numpy()
    day = pd.factorize(days)[0]
    gridded = frozenset(f for f in spec.features if _is_gridded(reference[f].to_numpy(), old, day))
    found: dict[str, dict[str, Any]] = {
        k: {} for k in ("disagree", "frozen", "repeated", "step", "spread", "continuity")
    }
    indexed = _indexed(recent)
    for view, names in _views(spec):
        table = _table(view, names, indexed)
        found["disagree"].update(zip(names, _disagree(table, np.ones(len(recent), bool)), strict=True))
        blocks = _blocks(view, table.slot)
        every = range(int(blocks.min()), int(blocks.max()) + 1)
        for what, back in (("frozen", 1), ("repeated", 24)) if view.cadence == "hourly" else ():
            same, known = _same(table, back)
            shares = [_share(same, known & (blocks == b)) for b in every]
            found[what][view.name] = max((s for s in shares if s is not None), default=1.0)
        before, known = _before(table, 1)
        quartiles = _quartiles(table, blocks, every) if view.cadence == "hourly" else np.zeros((1, 3, len(names)))
        middles, ranges = quartiles[:, 1], quartiles[:, 2] - quartiles[:, 0]
        for i, name in enumerate(names):
            wide = ranges[np.isfinite(ranges[:, i]), i]
            if len(wide) >= 5 and wide.min() > 0:  # else mostly one value, such as no rain
                found["spread"][name] = (float(wide.min() / wider), float(wide.max() * wider))
                if view.name in LEVELS:
                    found["step"][name] = float(np.nanmax(np.abs(np.diff(middles[:, i])))) * wider
            like = [_correlation(table.values[w, i], before[w, i]) for b in every for w in [known & (blocks == b)]]
            told = [x for x in like if x is not None]
            if len(told) >= 5:
                found["continuity"][name] = float(np.quantile(told, 0.02) - (wider - 1) * np.std(told))
    return Profile(
        rows=len(reference),
        nulls={f: float((np.bincount(day, reference[f].isna()) / np.bincount(day)).max()) for f in spec.features},
        values={f: _worst_days(reference[f].to_numpy(np.float32), day, f in gridded) for f in spec.features},
        gridded=gridded,
        keyed={f: _constants(reference, f, keys) for f, keys in KEYED if f in spec.features},
        **found,
    )


# -- the newest hours beside it ------------------------------------------------------------------------------------
def measure(
    spec: ModelSpec,
    reference: pd.DataFrame | Profile,
    window: pd.DataFrame,
    days: Sequence[Mapping[str, Any]] = (),
    as_of: str | None = None,
) -> dict[str, Any]:
    """Hold the newest `spec.feed.recent_hours` of a window against the reference and the window's days before.

    `reference`: frame rows that the champion was trained on, or their `profile`. `window`: rows as window.build writes
    them. `days`: [{"day", "scheduled", "asked"}] in order, of which those before the local date of `as_of` are whole
    (without `as_of`: those before the last flight's). Returns JSON:

        {"rows": n, "first": ISO, "last": ISO, "reference_rows": m,
         "checks": {name: {"name", "unit", "parts": [{"of": feature or view, "value", "told": sentence}, …]}},
         "volume": {"day", "asked", "scheduled", "share", "usual"} or None}

    with the checks of UNITS, the largest value of each first. Limits are the verdict's. Raises KeyError for features
    that a frame lacks, ValueError for one without rows.
    """
    known = reference if isinstance(reference, Profile) else profile(spec, reference)
    _check(spec, window, "window")
    window = window.sort_values([EVENT_TIME, ENTITY], kind="stable", ignore_index=True)
    last = window[EVENT_TIME].iloc[-1]
    recent = (window[EVENT_TIME] > last - pd.Timedelta(hours=spec.feed.recent_hours)).to_numpy()
    rows = window[recent]
    parts: dict[str, list[Part]] = {name: [] for name in UNITS}
    for f in spec.features:
        _values(known, f, rows[f].to_numpy(np.float32), parts)
    for f, table in known.keyed.items():
        _keyed(table, f, rows, parts)
    near = (window[EVENT_TIME] > last - pd.Timedelta(hours=spec.feed.recent_hours) - NEAR).to_numpy()
    whole, newest = (_indexed(window), recent), (_indexed(window[near]), recent[near])
    for view, names in _views(spec):
        _view(known, view, names, *(whole if view.name in LEVELS else newest), parts)
    usual = _usual(days, as_of, last + spec.horizon + LAST_FLIGHTS)
    if usual:
        parts["volume"] += _volumes(usual)
    return {
        "rows": len(rows),
        "first": iso(rows[EVENT_TIME].iloc[0].to_pydatetime()),
        "last": iso(last.to_pydatetime()),
        "reference_rows": known.rows,
        "checks": {
            name: Check(name=name, unit=UNITS[name], parts=sorted(found, key=lambda p: -p["value"]))
            for name, found in parts.items()
        },
        "volume": usual,
    }


def _values(known: Profile, f: str, values: Array, parts: dict[str, list[Part]]) -> None:
    """Checks of one feature's values, whatever flights they belong to."""
    present = values[np.isfinite(values)]
    nulls = 1 - len(present) / len(values)
    told = f"{f} is missing in {nulls:.0%} of the flights, at most {known.nulls[f]:.0%} of a day's in training"
    parts["nulls"].append(Part(of=f, value=nulls - known.nulls[f], told=told))
    if not len(present):
        return
    seen, shares = known.values[f]
    now, counts = np.unique(present, return_counts=True)
    top = now[counts.argmax()]
    stuck, before = (
        counts.max() / len(present),
        float(shares[seen == top].sum() if f in known.gridded else shares.max()),
    )
    told = f"{f} has one and the same value, {top:g}, in {stuck:.0%} of the flights, at most {before:.0%} in training"
    parts["stuck"].append(Part(of=f, value=float(stuck - before), told=told))
    feature = FEATURES[f]
    low, high = (-np.inf if feature.low is None else feature.low), (np.inf if feature.high is None else feature.high)
    out = float(counts[(now < low) | (now > high)].sum() / len(present))
    told = f"{f} is outside of [{low:g}, {high:g}] in {out:.0%} of the flights"
    parts["outside"].append(Part(of=f, value=out, told=told))
    if f in known.gridded:
        inside = (now >= seen[0]) & (now <= seen[-1])  # beyond them may be a first day of summer
        if (some := counts[inside].sum()) >= len(present) / 10:
            new = float(counts[inside & ~np.isin(now, seen)].sum() / some)
            told = f"{f} has in {new:.0%} of the flights values between those that it had when trained"
            parts["novel"].append(Part(of=f, value=new, told=told))


def _keyed(table: pd.Series, f: str, rows: pd.DataFrame, parts: dict[str, list[Part]]) -> None:
    """A constant of a key (distance of a route) that is another than ever before."""
    keys = list(table.index.names)
    expected = _with_weekday(rows)[keys].join(table.rename("_expected"), on=keys)["_expected"].to_numpy()
    given = rows[f].to_numpy(np.float32)
    judged = np.isfinite(expected) & np.isfinite(given)
    if judged.any():
        off = float((expected[judged] != given[judged]).mean())
        told = f"{f} is another than {' and '.join(k.strip('_') for k in keys)} had when trained in {off:.0%}"
        parts["keyed"].append(Part(of=f, value=off, told=f"{told} of the flights"))


def _view(
    known: Profile,
    view: View,
    names: tuple[str, ...],
    window: _Rows,
    recent: Array,
    parts: dict[str, list[Part]],
) -> None:
    """Checks of a view's rows, each entity and hour (or day) once."""
    table = _table(view, names, window)
    blocks = _blocks(view, table.slot, last=True)
    for name, share in zip(names, _disagree(table, recent), strict=True):
        told = f"{name} differs between flights of one {_of(view)} in {share:.0%}"
        parts["disagree"].append(Part(of=name, value=share - known.disagree.get(name, 0.0), told=told))
    span = "hour" if view.cadence == "hourly" else "day"
    for what, back, words in (("frozen", 1, "the hour before"), ("repeated", 24, "the day before")):
        if view.name in getattr(known, what):
            same, there = _same(table, back)
            now, before = _share(same, there & (blocks == 0)), getattr(known, what)[view.name]
            if now is not None:
                told = (
                    f"{view.name} says the same as {words} in {now:.0%} of its rows, at most {before:.0%} in training"
                )
                parts[what].append(Part(of=view.name, value=now - before, told=told))
    every = range(int(blocks.min()), 1)
    quartiles = _quartiles(table, blocks, every) if view.cadence == "hourly" else np.zeros((1, 3, len(names)))
    middles, ranges = quartiles[:, 1], quartiles[:, 2] - quartiles[:, 0]
    before, there = _before(table, 1)
    there &= blocks == 0
    for i, name in enumerate(names):
        if known.step.get(name):
            moved = _moved(middles[:, i]) / known.step[name]
            told = f"the median of {name} jumped by {moved:.1f} times the largest change of a day in training"
            parts["jump"].append(Part(of=name, value=moved, told=told))
        wide = ranges[-1, i]
        if name in known.spread and np.isfinite(wide):
            low, high = known.spread[name]
            beyond = max(np.log2(max(wide, 1e-12) / high), np.log2(low / max(wide, 1e-12)))
            told = f"the spread of {name} within the day is {wide:.3g}, in training {low:.3g} to {high:.3g}"
            parts["spread"].append(Part(of=name, value=float(beyond), told=told))
        if known.continuity.get(name, 0.0) >= STEADY:
            like = _correlation(table.values[there, i], before[there, i])
            if like is not None:
                error = 1 / np.sqrt(max(1, int(np.isfinite(table.values[there, i] + before[there, i]).sum())))
                told = (
                    f"{name} resembles itself {'an hour' if span == 'hour' else 'a day'} before with a rank correlation"
                    f" of {like:.2f}, in training {known.continuity[name]:.2f} or more"
                )
                parts["continuity"].append(Part(of=name, value=float(known.continuity[name] - like - error), told=told))


# -- volume --------------------------------------------------------------------------------------------------------
def _usual(days: Sequence[Mapping[str, Any]], as_of: str | None, end: pd.Timestamp) -> dict[str, Any] | None:
    """The newest whole day beside those before it; None with fewer than three of them."""
    now = (pd.Timestamp(as_of) if as_of else end).tz_convert(ZONE).date().isoformat()
    whole = [d for d in sorted(days, key=lambda d: d["day"]) if d["day"] < now and d["scheduled"]]
    if len(whole) < 4:
        return None
    *earlier, newest = whole
    started = [d for d in earlier if d["asked"]] or earlier  # days before there was a service are none
    if len(started) < 3:
        return None
    return {
        "day": newest["day"],
        "asked": int(newest["asked"]),
        "scheduled": int(newest["scheduled"]),
        "share": newest["asked"] / newest["scheduled"],
        "usual": float(np.median([d["asked"] / d["scheduled"] for d in started])),
        "usual_scheduled": float(np.median([d["scheduled"] for d in earlier])),
    }


def _volumes(found: Mapping[str, Any]) -> list[Part]:
    """Doublings or halvings of the share of flights that is asked about, and of the schedule itself."""
    asked = abs(np.log2((found["share"] + 1e-3) / (found["usual"] + 1e-3)))
    planned = abs(np.log2(found["scheduled"] / found["usual_scheduled"]))
    told = f"{found['asked']:,} of {found['scheduled']:,} flights of {found['day']} were asked about"
    return [
        Part(of="asked", value=float(asked), told=f"{told} ({found['share']:.0%}; usual {found['usual']:.0%})"),
        Part(
            of="scheduled",
            value=float(planned),
            told=f"{found['scheduled']:,} flights are due on {found['day']}, usual {found['usual_scheduled']:,.0f}",
        ),
    ]


# -- tables of views -----------------------------------------------------------------------------------------------
def _views(spec: ModelSpec) -> list[tuple[View, tuple[str, ...]]]:
    found = [(v, tuple(f.name for f in v.features if f.name in spec.features)) for v in VIEWS]
    return [(v, names) for v, names in found if names]


def _indexed(rows: pd.DataFrame) -> _Rows:
    keys = {key for view in VIEWS for key in view.keys if key != ENTITY} | set(FLIGHT)
    codes = {key: pd.factorize(rows[key])[0].astype(np.int64) for key in sorted(keys)}
    return _Rows(rows, codes, {c: _slots(c, rows) for c in ("plan", "hourly", "daily")})


def _table(view: View, names: tuple[str, ...], of: _Rows) -> _Table:
    rows, slot = of.rows, of.slots[view.cadence]
    entity = np.zeros(len(rows), dtype=np.int64)
    for key in FLIGHT if view.cadence == "plan" else view.keys:
        entity = entity * (int(of.codes[key].max()) + 2) + of.codes[key]
    place = entity * (1 << 21) + (slot - slot.min())
    _, first, where, count = np.unique(place, return_index=True, return_inverse=True, return_counts=True)
    values = rows[list(names)].to_numpy(np.float32)
    kept = values[first]
    beside = kept[where]
    odd = (values != beside) & ~(np.isnan(values) & np.isnan(beside))
    return _Table(names, entity[first], slot[first], kept, odd, count[where] > 1)


def _slots(cadence: str, rows: pd.DataFrame) -> Array:
    """The hour (or day) whose rows a flight was served; of a plan the flight's own date."""
    if cadence == "plan":
        codes, dates = pd.factorize(rows[CLUSTER].astype(str))
        return pd.to_datetime(dates).to_numpy("datetime64[D]").astype(np.int64)[codes]
    at = (rows[EVENT_TIME] - PUBLICATION_LAG).dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[h]")
    hours = at.astype(np.int64)
    return hours if cadence == "hourly" else np.asarray((hours - DAILY_HOUR) // 24)


def _blocks(view: View, slot: Array, last: bool = False) -> Array:
    """The day of each slot: UTC days from 09Z (New York's night), or counted back from the last slot, which is in 0."""
    hours = 24 if view.cadence == "hourly" else 1
    return -((slot.max() - slot) // hours) if last else (slot - (DAILY_HOUR if hours == 24 else 0)) // hours


def _before(table: _Table, back: int) -> tuple[Array, Array]:
    """Each row's values `back` slots earlier [n, features], and whether there is such a row [n]."""
    place = table.entity * (1 << 21) + (table.slot - table.slot.min())
    where = np.searchsorted(place, place - back)
    where = np.minimum(where, len(place) - 1)
    found = (place[where] == place - back) & (table.entity[where] == table.entity)
    return table.values[where], found


def _same(table: _Table, back: int) -> tuple[Array, Array]:
    """Whether a row equals the one `back` slots earlier, and whether that can be told: both say something."""
    before, found = _before(table, back)
    equal = (table.values == before) | (np.isnan(table.values) & np.isnan(before))
    return equal.all(axis=1), found & ~np.isnan(table.values).all(axis=1)


def _share(what: Array, of: Array) -> float | None:
    return float(what[of].mean()) if of.sum() >= MIN_ENTITIES else None


def _disagree(table: _Table, of: Array) -> list[float]:
    judged = table.shared & of
    return [float(x) for x in table.odd[judged].mean(axis=0)] if judged.any() else [0.0] * len(table.names)


def _quartiles(table: _Table, blocks: Array, every: Sequence[int]) -> Array:
    """Quartiles of each day's rows, [days, 3, features]; NaN where a day has too few."""
    told = np.full((len(every), 3, len(table.names)), np.nan)
    for i, b in enumerate(every):
        values = np.sort(table.values[blocks == b], axis=0)  # NaN last
        count = (~np.isnan(values)).sum(axis=0)
        enough = count >= MIN_ENTITIES
        for q in range(3):
            where = np.rint((count[enough] - 1) * (q + 1) / 4).astype(int)
            told[i, q, enough] = values[where, np.flatnonzero(enough)]
    return told


def _moved(middles: Array) -> float:
    """The largest step from one day to the next that the newest day has not taken back."""
    known = middles[np.isfinite(middles)]
    if len(known) < 2 or not np.isfinite(middles[-1]):
        return 0.0
    return float(np.minimum(np.abs(np.diff(known)), np.abs(known[-1] - known[:-1])).max())


def _correlation(one: Array, other: Array) -> float | None:
    """Spearman's rank correlation over pairs that are present; None with too few of them, or of one value."""
    there = np.isfinite(one) & np.isfinite(other)
    if there.sum() < MIN_ENTITIES:
        return None
    a, b = rankdata(one[there]), rankdata(other[there])
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else None


# -- small things --------------------------------------------------------------------------------------------------
def _worst_days(values: Array, day: Array, each: bool) -> tuple[Array, Array]:
    """Distinct values, and on its worst day the share of each (of any value, unless `each`)."""
    there = np.isfinite(values)
    seen, where = np.unique(values[there], return_inverse=True)
    if not len(seen):
        return seen, np.zeros(0)
    place, counts = np.unique(day[there].astype(np.int64) * len(seen) + where, return_counts=True)
    shares = counts / np.bincount(day[there])[place // len(seen)]
    worst = np.zeros(len(seen))
    np.maximum.at(worst, place % len(seen), shares)
    if each:
        return seen, worst
    tops = np.zeros(int(day.max()) + 1)
    np.maximum.at(tops, place // len(seen), shares)
    return seen, np.full(len(seen), np.quantile(tops, 0.95))  # in the first days of history all rates are the prior


def _is_gridded(values: Array, old: Array, day: Array) -> bool:
    """Whether on every newer day nearly all values had been there before (or lie beyond them): a fixed set of values,
    such as whole knots."""
    before = np.unique(values[old & np.isfinite(values)])
    if not len(before):
        return False
    then = ~old & (values >= before[0]) & (values <= before[-1])
    days = day[then] - day.min()
    counts = np.bincount(days)
    new = np.bincount(days, ~np.isin(values[then], before))
    return bool(counts.any() and (new <= 0.05 * counts).all())


def _constants(rows: pd.DataFrame, f: str, keys: tuple[str, ...]) -> pd.Series:
    """The value of each key that had but one, by key."""
    grouped = _with_weekday(rows).groupby(list(keys))[f].agg(["min", "max"])
    return grouped.loc[grouped["min"] == grouped["max"], "min"].rename_axis(list(keys))


def _with_weekday(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(_weekday=pd.to_datetime(rows[CLUSTER].astype(str)).dt.dayofweek)


def _of(view: View) -> str:
    keys = "flight" if view.cadence == "plan" else " and ".join(view.keys)
    return f"{keys} and {'hour' if view.cadence == 'hourly' else 'day'}"


def _check(spec: ModelSpec, rows: pd.DataFrame, name: str) -> None:
    absent = [c for c in (*spec.features, ENTITY, EVENT_TIME, CLUSTER, *FLIGHT, "local_hour") if c not in rows.columns]
    if absent:
        raise KeyError(f"the {name} lacks the columns {absent}")
    if not len(rows):
        raise ValueError(f"the {name} has no rows")
