"""Charts as Vega-Lite specs: plain dicts made of the page's values, drawn by console.js.

Colours are the page's own CSS variables, so that a chart follows dark and light without being drawn again. A width of
"container" is filled in by console.js, for Vega-Lite knows no such width for charts below one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from markupsafe import Markup

from include import pictures
from include.console.format import interval, number
from include.console.view import Day, Decision, Drift, Number

Spec = dict[str, Any]
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_FONT = "system-ui, sans-serif"
_SIDES = ("challenger", "champion", "naive")
# kind: shape and colour of its mark on the curve; what is none of them is a small circle
SHAPES: dict[str, tuple[str, str]] = {
    "champion": ("triangle-up", "var(--good)"),
    "promotion": ("triangle-up", "var(--good)"),
    "rollback": ("triangle-down", "var(--bad)"),
    "refused": ("cross", "var(--bad)"),
    "gate": ("circle", "var(--good)"),
    "rejected": ("cross", "var(--warn)"),
    "expired": ("cross", "var(--warn)"),
    "freeze": ("square", "var(--two)"),
    "thaw": ("square", "var(--three)"),
}


def mark(decision: Decision) -> tuple[str, str]:
    """Shape and colour of a decision, by kind; a refusal of the gate is told by its words."""
    kind = "refused" if decision.kind == "gate" and "refused" in decision.what else decision.kind
    return SHAPES.get(kind, ("circle", "var(--three)"))


# -- the curve ---------------------------------------------------------------------------------------------------------
def curve(days: Sequence[Day], marks: Sequence[Decision]) -> Spec:
    """Log loss over bias by day, with every decision as a rule through both."""
    rows = [_day(day) for day in days]
    told = [_decision(decision) for decision in marks]
    return _base() | {
        "datasets": {"days": rows, "marks": told, "starts": _starts(rows)},
        "vconcat": [_loss(), _bias()],
        "spacing": 14,
        "resolve": {"scale": {"x": "shared"}},
    }


def _day(day: Day) -> Spec:
    loss, bias = _parts(day.log_loss), _parts(day.bias)
    return {
        "day": f"{day.day}T12:00:00Z",  # the middle of the day: decisions stand where they fell within it
        "version": day.version,
        "loss": loss[0],
        "low": loss[1],
        "high": loss[2],
        "bias": bias[0],
        "bias_low": bias[1],
        "bias_high": bias[2],
        "daily": _finite(day.daily),
        "expected": _finite(day.estimated),
        "told_loss": _told(day.log_loss),
        "told_bias": _told(day.bias, sign=True),
        "told": f"version {day.version}, {day.flights:,} flights, {day.coverage:.0%} labelled",
    }


def _decision(decision: Decision) -> Spec:
    shape, colour = mark(decision)
    version = f"version {decision.version} " if decision.version is not None else ""
    return {
        "at": decision.as_of,
        "shape": shape,
        "colour": colour,
        "what": f"{version}{decision.what}",
        "by": decision.actor,
        "why": decision.reason,
    }


def _starts(rows: Sequence[Spec]) -> list[Spec]:
    """Where another version takes over."""
    found = [
        row
        for before, row in zip([None, *rows], rows, strict=False)
        if not before or before["version"] != row["version"]
    ]
    return [{"day": row["day"], "text": f"v{row['version']}"} for row in found]


def _loss() -> Spec:
    y = {"title": "log loss (nats)", "scale": {"zero": False, "nice": True}}
    return {
        "width": "container",
        "height": 230,
        "data": {"name": "days"},
        "encoding": {"x": _x(labels=False)},
        "layer": [
            _rules(),
            {
                "mark": {"type": "area", "color": "var(--one)", "opacity": 0.16, "interpolate": "monotone"},
                "encoding": {"y": _y("low", **y), "y2": {"field": "high"}, "detail": {"field": "version"}},
            },
            {
                "mark": {"type": "line", "color": "var(--two)", "strokeWidth": 1.5, "strokeDash": [4, 3]},
                "encoding": {"y": _y("expected", **y), "detail": {"field": "version"}},
            },
            {
                "mark": {"type": "point", "color": "var(--one)", "size": 14, "filled": True, "opacity": 0.55},
                "encoding": {"y": _y("daily", **y)},
            },
            {
                "mark": {"type": "line", "color": "var(--one)", "strokeWidth": 2.25, "interpolate": "monotone"},
                "encoding": {"y": _y("loss", **y), "detail": {"field": "version"}},
            },
            _names(),
            _hover("told_loss", "7-day log loss"),
            _symbols(),
        ],
    }


def _bias() -> Spec:
    y = {"title": "predicted − observed", "scale": {"zero": True, "nice": True}}
    return {
        "width": "container",
        "height": 110,
        "data": {"name": "days"},
        "encoding": {"x": _x(labels=True)},
        "layer": [
            _rules(),
            {
                "data": {"values": [{}]},
                "mark": {"type": "rule", "color": "var(--soft)", "strokeWidth": 1},
                "encoding": {"x": None, "y": {"datum": 0}},
            },
            {
                "mark": {"type": "area", "color": "var(--one)", "opacity": 0.16, "interpolate": "monotone"},
                "encoding": {"y": _y("bias_low", **y), "y2": {"field": "bias_high"}, "detail": {"field": "version"}},
            },
            {
                "mark": {"type": "line", "color": "var(--one)", "strokeWidth": 2.25, "interpolate": "monotone"},
                "encoding": {"y": _y("bias", **y), "detail": {"field": "version"}},
            },
            _hover("told_bias", "7-day predicted − observed", "bias_hover"),
        ],
    }


def _x(labels: bool) -> Spec:
    axis = {"title": "data time (UTC)" if labels else None, "labels": labels, "ticks": labels, "grid": False}
    return {
        "field": "day",
        "type": "temporal",
        "scale": {"type": "utc"},
        "axis": axis | {"labelOverlap": True, "tickCount": 8},
    }


def _y(field: str, title: str, scale: Spec) -> Spec:
    axis = {"minExtent": 46, "maxExtent": 46, "tickCount": 5}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _rules() -> Spec:
    return {
        "data": {"name": "marks"},
        "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.7, "strokeDash": [2, 2]},
        "encoding": {"x": {"field": "at", "type": "temporal"}, "color": _own("colour")},
    }


def _symbols() -> Spec:
    return {
        "data": {"name": "marks"},
        "mark": {
            "type": "point",
            "filled": True,
            "size": 110,
            "opacity": 1,
            "stroke": "var(--paper)",
            "strokeWidth": 1,
        },
        "encoding": {
            "x": {"field": "at", "type": "temporal"},
            "y": {"value": 6},
            "shape": _own("shape"),
            "color": _own("colour"),
            "tooltip": [
                {"field": "what", "title": "Decision"},
                {"field": "by", "title": "By"},
                {"field": "at", "type": "temporal", "title": "Data time", "format": "%d %b %Y %H:%M"},
                {"field": "why", "title": "Why"},
            ],
        },
    }


def _names() -> Spec:
    return {
        "data": {"name": "starts"},
        "mark": {"type": "text", "align": "left", "dx": 2, "dy": -2, "color": "var(--soft)", "fontSize": 11},
        "encoding": {"y": {"value": 228}, "text": {"field": "text"}},
    }


def _hover(told: str, title: str, name: str = "hover") -> Spec:
    """A rule under the pointer that tells the day's numbers."""
    return {
        "params": [
            {
                "name": name,
                "select": {
                    "type": "point",
                    "on": "pointerover",
                    "nearest": True,
                    "encodings": ["x"],
                    "clear": "pointerout",
                },
            }
        ],
        "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1},
        "encoding": {
            "opacity": {"condition": {"param": name, "empty": False, "value": 0.5}, "value": 0},
            "tooltip": [
                {"field": "day", "type": "temporal", "title": "Day", "format": "%d %b %Y"},
                {"field": told, "title": title},
                {"field": "daily", "type": "quantitative", "title": "The day's own log loss", "format": ".4f"},
                {"field": "expected", "type": "quantitative", "title": "Expected before labels", "format": ".4f"},
                {"field": "told", "title": "Of"},
            ],
        },
    }


