"""The planted cases of the monitor: real weeks of which one knows beforehand what the verdict should be.

A *scene* is what the log of predictions holds around a moment: real flights with their features, labels and the time at
which each label becomes known. A *case* does one thing to it from a moment on; everything it chooses (feature, entity,
hour, severity) follows from a generator. `watch` then looks every morning as the DAG `monitor` does. Used by the tests
(a few seeds) and by bench_monitor.py (many).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

from bench import planted
from include import metrics
from include.contracts import CLUSTER, ENTITY, EVENT_TIME, FEATURES, PUBLICATION_LAG, TARGET, VIEWS
from include.models.spec import ModelSpec
from include.monitoring import drift, feed, performance, verdict

LOOK = pd.Timedelta(hours=6, minutes=30)  # UTC, of each day: when the monitor looks
DAY, HOUR = pd.Timedelta(days=1), pd.Timedelta(hours=1)
OF = {view.name: [f.name for f in view.features] for view in VIEWS}
HOURLY = [view for view in VIEWS if view.cadence == "hourly"]
WEATHER = OF["origin_weather"]

KNOWN = "label_known"

Rng = np.random.Generator
Plant = Callable[["Scene", pd.Timestamp, Rng], "Scene"]


@dataclass(frozen=True)
class Champion:
    """A model, what it was trained on, and the real flights that followed."""

    name: str  # first day that it has not seen
    model: xgb.Booster
    profile: feed.Profile
    reference_p: np.ndarray[Any, Any]
    rows: pd.DataFrame  # in order of time: a week that it has seen, then what followed
    scheduled: Mapping[str, int]  # flights of each local date
    cache: dict[Any, Any] = field(default_factory=dict)  # feed by look, of what nobody tampered with


@dataclass(frozen=True)
class Scene:
    """What is logged. `rows` in order of time, with the label as it will be, and from when it is KNOWN."""

    rows: pd.DataFrame
    scheduled: Mapping[str, int]
    touched: bool = False  # features or flights are others than the champion's `rows`
    note: str = ""  # what was drawn


@dataclass(frozen=True)
class Case:
    """`wish`: the state that the monitor should reach within `looks` looks; healthy: keep at each of them."""

    name: str
    kind: str
    wish: str
    looks: int
    plant: Plant
    start: int | None = None  # hour of the day, UTC, at which it begins; None: any


def champion(spec: ModelSpec, rows: pd.DataFrame, first: str, days: int = 21) -> Champion:
    """Fit on all days before `first`, and take the `days` that follow it."""
    dates = rows[CLUSTER].astype(str)
    seen, start = rows[dates < first], pd.Timestamp(first)
    around = dates.between(str((start - 7 * DAY).date()), str((start + days * DAY).date()))
    model = planted.fit(seen, list(spec.features), 1)
    return Champion(
        first, model, feed.profile(spec, seen), planted.predict(model, seen.iloc[:: max(1, len(seen) // 20_000)]),
        rows[around.to_numpy()].sort_values([EVENT_TIME, ENTITY], ignore_index=True),
        {str(day): int(n) for day, n in dates.value_counts().items()},
    )  # fmt: skip


def scene(live: Champion, since: pd.Timestamp, looks: int) -> Scene:
    """The sound log from eight days before `since` to the last look."""
    at = live.rows[EVENT_TIME]
    rows = live.rows[((at >= since - 8 * DAY) & (at < since + (looks + 1) * DAY)).to_numpy()].reset_index(drop=True)
    return Scene(rows.assign(**{KNOWN: _known(rows)}), live.scheduled)


def _known(rows: pd.DataFrame, times: float = 1.0) -> pd.Series:
    """When a label is known: 15 minutes after the scheduled arrival (contracts.OUTCOME), `times` as late."""
    return rows["sched_dep"] + pd.to_timedelta(times * (rows["block_minutes"].astype(float) + 15), unit="min")


# -- looks ---------------------------------------------------------------------------------------------------------
def mornings(since: pd.Timestamp, count: int) -> list[pd.Timestamp]:
    """The looks after a moment."""
    first = since.normalize() + LOOK
    first = first if first > since else first + DAY
    return [first + i * DAY for i in range(count)]


def evidence(spec: ModelSpec, live: Champion, what: Scene, as_of: pd.Timestamp, age: float) -> dict[str, Any]:
    """The parts of evidence.collect that decide, of the spec's window before `as_of`, by the same functions."""
    at = what.rows[EVENT_TIME]
    inside = ((at >= as_of - spec.triggers.window_days * DAY) & (at < as_of)).to_numpy()
    window = what.rows[inside]
    mature = (window["sched_dep"] + spec.label_maturity <= as_of).to_numpy()
    label = window[TARGET].astype(float).where(window[KNOWN] <= as_of)
    window = window.assign(**{TARGET: label, "mature": mature})
    p = planted.predict(live.model, window)
    key = (as_of, spec.feed.recent_hours)
    found = None if what.touched else live.cache.get(key)
    if found is None:
        found = feed.measure(spec, live.profile, window, volume(what, as_of), as_of.isoformat())
        if not what.touched:
            live.cache[key] = found
    return {
        "version": 1, "age_days": age, "performance": measured(spec, window, p, live.name), "feed": found,
        "drift": [], "score_psi": drift.psi(live.reference_p, p),
    }  # fmt: skip


