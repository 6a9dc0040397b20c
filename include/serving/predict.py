"""Answers: the features of some flights gathered, their age judged, scored by the version that is due, and logged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from secrets import token_hex
from time import monotonic, perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np

from include.contracts import FEATURES, SHADOW, VIEWS
from include.serving import explain, plan, requests
from include.serving.metrics import Metrics
from include.serving.plan import Plan
from include.serving.recorder import Entry, Recorder
from include.serving.requests import Answer, Contributions, Flight, Refused, Used
from include.serving.router import CANARY, CHAMPION, FALLBACK, Live, Model

MAX_EXPLAINED = 50  # flights of one request: each is 562 rows for the model
NAMES = tuple(FEATURES)
STORED = NAMES[len(plan.NAMES) :]
_PLACE = {name: i for i, name in enumerate(NAMES)}
_VIEW = {f.name: i for i, v in enumerate(VIEWS) for f in v.features}
_TTL = [view.ttl.total_seconds() for view in VIEWS]
_NEVER = float("inf")
_FIRST, _LAST = datetime(1980, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
assert NAMES[: len(plan.NAMES)] == plan.NAMES, "a row is the plan's features, then the store's"


class Stored(Protocol):
    """A flight's row of the feature store: values in the order of STORED, event times in the order of VIEWS."""

    @property
    def values(self) -> list[float]: ...
    @property
    def times(self) -> list[float]: ...


class Reader(Protocol):
    """The feature store: include/features/online.py."""

    def read(self, keys: Sequence[Mapping[str, Any]], now: float) -> Sequence[Stored]: ...


class Case(NamedTuple):
    """One flight with all that the models may see of it."""

    plan: Plan
    key: dict[str, Any]
    values: list[float]  # in the order of NAMES
    given: dict[str, float]
    at: float  # data time, seconds since 1970
    oldest: float | None  # age in seconds
    stale: list[str]
    missing: list[str]


class Scored(NamedTuple):
    """Who answered a case with what; `failed` says what the challenger that should have done so died of."""

    model: Model
    other: Model | None
    stage: str
    probability: float
    contributions: Contributions | None
    model_us: float
    failed: tuple[Model, str] | None = None


