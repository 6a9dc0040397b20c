"""Pictures of the running system for README and docs: `make demo`, then `make screenshots`. Needs Chromium.

CHROMIUM=/path/to/chromium names another browser than the system's. Every picture stays below 300 KB.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright

from include.files import read_json
from include.settings import ROOT
from scripts.stack.config import Stack, from_environment, passwords, running_ports

TARGET = ROOT / "docs" / "img"
LARGEST = 300_000  # bytes
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_SIZE = {"width": 1280, "height": 800}


def main() -> int:
    stack = running_ports(from_environment())
    story = stack.home / "demo" / "report.json"
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(browser).exists():
        print("No Chromium: `apt-get install chromium`, or name one with CHROMIUM=/path/to/it.", file=sys.stderr)
        return 1
    if not story.exists():
        print("Nothing to take pictures of: run `make demo` first.", file=sys.stderr)
        return 1
    TARGET.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=_FLAGS)
        try:
            _take_all(opened, stack, read_json(story))
        finally:
            opened.close()
    return 0


def _take_all(browser: Browser, stack: Stack, story: dict[str, Any]) -> None:
    page = browser.new_context(viewport=_SIZE, color_scheme="light").new_page()  # type: ignore[arg-type]
    _log_in(page, stack)
    for name, (url, ready) in _pictures(stack, story).items():
        page.goto(url, wait_until="domcontentloaded")
        ready(page)
        _save(page, TARGET / f"{name}.png")


def _pictures(stack: Stack, story: dict[str, Any]) -> dict[str, tuple[str, Callable[[Page], None]]]:
    """Name: address, and what to wait for there."""
    runs = {part["chapter"]: part for part in story["chapters"]}
    first, refused = runs["2_first_model"], runs["5_change"]

    def graph(part: dict[str, Any]) -> str:
        return f"{stack.url}/dags/{part['dag']}/runs/{quote(part['run'], safe='')}"

    return {
        "dags": (f"{stack.url}/dags", _seen("text=monitor")),
        "ingest": (graph(runs["1_history"]), _graph),
        "validation": (runs["1_history"]["page"], _still),
        "train-refused": (graph(refused), _graph),
        "verdict": (first["page"], _still),
        "mlflow": (first["mlflow_run"], _seen("text=log_loss")),
        "monitor": (runs["4_monitor"]["page"], _still),
    }


def _log_in(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/auth/login")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", passwords(stack)["admin"])
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/auth/" not in url)
    # Airflow keeps which panel is open: the graph beside the run, not the grid
    page.evaluate("localStorage.setItem('dag_view', JSON.stringify('graph'))")


def _seen(selector: str) -> Callable[[Page], None]:
    def ready(page: Page) -> None:
        page.wait_for_selector(selector, timeout=60_000)
        _still(page)

    return ready


def _graph(page: Page) -> None:
    page.wait_for_selector(".react-flow__node", timeout=60_000)
    _still(page)


def _still(page: Page) -> None:
    """Wait until nothing is loaded any more, and for the pictures drawn by scripts."""
    page.wait_for_load_state("load")
    page.wait_for_timeout(2500)


def _save(page: Page, path: Path) -> None:
    """Save the window's picture; where it is too large for the repository, as a half-size one."""
    page.screenshot(path=path)
    if path.stat().st_size > LARGEST:
        page.screenshot(path=path, clip={"x": 0, "y": 0, "width": _SIZE["width"], "height": _SIZE["height"] // 2})
    print(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1000} KB")


if __name__ == "__main__":
    sys.exit(main())
