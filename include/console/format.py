"""Numbers and times as people read them: pure functions, for the templates.

A wall time is shown relative to now, with the exact one in its title; a data time is absolute and carries the mark
"data" (see include.times). Minus is U+2212: a screen reader says it, and it is as wide as plus.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import isfinite

from markupsafe import Markup

from include import times
from include.console.view import Number

NONE = "–"
_ISO = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00)")
_COUNTS = {"faults", "rows", "models", "flights", "requests", "files", "bytes", "features", "predictions", "looks"}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


# -- numbers -----------------------------------------------------------------------------------------------------------
def number(value: float | None, unit: str = "", sign: bool = False) -> str:
    """A number with as many digits as its unit deserves. `sign`: a plus where it is positive, for differences."""
    if value is None or not isfinite(value):
        return NONE
    if value == 0:
        return "0"
    text = _digits(abs(value), unit)
    zero = not any(digit in text for digit in "123456789")
    if value < 0 and not zero:
        return "−" + text
    return "+" + text if sign and not zero else text


def _digits(size: float, unit: str) -> str:
    if (unit in _COUNTS and size == int(size)) or size >= 1000:
        return f"{size:,.0f}"
    if unit == "share":
        return f"{size:.1%}"
    if unit in ("ms", "MB"):
        return f"{size:.3f}" if size < 1 else f"{size:.1f}"
    return f"{size:.4f}" if size < 10 else f"{size:.1f}"


def unit(name: str) -> str:
    """The unit as it follows a number; a share is written in percent, so that it needs none."""
    return "" if name in ("share", "probability", "") else name


def interval(low: float | None, high: float | None, unit: str = "", sign: bool = False) -> str:
    """ "[0.4420, 0.5120]"; empty when there is none."""
    if low is None or high is None:
        return ""
    return f"[{number(low, unit, sign)}, {number(high, unit, sign)}]"


def measured(value: Number | None, sign: bool = False, units: bool = True) -> Markup:
    """A value with its interval and unit."""
    if value is None:
        return Markup('<span class="none">–</span>')
    parts = [Markup('<span class="value">{}</span>').format(number(value.value, value.unit, sign))]
    if between := interval(value.low, value.high, value.unit, sign):
        parts.append(Markup('<span class="interval">{}</span>').format(between))
    if units and unit(value.unit):
        parts.append(Markup('<span class="unit">{}</span>').format(unit(value.unit)))
    return Markup(" ").join(parts)


def share(value: float | None) -> str:
    """A share of one in percent: whole ones from 10 %, never 0 % or 100 % for what is neither."""
    if value is None or not isfinite(value):
        return NONE
    if 0 < abs(value) < 0.001:
        return "<0.1%" if value > 0 else ">−0.1%"
    if 0.999 < value < 1:
        return ">99.9%"
    text = f"{abs(value):.0%}" if abs(value) >= 0.1 and (value >= 1 or abs(value) < 0.99) else f"{abs(value):.1%}"
    return ("−" if value < 0 else "") + text.replace(".0%", "%")


def count(value: float | None) -> str:
    return NONE if value is None or not isfinite(value) else f"{value:,.0f}".replace("-", "−")


def milliseconds(value: float | None) -> str:
    """Latency: three significant digits at most."""
    if value is None or not isfinite(value):
        return NONE
    digits = 2 if abs(value) < 1 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f} ms".replace("-", "−")


def rate(total: float, hours: float) -> str:
    """So many an hour."""
    if hours <= 0:
        return NONE
    found = total / hours
    return f"{found:,.0f}/h" if found >= 10 else f"{found:.1f}/h"


# -- spans of time -----------------------------------------------------------------------------------------------------
def duration(seconds: float) -> str:
    """A span in its largest whole unit, e.g. "45 s", "3 min", "5 h", "12 d"."""
    size = abs(seconds)
    for length, name in _UNITS:
        if size >= length:
            return f"{int(size // length):,} {name}"
    return "0 s"


def days(value: float | None) -> str:
    """An age in days: one decimal below ten."""
    if value is None or not isfinite(value):
        return NONE
    text = f"{value:.1f}" if abs(value) < 9.95 else f"{value:,.0f}"
    return f"{text} d".replace("-", "−")


def lag(text: str | None, now: str | None) -> str:
    """The same where the column says "behind"."""
    return behind(text, now).removesuffix(" behind")


def behind(text: str | None, now: str | None) -> str:
    """How far a data time lies behind another: "6 h behind", "up to date" within a minute, empty when unknown."""
    if text is None or now is None:
        return ""
    late = (times.parse(now) - times.parse(text)).total_seconds()
    if late < 60:
        return "up to date"
    return f"{duration(late)} behind"


def ticked(text: str) -> Markup:
    """A sentence of the project's own: `names` stand between ticks, data times in their one form."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return _timed(text)
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(piece) if i % 2 else _timed(piece) for i, piece in enumerate(pieces))