# -- the index: pictures made here, for fifty rows must stay light -------------------------------------------------------
def spark_loss(days: Sequence[Day]) -> Markup:
    """The 7-day log loss of the last days with its band."""
    return _spark("Log loss", [day.log_loss for day in days], days)


def spark_bias(days: Sequence[Day]) -> Markup:
    """Mean prediction minus base rate with its band, around zero."""
    return _spark("Predicted minus observed", [day.bias for day in days], days, 0.0)


def _spark(name: str, values: Sequence[Number | None], days: Sequence[Day], level: float | None = None) -> Markup:
    known = [value.value for value in values if value]
    if not known:
        return Markup("")
    told = f"{name} over {len(days)} days: from {number(known[0])} to {number(known[-1])}, "
    told += f"lowest {number(min(known))}, highest {number(max(known))}"
    points = [value and (value.value, value.low, value.high) for value in values]
    return Markup(pictures.spark(told, points, level))  # noqa: S704 (it escapes the title, the rest is numbers)


# -- evidence ----------------------------------------------------------------------------------------------------------
def slices(rows: Sequence[tuple[str, str, int, Number]], title: str) -> Spec:
    """Differences with their intervals, one row a slice, around zero; the worst first."""
    values = [
        {
            "slice": f"{by} {value}",
            "value": _finite(found.value),
            "low": _finite(found.low),
            "high": _finite(found.high),
            "told": _told(found, sign=True),
            "flights": flights,
            "side": "worse" if (found.low or 0) > 0 else "unclear" if (found.high or 0) > 0 else "better",
        }
        for by, value, flights, found in rows
    ]
    y = {"field": "slice", "type": "nominal", "sort": None, "title": None, "axis": {"minExtent": 110, "maxExtent": 110}}
    colour = {
        "field": "side",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": ["worse", "unclear", "better"], "range": ["var(--bad)", "var(--one)", "var(--good)"]},
    }
    tooltip = [
        {"field": "slice", "title": "Slice"},
        {"field": "told", "title": title},
        {"field": "flights", "type": "quantitative", "title": "Flights", "format": ","},
    ]
    return _base() | {
        "width": "container",
        "height": {"step": 24},
        "data": {"values": values},
        "encoding": {"y": y, "color": colour, "tooltip": tooltip},
        "layer": [
            _zero(),
            {
                "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55},
                "encoding": {"x": {"field": "low", "type": "quantitative", "title": title}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"x": {"field": "value", "type": "quantitative", "title": title}},
            },
        ],
    }


