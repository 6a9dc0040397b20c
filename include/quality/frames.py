"""Validation frames: a feed's rows with the columns that a rule needs and no feed delivers. Pure pandas.

GX compares columns with values; what compares two columns, two rows or two feeds is computed here, so that each rule
stays one line of a suite. A column whose inputs are missing or of another type is left out: then the rules on those
inputs fail anyhow, and the rules on the column fail with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from include.contracts import DAY, KNOWN_AT, RAW_MOVEMENTS, RAW_SCHEDULE, RAW_WEATHER, Table

ROW = "_row"  # position in the frame: how a failed expectation names its rows
ZONE = "America/New_York"
_DTYPES = {"string": "object", "int64": "Int64", "float64": "float64", "timestamp": "datetime64[us, UTC]"}
_DAY_MINUTES = 1440


@dataclass(frozen=True)
class Context:
    """What the rows are judged against: the days asked for, the as-of, and the schedule's rows of those days."""

    days: tuple[str, ...]
    as_of: datetime
    published: pd.DataFrame

    @property
    def schedule_is_sound(self) -> bool:
        return {"flight_id", "sched_dep", "sched_arr"} <= sound(RAW_SCHEDULE, self.published)


Derive = Callable[[pd.DataFrame, Context], pd.Series]


def to_pandas(rows: pa.Table) -> pd.DataFrame:
    """Arrow to pandas, with whole numbers staying whole where some are missing."""
    return rows.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


def build(table: Table, rows: pd.DataFrame, context: Context) -> pd.DataFrame:
    """The rows with `_row` and every column of DERIVED that can be computed from them."""
    usable = sound(table, rows)
    added: dict[str, pd.Series] = {ROW: pd.Series(np.arange(len(rows)), index=rows.index)}
    added["no_new_columns"] = pd.Series(set(rows.columns) <= set(table.columns), index=rows.index)
    if set(table.key) <= usable:
        added["not_repeated"] = ~rows.duplicated()
        added["not_contradicted"] = _agree(rows, list(table.key))
    for name, (inputs, derive) in DERIVED[table.name].items():
        if set(inputs.split()) <= usable and (name not in _NEED_SCHEDULE or context.schedule_is_sound):
            added[name] = derive(rows, context)
    return rows.assign(**added)


def sound(table: Table, rows: pd.DataFrame) -> set[str]:
    """The columns that are there and of their type."""
    return {c for c, kind in table.columns.items() if c in rows and str(rows[c].dtype) == _DTYPES[kind]}


def _agree(rows: pd.DataFrame, keys: list[str]) -> pd.Series:
    """Do all rows of this row's key say the same?"""
    distinct = rows.drop_duplicates()
    argued = pd.MultiIndex.from_frame(distinct.loc[distinct.duplicated(keys), keys])
    return pd.Series(~pd.MultiIndex.from_frame(rows[keys]).isin(argued), index=rows.index)


def minutes_of(hhmm: pd.Series) -> pd.Series:
    value = hhmm.astype("float64")
    return value // 100 * 60 + value % 100


def _minutes(later: pd.Series, earlier: pd.Series) -> pd.Series:
    return (later - earlier).dt.total_seconds() / 60


def _missing_or(given: pd.Series, holds: pd.Series) -> pd.Series:
    return given.isna() | holds.astype("boolean").fillna(False).astype(bool)


def _is_clock(hhmm: pd.Series) -> pd.Series:
    value = hhmm.astype("float64")
    return _missing_or(value, (value >= 1) & (value <= 2400) & (value % 100 < 60) & (value % 1 == 0))


def _identity(rows: pd.DataFrame, planned: str, delay: str, actual: str) -> pd.Series:
    """planned + delay - actual in minutes, the nearest way round the clock; null where one is missing."""
    off = minutes_of(rows[planned]) + rows[delay] - minutes_of(rows[actual])
    return (off + _DAY_MINUTES / 2) % _DAY_MINUTES - _DAY_MINUTES / 2


def _sched_dep_agrees(rows: pd.DataFrame, _: Context) -> pd.Series:
    local = rows["sched_dep"].dt.tz_convert(ZONE)
    minute = local.dt.hour * 60 + local.dt.minute
    date = rows["year"] * 10_000 + rows["month"] * 100 + rows["day"]
    same_day = (local.dt.year * 10_000 + local.dt.month * 100 + local.dt.day) == date.astype("float64")
    return same_day & (minute == minutes_of(rows["sched_dep_time"]))


