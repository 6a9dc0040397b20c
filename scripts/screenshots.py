"""Pictures of the running system for README and docs: `make demo`, then `make screenshots`. Needs Chromium.

CHROMIUM=/path/to/chromium names another browser than the system's. Every picture stays below 300 KB. An argument takes
only those whose names begin so: `make screenshots ARGS=console`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, urlencode

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page

from include.files import read_json
from include.release import ledger as book
from include.settings import ROOT
from scripts import browser
from scripts.stack.config import Stack, from_environment, running_ports

TARGET = ROOT / "docs" / "img"
LARGEST = 300_000  # bytes
_SUFFIX = {"light": "", "dark": "-dark"}
_TOLD = ("gate", "champion", "promotion", "rollback", "monitor")  # kinds of decisions that the timeline shows
# no panel stays as the last picture left it
_FRESH = (
    "try { for (const key of Object.keys(localStorage)) if (key !== 'theme') delete localStorage[key] } catch (e) {}"
)


def main() -> int:
    stack = running_ports(from_environment())
    story = stack.home / "demo" / "report.json"
    if not story.exists():
        print("Nothing to take pictures of: run `make demo` first.", file=sys.stderr)
        return 1
    TARGET.mkdir(parents=True, exist_ok=True)
    try:
        with browser.opened() as opened:
            _take_all(opened, stack, read_json(story), (*sys.argv[1:], "")[0])
    except browser.NoBrowser as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _take_all(opened: Browser, stack: Stack, story: dict[str, Any], begin: str) -> None:
    """All pictures whose names begin so."""
    for theme in get_args(browser.Theme):
        page = browser.page(opened, theme)
        page.add_init_script(_FRESH)
        browser.log_in(page, stack)
        taken = {f"console-{name}{_SUFFIX[theme]}": picture for name, picture in _console(stack, story).items()}
        if theme == "light":
            taken |= {
                name: (url, browser.SIZE["height"], ready) for name, (url, ready) in _pictures(stack, story).items()
            }
        for name, (url, height, ready) in taken.items():
            if name.startswith(begin):
                page.set_viewport_size({"width": browser.SIZE["width"], "height": height})
                page.goto(url, wait_until="domcontentloaded")
                ready(page)
                _save(page, TARGET / f"{name}.png")
        page.context.close()


def _console(stack: Stack, story: dict[str, Any]) -> dict[str, tuple[str, int, Callable[[Page], None]]]:
    """The console inside Airflow. Name: address, the window's height, and what to wait for there."""
    model, runs = story["live"]["model"], {part["chapter"]: part for part in story["chapters"]}
    framed = f"{stack.url}/plugin/models/ratchet/console/models/{model}"
    refused = f"{stack.url}/dags/train/runs/{quote(runs['4_change']['run'], safe='')}/plugin/outcome"
    waiting = runs["9_release"]["version"] if "9_release" in runs else story["live"]["champion"]
    return {
        "models": (f"{stack.url}/plugin/models", 620, _drawn("Models")),
        "model": (framed, 1000, _drawn("Models")),
        "timeline": (f"{framed}?{_until_broken(stack, model)}", 1640, _at_the_curve),
        "version": (f"{framed}/versions/{waiting}", 1300, _drawn("Models")),
        "outcome": (refused, 1000, _drawn("Outcome")),
        "action": (framed, 800, _opened_action),
    }


def _until_broken(stack: Stack, model: str) -> str:
    """The query for the decisions that matter, up to the look at the broken feed."""
    history = book.history(book.connect(stack.settings.ledger_url), model)
    looked = [row["id"] for row in history if row["kind"] == "monitor" and "8_broken" in row["run"]]
    return urlencode({"before": max(looked) + 1, "kind": _TOLD}, doseq=True)