def calibration(sides: Mapping[str, Sequence[tuple[float, Number]]]) -> Spec:
    """Observed share over predicted probability with intervals; the diagonal is perfect."""
    values = [
        {
            "side": side,
            "predicted": _finite(predicted),
            "observed": _finite(found.value),
            "low": _finite(found.low),
            "high": _finite(found.high),
            "told": _told(found),
        }
        for side, points in sides.items()
        for predicted, found in points
    ]
    top = max([0.2, *(v for row in values for v in (row["predicted"], row["observed"], row["high"]) if v is not None)])
    end = min(1.0, top * 1.05)
    domain = {"domain": [0, end], "nice": False}
    x = {"field": "predicted", "type": "quantitative", "title": "predicted probability", "scale": domain}
    y = {"type": "quantitative", "title": "observed share", "scale": domain, "axis": {"minExtent": 46, "maxExtent": 46}}
    return _base() | {
        "width": "container",
        "height": 260,
        "data": {"values": values},
        "encoding": {"x": x, "color": _sides(list(sides))},
        "layer": [
            {
                "data": {"values": [{"at": 0}, {"at": end}]},
                "mark": {"type": "line", "color": "var(--soft)", "strokeDash": [5, 4], "strokeWidth": 1},
                "encoding": {
                    "x": {"field": "at", "type": "quantitative"},
                    "y": y | {"field": "at"},
                    "color": {"value": "var(--soft)"},
                },
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.45, "clip": True},
                "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "strokeWidth": 2, "clip": True, "point": {"size": 45, "filled": True}},
                "encoding": {
                    "y": y | {"field": "observed"},
                    "tooltip": [
                        {"field": "side", "title": "Side"},
                        {"field": "predicted", "type": "quantitative", "title": "Predicted", "format": ".4f"},
                        {"field": "told", "title": "Observed"},
                    ],
                },
            },
        ],
    }


