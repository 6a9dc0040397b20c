"""The window a monitor looks at: the log of predictions, one row a flight, with the labels known by now.

A flight may be asked for many times, by many versions: its latest answer stands, for that is what was flown by. Counts
are of all that was logged; rows are sampled by a hash of the flight where there are more than asked for, so that what
is measured afterwards costs the same on a busy service. The reading is done by DuckDB under a limit of memory, over the
files of the Delta tables: what does not fit is spilt to disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include import files, lake
from include.contracts import CLUSTER, DAY, ENTITY, EVENT_TIME, OUTCOME, PREDICTIONS, SCHEDULE, TARGET, Ref, Table
from include.models.spec import ModelSpec
from include.settings import Settings
from include.times import day, iso, parse

USUAL = 28  # days before the window that say what volume is usual
AHEAD = timedelta(days=7)  # how long before its departure a flight is asked for, at most: the log is read from there
MEMORY = "700MB"
ZONE = "America/New_York"  # of local dates and hours

_KINDS = {"string": "VARCHAR", "int64": "BIGINT", "float32": "FLOAT", "float64": "DOUBLE", "bool": "BOOLEAN"}
COLUMNS = (
    (ENTITY, pa.string()),
    (EVENT_TIME, pa.timestamp("us", tz="UTC")),
    ("sched_dep", pa.timestamp("us", tz="UTC")),
    (CLUSTER, pa.string()),
    ("carrier", pa.string()),
    ("flight", pa.int64()),
    ("origin", pa.string()),
    ("dest", pa.string()),
    ("local_hour", pa.int64()),
    (TARGET, pa.float64()),
    ("mature", pa.bool_()),
    ("probability", pa.float64()),
    ("answered", pa.float64()),
    ("answered_version", pa.int64()),
    ("stale", pa.bool_()),
    ("given", pa.bool_()),
    ("latency_us", pa.float64()),
)


def build(
    settings: Settings,
    spec: ModelSpec,
    version: int,
    versions: dict[str, int],
    start: str,
    end: str,
    as_of: str,
    rows: int = 200_000,
) -> tuple[Ref, dict[str, Any]]:
    """One row for each flight that the model was asked about at data times [start, end), as known at `as_of`; and
    exact counts of what was logged, whatever the rows.

    The file settings.windows/<hash>.parquet has, by (sched_dep, flight_id), flight_id, event_timestamp (when it was
    asked), sched_dep, local_date, carrier, flight, origin, dest, local_hour, the label (null while not known),
    `mature` (the spec's label_maturity has passed since departure), `probability` (of `version` for that request, as
    answer or in the shadow; null: it did not score it), `answered` (what the client was told; null: every answer
    failed), `answered_version`, `stale`, `given`, `latency_us`, and the spec's features, float32, as they were used.
    The latest answer that did not fail stands, by (at, wall, prediction_id): a request may bring a time of its own, and
    be made again. With more flights than `rows`: those of the lowest hashes.

    The counts, JSON: "start", "end", "as_of"; "predictions" (answers logged), "requests" (the same, weighted up by
    what sampling left out), "flights", "sampled" (rows of the file), "first" and "last" (time of an answer, ISO),
    "by_version" {version: {"answer", "shadow", "failed"}}, "errors" (attempts at an answer that failed, also where
    another version answered), "failed_answers" (of them, where none did), "stale" and "given" (answers),
    "latency_ms" {"p50", "p99"}, "peak_per_second" (of the busiest minute of wall time),
    "worker_peak_per_second" (the same of one worker), "recent" (these again, of the newest feed.recent_hours), "hours"
    [{"hour", "requests"}], "days" [{"day", "scheduled", "asked", "requests"}] of the window's local dates and the USUAL
    ones before (of flights whose time to be asked for had come by the window's end), "silence" {"since", "due",
    "hours"}: flights whose time came after the last answer,
    and in how many hours.

    `versions`: of the tables `schedule` and `outcome`. Raises KeyError when they lack one, UnknownVersion when one is
    gone, ValueError for an empty interval.
    """
    first, last, now = parse(start), min(parse(end), parse(as_of)), parse(as_of)
    if first >= last:
        raise ValueError(f"the window [{start}, {end}) as known at {as_of} is empty")
    if rows < 1:
        raise ValueError(f"rows: {rows}, at least one is needed")
    with _opened(settings, spec, versions, first, last, now) as con:
        con.execute(_ASKED, {"zone": ZONE, "due": last + spec.horizon, "first": first})
        counts = {
            "start": iso(first),
            "end": iso(last),
            "as_of": iso(now),
            **_counts(con, last - timedelta(hours=spec.feed.recent_hours)),
        }
        _stand(con, counts["flights"], rows)
        made = _rows(con, settings, spec, version, versions, now)
        counts |= {"sampled": made.num_rows, "days": _days(con, spec, first, last)}
        counts["silence"] = _silence(con, spec, parse(counts["last"]) if counts["last"] else first, last)
    return files.keep(settings.windows, ".parquet", lambda part: pq.write_table(made, part)), counts


def read(window: Ref) -> pd.DataFrame:
    """The rows of a window. Unknown labels and scores are NaN. Raises ValueError when the file has changed."""
    if files.hash_file(Path(window["uri"])) != window["hash"]:
        raise ValueError(f"{window['uri']}: its content is not what was built; build the window again")
    return pd.read_parquet(window["uri"])


# -- what is read ------------------------------------------------------------------------------------------------------
@contextmanager
def _opened(
    settings: Settings, spec: ModelSpec, versions: dict[str, int], first: datetime, last: datetime, now: datetime
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the views `log` (since the usual days began), `seen` (the window's part of it) and `schedule`."""
    begin = _midnight(_local(first) - timedelta(days=USUAL))
    settings.windows.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".spilt-", dir=settings.windows) as spilt:
        # insertion order costs memory; rows are sorted at the end
        config: dict[str, Any] = {
            "memory_limit": MEMORY,
            "threads": 2,
            "temp_directory": spilt,
            "preserve_insertion_order": False,
        }
        con = duckdb.connect(config=config)
        try:
            con.execute("SET TimeZone = 'UTC'")
            ours = f"model = '{spec.name}' AND \"at\" < {_instant(last)}"
            for name, since in (("log", begin - AHEAD), ("seen", first)):
                found = lake.files(settings.lake, PREDICTIONS, (day(since), day(last)), expected=False)
                _view(con, name, PREDICTIONS, found, f'{ours} AND "at" >= {_instant(since)}')
            dates = (day(begin), day(last + spec.horizon))
            found = lake.files(settings.lake, SCHEDULE, dates, versions[SCHEDULE.name])
            _view(con, SCHEDULE.name, SCHEDULE, found, f"known_at <= {_instant(now)}")
            yield con
        finally:
            con.close()


