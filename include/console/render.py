"""The console's pages as HTML: values of view.py in, whole documents out. It reads nothing and decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from include.console import advice, charts, curve, format, vega
from include.console.view import Index, Link, Live, ModelPage, Powers, RunPage, Tone, VersionPage

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_FILTERS = ("number", "unit", "interval", "measured", "share", "count", "milliseconds", "rate", "duration", "days")
_TIMES = ("behind", "lag", "ticked", "prose", "ago", "exact", "wall", "data", "day")


@dataclass(frozen=True)
class Site:
    """Where a page stands, for whom, and when.

    `root`: relative prefix from the page to the console's root ("" or "../" …); `airflow`: path prefix of Airflow's
    root ("" or "/prefix"); `act`: relative prefix to the actions' root; `wall`: now; `etag`: of this page's content.
    """

    root: str
    airflow: str
    act: str
    wall: datetime
    powers: Powers
    etag: str = ""


# -- pages -------------------------------------------------------------------------------------------------------------
def index(view: Index, site: Site) -> str:
    """All models, the worst first."""
    tones = Counter(advice.tone(row) for row in view.rows)
    return _page("index.html", site, view=view, tones=tones)


def model(view: ModelPage, site: Site, kinds: Collection[str] = (), before: int | None = None) -> str:
    """One model. `kinds`, `before`: what the decisions were asked for with, so that the filter shows it."""
    return _page("model.html", site, view=view, row=view.row, kinds=frozenset(kinds), before=before)


def version(view: VersionPage, site: Site) -> str:
    """One version: why it was accepted, what it was made of."""
    return _page("version.html", site, view=view, evidence=view.evidence)


def run(view: RunPage, site: Site) -> str:
    """One DAG run: what it made and decided."""
    return _page("run.html", site, view=view, evidence=view.evidence)


def live(view: Live, name: str, site: Site) -> str:
    """What was live at a wall time."""
    return _page("live.html", site, view=view, model=name)


def message(
    title: str, text: str, tone: Tone, links: Sequence[Link], site: Site, status_hint: str = "", waits: bool = False
) -> str:
    """What an action did, or why a page cannot be shown. `status_hint`: a line more, e.g. what to do. `waits`: another
    page will take its place, and is shown as soon as it is there."""
    return _page("message.html", site, title=title, text=text, tone=tone, links=links, hint=status_hint, waits=waits)


def static(name: str) -> tuple[bytes, str] | None:
    """Content and media type of a file beside the pages; None for a name that is none of them."""
    return _static().get(name)


# -- how -----------------------------------------------------------------------------------------------------------
@cache
def _static() -> dict[str, tuple[bytes, str]]:
    files = sorted((_HERE / "static").iterdir())
    return {file.name: (file.read_bytes(), _TYPES[file.suffix]) for file in files if file.suffix in _TYPES}


@cache
def _tag(name: str) -> str:
    """What changes with a file's content, for its address: browsers may keep it for good."""
    return vega.tag() if name == "vega.js" else sha256(_static()[name][0]).hexdigest()[:12]


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters.update({name: getattr(format, name) for name in (*_FILTERS, *_TIMES)})
    found.filters["frozen"] = frozenset
    found.filters["title"] = advice.title
    found.filters["unstated"] = advice.unstated
    found.filters["segment"] = lambda text: quote(str(text), safe="")
    found.globals.update(advice=advice, charts=charts, curve=curve, tag=_tag, once=lambda: uuid4().hex)
    return found


def _page(name: str, site: Site, **values: Any) -> str:
    return _environment().get_template(name).render(site=site, href=_href(site), **values)


def _href(site: Site) -> Any:
    def href(link: Link) -> str:
        """The address of a link from this page; "#" for one that a browser might run."""
        if link.where == "console":
            return site.root + link.href or "./"
        if link.href.startswith("/") and not link.href.startswith("//"):
            return site.airflow + link.href
        return link.href if link.href.startswith(("http://", "https://")) else "#"

    return href