def drift(rows: Sequence[Drift]) -> Spec:
    """How far each feature has moved over how much it matters: what is above and to the right deserves a look."""
    known = [row for row in rows if _finite(row.psi) is not None and _finite(row.importance) is not None]
    worst = {row.feature for row in known[:8]}
    values = [
        {
            "feature": row.feature,
            "psi": row.psi,
            "importance": row.importance,
            "label": row.feature if row.feature in worst else "",
        }
        for row in known
    ]
    x = {
        "field": "psi",
        "type": "quantitative",
        "title": "drift against training (PSI)",
        "scale": {"type": "sqrt", "nice": True},
    }
    y = {
        "field": "importance",
        "type": "quantitative",
        "title": "importance",
        "axis": {"minExtent": 46, "maxExtent": 46},
    }
    return _base() | {
        "width": "container",
        "height": 260,
        "data": {"values": values},
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.85, "color": "var(--one)"},
                "encoding": {
                    "tooltip": [
                        {"field": "feature", "title": "Feature"},
                        {"field": "psi", "type": "quantitative", "title": "PSI", "format": ".3f"},
                        {"field": "importance", "type": "quantitative", "title": "Importance", "format": ".4f"},
                    ]
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 7, "dy": 1, "color": "var(--ink)", "fontSize": 11},
                "encoding": {"text": {"field": "label"}},
            },
        ],
    }


def scores(rows: Sequence[tuple[str, str, Mapping[str, Number]]], metric: str = "log_loss") -> Spec | None:
    """One metric of all sides with intervals; None when it was not measured."""
    found = next((sides for name, _, sides in rows if name == metric), None)
    if not found:
        return None
    values = [
        {"side": side, "value": _finite(n.value), "low": _finite(n.low), "high": _finite(n.high), "told": _told(n)}
        for side, n in found.items()
    ]
    tooltip = [{"field": "side", "title": "Side"}, {"field": "told", "title": metric.replace("_", " ")}]
    x = {"type": "quantitative", "title": metric.replace("_", " "), "scale": {"zero": False}}
    y = {"field": "side", "type": "nominal", "sort": None, "title": None, "axis": {"minExtent": 76, "maxExtent": 76}}
    return _base() | {
        "width": "container",
        "height": {"step": 26},
        "data": {"values": values},
        "encoding": {"y": y, "color": _sides(list(found)), "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55},
                "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": x | {"field": "value"}},
            },
        ],
    }


# -- parts -------------------------------------------------------------------------------------------------------------
def _base() -> Spec:
    axis = {
        "domainColor": "var(--line)",
        "gridColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "titleFontWeight": "normal",
        "labelFont": _FONT,
        "titleFont": _FONT,
        "labelFontSize": 11,
        "titleFontSize": 11,
    }
    return {
        "$schema": _SCHEMA,
        "background": "transparent",
        "padding": {"left": 2, "right": 10, "top": 4, "bottom": 2},
        "config": {
            "view": {"stroke": None},
            "axis": axis,
            "axisQuantitative": {"grid": True, "domain": False, "ticks": False, "labelPadding": 6},
            "text": {"font": _FONT},
        },
    }


def _zero() -> Spec:
    return {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": "var(--soft)", "strokeWidth": 1},
        "encoding": {"x": {"datum": 0}, "y": None, "color": {"value": "var(--soft)"}, "tooltip": None},
    }


def _sides(names: Sequence[str]) -> Spec:
    """The same colour for the same side in every chart; the legend is the page's."""
    colours = dict(zip(_SIDES, ("var(--one)", "var(--two)", "var(--three)"), strict=True))
    scale = {"domain": list(names), "range": [colours.get(name, "var(--ink)") for name in names]}
    return {"field": "side", "type": "nominal", "legend": None, "scale": scale}


def _own(field: str) -> Spec:
    return {"field": field, "type": "nominal", "scale": None, "legend": None}


def _parts(found: Number | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if found is None else (_finite(found.value), _finite(found.low), _finite(found.high))


def _told(found: Number | None, sign: bool = False) -> str:
    if found is None:
        return "not known yet"
    return f"{number(found.value, found.unit, sign)} {interval(found.low, found.high, found.unit, sign)}".strip()


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
