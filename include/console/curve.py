"""The curve of a model: log loss over calibration by day, with every decision where it fell."""

from __future__ import annotations

from collections.abc import Sequence

from include.console import format
from include.console import vegalite as vl
from include.console.vegalite import Spec
from include.console.view import Day, Decision
from include.times import parse

_LANE = 14  # px between marks that would lie upon each other
_PATHS = {"cross": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z"}
# kind: shape and colour of its mark on the curve; what is none of them is a small circle
SHAPES: dict[str, tuple[str, str]] = {
    "champion": ("triangle-up", "var(--good)"),
    "promotion": ("triangle-up", "var(--good)"),
    "rollback": ("triangle-down", "var(--bad)"),
    "refused": ("cross", "var(--warn)"),
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


def chart(days: Sequence[Day], marks: Sequence[Decision]) -> Spec:
    """Log loss over bias by day, with every decision as a rule through both."""
    rows = [_day(day) for day in days]
    told = _lanes([_decision(decision) for decision in marks], len(rows))
    return vl.base() | {
        "datasets": {"days": rows, "marks": told, "starts": _starts(rows)},
        "vconcat": [_loss(), _bias()],
        "spacing": 14,
        "resolve": {"scale": {"x": "shared"}},
    }


def _day(day: Day) -> Spec:
    loss, bias = vl.parts(day.log_loss), vl.parts(day.bias)
    return {
        "day": f"{day.day}T12:00:00Z",  # the middle of the day: decisions stand where they fell within it
        "from": f"{day.day}T00:00:00Z",
        "to": f"{day.day}T23:59:59Z",
        "version": day.version,
        "loss": loss[0],
        "low": loss[1],
        "high": loss[2],
        "bias": bias[0],
        "bias_low": bias[1],
        "bias_high": bias[2],
        "daily": vl.finite(day.daily),
        "expected": vl.finite(day.estimated),
        "date": format.day(day.day),  # as text: Vega would write it in the reader's time zone
        "told_loss": vl.told(day.log_loss),
        "told_bias": vl.told(day.bias, sign=True),
        "told": f"version {day.version}, {day.flights:,} flights, {day.coverage:.0%} labelled",
    }


def _decision(decision: Decision) -> Spec:
    shape, colour = mark(decision)
    version = f"version {decision.version} " if decision.version is not None else ""
    return {
        "at": decision.as_of,
        "shape": _PATHS.get(shape, shape),
        "colour": colour,
        "when": format.data_text(decision.as_of),
        "what": f"{version}{decision.what}",
        "by": decision.actor,
        "why": decision.reason,
    }


def _lanes(told: Sequence[Spec], days: int) -> list[Spec]:
    """Marks that are closer than a mark is wide get a place below one another, the earliest on top."""
    near = max(days, 1) * 86400 / 60
    found: list[Spec] = []
    for row in sorted(told, key=lambda row: row["at"]):
        last = found[-1] if found else None
        beside = last and (parse(row["at"]) - parse(last["at"])).total_seconds() < near
        found.append(row | {"y": 6 if not (last and beside) else min(last["y"] + _LANE, 6 + 6 * _LANE)})
    return found


def _starts(rows: Sequence[Spec]) -> list[Spec]:
    """Where another version takes over."""
    found = [
        row
        for before, row in zip([None, *rows], rows, strict=False)
        if not before or before["version"] != row["version"]
    ]
    return [{"day": row["day"], "text": f"v{row['version']}"} for row in found]


def _loss() -> Spec:
    title, scale = "log loss (nats)", {"zero": False, "nice": True}
    return {
        "width": "container",
        "height": 230,
        "data": {"name": "days"},
        "encoding": {"x": _x(labels=False)},
        "layer": [
            _rules(),
            {
                "mark": {"type": "area", "color": "var(--one)", "opacity": 0.16},
                "encoding": {"y": _y("low", title, scale), "y2": {"field": "high"}, "detail": {"field": "version"}},
            },
            {
                "mark": {"type": "line", "color": "var(--two)", "strokeWidth": 1.5, "strokeDash": [4, 3]},
                "encoding": {"y": _y("expected", title, scale), "detail": {"field": "version"}},
            },
            {
                "mark": {"type": "point", "color": "var(--one)", "size": 14, "filled": True, "opacity": 0.55},
                "encoding": {"y": _y("daily", title, scale)},
            },
            {
                "mark": {"type": "line", "color": "var(--one)", "strokeWidth": 2.25},
                "encoding": {"y": _y("loss", title, scale), "detail": {"field": "version"}},
            },
            _names(),
            _hover("told_loss", "7-day log loss", "day_of_loss"),
            _symbols(),
        ],
    }


def _bias() -> Spec:
    title, scale = "predicted − observed", {"zero": True, "nice": True}
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
                "mark": {"type": "area", "color": "var(--one)", "opacity": 0.16},
                "encoding": {
                    "y": _y("bias_low", title, scale),
                    "y2": {"field": "bias_high"},
                    "detail": {"field": "version"},
                },
            },
            {
                "mark": {"type": "line", "color": "var(--one)", "strokeWidth": 2.25},
                "encoding": {"y": _y("bias", title, scale), "detail": {"field": "version"}},
            },
            _hover("told_bias", "7-day predicted − observed", "day_of_bias"),
        ],
    }


