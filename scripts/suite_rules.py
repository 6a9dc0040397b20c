"""What each suite of Great Expectations says: a rule's name, its severity, its reason and the expectation.

`scope` batch: the feed as a whole is broken, and critical stops the run. `scope` row: critical puts the row into
quarantine; warning and info are counted and shown. Columns that no feed delivers (`dep_identity_minutes`, `mph` …)
are computed on the validation frame first, see include/quality/frames.py, so that a suite stays a list of facts.
"""

from __future__ import annotations

from typing import Any

import great_expectations.expectations as gxe

from include.contracts import CARRIERS, FEATURES, FRAME_IDENTITY, ORIGINS, TARGET
from scripts.feed_rules import raw_movements, raw_schedule, raw_weather
from scripts.rule_kinds import CRITICAL, WARNING, between, one_of, present, rule, true


def feed_volume() -> list[Any]:
    """On a frame of one row a UTC day: what came, against what the published schedule says must have come."""
    return [
        between(
            "schedule_published",
            CRITICAL,
            "flights_published",
            1,
            None,
            "A day that must have been published (two days ahead) has no flight at all.",
            "batch",
        ),
        true(
            "movements_arrive",
            CRITICAL,
            "The published schedule has flights 15 minutes past their time, and not one moved "
            "or was called late: the feed is dead.",
            "batch",
        ),
        between(
            "movements_complete",
            CRITICAL,
            "movements_share",
            0.6,
            1.0,
            "Share of the flights 15 minutes past their time that the movements know (days with 10 or more). It is 1 "
            "in a sound feed; training on half of the flights would learn who reports, not who is late.",
            "batch",
        ),
        between(
            "movements_nearly_complete", WARNING, "movements_share", 0.98, None, "A few are missing: look why.", "batch"
        ),
        between(
            "flights_a_day",
            CRITICAL,
            "local_day_flights",
            510,
            1300,
            "Flights of a whole day in New York, 634 to 1,014 in 2013; half of any of them lies below.",
            "batch",
        ),
        between(
            "flights_a_usual_day", WARNING, "local_day_flights", 600, 1050, "Outside of what 2013 has seen.", "batch"
        ),
        between(
            "weather_arrives",
            WARNING,
            "weather_share",
            0.9,
            None,
            "Share of the hours whose observation is due. Some are missing, none come after 30 December: features "
            "fall back and then say so by null, so flights go on.",
            "batch",
        ),
        between(
            "cancelled_share",
            WARNING,
            "cancelled_share",
            None,
            0.3,
            "Share of the flights six hours past their time that never left. A blizzard does this (8-9 February), or a "
            "feed that lost its departures.",
            "batch",
        ),
    ]


def training_frame() -> list[Any]:
    rows = [
        rule(
            "rows_enough",
            CRITICAL,
            "batch",
            "Fewer rows cannot hold a holdout of seven days.",
            gxe.ExpectTableRowCountToBeBetween,
            min_value=1000,
        ),
        rule(
            "flights_once",
            CRITICAL,
            "batch",
            "A join that doubles flights would weigh some of them twice.",
            gxe.ExpectColumnValuesToBeUnique,
            column="flight_id",
        ),
        rule(
            "both_classes",
            CRITICAL,
            "batch",
            "Of one class there is nothing to learn.",
            gxe.ExpectColumnDistinctValuesToEqualSet,
            column=TARGET,
            value_set=[0, 1],
        ),
        rule(
            "base_rate_possible",
            CRITICAL,
            "batch",
            "26.6 % in 2013; far off, the label is broken.",
            gxe.ExpectColumnMeanToBeBetween,
            column=TARGET,
            min_value=0.03,
            max_value=0.7,
        ),
        rule(
            "base_rate_usual",
            WARNING,
            "batch",
            "26.6 % in 2013; weeks of 2013 lie inside.",
            gxe.ExpectColumnMeanToBeBetween,
            column=TARGET,
            min_value=0.12,
            max_value=0.45,
        ),
        true(
            "as_of_before_departure",
            CRITICAL,
            "A prediction made after the departure is none: its features leak.",
            "batch",
        ),
        one_of("origin_known", WARNING, "origin", ORIGINS, "Its code is -1 otherwise."),
        one_of("carrier_known", WARNING, "carrier", CARRIERS, "Its code is -1 otherwise."),
    ]
    rows += [present(c, CRITICAL, f"{c} tells the row, its slice or its label.", scope="batch") for c in FRAME_IDENTITY]
    for name, feature in FEATURES.items():
        why = "Features are float32 from frame to request; another type would be another number when served."
        rows.append(
            rule(f"{name}_type", CRITICAL, "batch", why, gxe.ExpectColumnTypeToBe, column=name, type_="float32")
        )
        why = "What is physically possible, and what a request may hold; see the contracts."
        rows.append(between(f"{name}_bounds", CRITICAL, name, feature.low, feature.high, why, "batch"))
        if feature.nullable:
            why = "Null means that nothing happened in the window; mostly null means that the feed behind it is lost."
            rows.append(present(name, WARNING, why, mostly=0.5, scope="batch"))
        else:
            why = "This feature has a value for every flight; null means a join that missed."
            rows.append(present(name, CRITICAL, why, scope="batch"))
    return rows


SUITES = {
    "raw_schedule": raw_schedule,
    "raw_movements": raw_movements,
    "raw_weather": raw_weather,
    "feed_volume": feed_volume,
    "training_frame": training_frame,
}