def _timed(text: str) -> Markup:
    """Text in which a data time in its one form (see include.times) is shown as one."""
    pieces = _ISO.split(text)
    try:
        return Markup("").join(data(piece) if i % 2 else Markup("{}").format(piece) for i, piece in enumerate(pieces))
    except ValueError:  # a 31st of February: somebody's own words
        return Markup("{}").format(text)


def prose(text: str) -> Markup:
    """Paragraphs and tables with bars, as questions of `release` have them: the little of Markdown that is needed."""
    return Markup("").join(_block(block.splitlines()) for block in text.strip().split("\n\n") if block.strip())


def _block(lines: list[str]) -> Markup:
    if not all(line.strip().startswith("|") for line in lines):
        return Markup("<p>{}</p>").format(ticked(" ".join(lines)))
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    head, *body = [row for row in rows if any(cell.strip("-: ") for cell in row)] or [[]]
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(cell) for cell in head)
    cells = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(ticked(cell)) for cell in row))
        for row in body
    )
    shown = '<table><caption class="hidden">{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
    return Markup(shown).format("Checks", top, cells)  # noqa: S704 (a constant)


# -- wall time ---------------------------------------------------------------------------------------------------------
def ago(at: datetime, now: datetime) -> str:
    """console.js says the same as time goes on: change both."""
    passed = (now - at).total_seconds()
    if abs(passed) < 5:
        return "just now"
    return f"{duration(passed)} ago" if passed > 0 else f"in {duration(passed)}"


def exact(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def wall(at: datetime | None, now: datetime) -> Markup:
    """A wall time: relative, exact on hover; the page's script keeps it true."""
    if at is None:
        return Markup('<span class="none">–</span>')
    stamp = at.astimezone(UTC).replace(microsecond=0).isoformat()
    return Markup('<time class="wall" datetime="{}" title="{}">{}</time>').format(stamp, exact(at), ago(at, now))


# -- data time ---------------------------------------------------------------------------------------------------------
def data_text(text: str) -> str:
    """ "30 Apr 2013 00:05", in UTC like all data time."""
    at = times.parse(text)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year} {at:%H:%M}"


def data(text: str | None, mark: bool = True) -> Markup:
    """A data time. `mark` False where the column says that it is one."""
    if text is None:
        return Markup('<span class="none">–</span>')
    shown = Markup('<time class="data" datetime="{}" title="{}">{}</time>').format(
        times.iso(times.parse(text)), f"{data_text(text)} UTC, data time", data_text(text)
    )
    return (
        shown + Markup(' <abbr class="mark" title="data time: when it was in the data, not on the wall">data</abbr>')
        if mark
        else shown
    )


def day(text: str) -> str:
    """A local day such as 2013-04-24 as "24 Apr 2013"."""
    year, month, number_ = text[:10].split("-")
    return f"{int(number_)} {_MONTHS[int(month) - 1]} {year}"