def _pictures(stack: Stack, story: dict[str, Any]) -> dict[str, tuple[str, Callable[[Page], None]]]:
    """Name: address, and what to wait for there."""
    runs = {part["chapter"]: part for part in story["chapters"]}
    first, refused = runs["2_first_model"], runs["4_change"]
    looks = [part for part in story["chapters"] if part["dag"] == "monitor"]
    looked = next((part for part in looks if part["verdict"].get("state") == "retrain"), looks[0])

    def run(part: dict[str, Any], task: str = "") -> str:
        tab = f"/tasks/{task}/plugin/report" if task else ""
        return f"{stack.url}/dags/{part['dag']}/runs/{quote(part['run'], safe='')}{tab}"

    return {
        "dags": (f"{stack.url}/dags", _seen("text=monitor")),
        "ingest": (run(runs["1_history"]), _graph),
        "validation": (run(runs["1_history"], "validate"), _framed),
        "train-refused": (run(refused), _skipped_tail),
        "verdict": (run(refused, "gate"), _framed),
        "verdict-accepted": (first["page"], _still),
        "mlflow": (first["mlflow_run"] + "/model-metrics", _mlflow),
        "monitor": (run(looked, "measure"), _framed),
        "drift": (looked["page"].removesuffix("measure/") + "report/week/evidently.html", _still),
        "evidently": (stack.evidently_url, _project(stack)),
        "release": (run(runs["6_release"]), _graph),
        "release-evidence": (run(runs["6_release"], "canary"), _framed),
        "rolled-back": (run(runs["7_bad_release"], "shadow"), _framed),
        "approval": (runs["9_release"]["approve_at"], _seen("text=Approve")),
    }


def _project(stack: Stack) -> Callable[[Page], None]:
    """Evidently's dashboard of the first project."""

    def ready(page: Page) -> None:
        found = httpx.get(f"{stack.evidently_url}/api/projects", timeout=30, trust_env=False).raise_for_status().json()
        page.goto(f"{stack.evidently_url}/projects/{found[0]['id']}")
        _seen("text=Drift of the score, by day")(page)

    return ready


def _seen(selector: str) -> Callable[[Page], None]:
    def ready(page: Page) -> None:
        page.wait_for_selector(selector, timeout=60_000)
        _still(page)

    return ready


def _graph(page: Page) -> None:
    """A run's graph, with the list of its tasks out of the way."""
    page.click("button[aria-label^='Show Graph']", timeout=60_000)
    page.click("button[aria-label='Collapse Details Panel']", timeout=60_000)
    page.wait_for_selector(".react-flow__node", timeout=60_000)
    _still(page)


def _skipped_tail(page: Page) -> None:
    """The run's tasks with their states, latest first: the tail that a refusal skips."""
    _still(page)
    for _ in ("ascending", "descending"):
        page.click("button[aria-label='sort']:has-text('Start Date')")
        _still(page)


def _framed(page: Page) -> None:
    """A task's page in its tab."""
    page.frame_locator("iframe[title=Report]").locator("h1").wait_for(timeout=60_000)
    _still(page)


def _drawn(title: str) -> Callable[[Page], None]:
    """A page of the console in its frame, with all its charts."""

    def ready(page: Page) -> None:
        inside = page.frame_locator(f"iframe[title={title}]")
        inside.locator("h1").wait_for(timeout=60_000)
        inside.locator("[data-chart]:not([data-drawn])").first.wait_for(state="detached", timeout=60_000)
        _still(page)

    return ready


def _at_the_curve(page: Page) -> None:
    """The week that went wrong: the curve, and below it what was decided."""
    _drawn("Models")(page)
    page.frame_locator("iframe[title=Models]").locator("#curve").evaluate("it => it.scrollIntoView()")
    _still(page)


def _opened_action(page: Page) -> None:
    """The form of the rollback, filled in."""
    _drawn("Models")(page)
    form = page.frame_locator("iframe[title=Models]").locator("#do-rollback")
    form.locator("summary").click()
    form.get_by_label("Reason").fill(
        "Delays are far above what it expects since Tuesday; the version before was calmer."
    )


def _mlflow(page: Page) -> None:
    page.wait_for_selector("text=Add chart", timeout=60_000)
    assistant = page.locator("button[aria-label=Close]")
    if assistant.count():
        assistant.first.click()
    _still(page)


def _still(page: Page) -> None:
    """Wait until nothing is loaded any more, and for the pictures drawn by scripts."""
    page.wait_for_load_state("load")
    page.wait_for_timeout(2500)


def _save(page: Page, path: Path) -> None:
    """Save the window's picture; where it is too large for the repository, with fewer colours."""
    page.screenshot(path=path)
    if path.stat().st_size > LARGEST:
        with Image.open(path) as picture:  # of all methods the one that keeps the few coloured points
            fewer = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        fewer.save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1000} KB")


if __name__ == "__main__":
    sys.exit(main())
