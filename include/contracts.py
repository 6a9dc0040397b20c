"""The names that modules share: tables, columns, feature views, assets and the references tasks hand on.

Each is named here once. This module imports nothing heavy, so that a DAG file may import it while being parsed.

Times are data time, UTC. A row of a fact has one `known_at`: the first instant at which an observer could have
known it. Nothing may read a row before its `known_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NotRequired, TypedDict

# -- columns that everything shares ------------------------------------------------------------------------------
DAY = "ds"  # partition: UTC date of the row's own event, YYYY-MM-DD
KNOWN_AT = "known_at"
EVENT_TIME = "event_timestamp"  # of a feature row: the instant whose knowledge it sums up; of an entity row: as-of
ENTITY = "flight_id"
TARGET = "not_on_time"
CLUSTER = "local_date"  # flights of one day share their weather: intervals are clustered by it

PUBLICATION_LAG = timedelta(minutes=10)  # between a feature's last input and the moment serving can have it


# -- tables of the lake ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Table:
    """A Delta table: `columns` maps a name to its type; a timestamp is in microseconds, UTC."""

    name: str
    key: tuple[str, ...]
    columns: dict[str, str]


def _table(name: str, key: str, **columns: str) -> Table:
    return Table(name, tuple(key.split()), {DAY: "string", **columns})


# Raw feeds: what the source delivered, in the source's own types, so that a rule can find what is wrong with it.
RAW_SCHEDULE = _table(
    "raw_schedule",
    "flight_id",
    flight_id="string",
    year="int64",
    month="int64",
    day="int64",
    carrier="string",
    flight="int64",
    origin="string",
    dest="string",
    sched_dep_time="int64",
    sched_arr_time="int64",
    distance="float64",
    time_hour="timestamp",
    sched_dep="timestamp",
    sched_arr="timestamp",
    known_at="timestamp",
)
RAW_MOVEMENTS = _table(
    "raw_movements",
    "flight_id",
    flight_id="string",
    tailnum="string",
    sched_dep_time="int64",
    sched_arr_time="int64",
    dep_time="float64",
    dep_delay="float64",
    arr_time="float64",
    arr_delay="float64",
    air_time="float64",
    distance="float64",
    sched_dep="timestamp",
    sched_arr="timestamp",
    known_at="timestamp",
)
RAW_WEATHER = _table(
    "raw_weather",
    "origin observed_at",
    origin="string",
    observed_at="timestamp",
    temp="float64",
    dewp="float64",
    humid="float64",
    wind_dir="float64",
    wind_speed="float64",
    wind_gust="float64",
    precip="float64",
    pressure="float64",
    visib="float64",
    known_at="timestamp",
)
RAW_TABLES = (RAW_SCHEDULE, RAW_MOVEMENTS, RAW_WEATHER)

# Facts: good rows only, one `known_at` each.
SCHEDULE = _table(
    "schedule",
    "flight_id",
    flight_id="string",
    carrier="string",
    flight="int64",
    origin="string",
    dest="string",
    sched_dep="timestamp",
    sched_arr="timestamp",
    distance="float64",
    local_date="string",  # New York's
    local_hour="int64",
    minute_of_day="int64",  # New York's
    weekday="int64",  # Monday is 0
    known_at="timestamp",
)
DEPARTURE = _table(
    "departure",
    "flight_id",
    flight_id="string",
    departed_at="timestamp",
    dep_delay="float64",  # minutes, negative when early
    known_at="timestamp",  # = departed_at
)
LATE15 = _table(
    "late15",
    "flight_id",
    flight_id="string",
    late="int64",  # 1: had not departed 15 minutes after its time
    known_at="timestamp",  # min(departed, scheduled departure + 15 min)
)
OUTCOME = _table(
    "outcome",
    "flight_id",
    flight_id="string",
    not_on_time="int64",  # 1: arrived 15 or more minutes late, cancelled or diverted
    known_at="timestamp",  # min(arrived, scheduled arrival + 15 min)
)
WEATHER = _table(
    "weather",
    "origin observed_at",
    origin="string",
    observed_at="timestamp",  # hour H covers up to H:51
    temp="float64",
    dewp="float64",
    humid="float64",
    wind_speed="float64",
    wind_gust="float64",
    precip="float64",
    pressure="float64",
    visib="float64",
    known_at="timestamp",  # = H + 1 h
)
FACTS = (SCHEDULE, DEPARTURE, LATE15, OUTCOME, WEATHER)

QUARANTINE = _table(
    "quarantine",
    "feed row_key rule",
    feed="string",  # the raw table
    row_key="string",
    rule="string",  # the expectation's own name in the suite
    reason="string",
    row="string",  # the whole row as JSON
    known_at="timestamp",
)


# -- features ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Feature:
    """One float32 feature. `nullable`: NaN is a legal value, it says that nothing happened in the window.
    `low`, `high`: bounds of what is physically possible, for the frame's validation and for requests."""

    name: str
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    stationary: bool = True  # False: it moves by nature (weather, slow rates), so that its drift alone says nothing


