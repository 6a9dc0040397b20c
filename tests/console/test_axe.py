"""The pages in a real browser, under the policy that they are served with: accessible, dark and light, alive.

The browser asks nobody: its requests are answered here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, Route, expect

from include.console import render, vega
from include.console.view import ModelPage
from include.settings import Settings
from scripts import browser as chromium
from tests.console import views

ORIGIN = "http://console.test"
HOME = f"{ORIGIN}/ratchet/console/"
MODEL = f"models/{views.NAME}"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
SERIOUS = ("serious", "critical")
ONE, THREE = views.site(root="../"), views.site(root="../../../")
PAGES: dict[str, tuple[str, Callable[[], str]]] = {
    "models": ("", lambda: render.index(views.several(), views.site())),
    "nothing yet": ("", lambda: render.index(views.empty(), views.site())),
    "incident": (MODEL, lambda: render.model(views.page(views.broken()), ONE)),
    "waiting": (MODEL, lambda: render.model(views.page(replace(views.waiting(), frozen=views.FROZEN)), ONE)),
    "viewer": (MODEL, lambda: render.model(views.page(views.waiting()), replace(ONE, powers=views.NONE))),
    "blank": (MODEL, lambda: render.model(views.blank(), ONE)),
    "version": (f"{MODEL}/versions/2", lambda: render.version(views.version(), THREE)),
    "without MLflow": (f"{MODEL}/versions/2", lambda: render.version(views.version(views.MLFLOW_DOWN), THREE)),
    "refused": ("runs/train/demo__4_change", lambda: render.run(views.refused(), views.site(root="../../"))),
    "live": (f"{MODEL}/live", lambda: render.live(views.live(), views.NAME, views.site(root="../../"))),
    "message": (MODEL, lambda: render.message("Nothing was done", "Say why.", "bad", views.LINKS, ONE)),
}


@dataclass
class Console:
    """Answers a page's requests, and keeps what came."""

    script: bytes
    html: str = ""
    etag: str = "0"
    frame: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def answer(self, route: Route, request: Request) -> None:
        path = request.url.removeprefix(ORIGIN).partition("?")[0]
        self.asked.append((path, request.headers.get("if-none-match")))
        if path.endswith("/vega.js"):
            route.fulfill(body=self.script, content_type="text/javascript")
        elif found := render.static(path.rpartition("/")[2]):
            route.fulfill(body=found[0], content_type=found[1])
        elif path == "/frame":
            route.fulfill(body=self.frame, content_type="text/html; charset=utf-8")
        elif request.headers.get("if-none-match") == f'"{self.etag}"':
            route.fulfill(status=304)
        else:
            headers = {"Content-Security-Policy": POLICY, "ETag": f'"{self.etag}"'}
            route.fulfill(body=self.html, content_type="text/html; charset=utf-8", headers=headers)


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with chromium.opened() as browser:
        yield browser


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    home: Path = tmp_path_factory.mktemp("vega")
    return vega.script(Settings(home=home)).read_bytes()


@pytest.fixture
def console(script: bytes) -> Console:
    return Console(script)


