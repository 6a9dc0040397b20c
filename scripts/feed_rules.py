"""The rules of the raw feeds, from the defects and identities of the real data. See suite_rules.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import great_expectations.expectations as gxe

from include.contracts import CARRIERS, ORIGINS, RAW_MOVEMENTS, RAW_SCHEDULE, RAW_WEATHER, Table
from scripts.rule_kinds import CRITICAL, INFO, WARNING, between, matches, not_one_of, one_of, present, rule, share, true

_DTYPES = {"string": "object", "int64": "Int64", "float64": "float64", "timestamp": "datetime64[us, UTC]"}


def _feed(table: Table) -> Iterator[Any]:
    """What every feed must be: its columns, their types, rows that can be told apart and belong to the days asked."""
    why = "Without them the facts cannot be made; a feed that lost a column must not empty what is served."
    columns = list(table.columns)
    whole = gxe.ExpectTableColumnsToMatchSet
    yield rule("columns_present", CRITICAL, "batch", why, whole, column_set=columns, exact_match=False)
    for column, kind in table.columns.items():
        why = f"{column} is read as {kind}; another type means that the feed has changed its format."
        yield rule(
            f"{column}_type", CRITICAL, "batch", why, gxe.ExpectColumnTypeToBe, column=column, type_=_DTYPES[kind]
        )
    why = "A new column is no harm, but somebody changed the feed and should say what else changed."
    yield true("no_new_columns", WARNING, why, "batch")
    for key in (*table.key, "known_at"):
        yield present(key, CRITICAL, f"{key} says which row this is and when it was known; without it no join is safe.")
    yield true(
        "in_days_asked", CRITICAL, "A row of another day than those asked for would overwrite nothing or too much."
    )
    yield true("not_repeated", CRITICAL, "The same row twice would count a flight or an hour twice; the first is kept.")
    yield true(
        "not_contradicted", CRITICAL, "Two rows of one key that differ: nobody can say which is true, so neither is."
    )
    yield true("known_by_as_of", CRITICAL, "A row from after the as-of is the future: training on it would leak.")


def raw_schedule() -> list[Any]:
    return [
        *_feed(RAW_SCHEDULE),
        one_of(
            "origin_known", CRITICAL, "origin", ORIGINS, "The three airports of New York are all that this feed covers."
        ),
        one_of(
            "carrier_known",
            WARNING,
            "carrier",
            CARRIERS,
            "A new carrier is possible; its code is -1 until it is appended to the contracts.",
        ),
        matches("carrier_code", CRITICAL, "carrier", r"^[A-Z0-9]{2}$", "Carriers have codes of two characters (IATA)."),
        matches("dest_code", CRITICAL, "dest", r"^[A-Z]{3}$", "Airports have codes of three letters (IATA)."),
        not_one_of(
            "dest_in_airports",
            INFO,
            "dest",
            ["BQN", "PSE", "SJU", "STT"],
            "In no airport list of the source (7,602 flights of 2013): their time zones are kept by hand.",
        ),
        between("flight_number", WARNING, "flight", 1, 9999, "Flight numbers have at most four digits."),
        true("leaves_elsewhere", CRITICAL, "A flight that ends where it begins is no flight."),
        between(
            "distance_possible",
            CRITICAL,
            "distance",
            50,
            6000,
            "Miles, 80 to 4,983 in 2013, but for one row: EWR to LGA, 17 miles, at 1:06 in the night; it never left.",
        ),
        true(
            "distance_of_route",
            WARNING,
            "A route has one length. Within 5 miles of the batch's median: EGE is written with two, a mile apart.",
        ),
        true("sched_dep_is_clock", CRITICAL, "hhmm from 1 to 2400 with minutes below 60; else it is no time of day."),
        true("sched_arr_is_clock", CRITICAL, "hhmm from 1 to 2400 with minutes below 60; else it is no time of day."),
        true(
            "sched_dep_agrees",
            CRITICAL,
            "year, month, day and hhmm, read in New York, are the instant of departure: as-of and day hang on it.",
        ),
        true(
            "sched_arr_agrees",
            CRITICAL,
            "The minute of sched_arr_time is that of the instant: zones of the United States are whole hours apart.",
        ),
        true("time_hour_agrees", CRITICAL, "time_hour is the departure's hour in UTC, the join to the weather."),
        true(
            "day_agrees",
            CRITICAL,
            "A row lies in the partition of its own departure, or a rewrite of the day loses it.",
        ),
        true("published_before_departure", CRITICAL, "A schedule that is known after the departure is not a schedule."),
        between(
            "block_minutes_possible",
            CRITICAL,
            "block_minutes",
            20,
            900,
            "Scheduled minutes from gate to gate, 50 to 700 in 2013. A wrong time zone or day shows here.",
        ),
        between(
            "scheduled_mph_possible",
            CRITICAL,
            "scheduled_mph",
            None,
            600,
            "No airliner is scheduled faster, gate to gate. This rule found seven flights in the night of 3 November "
            "whose arrival had been placed an hour early across the change of clocks.",
        ),
        between(
            "scheduled_mph_slow", WARNING, "scheduled_mph", 40, None, "Slower than 40 mph is no flight that sells."
        ),
        rule(
            "number_once_a_day",
            INFO,
            "row",
            "24 flight numbers of 2013 leave twice a day, from two airports.",
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=["year", "month", "day", "carrier", "flight"],
        ),
    ]


def raw_movements() -> list[Any]:
    return [
        *_feed(RAW_MOVEMENTS),
        true(
            "in_schedule",
            CRITICAL,
            "A movement of a flight that nobody published cannot be placed: no origin, no carrier.",
        ),
        true(
            "schedule_agrees",
            CRITICAL,
            "The movement's scheduled times are those published, or its delay means nothing.",
        ),
        true(
            "day_agrees",
            CRITICAL,
            "A row lies in the partition of its own departure, or a rewrite of the day loses it.",
        ),
        true("dep_time_is_clock", CRITICAL, "hhmm from 1 to 2400 with minutes below 60; else it is no time of day."),
        true("arr_time_is_clock", CRITICAL, "hhmm from 1 to 2400 with minutes below 60; else it is no time of day."),
        not_one_of("dep_time_2400", INFO, "dep_time", [2400.0], "Midnight is written 2400 here (29 of 2013), not 0."),
        not_one_of("arr_time_2400", INFO, "arr_time", [2400.0], "Midnight is written 2400 here (150 of 2013), not 0."),
        between(
            "dep_identity",
            CRITICAL,
            "dep_identity_minutes",
            0,
            0,
            "Scheduled departure + delay = departure, modulo 24 h, on every row of 2013: else one of them is wrong.",
        ),
        between(
            "arr_identity",
            CRITICAL,
            "arr_identity_minutes",
            0,
            0,
            "Scheduled arrival + delay = arrival, modulo 24 h, on every row of 2013: else one of them is wrong.",
        ),
        true(
            "departure_complete", CRITICAL, "Departure time and delay are recorded together or not at all (cancelled)."
        ),
        true("arrival_after_departure", CRITICAL, "What has not left cannot have landed, nor landed before it left."),
        true("arrival_complete", CRITICAL, "An arrival's delay comes with its time and its air time, or not at all."),
        true(
            "arrival_recorded",
            INFO,
            "A day after its time a flight that left should be back: 1,175 of 2013 were diverted or not recorded.",
        ),
        between("dep_delay_possible", CRITICAL, "dep_delay", -120, 1500, "Minutes; -43 to 1,301 in 2013."),
        between(
            "dep_delay_early",
            WARNING,
            "dep_delay",
            -30,
            None,
            "Three flights of 2013 left more than half an hour early.",
        ),
        between("dep_delay_long", INFO, "dep_delay", None, 720, "29 flights of 2013 left more than 12 hours late."),
        between("arr_delay_possible", CRITICAL, "arr_delay", -180, 1500, "Minutes; -86 to 1,272 in 2013."),
        between("air_time_possible", CRITICAL, "air_time", 15, 720, "Minutes; 20 to 695 in 2013."),
        between(
            "mph_possible",
            CRITICAL,
            "mph",
            None,
            650,
            "No airliner makes 650 mph from take-off to landing: two of 2013 do (703 and 650.3), so their air time is "
            "wrong.",
        ),
        between(
            "mph_slow", WARNING, "mph", 70, None, "Slower than 70 mph an airliner falls; the slowest of 2013 was 77."
        ),
        between("distance_possible", CRITICAL, "distance", 50, 6000, "See the schedule's rule of this name."),
        between(
            "ground_minutes_possible",
            CRITICAL,
            "ground_minutes",
            0,
            None,
            "Minutes from gate to gate that were not in the air; below zero the flight was longer in the air "
            "than under way. This rule, too, found the night of 3 November.",
        ),
        between(
            "ground_minutes_long",
            INFO,
            "ground_minutes",
            None,
            180,
            "United States rules fine an airline for more than three hours on the tarmac.",
        ),
        matches(
            "tailnum_form",
            WARNING,
            "tailnum",
            r"^N[0-9A-Z]{1,5}$",
            "American tail numbers begin with N; D942DN (4 of 2013) was N942DN mistyped.",
        ),
        true(
            "tailnum_of_departed",
            WARNING,
            "A plane that left has a number. (None is missing but of cancelled flights.)",
        ),
        true(
            "tail_once_an_hour",
            INFO,
            "One plane leaving New York twice within an hour: 39 times in 2013, so tail numbers err.",
        ),
    ]


def raw_weather() -> list[Any]:
    observed = {"temp": "°F", "dewp": "°F", "humid": "%", "wind_speed": "mph", "precip": "inches", "visib": "miles"}
    return [
        *_feed(RAW_WEATHER),
        one_of(
            "origin_known", CRITICAL, "origin", ORIGINS, "Weather is joined to the three airports of New York only."
        ),
        true("on_the_hour", CRITICAL, "Observations are keyed by the hour; another minute would never be found."),
        true("known_an_hour_later", CRITICAL, "The observation of hour H covers up to H:51 and comes at H + 1 h."),
        true("day_agrees", CRITICAL, "A row lies in the partition of its own hour, or a rewrite of the day loses it."),
        *(
            present(c, WARNING, f"{c} ({unit}) is missing on five rows of 2013; features fall back on earlier hours.")
            for c, unit in observed.items()
        ),
        share(
            "pressure_share", "pressure", 0.5, "Missing on 10 % of 2013's rows, in storms above all; half is too much."
        ),
        share(
            "gust_share", "wind_gust", 0.02, "On 20 % of 2013's rows, the others take the wind; never any is broken."
        ),
        present("wind_dir", INFO, "Variable wind has no direction (460 rows of 2013); no feature uses it."),
        between("temp_possible", CRITICAL, "temp", -60, 130, "°F. The United States' records lie inside."),
        between("dewp_possible", CRITICAL, "dewp", -80, 95, "°F. The world's records lie inside."),
        between("humid_possible", CRITICAL, "humid", 0, 100, "Relative humidity in per cent has no other values."),
        between("wind_dir_possible", WARNING, "wind_dir", 0, 360, "Degrees from north; no feature uses them."),
        between(
            "wind_possible",
            CRITICAL,
            "wind_speed",
            0,
            150,
            "mph. EWR, 12 February 2013, says 1,048: no wind on Earth reached half of it.",
        ),
        between("gust_possible", CRITICAL, "wind_gust", 0, 200, "mph. The strongest of 2013 was 67."),
        between("precip_possible", CRITICAL, "precip", 0, 12, "Inches in an hour; the world's record is 12."),
        between("pressure_possible", CRITICAL, "pressure", 900, 1085, "hPa; the world's records lie inside."),
        between("visib_possible", CRITICAL, "visib", 0, 10, "Miles; the instruments report 10 at most."),
        true("dewp_below_temp", CRITICAL, "Air cannot be cooler than its own dew point."),
        true("gust_above_wind", WARNING, "A gust is a peak: it cannot be below the mean it is a peak of."),
        between(
            "temp_of_neighbours",
            CRITICAL,
            "temp_apart",
            None,
            35,
            "°F from the median of the three airports in that hour; 22 was the most of any good row of 2013. JFK, "
            "9 May, 02Z, says 13.1: degrees Celsius in a column of Fahrenheit, and dew point too.",
        ),
        between(
            "dewp_of_neighbours",
            CRITICAL,
            "dewp_apart",
            None,
            35,
            "See temp_of_neighbours; 23 was the most of good rows.",
        ),
        between(
            "pressure_of_neighbours",
            WARNING,
            "pressure_apart",
            None,
            5,
            "hPa from the median of the three airports, 20 miles from each other; 2.3 was the most of 2013.",
        ),
        between(
            "humid_agrees",
            INFO,
            "humid_error",
            None,
            10,
            "Humidity follows from temperature and dew point (Magnus); 20 rows of 2013 mix reports of two moments.",
        ),
        true("calm_has_no_direction", INFO, "Direction 0 means calm: no wind, no direction."),
    ]