@dataclass(frozen=True)
class View:
    """A Feast feature view and the Delta table behind it. `ttl` is finite: Feast's join expands all rows within it."""

    name: str
    keys: tuple[str, ...]
    ttl: timedelta
    cadence: str  # plan (once a flight), hourly or daily
    features: tuple[Feature, ...]

    @property
    def table(self) -> Table:
        keys = {k: "int64" if k in ("flight", "local_hour") else "string" for k in self.keys}
        names = {f.name: "float32" for f in self.features}
        times = {EVENT_TIME: "timestamp", KNOWN_AT: "timestamp"}
        return Table("features_" + self.name, (*self.keys, EVENT_TIME), {DAY: "string", **keys, **times, **names})


def _rate(name: str, nullable: bool = False, stationary: bool = True) -> Feature:
    return Feature(name, nullable, 0.0, 1.0, stationary)


HOURLY_TTL = timedelta(hours=3)
DAILY_TTL = timedelta(days=2)  # Feast takes no mix of days and hours; a day is 10 minutes too short

VIEWS: tuple[View, ...] = (
    View(
        "flight_plan",
        ("flight_id",),
        timedelta(days=5),
        "plan",
        (
            Feature("minute_of_day", low=0, high=1439),
            Feature("weekday", low=0, high=6),
            Feature("distance", low=50, high=6000),
            Feature("block_minutes", low=20, high=900),
            Feature("slack_minutes", low=-120, high=600),
            Feature("carrier_code", low=-1, high=99),
            Feature("origin_code", low=-1, high=99),
            Feature("departures_30m", low=0, high=200),
        ),
    ),
    View(
        "origin_weather",
        ("origin",),
        HOURLY_TTL,
        "hourly",
        (
            Feature("temp", True, -60, 130, stationary=False),
            Feature("humid", True, 0, 100, stationary=False),
            Feature("wind", True, 0, 200, stationary=False),
            Feature("gust", True, 0, 200, stationary=False),
            Feature("precip_3h", True, 0, 20),
            Feature("pressure", True, 900, 1100, stationary=False),
            Feature("pressure_change_3h", True, -100, 100, stationary=False),
            Feature("visib", True, 0, 10, stationary=False),
            Feature("visib_min_3h", True, 0, 10),
            Feature("dew_spread", True, -20, 100, stationary=False),
        ),
    ),
    View(
        "origin_hourly",
        ("origin",),
        HOURLY_TTL,
        "hourly",
        (
            _rate("origin_late_1h", True),
            _rate("origin_late_3h", True),
            Feature("origin_delay_1h", True, -120, 1500),
            Feature("origin_delay_3h", True, -120, 1500),
            Feature("origin_queue", low=0, high=500),
            _rate("origin_queue_share", True),
            _rate("all_late_6h", True, stationary=False),
        ),
    ),
    View(
        "carrier_origin_hourly", ("carrier", "origin"), HOURLY_TTL, "hourly", (_rate("carrier_origin_late_3h", True),)
    ),
    View("dest_hourly", ("dest",), HOURLY_TTL, "hourly", (_rate("dest_late_6h", True),)),
    View("carrier_hourly", ("carrier",), HOURLY_TTL, "hourly", (_rate("carrier_late_24h", True, stationary=False),)),
    View(
        "origin_daily",
        ("origin",),
        DAILY_TTL,
        "daily",
        (_rate("origin_late_1d", stationary=False), _rate("all_late_7d", stationary=False)),
    ),
    View("carrier_daily", ("carrier",), DAILY_TTL, "daily", (_rate("carrier_late_7d", stationary=False),)),
    View(
        "carrier_origin_daily",
        ("carrier", "origin"),
        DAILY_TTL,
        "daily",
        (_rate("carrier_origin_late_7d", stationary=False),),
    ),
    View("dest_daily", ("dest",), DAILY_TTL, "daily", (_rate("dest_late_7d", stationary=False),)),
    View("route_daily", ("origin", "dest"), DAILY_TTL, "daily", (_rate("route_late_28d", stationary=False),)),
    View(
        "flight_number_daily", ("carrier", "flight"), DAILY_TTL, "daily", (_rate("flight_late_28d", stationary=False),)
    ),
    View(
        "origin_hour_daily",
        ("origin", "local_hour"),
        DAILY_TTL,
        "daily",
        (_rate("origin_hour_late_28d", stationary=False),),
    ),
)
FEATURES: dict[str, Feature] = {f.name: f for v in VIEWS for f in v.features}

