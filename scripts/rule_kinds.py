"""The kinds of rules that suites are made of. Each has a name, a severity, a scope and a reason."""

from __future__ import annotations

from typing import Any

import great_expectations.expectations as gxe

CRITICAL, WARNING, INFO = "critical", "warning", "info"


def rule(name: str, severity: str, scope: str, reason: str, kind: type, **kwargs: Any) -> gxe.Expectation:
    return kind(**kwargs, severity=severity, notes=reason, meta={"rule": name, "scope": scope})


def between(
    name: str, severity: str, column: str, low: Any, high: Any, reason: str, scope: str = "row"
) -> gxe.Expectation:
    kind = gxe.ExpectColumnValuesToBeBetween
    return rule(name, severity, scope, reason, kind, column=column, min_value=low, max_value=high)


def true(name: str, severity: str, reason: str, scope: str = "row") -> gxe.Expectation:
    """A yes-or-no column of the validation frame that has the rule's own name."""
    return rule(name, severity, scope, reason, gxe.ExpectColumnValuesToBeInSet, column=name, value_set=[True])


def present(column: str, severity: str, reason: str, mostly: float = 1.0, scope: str = "row") -> gxe.Expectation:
    kind = gxe.ExpectColumnValuesToNotBeNull
    return rule(f"{column}_present", severity, scope, reason, kind, column=column, mostly=mostly)


def share(name: str, column: str, least: float, reason: str) -> gxe.Expectation:
    """At least this share of the rows has a value."""
    kind = gxe.ExpectColumnProportionOfNonNullValuesToBeBetween
    return rule(name, WARNING, "batch", reason, kind, column=column, min_value=least)


def one_of(name: str, severity: str, column: str, values: tuple[str, ...], reason: str) -> gxe.Expectation:
    kind = gxe.ExpectColumnValuesToBeInSet
    return rule(name, severity, "row", reason, kind, column=column, value_set=list(values))


def not_one_of(name: str, severity: str, column: str, values: list[Any], reason: str) -> gxe.Expectation:
    kind = gxe.ExpectColumnValuesToNotBeInSet
    return rule(name, severity, "row", reason, kind, column=column, value_set=values)


def matches(name: str, severity: str, column: str, regex: str, reason: str) -> gxe.Expectation:
    return rule(name, severity, "row", reason, gxe.ExpectColumnValuesToMatchRegex, column=column, regex=regex)