def _known_by(rows: pd.DataFrame, context: Context) -> pd.Series:
    return _missing_or(rows[KNOWN_AT], rows[KNOWN_AT] <= pd.Timestamp(context.as_of))


def _day_agrees(column: str) -> tuple[str, Derive]:
    def derive(rows: pd.DataFrame, _: Context) -> pd.Series:
        return _missing_or(rows[column], rows[DAY] == _dates(rows[column]))

    return f"{DAY} {column}", derive


def _dates(times: pd.Series) -> pd.Series:
    days = times.dt.floor("D")
    return days.map({d: d.strftime("%Y-%m-%d") for d in days.dropna().unique()})


def _from_median(rows: pd.DataFrame, by: list[str], column: str, least: int) -> pd.Series:
    """Distance from the median of the rows that share `by`; null where they are fewer than `least`."""
    groups = rows.groupby(by)[column]
    return (rows[column] - groups.transform("median")).abs().where(groups.transform("count") >= least)


def _matches_published(rows: pd.DataFrame, context: Context) -> pd.Series:
    """Where the schedule knows the flight, are its scheduled instants the movement's?"""
    published = context.published.drop_duplicates("flight_id").set_index("flight_id")
    known = rows["flight_id"].isin(published.index)
    same = pd.Series(True, index=rows.index)
    for column in ("sched_dep", "sched_arr"):
        same &= rows["flight_id"].map(published[column]) == rows[column]
    return ~known | same


def _arrived(rows: pd.DataFrame) -> pd.Series:
    return rows["sched_arr"] + pd.to_timedelta(rows["arr_delay"], unit="min")


def _departed(rows: pd.DataFrame) -> pd.Series:
    return rows["sched_dep"] + pd.to_timedelta(rows["dep_delay"], unit="min")


def _arrival_follows(rows: pd.DataFrame, _: Context) -> pd.Series:
    left = rows["arr_time"].isna() | rows["dep_time"].notna()
    return left & _missing_or(rows["arr_delay"], (_arrived(rows) > _departed(rows)) | rows["dep_delay"].isna())


def _tail_once_an_hour(rows: pd.DataFrame, _: Context) -> pd.Series:
    """Did this plane leave New York less than an hour before?"""
    flown = rows.assign(left=_departed(rows)).dropna(subset=["left", "tailnum"]).sort_values(["tailnum", "left"])
    again = (flown["tailnum"] == flown["tailnum"].shift()) & (flown["left"].diff() < pd.Timedelta(hours=1))
    return ~again.reindex(rows.index, fill_value=False)


def _humid_error(rows: pd.DataFrame, _: Context) -> pd.Series:
    """|humidity - what temperature and dew point imply|, by the Magnus formula (17.625, 243.04 °C)."""
    warm, dew = (rows["temp"] - 32) / 1.8, (rows["dewp"] - 32) / 1.8
    implied = 100 * np.exp(17.625 * dew / (243.04 + dew) - 17.625 * warm / (243.04 + warm))
    return (rows["humid"] - implied).abs()


_NEED_SCHEDULE = {"in_schedule", "schedule_agrees"}
_IN_DAYS: tuple[str, Derive] = (DAY, lambda rows, context: rows[DAY].isin(list(context.days)))
_COMMON: dict[str, tuple[str, Derive]] = {"in_days_asked": _IN_DAYS, "known_by_as_of": (KNOWN_AT, _known_by)}