# Codes of categories are positions in these lists; what is not listed is -1. Append only: an order is a contract.
CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
ORIGINS = ("EWR", "JFK", "LGA")

# -- what serving leaves behind; not in the catalog: no training reads it -------------------------------------------
ANSWER, SHADOW = "answer", "shadow"  # roles: sent to the client; computed beside it, for comparison only
PREDICTIONS = Table(
    "predictions",
    ("prediction_id", "role"),
    {
        DAY: "string",  # of data time
        "prediction_id": "string",
        "role": "string",  # ANSWER or SHADOW: the other version's score of the same request
        "model": "string",
        "version": "int64",
        "generation": "int64",  # of the ledger's deployment that the worker followed
        "stage": "string",  # of that deployment: "", shadow, canary …
        "flight_id": "string",
        "carrier": "string",
        "flight": "int64",
        "origin": "string",
        "dest": "string",
        "sched_dep": "timestamp",
        "sched_arr": "timestamp",
        "probability": "float64",  # null: the version failed
        "error": "string",  # why; null when it did not fail
        "stale": "string",  # views older than their TTL, with commas; empty: none
        "given": "bool",  # the request brought features along (replay, what-if)
        "latency_us": "float64",  # ANSWER: from the body read to the answer made; SHADOW: of the model, per row
        "model_us": "float64",  # of the model alone, per row
        "weight": "float64",  # 1 / sampling rate
        "at": "timestamp",  # data time of the prediction
        "wall": "timestamp",
        "worker": "string",
        **dict.fromkeys(FEATURES, "float32"),  # null: missing, or no input of this model
    },
)
SCORES = Table(  # batch predictions
    "scores",
    ("model", "flight_id"),
    {
        DAY: "string",  # UTC date of the scheduled departure
        "model": "string",
        "flight_id": "string",
        "sched_dep": "timestamp",
        "version": "int64",
        "probability": "float64",
        "not_on_time": "bool",  # probability at or above the threshold
        EVENT_TIME: "timestamp",  # as-of of the features
        KNOWN_AT: "timestamp",  # as-of of the run
    },
)

PERFORMANCE = Table(  # how a version did on one day's flights, as known at one look; a later look states it anew
    "performance",
    ("model", "version", "day", "as_of"),
    {
        DAY: "string",  # = day
        "model": "string",
        "version": "int64",
        "day": "string",  # local date of the flights
        "as_of": "timestamp",  # of the look
        "flights": "int64",
        "labelled": "int64",  # of them with a mature, known label
        "log_loss": "float64",  # null without labels, like all that follows but the estimates
        "brier": "float64",
        "accuracy": "float64",  # at the spec's threshold
        "base_rate": "float64",
        "predicted": "float64",  # mean prediction of the labelled flights
        "estimated_log_loss": "float64",  # of all flights, from the scores alone
        "estimated_accuracy": "float64",
        "estimated_rate": "float64",
    },
)

ALL_TABLES: tuple[Table, ...] = (*RAW_TABLES, *FACTS, QUARANTINE, *(v.table for v in VIEWS))

# -- the training frame ------------------------------------------------------------------------------------------
# one row a flight: identity and slices, as-of (EVENT_TIME), label, then the spec's features as float32
FRAME_IDENTITY = (ENTITY, EVENT_TIME, "sched_dep", CLUSTER, "carrier", "flight", "origin", "dest", "local_hour", TARGET)

# -- assets ------------------------------------------------------------------------------------------------------
ASSET_FEATURES = "ratchet://features"  # a published snapshot of the lake, materialized online
ASSET_RETRAIN = "ratchet://retrain"  # somebody asks for a training; the ledger says who and why
ASSET_CHALLENGER = "ratchet://challenger"  # a packaged, rehearsed challenger waits for its release
ASSET_CHAMPION = "ratchet://champion"  # another version is champion: promoted or rolled back


# -- references, the only things that travel between tasks -------------------------------------------------------
class Interval(TypedDict):
    """Half-open span of data time and the instant whose knowledge the run may use. ISO 8601, UTC."""

    start: str
    end: str
    as_of: str
    catalog: NotRequired[str]  # hash of what was published when the run was planned


class Ref(TypedDict):
    """Where a result lies and what is in it: `version` names it, `hash` is the SHA-256 of its content."""

    uri: str
    version: str
    hash: str