class Answering:
    """Joins what answers need. `wall` and `data_time` give seconds since 1970, the latter of a wall time.

    `reader` is None where there is no feature store, `recorder` where nothing is logged.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        data_time: Callable[[float], float],
        metrics: Metrics,
        reader: Reader | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.wall, self.data_time, self.metrics = wall, data_time, metrics
        self.reader, self.recorder = reader, recorder

    def answer(self, live: Live, flights: Sequence[Flight], explained: bool, first: int | None = None) -> list[Answer]:
        """Answers in order. `first`: position of the first flight in a batch, for refusals to name the row.

        Raises Refused: 422 for what is wrong with the request, 503 for what is wrong here.
        """
        started = perf_counter()
        if live.champion is None:
            raise Refused(503, "model: there is no champion yet", "model")
        wall = self.wall()
        if explained:
            _check_explain(live, flights)
        cases = self._cases(live, live.champion, flights, self.data_time(wall), first)
        scored = _score(live, live.champion, cases, explained)
        seconds = perf_counter() - started
        return [self._made(live, f, c, s, wall, seconds) for f, c, s in zip(flights, cases, scored, strict=True)]

    # -- features ------------------------------------------------------------------------------------------------
    def _cases(
        self, live: Live, champion: Model, flights: Sequence[Flight], now: float, first: int | None
    ) -> list[Case]:
        row = 0
        try:
            plans: list[Plan] = []
            brought: list[dict[str, float]] = []
            for row, flight in enumerate(flights):  # noqa: B007 — named in a refusal
                plans.append(plan.plan(flight))
                brought.append(requests.given(flight) if flight.features is not None else {})
                if flight.at is not None:
                    _check_at(flight.at, brought[-1])
            keys = [_key(f, p) for f, p in zip(flights, plans, strict=True)]
            stored = self._stored(live, keys, brought)
            cases = []
            for row, flight in enumerate(flights):
                at = now if flight.at is None else flight.at.timestamp()
                cases.append(_case(champion, plans[row], keys[row], brought[row], stored[row], at))
        except Refused as error:
            if first is not None and error.row is None and error.status == 422:
                error.row = first + row
            raise
        self._observe(cases, stored)
        return cases

    def _stored(
        self, live: Live, keys: list[dict[str, Any]], brought: list[dict[str, float]]
    ) -> Sequence[Stored | None]:
        """Each flight's row of the store; None where the request brought all that is needed."""
        wanted = [i for i, given in enumerate(brought) if not given or not live.stored <= given.keys()]
        if not wanted:
            return [None] * len(keys)
        if self.reader is None:
            absent = sorted(live.stored - brought[wanted[0]].keys(), key=_PLACE.__getitem__)
            raise Refused(422, f"{absent[0]}: must be given, this service has no feature store", absent[0])
        try:
            found = self.reader.read([keys[i] for i in wanted], monotonic())
        except Exception as error:
            raise Refused(503, f"features: the feature store cannot be read: {error}", "features") from error
        if len(wanted) == len(keys):
            return found
        rows: list[Stored | None] = [None] * len(keys)
        for i, one in zip(wanted, found, strict=True):
            rows[i] = one
        return rows

    def _observe(self, cases: list[Case], stored: Sequence[Stored | None]) -> None:
        if (last := stored[-1]) is not None:
            self.metrics.ages = (cases[-1].at, last.times)
        for case in cases:
            if case.stale:
                self.metrics.used_stale(case.stale)

    # -- what becomes of it --------------------------------------------------------------------------------------
    def _made(self, live: Live, flight: Flight, case: Case, scored: Scored, wall: float, seconds: float) -> Answer:
        name = token_hex(16)
        model = scored.model
        at = datetime.fromtimestamp(case.at, UTC)
        self.metrics.answered(model.version, scored.stage, seconds)
        if self.recorder is not None:
            self._log(live, flight, case, scored, name, at, wall, seconds)
        if scored.failed is not None:
            self.metrics.challenger_failed(scored.failed[0].version)
        answer = Answer(
            name,
            model.name,
            model.version,
            scored.stage,
            scored.probability,
            scored.probability >= model.threshold,
            model.threshold,
            Used(at, case.oldest, case.stale, case.missing, list(case.given)),
        )
        if scored.contributions is not None:
            answer.contributions = scored.contributions
        return answer

    def _log(
        self,
        live: Live,
        flight: Flight,
        case: Case,
        scored: Scored,
        name: str,
        at: datetime,
        wall: float,
        seconds: float,
    ) -> None:
        assert self.recorder is not None
        assert live.champion is not None
        rate = live.champion.log_rate
        if rate < 1 and int(name[:12], 16) >= rate * 2**48:  # the id is random: it is its own hash
            return
        other = scored.other
        entry = Entry(
            name,
            scored.model.name,
            scored.model.version,
            live.generation,
            live.stage,
            {
                **case.key,
                "sched_dep": flight.sched_dep,
                "sched_arr": flight.sched_arr,
                "distance": flight.distance,
            },
            np.array(case.values, dtype=np.float32),
            NAMES,
            scored.probability,
            None,
            ",".join(case.stale),
            bool(case.given),
            seconds * 1e6,
            scored.model_us,
            1 / rate,
            at,
            datetime.fromtimestamp(wall, UTC),
            shadow=None if other is None else other.scorer,
            shadow_version=None if other is None else other.version,
        )
        self.recorder.put(entry)
        if scored.failed is not None:
            model, why = scored.failed
            self.recorder.put(entry._replace(version=model.version, probability=None, error=why, role=SHADOW))


def _key(flight: Flight, planned: Plan) -> dict[str, Any]:
    return {
        "flight_id": planned.flight_id,
        "carrier": flight.carrier,
        "flight": flight.flight,
        "origin": flight.origin,
        "dest": flight.dest,
        "local_hour": planned.local_hour,
    }


def _check_at(at: datetime, given: Mapping[str, float]) -> None:
    if not given:
        raise Refused(422, "at: only together with features: the store knows the present", "at")
    if not _FIRST <= at <= _LAST:
        raise Refused(422, f"at: must lie between {_FIRST:%Y} and {_LAST:%Y}", "at")


def _check_explain(live: Live, flights: Sequence[Flight]) -> None:
    if len(flights) > MAX_EXPLAINED:
        raise Refused(422, f"explain: of at most {MAX_EXPLAINED} flights in one request", "explain")
    for model in (live.champion, live.challenger):
        if model is not None and model.reference is None:
            why = f"version {model.version} was packaged without the reference row that contributions are taken against"
            raise Refused(422, f"explain: {why}", "explain")


