"""Pages that stand alone: HTML and inline SVG, light and dark, no network and no script.

Verdicts and monitoring show with these what they found. Charts take plain numbers and return SVG text; colours are
those of the page (`document`), so that a chart follows the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, isfinite, log10

Span = tuple[str, float, float | None, float | None]  # label, value, low, high
Point = tuple[float, float | None, float | None]  # value, low, high
WIDTH = 720  # of every chart, in its own units: it scales with the page
_ROW = 26
_COLOURS = ("var(--one)", "var(--two)", "var(--three)")

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --soft: #5b6577; --line: #d9dee7; --box: #f5f7fa;
  --one: #1f6feb; --two: #c4590a; --three: #7b8494; --good: #1a7f37; --bad: #c9252d; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161d; --ink: #e6eaf1; --soft: #9aa5b8; --line: #313a49;
  --box: #1a202a; --one: #6cb0ff; --two: #f2a35e; --three: #8f99aa; --good: #56d364; --bad: #ff7b72; } }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; } p.note, figcaption { color: var(--soft); font-size: .9rem; } a { color: var(--one); }
.lead { border-left: 5px solid var(--tone); background: var(--box); padding: .7rem 1rem; margin: .8rem 0; }
.good { --tone: var(--good); } .bad { --tone: var(--bad); } .plain { --tone: var(--three); }
.warn { --tone: var(--two); } td.good, td.bad, td.warn { color: var(--tone); font-weight: 600; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; } td.number { text-align: right; }
td.number, td.span { white-space: nowrap; }
figure { margin: .6rem 0; } svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink);
  font: 12px system-ui, sans-serif; } svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); }
svg .limit { stroke: var(--bad); stroke-dasharray: 4 3; }
"""


# -- the page ------------------------------------------------------------------------------------------------------
def document(title: str, *parts: str) -> str:
    """A whole page. `title` is text, `parts` are HTML."""
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
    )
    body = "\n".join(parts)
    return f"{head}<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"


def lead(title: str, sentence: str, tone: str) -> str:
    """Heading and the one sentence that matters. `tone`: good, bad, warn or plain."""
    return f'<h1>{escape(title)}</h1><div class="lead {tone}">{escape(sentence)}</div>'


def section(title: str, note: str, *parts: str) -> str:
    """A part of a page; `note` is text that says how to read it."""
    text = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<h2>{escape(title)}</h2>{text}" + "\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str | float | int | bool | None]]) -> str:
    """A table of text and numbers. True and False become "pass" and "fail", None a dash."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: str | float | int | bool | None) -> str:
    if value is None:
        return '<td class="number">–</td>'
    if isinstance(value, bool):
        return f'<td class="{"good" if value else "bad"}">{"pass" if value else "fail"}</td>'
    if isinstance(value, (int, float)):
        return f'<td class="number">{number(value)}</td>'
    return f'<td class="{"span" if " [" in value and value.endswith("]") else ""}">{escape(value)}</td>'


def number(value: float | int | None) -> str:
    """A number as people read it: whole ones with separators, others with four digits."""
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def span(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval."""
    if value is None:
        return "–"
    return number(value) if low is None or high is None else f"{number(value)} [{number(low)}, {number(high)}]"


def figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


# -- charts --------------------------------------------------------------------------------------------------------
def intervals(title: str, rows: Sequence[Span], limits: Mapping[str, float] | None = None) -> str:
    """Values as dots with their intervals, one row each; `limits` are vertical lines with a name."""
    limits = dict(limits or {})
    seen = [x for _, value, low, high in rows for x in (value, low, high) if x is not None] + list(limits.values())
    ticks = _ticks(seen or [0.0, 1.0])
    left, top, bottom = _margin([label for label, *_ in rows]), 22, 22 + _ROW * len(rows)
    x = _scale(ticks, left, WIDTH - 24)
    parts = [_vertical(x(t), top, bottom, "grid", _short(t), bottom + 16) for t in ticks]
    parts += [_vertical(x(at), top, bottom, "limit", name, 14) for name, at in limits.items()]
    for i, (label, value, low, high) in enumerate(rows):
        y = top + _ROW * (i + 0.5)
        parts.append(_text(left - 10, y + 4, label, "end"))
        if low is not None and high is not None:
            parts.append(f'<path d="M{x(low):.1f} {y}H{x(high):.1f}" stroke="var(--one)" stroke-width="3"/>')
        parts.append(
            f'<circle cx="{x(value):.1f}" cy="{y}" r="4.5" fill="var(--one)"><title>{_short(value)}</title></circle>'
        )
    return _svg(title, bottom + 24, parts)