def measured(spec: ModelSpec, window: pd.DataFrame, p: np.ndarray[Any, Any], unseen: str) -> dict[str, Any]:
    """Coverage and surprise of local dates from `unseen` on, as performance.measure has them; its slices and intervals
    of other metrics, which decide nothing, are left out."""
    kept = (window[CLUSTER].astype(str) >= unseen).to_numpy()
    window, p = window[kept], p[kept]
    y, mature = performance.labels(spec, window), int(window["mature"].sum())
    known = np.isfinite(y)
    days = window[CLUSTER].astype(str).to_numpy()[known]
    surprise = metrics.by_day(metrics.surprise(y[known].astype(int), p[known]), days) if known.any() else None
    return {
        "rows": len(window), "mature": mature, "labelled": int(known.sum()),
        "coverage": float(known.sum()) / max(1, mature), "surprise": surprise and surprise.model_dump(),
    }  # fmt: skip


def volume(what: Scene, as_of: pd.Timestamp) -> list[dict[str, Any]]:
    """Flights of each local date and how many of them were asked about, as window.build counts them."""
    asked = what.rows.loc[what.rows[EVENT_TIME] < as_of, CLUSTER].astype(str).value_counts()
    first = what.rows[CLUSTER].astype(str).min()  # only part of it is in the scene
    days = [d for d in sorted(what.scheduled) if str((as_of - 35 * DAY).date()) <= d <= str(as_of.date())]
    return [
        {"day": d, "scheduled": what.scheduled[d], "asked": int(asked.get(d, 0)) if d > first else what.scheduled[d]}
        for d in days
    ]


def watch(
    spec: ModelSpec, live: Champion, what: Scene, since: pd.Timestamp, looks: int, lead: int = 4
) -> list[verdict.Verdict]:
    """The verdicts of the mornings after `since`, `looks` of them or up to the first that is not healthy; `lead` looks
    before it are their past."""
    told: list[verdict.Verdict] = []
    before: list[dict[str, Any]] = []
    for as_of in mornings(since - lead * DAY, lead + looks):
        age = (as_of - pd.Timestamp(live.name, tz="UTC")) / DAY
        seen = verdict.judge(spec, evidence(spec, live, what, as_of, age), before)
        before.append({"version": 1, "fired": [f.name for f in seen.findings if f.fired]})
        told.append(seen)
        if len(told) > lead and seen.state != "healthy":
            break  # whatever is done then is done
    return told[lead:]


def run(spec: ModelSpec, live: Champion, case: Case, seed: int, days: tuple[int, int] = (5, 11)) -> dict[str, Any]:
    """One planted case: it begins at a moment that the seed draws, `days` after the champion's training."""
    rng = np.random.default_rng([seed, *case.name.encode()])
    hour = rng.integers(24) if case.start is None else case.start
    since = pd.Timestamp(live.name, tz="UTC") + int(rng.integers(*days)) * DAY + int(hour) * HOUR
    sound = scene(live, since, case.looks)
    planted_ = case.plant(sound, since, rng)
    told = watch(spec, live, planted_, since, case.looks, lead=4 if case.kind == "model" else 0)
    states = [v.state for v in told]
    first = next((i for i, s in enumerate(states) if s != "healthy"), None)
    reached = "healthy" if first is None else states[first]
    return {
        "case": case.name, "champion": live.name, "seed": seed, "since": since.isoformat(),
        "note": planted_.note, "states": states,
        "reached": reached, "look": None if first is None else first + 1, "right": reached == case.wish,
        "causes": [] if first is None else [f.name for f in told[first].causes()],
        "reason": told[-1 if first is None else first].reason,
    }  # fmt: skip