def _view(con: duckdb.DuckDBPyConnection, name: str, table: Table, found: Sequence[str], keep: str) -> None:
    """The rows of a table's files that `keep` keeps. A column younger than all of the files is null."""
    wanted = [column for column in table.columns if column != DAY]
    if not found:
        con.register(f"no_{name}", lake.schema(table).empty_table())
        source = con.table(f"no_{name}")
    else:
        source = con.read_parquet(list(found), union_by_name=True, hive_partitioning=False)
    there = set(source.columns)
    kinds = {column: _KINDS.get(table.columns[column], "TIMESTAMPTZ") for column in wanted}
    columns = [f'"{c}"' if c in there else f'NULL::{kinds[c]} AS "{c}"' for c in wanted]
    source.project(", ".join(columns)).filter(keep).create_view(name)


def _instant(time: datetime) -> str:
    return f"'{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'::TIMESTAMPTZ"


def _local(time: datetime) -> date:
    return time.astimezone(ZoneInfo(ZONE)).date()


def _midnight(local: date) -> datetime:
    return datetime(local.year, local.month, local.day, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)


# -- counts ------------------------------------------------------------------------------------------------------------
# Names are counted and sampled by their md5: it has a fixed size in memory, 64 bits of it meet once in 10^5 windows of
# 10 million, and it never changes. DuckDB's own hash may, and meets in one flight id of 170.
# A failed row in the shadow that took longer than its model was an answer that another version had to give.
_COUNTS = """
SELECT
    count(*) FILTER (role = 'answer') AS predictions,
    coalesce(sum(weight) FILTER (role = 'answer'), 0) AS requests,
    min("at") FILTER (role = 'answer') AS first,
    max("at") FILTER (role = 'answer') AS last,
    count(*) FILTER (
        (error IS NOT NULL OR probability IS NULL OR isnan(probability)) AND (role = 'answer' OR latency_us > model_us)
    ) AS errors,
    count(*) FILTER (
        (error IS NOT NULL OR probability IS NULL OR isnan(probability)) AND role = 'answer'
    ) AS failed_answers,
    count(*) FILTER (role = 'answer' AND stale <> '') AS stale,
    count(*) FILTER (role = 'answer' AND given) AS given,
    quantile_cont(latency_us, 0.5) FILTER (role = 'answer') / 1000 AS p50,
    quantile_cont(latency_us, 0.99) FILTER (role = 'answer') / 1000 AS p99
FROM {rows}
"""
_BY_VERSION = """
SELECT
    version,
    count(*) FILTER (role = 'answer') AS answer,
    count(*) FILTER (role <> 'answer') AS shadow,
    count(*) FILTER (error IS NOT NULL OR probability IS NULL OR isnan(probability)) AS failed
FROM seen GROUP BY version ORDER BY version
"""
_FLIGHTS = "SELECT count(*) AS flights FROM asked WHERE seen"
_PEAK = """
SELECT coalesce(max(whole), 0) / 60 AS peak_per_second, coalesce(max(most), 0) / 60 AS worker_peak_per_second
FROM (
    SELECT sum(requests) AS whole, max(requests) AS most
    FROM (
        SELECT date_trunc('minute', wall) AS minute, worker, sum(weight) AS requests
        FROM {rows} WHERE role = 'answer' GROUP BY ALL
    )
    GROUP BY minute
)
"""
_HOURS = """
SELECT date_trunc('hour', "at") AS hour, sum(weight) AS requests
FROM seen WHERE role = 'answer' GROUP BY hour ORDER BY hour
"""
_ASKED = """
CREATE TABLE asked AS
SELECT
    md5_number_lower(flight_id) AS place, any_value(timezone($zone, sched_dep)::DATE) AS day,
    max(sched_dep) < $due AS due, max("at") >= $first AS seen, sum(weight) AS requests
FROM log WHERE role = 'answer' GROUP BY place
"""
_DAYS = "SELECT day, count(*) AS asked, sum(requests) AS requests FROM asked WHERE due GROUP BY day"
_SCHEDULED = "SELECT local_date, count(*) AS scheduled FROM schedule WHERE sched_dep < $due GROUP BY local_date"
_SILENCE = """
SELECT count(*) AS due, count(DISTINCT date_trunc('hour', sched_dep - to_microseconds($horizon))) AS hours
FROM schedule WHERE sched_dep > $since AND sched_dep < $until
"""