def bars(title: str, rows: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars from zero, one row each."""
    ticks = _ticks([0.0, *(value for _, value in rows)])
    left, bottom = _margin([label for label, _ in rows]), 6 + _ROW * len(rows)
    x = _scale(ticks, left, WIDTH - 24)
    parts = [_vertical(x(t), 6, bottom, "grid", _short(t), bottom + 16) for t in ticks]
    for i, (label, value) in enumerate(rows):
        start, end = sorted((x(0), x(value)))
        y = 6 + _ROW * i
        parts.append(_text(left - 10, y + _ROW / 2 + 4, label, "end"))
        parts.append(
            f'<rect x="{start:.1f}" y="{y + 5}" width="{end - start:.1f}" height="{_ROW - 10}" fill="var(--one)">'
            f"<title>{_short(value)}</title></rect>"
        )
    return _svg(title, bottom + 24, parts)


def lines(title: str, names: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """Lines over the same named points; a None is a gap."""
    seen = [v for values in series.values() for v in values if v is not None]
    ticks = _ticks(seen or [0.0, 1.0])
    y = _scale(ticks, 240, 30)
    step = (WIDTH - 84) / max(len(names) - 1, 1)
    at = [60 + i * step for i in range(len(names))]
    parts = [
        f'<path class="grid" d="M60 {y(t):.1f}H{WIDTH - 24}"/>' + _text(52, y(t) + 4, _short(t), "end") for t in ticks
    ]
    every = -(-len(names) // 8)
    parts += [_text(at[i], 260, names[i], "middle") for i in range(0, len(names), every)]
    for i, (name, values) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        points = [(px, y(v)) for px, v in zip(at, values, strict=True) if v is not None]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in points]
        parts.append(f'<rect x="{64 + i * 150}" y="6" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(82 + i * 150, 16, name))
    return _svg(title, 268, parts)


def calibration(title: str, points: Sequence[Span]) -> str:
    """Observed rate (with interval) over predicted probability; the diagonal is perfect. Label = the prediction."""
    predicted = [float(label) for label, *_ in points]
    highest = max([*predicted, *(high if high is not None else v for _, v, _, high in points)], default=1.0)
    ticks = [t for t in _ticks([0.0, min(max(highest, 0.2), 1.0)]) if t <= 1]
    x, y = _scale(ticks, 60, 420), _scale(ticks, 330, 20)
    parts = [f'<path class="grid" d="M60 {y(t):.1f}H420M{x(t):.1f} 20V330"/>' for t in ticks]
    parts += [_text(52, y(t) + 4, _short(t), "end") + _text(x(t), 348, _short(t), "middle") for t in ticks]
    parts.append('<path d="M60 330L420 20" stroke="var(--three)" stroke-dasharray="5 4"/>')
    for at, (_, value, low, high) in zip(predicted, points, strict=True):
        if low is not None and high is not None:
            ends = f"{y(max(low, 0)):.1f}V{y(min(high, ticks[-1])):.1f}"
            parts.append(f'<path d="M{x(at):.1f} {ends}" stroke="var(--one)" stroke-width="2"/>')
        parts.append(f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="4.5" fill="var(--one)"/>')
    parts += [
        _text(240, 368, "predicted probability", "middle"),
        _text(440, 30, "observed rate: dots"),
        _text(440, 48, "and 95 % intervals"),
    ]
    return _svg(title, 376, parts)


def spark(title: str, points: Sequence[Point | None], level: float | None = None) -> str:
    """A line with its band, as small as a word; a None is left out. `level`: a value to compare with, dashed."""
    known = [point for point in points if point]
    seen = [x for point in known for x in point if x is not None] + ([] if level is None else [level])
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    y = _scale([low, high if high > low else low + 1.0], 25, 3)
    step = 146 / max(len(points) - 1, 1)
    at = [(2 + i * step, point) for i, point in enumerate(points) if point]
    upper = [(x, y(p[0] if p[2] is None else p[2])) for x, p in at]
    lower = [(x, y(p[0] if p[1] is None else p[1])) for x, p in reversed(at)]
    parts = [] if level is None else [f'<path class="level" d="M2 {y(level):.1f}H148"/>']
    parts.append(f'<polygon class="band" points="{_points(upper + lower)}"/>')
    parts.append(f'<polyline class="line" points="{_points([(x, y(p[0])) for x, p in at])}"/>')
    parts += [f'<circle class="end" cx="{x:.1f}" cy="{y(p[0]):.1f}" r="2.2"/>' for x, p in at[-1:]]
    named = f'role="img" aria-label="{escape(title)}"'
    return f'<svg class="spark" viewBox="0 0 150 28" {named}><title>{escape(title)}</title>{"".join(parts)}</svg>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


# -- parts of charts -----------------------------------------------------------------------------------------------
def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    inside = "".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{inside}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _vertical(x: float, top: float, bottom: float, kind: str, label: str, at: float) -> str:
    return f'<path class="{kind}" d="M{x:.1f} {top}V{bottom}"/>' + _text(x, at, label, "middle", "soft")


def _margin(labels: Sequence[str]) -> float:
    return min(max([len(label) for label in labels], default=0) * 7 + 20, 320)


def _scale(ticks: Sequence[float], start: float, end: float):  # type: ignore[no-untyped-def]
    first, last = ticks[0], ticks[-1]
    return lambda value: start + (value - first) / (last - first) * (end - start)


def _ticks(values: Sequence[float]) -> list[float]:
    """About five round numbers that enclose all values. Raises ValueError for what is no number."""
    if not all(map(isfinite, values)):
        raise ValueError(f"a chart cannot show {[v for v in values if not isfinite(v)]}")
    low, high = min(values), max(values)
    size = max(high - low, 1e-9 + abs(high) * 1e-6) / 5
    unit = 10 ** floor(log10(size))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= size)
    first, count = floor(low / step), 0
    ticks = [first * step]
    while ticks[-1] < high - step * 1e-9 or len(ticks) < 2:
        count += 1
        ticks.append((first + count) * step)
    return ticks


def _short(value: float) -> str:
    return f"{value:.4g}" if value else "0"