# column -> the delivered columns that it needs, how it is computed
DERIVED: dict[str, dict[str, tuple[str, Derive]]] = {
    RAW_SCHEDULE.name: {
        **_COMMON,
        "day_agrees": _day_agrees("sched_dep"),
        "leaves_elsewhere": ("origin dest", lambda r, _: r["origin"] != r["dest"]),
        "distance_of_route": (
            "origin dest distance",
            lambda r, _: ~(_from_median(r, ["origin", "dest"], "distance", 3) > 5),
        ),
        "sched_dep_is_clock": ("sched_dep_time", lambda r, _: _is_clock(r["sched_dep_time"])),
        "sched_arr_is_clock": ("sched_arr_time", lambda r, _: _is_clock(r["sched_arr_time"])),
        "sched_dep_agrees": ("year month day sched_dep_time sched_dep", _sched_dep_agrees),
        "sched_arr_agrees": (
            "sched_arr sched_arr_time",
            lambda r, _: r["sched_arr"].dt.minute == minutes_of(r["sched_arr_time"]) % 60,
        ),
        "time_hour_agrees": ("time_hour sched_dep", lambda r, _: r["time_hour"] == r["sched_dep"].dt.floor("h")),
        "published_before_departure": ("known_at sched_dep", lambda r, _: r[KNOWN_AT] < r["sched_dep"]),
        "block_minutes": ("sched_arr sched_dep", lambda r, _: _minutes(r["sched_arr"], r["sched_dep"])),
        "scheduled_mph": (
            "sched_arr sched_dep distance",
            lambda r, _: r["distance"] / _minutes(r["sched_arr"], r["sched_dep"]).where(lambda m: m > 0) * 60,
        ),
    },
    RAW_MOVEMENTS.name: {
        **_COMMON,
        "day_agrees": _day_agrees("sched_dep"),
        "in_schedule": ("flight_id", lambda r, c: r["flight_id"].isin(c.published["flight_id"])),
        "schedule_agrees": ("flight_id sched_dep sched_arr", _matches_published),
        "dep_time_is_clock": ("dep_time", lambda r, _: _is_clock(r["dep_time"])),
        "arr_time_is_clock": ("arr_time", lambda r, _: _is_clock(r["arr_time"])),
        "dep_identity_minutes": (
            "sched_dep_time dep_delay dep_time",
            lambda r, _: _identity(r, "sched_dep_time", "dep_delay", "dep_time"),
        ),
        "arr_identity_minutes": (
            "sched_arr_time arr_delay arr_time",
            lambda r, _: _identity(r, "sched_arr_time", "arr_delay", "arr_time"),
        ),
        "departure_complete": ("dep_time dep_delay", lambda r, _: r["dep_time"].isna() == r["dep_delay"].isna()),
        "arrival_after_departure": ("arr_time dep_time arr_delay dep_delay sched_arr sched_dep", _arrival_follows),
        "arrival_complete": (
            "arr_time arr_delay air_time",
            lambda r, _: (
                (r["arr_delay"].isna() == r["air_time"].isna()) & (r["arr_delay"].isna() | r["arr_time"].notna())
            ),
        ),
        "arrival_recorded": (
            "sched_arr dep_time arr_delay",
            lambda r, c: (
                r["arr_delay"].notna()
                | r["dep_time"].isna()
                | (r["sched_arr"] > pd.Timestamp(c.as_of) - pd.Timedelta(days=1))
            ),
        ),
        "mph": ("distance air_time", lambda r, _: r["distance"] / r["air_time"].where(r["air_time"] > 0) * 60),
        "ground_minutes": (
            "sched_dep dep_delay sched_arr arr_delay air_time",
            lambda r, _: _minutes(_arrived(r), _departed(r)) - r["air_time"],
        ),
        "tailnum_of_departed": ("tailnum dep_time", lambda r, _: r["tailnum"].notna() | r["dep_time"].isna()),
        "tail_once_an_hour": ("tailnum sched_dep dep_delay", _tail_once_an_hour),
    },
    RAW_WEATHER.name: {
        **_COMMON,
        "day_agrees": _day_agrees("observed_at"),
        "on_the_hour": ("observed_at", lambda r, _: r["observed_at"] == r["observed_at"].dt.floor("h")),
        "known_an_hour_later": (
            "observed_at known_at",
            lambda r, _: r[KNOWN_AT] == r["observed_at"] + pd.Timedelta(hours=1),
        ),
        "dewp_below_temp": ("temp dewp", lambda r, _: ~(r["dewp"] > r["temp"])),
        "gust_above_wind": ("wind_gust wind_speed", lambda r, _: ~(r["wind_gust"] < r["wind_speed"])),
        "temp_apart": ("observed_at temp", lambda r, _: _from_median(r, ["observed_at"], "temp", 3)),
        "dewp_apart": ("observed_at dewp", lambda r, _: _from_median(r, ["observed_at"], "dewp", 3)),
        "pressure_apart": ("observed_at pressure", lambda r, _: _from_median(r, ["observed_at"], "pressure", 3)),
        "humid_error": ("temp dewp humid", _humid_error),
        "calm_has_no_direction": (
            "wind_dir wind_speed",
            lambda r, _: ~((r["wind_dir"] == 0) & (r["wind_speed"] > 0)),
        ),
    },
}