def _counts(con: duckdb.DuckDBPyConnection, recent: datetime) -> dict[str, Any]:
    con.view("seen").filter(f'"at" >= {_instant(recent)}').create_view("recent")
    versions = _all(con, _BY_VERSION)
    return {
        **_answers(con, "seen"),
        "recent": _answers(con, "recent"),
        **_one(con, _FLIGHTS),
        "by_version": {str(row.pop("version")): row for row in versions},
        "hours": [{"hour": iso(row["hour"]), "requests": row["requests"]} for row in _all(con, _HOURS)],
    }


def _answers(con: duckdb.DuckDBPyConnection, rows: str) -> dict[str, Any]:
    found = _one(con, _COUNTS.format(rows=rows))
    latency = {"p50": found.pop("p50"), "p99": found.pop("p99")}
    times = {
        name: None if found[name] is None else found[name].astimezone(UTC).isoformat() for name in ("first", "last")
    }
    return {**found, **times, "latency_ms": latency, **_one(con, _PEAK.format(rows=rows))}


def _days(con: duckdb.DuckDBPyConnection, spec: ModelSpec, first: datetime, last: datetime) -> list[dict[str, Any]]:
    due = last + spec.horizon
    scheduled = {row["local_date"]: row["scheduled"] for row in _all(con, _SCHEDULED, due=due)}
    asked = {str(row.pop("day")): row for row in _all(con, _DAYS)}
    begin, end = _local(first) - timedelta(days=USUAL), _local(due - timedelta(microseconds=1))
    days = [str(begin + timedelta(days=n)) for n in range((end - begin).days + 1)]
    none = {"asked": 0, "requests": 0.0}
    return [{"day": d, "scheduled": scheduled.get(d, 0), **asked.get(d, none)} for d in days]


