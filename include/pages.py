"""Where the page of a task lies: reports/<dag>/<run>/<task>[/<map index>]/. Names are encoded, so no run id escapes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from include.files import write_json
from include.settings import Settings

INDEX = "index.html"
LINKS = "links.json"  # {"MLflow run": url, …}: more links of the same task


def folder(settings: Settings, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Path:
    """The folder of one task's page and of what it links to."""
    parts = [_safe(part) for part in (dag_id, run_id, task_id)]
    return settings.reports.joinpath(*parts, *([str(map_index)] if map_index >= 0 else []))


def write_links(page: Path, links: dict[str, str]) -> None:
    """Add links to the task whose page is `page`; they need not have a page."""
    write_json(page.parent / LINKS, links)


def _safe(part: str) -> str:
    # "." and ".." survive quoting, and would walk
    return quote(part, safe="").replace(".", "%2E") if set(part) <= {"."} else quote(part, safe="")