@pytest.fixture
def window(opened: Browser, console: Console) -> Iterator[Page]:
    """What the console or its policy complains about fails the test."""
    context = opened.new_context(viewport=chromium.SIZE, color_scheme="light")
    page = context.new_page()
    page.route("**/*", console.answer)
    page.on("pageerror", lambda error: console.complaints.append(str(error)))
    page.on("console", lambda said: console.complaints.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    assert console.complaints == []


def _drawn(page: Page) -> None:
    expect(page.locator("[data-chart]:not([data-drawn])")).to_have_count(0, timeout=20_000)


def _show(page: Page, console: Console, path: str, html: str) -> None:
    console.html = html
    page.goto(HOME + path)
    _drawn(page)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_a_serious_finding_in_light_or_dark(window: Page, console: Console, name: str) -> None:
    path, make = PAGES[name]
    _show(window, console, path, make())
    assert window.locator("[data-drawn=no]").count() == 0
    assert _serious(window) == []
    window.emulate_media(color_scheme="dark")  # contrast is all that the theme can change
    assert _serious(window, {"runOnly": ["color-contrast"]}) == []


def _serious(page: Page, options: dict[str, object] | None = None) -> list[tuple[str, str, str]]:
    found = Axe().run(page, options=options).response["violations"]
    return [(f["id"], f["nodes"][0]["html"], f["help"]) for f in found if f["impact"] in SERIOUS]


@pytest.mark.parametrize("name", ["models", "waiting", "version"])
def test_nothing_runs_out_of_the_window(window: Page, console: Console, name: str) -> None:
    path, make = PAGES[name]
    _show(window, console, path, make())
    for width in (1600, 1280, 1000):
        window.set_viewport_size({"width": width, "height": 800})
        expect(window.locator("main")).to_have_js_property("scrollWidth", min(width, 110 * 14))
        assert window.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


# -- live --------------------------------------------------------------------------------------------------------------
def _soon(page: Page, console: Console, html: str) -> None:
    """The server has something new, and the page's next look is now."""
    console.html, console.etag = html, console.etag + "1"
    page.clock.fast_forward(6_000)


def _model(found: ModelPage) -> str:
    return render.model(found, ONE)


def test_news_come_in_while_somebody_types(window: Page, console: Console) -> None:
    window.clock.install(time=views.WALL)
    _show(window, console, MODEL, _model(views.page(views.waiting())))
    window.locator("#answer-reason").fill("the shadow holds")
    window.locator("#curve-table summary").click()
    window.locator("#answer-reason").focus()
    before = window.locator("input[name=once]").first.get_attribute("value")
    again = views.page(replace(views.waiting(), health=views.INCIDENT, alerts=(views.PAGE,)))
    _soon(window, console, _model(again))
    expect(window.locator("#lead")).to_contain_text("origin_weather")
    expect(window.locator("#alerts")).to_contain_text("data incident")
    expect(window.locator("#answer-reason")).to_have_value("the shadow holds")
    expect(window.locator("#answer-reason")).to_be_focused()
    expect(window.locator("#curve-table")).to_have_attribute("open", "")
    assert window.locator("input[name=once]").first.get_attribute("value") == before


def test_a_choice_never_sends_another_than_it_shows(window: Page, console: Console) -> None:
    """A promotion while somebody chooses what to go back to: the choice stays, and every label sends its own."""
    window.clock.install(time=views.WALL)
    page = views.page(views.waiting())
    rows = [replace(page.versions[0], version=n, role="", was_champion=True, gone="") for n in (9, 8, 7, 6)]
    _show(window, console, MODEL, _model(replace(page, row=replace(page.row, champion=8), versions=rows)))
    window.locator("#do-rollback summary").click()
    window.get_by_label("v7").check()
    _soon(window, console, _model(replace(page, row=replace(page.row, champion=9), versions=rows)))
    expect(window.get_by_label("v8")).to_be_visible()
    said = window.locator("#do-rollback .choice").evaluate_all("all => all.map(l => [l.innerText, l.control.value])")
    assert [(text.split()[0], value) for text, value in said] == [("v8", "8"), ("v7", "7"), ("v6", "6")]
    expect(window.get_by_label("v7")).to_be_checked()
    _show(window, console, MODEL, _model(page))
    assert page.row.question
    other = replace(page.row.question, run_id="another")
    _soon(window, console, _model(replace(page, row=replace(page.row, question=other))))
    expect(window.locator("#answer [name=run_id]")).to_have_value("another")


def test_a_question_that_was_answered_goes_and_a_new_row_comes(window: Page, console: Console) -> None:
    window.clock.install(time=views.WALL)
    _show(window, console, MODEL, _model(views.page(views.waiting())))
    _soon(window, console, _model(views.page(views.row())))
    expect(window.locator("#answer")).to_have_count(0)
    few = replace(views.several(), rows=[views.row(), views.row("b")])
    console.etag = "rows"
    _show(window, console, "", render.index(few, views.site()))
    _soon(window, console, render.index(views.several(), views.site()))
    expect(window.locator("#models tbody")).to_have_count(7)
    names = window.locator("#models .name").all_inner_texts()
    assert names == [row.model for row in views.several().rows]


def test_where_nothing_is_new_the_server_says_so_in_a_word(window: Page, console: Console) -> None:
    window.clock.install(time=views.WALL)
    _show(window, console, "", render.index(views.several(), views.site()))
    with window.expect_response(lambda response: response.status == 304):
        window.clock.fast_forward(6_000)
    assert console.asked[-1][1] == '"0"'


def test_a_server_that_is_gone_is_told(window: Page, console: Console) -> None:
    window.clock.install(time=views.WALL)
    _show(window, console, "", render.index(views.several(), views.site()))
    window.route("**/*", lambda route: route.abort())
    window.clock.fast_forward(6_000)
    expect(window.locator("#pulse")).to_contain_text("no answer")
    console.complaints.clear()  # the browser tells of the broken request


# -- small things ------------------------------------------------------------------------------------------------------
def test_the_filter_leaves_what_it_names(window: Page, console: Console) -> None:
    _show(window, console, "", render.index(views.several(), views.site()))
    window.get_by_label("Filter").fill("frozen ada")
    expect(window.locator("#models tbody:visible")).to_have_count(1)
    expect(window.locator("#filter-count")).to_have_text("1 of 7")


def test_actions_open_and_close_by_keyboard_and_ask_for_a_reason(window: Page, console: Console) -> None:
    _show(window, console, MODEL, _model(views.page(views.row())))
    summary = window.locator("#do-freeze summary")
    summary.focus()
    window.keyboard.press("Enter")
    form = window.locator("#do-freeze form")
    expect(form).to_be_visible()
    form.get_by_role("button").click()
    assert window.url == HOME + MODEL  # nothing was sent: the reason is missing
    window.keyboard.press("Escape")
    expect(form).to_be_hidden()
    expect(summary).to_be_focused()


FRAME = """<!doctype html><html class="dark"><head><link rel="icon" href="data:,"></head><body>
<iframe src="/ratchet/console/models/flights_on_time" width="1100" height="700"
 sandbox="allow-scripts allow-same-origin allow-forms allow-downloads"></iframe></body></html>"""


def test_in_airflows_frame_the_theme_is_airflows_and_links_lead_out(window: Page, console: Console) -> None:
    console.html, console.frame = _model(views.page(views.row())), FRAME
    window.goto(f"{ORIGIN}/frame")
    inside = window.frame_locator("iframe")
    expect(inside.locator("html")).to_have_attribute("data-theme", "dark")
    window.evaluate("document.documentElement.className = 'light'")
    expect(inside.locator("html")).to_have_attribute("data-theme", "light")
    with window.context.expect_page() as beside:
        inside.locator("a[data-where=outside]").first.click()
    beside.value.close()
    inside.locator("a[data-where=airflow]").first.click()
    window.wait_for_url(f"{ORIGIN}/dags/train")