def _silence(con: duckdb.DuckDBPyConnection, spec: ModelSpec, since: datetime, last: datetime) -> dict[str, Any]:
    horizon = spec.horizon // timedelta(microseconds=1)
    span = {"since": since + spec.horizon, "until": last + spec.horizon}
    return {"since": since.isoformat(), **_one(con, _SILENCE, horizon=horizon, **span)}


def _all(con: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> list[dict[str, Any]]:
    return con.sql(sql, params=values).to_arrow_table().to_pylist()


def _one(con: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> dict[str, Any]:
    (row,) = _all(con, sql, **values)
    return row


# -- rows --------------------------------------------------------------------------------------------------------------
_BOUND = "SELECT max(place) AS bound FROM (SELECT place FROM asked WHERE seen ORDER BY place LIMIT $rows)"
_STAND = """
CREATE TABLE standing AS
WITH
    answers AS (
        SELECT flight_id, prediction_id, "at", wall, error IS NULL AND coalesce(NOT isnan(probability), false) AS good
        FROM taken WHERE role = 'answer'
    ),
    latest AS (
        SELECT flight_id, max(good) AS good, coalesce(max("at") FILTER (good), max("at")) AS "at"
        FROM answers GROUP BY flight_id
    )
SELECT flight_id, max(struct_pack(wall := wall, id := prediction_id)).id AS prediction_id
FROM answers JOIN latest USING (flight_id, good, "at") GROUP BY flight_id
"""
_SCORES = """
CREATE TABLE own AS
SELECT prediction_id, max(probability) AS own
FROM seen SEMI JOIN standing USING (prediction_id)
WHERE version = $version AND error IS NULL AND NOT isnan(probability)
GROUP BY prediction_id
"""
_LABELS = """
CREATE TABLE labels AS SELECT flight_id, not_on_time FROM outcome SEMI JOIN standing USING (flight_id)
"""
_ROWS = """
SELECT
    * EXCLUDE (probability, stale, given, own, "at"),
    "at" AS event_timestamp,
    strftime(timezone($zone, sched_dep), '%Y-%m-%d') AS local_date,
    hour(timezone($zone, sched_dep)) AS local_hour,
    sched_dep <= $ripe AS mature,
    own AS probability,
    CASE WHEN error IS NULL AND NOT isnan(probability) THEN probability END AS answered,
    version AS answered_version,
    coalesce(stale <> '', false) AS stale,
    coalesce(given, false) AS given
FROM (SELECT * FROM seen SEMI JOIN standing USING (prediction_id) WHERE role = 'answer')
LEFT JOIN own USING (prediction_id)
LEFT JOIN labels USING (flight_id)
"""
_SPAN = "SELECT min(sched_dep) AS first, max(sched_dep) AS last FROM seen SEMI JOIN standing USING (prediction_id)"


def _stand(con: duckdb.DuckDBPyConnection, flights: int, rows: int) -> None:
    """Table `standing`: which answer stands for each flight, of at most `rows` flights."""
    bound = _one(con, _BOUND, rows=rows)["bound"] if flights > rows else None
    seen = con.view("seen")
    (seen if bound is None else seen.filter(f"md5_number_lower(flight_id) <= {bound}")).create_view("taken")
    con.execute(_STAND)


def _rows(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    spec: ModelSpec,
    version: int,
    versions: dict[str, int],
    now: datetime,
) -> pa.Table:
    span = _one(con, _SPAN)
    days = None if span["first"] is None else (day(span["first"]), day(span["last"]))
    found = [] if days is None else lake.files(settings.lake, OUTCOME, days, versions[OUTCOME.name])
    _view(con, OUTCOME.name, OUTCOME, found, f"known_at <= {_instant(now)}")
    con.execute(_LABELS)
    con.execute(_SCORES, {"version": version})
    made = con.sql(_ROWS, params={"zone": ZONE, "ripe": now - spec.label_maturity}).to_arrow_table()
    schema = pa.schema([*COLUMNS, *((name, pa.float32()) for name in spec.features)])
    made = _once(made.select(schema.names).cast(schema))
    return made.sort_by([("sched_dep", "ascending"), (ENTITY, "ascending")]).combine_chunks()


def _once(rows: pa.Table) -> pa.Table:
    """Each flight once. More of them: its answer was logged twice, with one prediction_id."""
    repeated = rows[ENTITY].to_pandas().duplicated().to_numpy()
    return rows.filter(pa.array(~repeated)) if repeated.any() else rows
