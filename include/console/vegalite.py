"""What the Vega-Lite specs of all charts share.

Colours are the page's own CSS variables, so that a chart follows dark and light without being drawn again. A width of
"container" is filled in by console.js, for Vega-Lite knows no such width for charts below one another: that of the
chart's place less `usermeta.axis` (60), which stands left and right of its plot. Times in tooltips are texts: Vega
would write them in the reader's time zone.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from include.console.format import interval, number
from include.console.view import Number

Spec = dict[str, Any]
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_FONT = "system-ui, sans-serif"


def base() -> Spec:
    """What all charts share."""
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


def zero() -> Spec:
    """A vertical line at zero."""
    return {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": "var(--soft)", "strokeWidth": 1},
        "encoding": {"x": {"datum": 0}, "y": None, "color": {"value": "var(--soft)"}, "tooltip": None},
    }


def own(field: str) -> Spec:
    """A channel that takes the values of a field as they are: colours, shapes."""
    return {"field": field, "type": "nominal", "scale": None, "legend": None}


def parts(found: Number | None) -> tuple[float | None, float | None, float | None]:
    """Value, low, high."""
    return (None, None, None) if found is None else (finite(found.value), finite(found.low), finite(found.high))


def told(found: Number | None, sign: bool = False) -> str:
    """A value with its interval, for a tooltip."""
    if found is None:
        return "not known yet"
    return f"{number(found.value, found.unit, sign)} {interval(found.low, found.high, found.unit, sign)}".strip()


def finite(value: float | None) -> float | None:
    """JSON knows no other numbers."""
    return value if value is not None and isfinite(value) else None