def _case(
    champion: Model, planned: Plan, key: dict[str, Any], given: dict[str, float], stored: Stored | None, at: float
) -> Case:
    """Raises Refused: 422 for a value that the champion cannot do without, 503 for one too old when it refuses them."""
    values = [*planned.values, *(stored.values if stored is not None else [np.nan] * len(STORED))]
    for name, value in given.items():
        values[_PLACE[name]] = value
    oldest, stale = (None, []) if stored is None else _ages(champion, stored.times, given, at)
    if stale and champion.refuse_stale:
        ttl = _TTL[[v.name for v in VIEWS].index(stale[0])]
        raise Refused(503, f"{stale[0]}: its features are older than their time to live, {ttl:.0f} s", stale[0])
    missing: list[str] = []
    total = sum(values)
    if total != total:  # a NaN is among them
        missing = [name for i, name in champion.used if values[i] != values[i]]
        for name in missing:
            if name in champion.required:
                why = "nothing is known of it for this flight: is it in the published schedule?"
                raise Refused(422, f"{name}: may not be missing, and {why}", name)
    return Case(planned, key, values, given, at, oldest, stale, missing)


def _ages(champion: Model, times: list[float], given: Mapping[str, float], at: float) -> tuple[float | None, list[str]]:
    """Age of the oldest row that counts, and the views that are older than their time to live."""
    views: Collection[int]
    if given:
        views = sorted({_VIEW[n] for _, n in champion.used if n not in given and n not in plan.NAMES})
    else:
        views = champion.views
    oldest, stale = _NEVER, []
    for i in views:
        time = times[i]
        if time < oldest:
            oldest = time
        if time + _TTL[i] < at:
            stale.append(VIEWS[i].name)
    return (None if oldest == _NEVER else at - oldest), stale


# -- scoring ---------------------------------------------------------------------------------------------------------
class Outcome(NamedTuple):
    probability: float
    contributions: Contributions | None
    model_us: float


def _score(live: Live, champion: Model, cases: Sequence[Case], explained: bool) -> list[Scored]:
    """Each case by the version that is due; by the champion where the canary fails."""
    routes = [live.route(case.plan.flight_id) for case in cases]
    found: list[Scored | None] = [None] * len(cases)
    failed: dict[int, tuple[Model, str]] = {}
    challenger = live.challenger
    if challenger is not None and (due := [i for i, (model, _) in enumerate(routes) if model is challenger]):
        for i, outcome in zip(due, _attempt(challenger, [cases[i] for i in due], explained), strict=True):
            if isinstance(outcome, str):
                failed[i] = (challenger, outcome)
            else:
                found[i] = Scored(challenger, champion, CANARY, *outcome)
    if rest := [i for i, done in enumerate(found) if done is None]:
        try:
            outcomes = _outcomes(champion, [cases[i] for i in rest], explained)
        except Exception as error:  # whatever ONNX Runtime raises, the request is answered
            raise Refused(503, f"model: {error}", "model") from error
        for i, made in zip(rest, outcomes, strict=True):
            if i in failed:
                found[i] = Scored(champion, None, FALLBACK, *made, failed[i])
            else:
                found[i] = Scored(champion, routes[i][1], CHAMPION, *made)
    return [done for done in found if done is not None]


def _attempt(challenger: Model, cases: Sequence[Case], explained: bool) -> list[Outcome | str]:
    """Of each case the outcome, or why there is none. One bad row of a batch is one failure."""
    try:
        for case in cases:
            challenger.check(case.values)
        return list(_outcomes(challenger, cases, explained))
    except Exception as error:  # no request fails because of a challenger
        if len(cases) == 1:
            return [f"{type(error).__name__}: {error}"]
    return [outcome for case in cases for outcome in _attempt(challenger, [case], explained)]


def _outcomes(model: Model, cases: Sequence[Case], explained: bool) -> list[Outcome]:
    started = perf_counter()
    rows = model.own(np.array([case.values for case in cases], dtype=np.float32))
    probabilities = model.run(rows).tolist()
    spent = (perf_counter() - started) * 1e6 / len(cases)
    if not explained:
        return [Outcome(p, None, spent) for p in probabilities]
    return [Outcome(p, _explanation(model, row), spent) for p, row in zip(probabilities, rows, strict=True)]


def _explanation(model: Model, row: np.ndarray) -> Contributions:
    assert model.reference is not None
    base, values = explain.contributions(model.run, row, model.reference)
    return Contributions(base, dict(zip(model.bundle.features, values.tolist(), strict=True)))