def _x(labels: bool) -> Spec:
    axis = {"title": "data time (UTC)" if labels else None, "labels": labels, "ticks": labels, "grid": False}
    return {
        "field": "day",
        "type": "temporal",
        "scale": {"type": "utc"},
        "axis": axis | {"labelOverlap": True, "tickCount": 8, "format": "%-d %b"},
    }


def _y(field: str, title: str, scale: Spec) -> Spec:
    axis = {"minExtent": 46, "maxExtent": 46, "tickCount": 5}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _rules() -> Spec:
    return {
        "data": {"name": "marks"},
        "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.7, "strokeDash": [2, 2]},
        "encoding": {"x": {"field": "at", "type": "temporal"}, "color": vl.own("colour")},
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
            "y": {"value": {"expr": "datum.y"}},
            "shape": vl.own("shape"),
            "color": vl.own("colour"),
            "tooltip": [
                {"field": "what", "type": "nominal", "title": "Decision"},
                {"field": "by", "type": "nominal", "title": "By"},
                {"field": "when", "type": "nominal", "title": "Data time"},
                {"field": "why", "type": "nominal", "title": "Why"},
            ],
        },
    }


def _names() -> Spec:
    return {
        "data": {"name": "starts"},
        "mark": {"type": "text", "align": "left", "dx": 2, "dy": -2, "color": "var(--soft)", "fontSize": 11},
        "encoding": {"y": {"value": 228}, "text": {"field": "text"}},
    }


def _hover(told: str, title: str, name: str) -> Spec:
    """A band under the pointer that tells the day's numbers."""
    select = {"type": "point", "on": "pointerover", "clear": "pointerout", "encodings": ["x"]}
    return {
        "params": [{"name": name, "select": select}],
        "mark": {"type": "rect", "color": "var(--ink)"},
        "encoding": {
            "x": {"field": "from", "type": "temporal"},
            "x2": {"field": "to"},
            "opacity": {"condition": {"param": name, "empty": False, "value": 0.08}, "value": 0},
            "tooltip": [
                {"field": "date", "type": "nominal", "title": "Day"},
                {"field": told, "type": "nominal", "title": title},
                {"field": "daily", "type": "quantitative", "title": "The day's own log loss", "format": ".4f"},
                {"field": "expected", "type": "quantitative", "title": "Expected before labels", "format": ".4f"},
                {"field": "told", "type": "nominal", "title": "Of"},
            ],
        },
    }
