"""Charts of the evidence as Vega-Lite specs, and the index's sparklines: of the page's values, plain dicts and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from include import pictures
from include.console import vegalite as vl
from include.console.format import number
from include.console.vegalite import Spec
from include.console.view import Day, Drift, Number

_SHOWN = 12  # slices; the table has all
_SIDES = ("challenger", "champion", "naive")


# -- the index: pictures made here, for fifty rows must stay light -----------------------------------------------------
def spark_loss(days: Sequence[Day]) -> Markup:
    """The 7-day log loss of the last days with its band."""
    return _spark("Log loss", [day.log_loss for day in days], days)


def spark_bias(days: Sequence[Day]) -> Markup:
    """Mean prediction minus base rate with its band, around zero."""
    return _spark("Predicted minus observed", [day.bias for day in days], days, 0.0)


def _spark(name: str, values: Sequence[Number | None], days: Sequence[Day], level: float | None = None) -> Markup:
    points = [_point(value) for value in values]
    known = [point[0] for point in points if point]
    if not known:
        return Markup("")
    told = f"{name} over {len(days)} days: from {number(known[0])} to {number(known[-1])}, "
    told += f"lowest {number(min(known))}, highest {number(max(known))}"
    return Markup(pictures.spark(told, points, level))  # noqa: S704 (it escapes the title, the rest is numbers)


def _point(found: Number | None) -> pictures.Point | None:
    value, low, high = vl.parts(found)
    return None if value is None else (value, low, high)


# -- evidence ----------------------------------------------------------------------------------------------------------
def slices(rows: Sequence[tuple[str, str, int, Number]], title: str) -> Spec:
    """Differences with their intervals, one row a slice, around zero; the worst first."""
    values: list[Spec] = [
        {
            "slice": f"{by} {value}",
            "value": vl.finite(found.value),
            "low": vl.finite(found.low),
            "high": vl.finite(found.high),
            "told": vl.told(found, sign=True),
            "flights": flights,
            "side": "worse" if (found.low or 0) > 0 else "unclear" if (found.high or 0) > 0 else "better",
        }
        for by, value, flights, found in rows[:_SHOWN]
    ]
    y = {"field": "slice", "type": "nominal", "sort": None, "title": None, "axis": {"minExtent": 115, "maxExtent": 115}}
    colour = {
        "field": "side",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": ["worse", "unclear", "better"], "range": ["var(--bad)", "var(--one)", "var(--good)"]},
    }
    tooltip = [
        {"field": "slice", "type": "nominal", "title": "Slice"},
        {"field": "told", "type": "nominal", "title": title},
        {"field": "flights", "type": "quantitative", "title": "Flights", "format": ","},
    ]
    x = {"type": "quantitative", "title": title, "axis": {"tickCount": 6}}
    return vl.base() | {
        "width": "container",
        "usermeta": {"axis": 150},
        "height": {"step": 24},
        "data": {"values": values},
        "encoding": {"y": y, "color": colour, "tooltip": tooltip},
        "layer": [
            vl.zero(),
            {
                "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55},
                "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"x": x | {"field": "value"}},
            },
        ],
    }


def calibration(sides: Mapping[str, Sequence[tuple[float, Number]]]) -> Spec:
    """Observed share over predicted probability with intervals; the diagonal is perfect."""
    values: list[Spec] = [
        {
            "side": side,
            "predicted": vl.finite(predicted),
            "observed": vl.finite(found.value),
            "low": vl.finite(found.low),
            "high": vl.finite(found.high),
            "told": vl.told(found),
        }
        for side, points in sides.items()
        for predicted, found in points
    ]
    top = max([0.2, *(v for row in values for v in (row["predicted"], row["observed"], row["high"]) if v is not None)])
    end = min(1.0, top * 1.05)
    domain = {"domain": [0, end], "nice": False}
    x = {"field": "predicted", "type": "quantitative", "title": "predicted probability", "scale": domain}
    y = {"type": "quantitative", "title": "observed share", "scale": domain, "axis": {"minExtent": 46, "maxExtent": 46}}
    return vl.base() | {
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
                        {"field": "side", "type": "nominal", "title": "Side"},
                        {"field": "predicted", "type": "quantitative", "title": "Predicted", "format": ".4f"},
                        {"field": "told", "type": "nominal", "title": "Observed"},
                    ],
                },
            },
        ],
    }


def drift(rows: Sequence[Drift]) -> Spec:
    """How far each feature has moved over how much it matters: what is above and to the right deserves a look."""
    if not any(row.importance for row in rows):
        return _moved(rows)
    known = [row for row in rows if vl.finite(row.psi) is not None and vl.finite(row.importance) is not None]
    worst = {row.feature for row in known[:8]}
    values: list[Spec] = [
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
        "axis": {"tickCount": 5},
    }
    y = {
        "field": "importance",
        "type": "quantitative",
        "title": "importance",
        "axis": {"minExtent": 46, "maxExtent": 46},
    }
    return vl.base() | {
        "width": "container",
        "height": 260,
        "data": {"values": values},
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.85, "color": "var(--one)"},
                "encoding": {
                    "tooltip": [
                        {"field": "feature", "type": "nominal", "title": "Feature"},
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


def _moved(rows: Sequence[Drift]) -> Spec:
    """How far the features have moved, where nobody knows how much they matter."""
    furthest = sorted(rows, key=lambda row: -(vl.finite(row.psi) or 0))[:_SHOWN]
    y = {
        "field": "feature",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"minExtent": 130, "maxExtent": 130},
    }
    x = {"field": "psi", "type": "quantitative", "title": "drift against training (PSI)", "axis": {"tickCount": 5}}
    return vl.base() | {
        "width": "container",
        "height": {"step": 20},
        "usermeta": {"axis": 160},
        "data": {"values": [{"feature": row.feature, "psi": vl.finite(row.psi)} for row in furthest]},
        "mark": {"type": "bar", "color": "var(--one)"},
        "encoding": {"x": x, "y": y},
    }


def scores(rows: Sequence[tuple[str, str, Mapping[str, Number]]], metric: str = "log loss") -> Spec | None:
    """One metric of all sides with intervals; None when it was not measured."""
    found = next((sides for name, _, sides in rows if name.replace("_", " ") == metric), None)
    if not found:
        return None
    values: list[Spec] = [
        {
            "side": side,
            "value": vl.finite(n.value),
            "low": vl.finite(n.low),
            "high": vl.finite(n.high),
            "told": vl.told(n),
        }
        for side, n in found.items()
    ]
    tooltip = [
        {"field": "side", "type": "nominal", "title": "Side"},
        {"field": "told", "type": "nominal", "title": metric},
    ]
    x = {"type": "quantitative", "title": metric, "scale": {"zero": False}}
    y = {"field": "side", "type": "nominal", "sort": None, "title": None, "axis": {"minExtent": 76, "maxExtent": 76}}
    return vl.base() | {
        "width": "container",
        "usermeta": {"axis": 105},
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


def _sides(names: Sequence[str]) -> Spec:
    """The same colour for the same side in every chart; the legend is the page's."""
    colours = dict(zip(_SIDES, ("var(--one)", "var(--two)", "var(--three)"), strict=True))
    scale = {"domain": list(names), "range": [colours.get(name, "var(--ink)") for name in names]}
    return {"field": "side", "type": "nominal", "legend": None, "scale": scale}
