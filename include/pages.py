"""Where the page of a task lies: reports/<dag>/<run>/<task>[/<map index>]/. Names are encoded, so no run id escapes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

from include.files import write_json
from include.settings import Settings

INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
LINKS = "links.json"  # {"MLflow run": url, …}: more links of the same task


def folder(settings: Settings, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Path:
    """The folder of one task's page and of what it links to."""
    parts = [_safe(part) for part in (dag_id, run_id, task_id)]
    return settings.reports.joinpath(*parts, *([str(map_index)] if map_index >= 0 else []))


def find(settings: Settings, dag_id: str, run_id: str, task_id: str, rest: str = "") -> Path | None:
    """The file of a task's page, or its gzipped form (.gz), or None. A folder means its index.html.

    A run id may arrive encoded once more (Airflow's own templates do that). Nothing outside of the task's folder is
    ever found: neither by "..", nor by an absolute path, nor through a symlink.
    """
    if "\0" in dag_id + run_id + task_id + rest or "" in (dag_id, run_id, task_id):
        return None
    for name in dict.fromkeys((run_id, unquote(run_id))):
        own = folder(settings, dag_id, name, task_id).resolve()
        for page in (own / rest / INDEX, own / rest):
            if found := _within(own, page):
                return found
    return None


def _within(own: Path, page: Path) -> Path | None:
    if page.suffix not in TYPES or not own.is_dir():
        return None
    for file in (page, page.with_name(page.name + ".gz")):
        try:
            if file.is_file() and file.resolve().is_relative_to(own):
                return file.resolve()
        except OSError:  # a name that is too long for any file
            return None
    return None


def write_links(page: Path, links: dict[str, str]) -> None:
    """Add links to the task whose page is `page`; they need not have a page."""
    write_json(page.parent / LINKS, links)


def _safe(part: str) -> str:
    # "." and ".." survive quoting, and would walk
    return quote(part, safe="").replace(".", "%2E") if set(part) <= {"."} else quote(part, safe="")