# -- what is done to a scene ---------------------------------------------------------------------------------------
def changed(what: Scene, rows: pd.DataFrame) -> Scene:
    return replace(what, rows=rows, touched=True)


def after(what: Scene, since: pd.Timestamp) -> np.ndarray[Any, Any]:
    return (what.rows[EVENT_TIME] >= since).to_numpy()


def put(what: Scene, where: np.ndarray[Any, Any], **values: Any) -> Scene:
    """Features `values` [n] take the place of what was there, at the rows `where`."""
    new = {f: np.where(where, v, what.rows[f]).astype(np.float32) for f, v in values.items()}
    return replace(what, rows=what.rows.assign(**new), touched=True, note=", ".join(values))


def sound(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001 — plants have one shape
    return what


def scaled(*names: str, by: float = 1.0, plus: float = 0.0) -> Plant:
    """Another unit from a moment on."""

    def plant(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001
        there = {f: what.rows[f] for f in names if f in what.rows}
        return put(what, after(what, since), **{f: v * by + plus for f, v in there.items()})

    return plant


def celsius(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001
    rows = what.rows
    return put(what, after(what, since), temp=(rows["temp"] - 32) * 5 / 9, dew_spread=rows["dew_spread"] * 5 / 9)


def nulls(of_view: bool) -> Plant:
    """40 to 100 % of the values of one feature, or of all of a view, are missing."""

    def plant(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
        view = VIEWS[rng.integers(len(VIEWS))]
        names = OF[view.name] if of_view else [OF[view.name][rng.integers(len(OF[view.name]))]]
        lost = after(what, since) & (rng.random(len(what.rows)) < rng.uniform(0.4, 1))
        return put(what, lost, **dict.fromkeys(names, np.nan))

    return plant


def stuck(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """One feature repeats the value it had at that moment, for every flight."""

    def plant(name: str) -> Scene:
        there = after(what, since)
        return put(what, there, **{name: what.rows.loc[~there, name].dropna().iloc[-1]})

    return _one_that_differs(what, since, rng, plant)


def _one_that_differs(what: Scene, since: pd.Timestamp, rng: Rng, plant: Callable[[str], Scene]) -> Scene:
    """Plant on one feature; on another when it changes less than a tenth of the values: that is no fault (no rain)."""
    names = [f for f in what.rows.columns if f in FEATURES]
    there = after(what, since)
    for name in rng.permutation(names):
        made = plant(str(name))
        old, new = (part.rows.loc[there, name].to_numpy() for part in (what, made))
        if ((old != new) & ~(np.isnan(old) & np.isnan(new))).mean() >= 0.1:
            break
    return made


def stale(view: str, only_one: bool = False) -> Plant:
    """Each airport (or one of the three) repeats what a view last said of it."""

    def plant(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
        there, names = after(what, since), [f for f in OF[view] if f in what.rows]
        keys = list(next(v.keys for v in VIEWS if v.name == view))
        last = what.rows[~there].groupby(keys)[names].tail(1).index
        kept = what.rows.loc[last, [*keys, *names]]
        if only_one:
            kept = kept.iloc[[rng.integers(len(kept))]]
        found = what.rows[keys].merge(kept, on=keys, how="left", indicator=True)
        there = there & (found["_merge"] == "both").to_numpy()
        return put(what, there, **{f: found[f].to_numpy() for f in names})

    return plant


def again(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001
    """For a day, every hourly view says what it said 24 hours before."""
    there = after(what, since) & (what.rows[EVENT_TIME] < since + DAY).to_numpy()
    hour = (what.rows[EVENT_TIME] - PUBLICATION_LAG).dt.floor("h")
    for view in HOURLY:
        keys, names = list(view.keys), [f.name for f in view.features if f.name in what.rows]
        yesterday = what.rows.assign(_hour=hour + DAY).groupby([*keys, "_hour"])[names].first()
        place = pd.MultiIndex.from_frame(what.rows[keys].assign(_hour=hour))
        found = yesterday.reindex(place)
        known = there & place.isin(yesterday.index)
        what = put(what, known, **{f: found[f].to_numpy() for f in names})
    return what


def twice(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001
    """Every row of the schedule is delivered twice, under two ids."""
    there = after(what, since)
    more = what.rows[there].assign(**{ENTITY: what.rows.loc[there, ENTITY] + "/2"})
    rows = pd.concat([what.rows, more]).sort_values([EVENT_TIME, ENTITY], ignore_index=True)
    counts = dict(what.scheduled)
    for day, n in more[CLUSTER].astype(str).value_counts().items():
        counts[str(day)] = counts[str(day)] + int(n)
    return Scene(rows, counts, True)


def shuffled(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """The values of one feature belong to other flights of the same day."""
    order = _within(pd.factorize(what.rows[CLUSTER])[0], rng)
    there = after(what, since)
    return _one_that_differs(
        what, since, rng, lambda name: put(what, there, **{name: what.rows[name].to_numpy()[order]})
    )


def shuffled_view(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """The hours and entities of an hourly view's rows are mixed up within each day; a row stays whole."""
    view = HOURLY[rng.integers(len(HOURLY))]
    keys, names = list(view.keys), [f.name for f in view.features if f.name in what.rows]
    hour = (what.rows[EVENT_TIME] - PUBLICATION_LAG).dt.floor("h")
    place = pd.MultiIndex.from_frame(what.rows[keys].assign(_hour=hour))
    code, _ = pd.factorize(place)
    first = np.unique(code, return_index=True)[1]
    day = (hour - 9 * HOUR).dt.floor("D").to_numpy()[first]
    order = _within(day, rng)
    source = first[order][code]
    return put(what, after(what, since), **{f: what.rows[f].to_numpy()[source] for f in names})


def shifted_rows(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """A view's values are those of the flight a few rows before: a join that slipped."""
    view = HOURLY[rng.integers(len(HOURLY))]
    by = int(rng.integers(1, 50))
    return put(what, after(what, since), **{f: what.rows[f].shift(by) for f in OF[view.name] if f in what.rows})


def late(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001
    """All hourly features are those of an hour before."""
    rows = planted.shifted(what.rows, -1)
    names = [f for view in HOURLY for f in OF[view.name] if f in rows]
    return put(what, after(what, since), **{f: rows[f] for f in names})


def added(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """To one hourly feature, two of its standard deviations are added."""
    names = [f for view in HOURLY for f in OF[view.name] if f in what.rows]
    name = names[rng.integers(len(names))]
    return put(what, after(what, since), **{name: what.rows[name] + 2 * what.rows[name].std()})


def _within(group: np.ndarray[Any, Any], rng: Rng) -> np.ndarray[Any, Any]:
    """A permutation that keeps to groups."""
    mixed = rng.permutation(len(group))
    order = np.empty(len(group), dtype=int)
    order[np.argsort(group, kind="stable")] = mixed[np.argsort(group[mixed], kind="stable")]
    return order


def mix(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """Other flights are asked about: carriers, airports or hours weigh up to eight times more or less than before.

    Each day's flights are drawn anew, with replacement, as many as there were. Labels are the flights' own.
    """
    there = after(what, since)
    rows = what.rows[there]
    weight = np.ones(len(rows))
    for by in ("carrier", "origin", "local_hour"):
        codes, distinct = pd.factorize(rows[by])
        if rng.random() < 0.6:
            weight *= np.exp(rng.uniform(-1, 1, len(distinct)))[codes]
    taken = np.concatenate(
        [
            rng.choice(of, len(of), p=weight[of] / weight[of].sum())
            for of in rows.reset_index(drop=True).groupby(CLUSTER).indices.values()
        ]
    )
    chosen = rows.iloc[np.sort(taken)]
    many = chosen.groupby(ENTITY).cumcount().astype(str)
    chosen = chosen.assign(**{ENTITY: chosen[ENTITY] + "/" + many})
    return changed(what, pd.concat([what.rows[~there], chosen], ignore_index=True))


def flipped(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """For 30 to 60 % of the flights (some carriers, or some hours), who is on time now is late, and the reverse."""
    by = "carrier" if rng.random() < 0.5 else "local_hour"
    values, counts = np.unique(what.rows[by], return_counts=True)
    order = rng.permutation(len(values))
    upto = int(np.searchsorted(np.cumsum(counts[order]) / counts.sum(), rng.uniform(0.3, 0.6))) + 1
    there = after(what, since) & what.rows[by].isin(values[order[:upto]]).to_numpy()
    return replace(what, rows=what.rows.assign(**{TARGET: np.where(there, 1 - what.rows[TARGET], what.rows[TARGET])}))


def reversed_effect(live_rate: float = 0.27) -> Plant:
    """Labels follow the hour of the day the other way round: mornings are late, evenings on time."""

    def plant(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
        there = after(what, since)
        hour = what.rows["local_hour"].to_numpy()
        rate = live_rate * 2 * np.clip((23 - hour) / 18, 0.05, 0.95)
        drawn = (rng.random(len(hour)) < rate).astype(what.rows[TARGET].dtype)
        return replace(what, rows=what.rows.assign(**{TARGET: np.where(there, drawn, what.rows[TARGET])}))

    return plant


def delayed(times: float) -> Plant:
    """Labels come `times` as late after departure as they did."""

    def plant(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001
        return _relabelled(what, after(what, since), _known(what.rows, times))

    return plant


def unlabelled(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:  # noqa: ARG001
    """Labels of flights from then on never come."""
    return _relabelled(what, after(what, since), pd.Series(pd.Timestamp("2100-01-01", tz="UTC"), what.rows.index))


def _relabelled(what: Scene, there: np.ndarray[Any, Any], known: pd.Series) -> Scene:
    return replace(what, rows=what.rows.assign(**{KNOWN: what.rows[KNOWN].where(~there, known)}))


def collapsed(what: Scene, since: pd.Timestamp, rng: Rng) -> Scene:
    """5 to 50 % of the flights are still asked about."""
    kept = ~after(what, since) | (rng.random(len(what.rows)) < rng.uniform(0.05, 0.5))
    return changed(what, what.rows[kept].reset_index(drop=True))


UNITS: tuple[tuple[str, Plant], ...] = (
    ("temperature in °C", celsius),
    ("wind in km/h", scaled("wind", "gust", by=1.609344)),
    ("wind in knots", scaled("wind", "gust", by=0.868976)),
    ("pressure in inHg", scaled("pressure", "pressure_change_3h", by=0.02953)),
    ("visibility in km", scaled("visib", "visib_min_3h", by=1.609344)),
    ("delay in hours", scaled("origin_delay_1h", "origin_delay_3h", by=1 / 60)),
    ("delay in seconds", scaled("origin_delay_1h", "origin_delay_3h", by=60)),
    ("distance in km", scaled("distance", by=1.609344)),
    ("humidity as a share", scaled("humid", by=0.01)),
)
FEED = 2  # looks within which a fault of the feed is to be seen: the first may fall right after its beginning
WEEK = 7
LONGER = 10  # the window must fill with what is new, 7 days, and the finding must persist, 3 looks

CASES: tuple[Case, ...] = (
    Case("sound week", "model", "healthy", WEEK, sound),
    *(Case(f"unit: {name}", "unit change", "incident", FEED, plant) for name, plant in UNITS),
    Case("nulls in one feature", "null storm", "incident", FEED, nulls(of_view=False)),
    Case("nulls in a view", "null storm", "incident", FEED, nulls(of_view=True)),
    Case("one feature stuck", "stuck", "incident", FEED, stuck),
    Case("yesterday's hours again", "duplicated day", "incident", FEED, again, start=8),
    Case("every flight twice", "duplicated day", "incident", FEED, twice, start=8),
    Case("stale weather", "stale weather", "incident", FEED, stale("origin_weather")),
    Case("stale delays of airports", "stale view", "incident", FEED, stale("origin_hourly")),
    Case("one feature shuffled", "shuffled feature", "incident", FEED, shuffled),
    Case("a view's rows shuffled", "shuffled view", "incident", FEED, shuffled_view),
    Case("rows shifted", "shifted", "incident", FEED, shifted_rows),
    Case("other flights", "model", "healthy", WEEK, mix),
    Case("concept flipped for a part", "model", "retrain", LONGER, flipped),
    Case("effect of the hour reversed", "model", "retrain", LONGER, reversed_effect()),
    Case("labels twice as late", "model", "healthy", WEEK, delayed(2)),
    Case("labels four times as late", "model", "healthy", WEEK, delayed(4)),
    Case("labels stop", "model", "insufficient", WEEK, unlabelled),
    Case("volume collapses", "volume collapse", "incident", FEED, collapsed, start=8),
)
BLIND: tuple[Case, ...] = (  # what the feed's checks are not made for: how often they see it all the same
    Case("stale weather at one airport", "blind", "incident", FEED, stale("origin_weather", only_one=True)),
    Case("hourly features an hour late", "blind", "incident", FEED, late),
    Case("two standard deviations added", "blind", "incident", FEED, added),
)
