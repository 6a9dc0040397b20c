"""The console as people use it: in a browser, inside Airflow's frame, on the running stack that the demo has left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Frame, FrameLocator, Page, expect

from include.release import ledger as book
from scripts import browser as browsers
from scripts.browser import Theme
from scripts.demo import airflow, drive, story
from scripts.stack import supervisor
from scripts.stack.config import Stack
from tests.e2e.running import Demo, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

CONSOLE, ACT = "/ratchet/console", "/ratchet/act"
SECONDS = 2.0  # for a page; the promise is one, and this machine does other things too
ACTIONS = ("retrain", "rollback", "freeze", "thaw", "answer")
PAGES = (
    "",
    "models/{model}",
    "models/{model}/versions/{version}",
    "models/{model}/live",
    "dags/release",
    "runs/train/{refused}",
    "runs/release/{run}",
    "runs/monitor/{looked}",
)
expect.set_options(timeout=60_000)


# -- the state: something is wrong, and something waits ------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """`version` waits in a `run` of `release` for its approval, beside champion `before`; `wrong` is what the newest
    look says, `looked` its run and `refused` a training's that the gate has refused."""

    stack: Stack
    version: int
    before: int
    run: str
    wrong: str
    looked: str
    refused: str

    @property
    def model(self) -> str:
        return self.stack.settings.model

    def address(self, path: str) -> str:
        """Of one of PAGES, outside the frame."""
        return f"{self.stack.url}{CONSOLE}/{path.format(**vars(self), model=self.model)}"

    def entries(self) -> int:
        return len(book.history(book.connect(self.stack.settings.ledger_url), self.model))

    def said(self, kind: str) -> list[tuple[str, str]]:
        """Actor and reason of the ledger's entries of a kind, in order."""
        entries = book.of_kind(book.connect(self.stack.settings.ledger_url), self.model, kind)
        return [(entry["actor"], entry["reason"]) for entry in entries]


@pytest.fixture(scope="module")
def case(demo: Demo) -> Case:
    """What a person meets at night: a weather station repeats its last observation, and a release waits for an
    answer. Both are brought about by the real thing, and found when they are there already."""
    stack = demo.stack
    supervisor.ensure(stack, "replay")
    with airflow.connect(stack) as admin:
        live = _waiting(stack, admin)
        asked = next(chapter.asks for chapter in story.chapters(stack.settings) if chapter.fault and chapter.asks)
        drive.ask(stack, asked[0], story.MENDED, "stale weather")
        looked = _run(admin, "monitor", {})
        assert looked["state"] == "success"
        verdict = airflow.result(admin, "monitor", looked["dag_run_id"], "measure")
    assert verdict["state"] == "incident"
    assert live.challenger is not None
    assert live.champion is not None
    run = _newest(stack, "approval")["run"].partition("/")[2]
    wrong = verdict["reason"].partition(": ")[2][1:]  # the page says the verdict's name apart, and begins a sentence
    refused = demo.chapters["4_change"]["run"]
    return Case(stack, live.challenger, live.champion, run, wrong, looked["dag_run_id"], refused)


def _waiting(stack: Stack, admin: httpx.Client) -> book.Deployment:
    """Where the waiting release was answered before, it is gone back from its version, and released again."""
    ledger, model = book.connect(stack.settings.ledger_url), stack.settings.model
    live = book.current(ledger, model)
    if live.stage == book.APPROVAL:
        return live
    version = _newest(stack, "promotion")["version"]
    if live.champion == version:
        assert _run(admin, "rollback", {"reason": "its release is looked at again"})["state"] == "success"
    airflow.trigger(admin, "release", f"again__{uuid.uuid4().hex}", {"version": version}, "")
    return wait(lambda: (now := book.current(ledger, model)).stage == book.APPROVAL and now)


def _newest(stack: Stack, kind: str) -> dict[str, Any]:
    return book.of_kind(book.connect(stack.settings.ledger_url), stack.settings.model, kind)[-1]


def _run(client: httpx.Client, dag: str, conf: dict[str, Any]) -> dict[str, Any]:
    """A run of this DAG, at its end."""
    run_id = f"console-test__{uuid.uuid4().hex}"
    airflow.trigger(client, dag, run_id, conf, "")
    return wait(lambda: (found := airflow.run(client, dag, run_id)) and found["state"] in airflow.ENDED and found)


# -- people --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.opened() as opened:
        yield opened


@pytest.fixture
def operator(browser: Browser, case: Case) -> Iterator[Page]:
    with person(browser, case, "operator") as page:
        yield page


@pytest.fixture
def viewer(browser: Browser, case: Case) -> Iterator[Page]:
    with person(browser, case, "viewer") as page:
        yield page


@pytest.fixture
def nobody(browser: Browser, case: Case) -> Iterator[Page]:
    with person(browser, case, "") as page:
        yield page


@contextmanager
def person(browser: Browser, case: Case, user: str, theme: Theme = "light") -> Iterator[Page]:
    page = browsers.page(browser, theme)
    if user:
        browsers.log_in(page, case.stack, user)
    yield page
    page.context.close()


def inside(page: Page) -> FrameLocator:
    """What the console shows, inside Airflow's frame."""
    return page.frame_locator("iframe[title=Models]")


def open_models(page: Page, case: Case) -> None:
    """From Airflow's start page through its navigation, as a person goes."""
    page.goto(case.stack.url)
    page.get_by_role("link", name="Models", exact=True).click()
    expect(inside(page).get_by_role("heading", level=1)).to_have_text("Models")


def open_model(page: Page, case: Case) -> None:
    open_models(page, case)
    inside(page).get_by_role("link", name=case.model, exact=True).click()
    expect(inside(page).get_by_role("heading", level=1)).to_have_text(case.model)


# -- lesser roles ----------------------------------------------------------------------------------------------------
def forged(page: Page, case: Case, action: str) -> int:
    """The status of what the action's form would send, in the name of whoever is logged in here."""
    fields: dict[str, str | float | bool] = {"reason": "a forgery", "once": uuid.uuid4().hex}
    if action == "rollback":
        fields["version"] = case.before
    if action == "answer":
        fields |= {"run_id": case.run, "task_id": "approval", "map_index": -1, "choice": "Approve"}
    url = f"{case.stack.url}{ACT}/models/{case.model}/{action}"
    here = {"Sec-Fetch-Site": "same-origin", "Origin": case.stack.url}
    return page.request.post(url, form=fields, headers=here, max_redirects=0).status


def test_a_viewer_reads_why_and_can_do_nothing(case: Case, viewer: Page) -> None:
    before = case.entries()
    open_model(viewer, case)
    expect(inside(viewer).locator("#lead")).to_contain_text(case.wrong)
    expect(inside(viewer).locator("#answer")).to_contain_text(f"version {case.version}")
    expect(inside(viewer).locator("form[method=post]")).to_have_count(0)
    assert {action: forged(viewer, case, action) for action in ACTIONS} == dict.fromkeys(ACTIONS, 403)
    assert case.entries() == before


def test_who_has_not_logged_in_sees_nothing_and_can_do_nothing(case: Case, nobody: Page) -> None:
    for path in PAGES:
        assert nobody.request.get(case.address(path), max_redirects=0).status == 401
    assert {action: forged(nobody, case, action) for action in ACTIONS} == dict.fromkeys(ACTIONS, 401)


def test_a_page_elsewhere_cannot_act_in_the_operators_name(case: Case, operator: Page) -> None:
    """A form of another site that sends itself: the browser says where it comes from, and it is refused."""
    url = f"{case.stack.url}{ACT}/models/{case.model}/freeze"
    trap = f"<form method=post action='{url}'><input name=reason value=trap><input name=once value={'0' * 32}></form>"
    elsewhere = "http://elsewhere.test/"
    operator.route(elsewhere, lambda route: route.fulfill(body=trap, content_type="text/html"))
    operator.goto(elsewhere)
    with operator.expect_response(url) as answer:
        operator.evaluate("document.forms[0].submit()")
    assert answer.value.status == 403
    with airflow.connect(case.stack) as admin:
        assert airflow.run(admin, "freeze", f"console__{'0' * 32}") is None


# -- every page --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(case: Case, browser: Browser, theme: Theme) -> None:
    """In all pages, with their forms and tables opened, in the theme that Airflow is set to."""
    with person(browser, case, "operator", theme) as page:
        open_model(page, case)
        assert_accessible(page, inside(page).locator("main").element_handle().owner_frame(), "in Airflow's frame")
        for path in PAGES:
            page.goto(case.address(path))
            assert_accessible(page, page.main_frame, path)


def assert_accessible(page: Page, frame: Frame | None, what: str) -> None:
    assert frame is not None
    frame.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
    found = [v for v in Axe().run(frame).response["violations"] if v["impact"] in ("serious", "critical")]
    assert [(what, v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []


def test_pages_are_there_at_once(case: Case, operator: Page) -> None:
    for path in PAGES:
        took = []
        for _ in range(3):  # the first one warms up what is kept
            operator.goto(case.address(path), wait_until="load")
            took.append(operator.evaluate("performance.getEntriesByType('navigation')[0].duration") / 1000)
        assert min(took) < SECONDS, path


def test_links_lead_out_of_the_frame(case: Case, operator: Page) -> None:
    """Pages of tasks open beside it, Airflow's own pages in its place: never inside the console's frame."""
    open_model(operator, case)
    with operator.expect_popup() as opened:
        inside(operator).locator("#decisions a[data-where=report]").first.click()
    expect(opened.value.locator("h1")).to_be_visible()
    assert opened.value.url.startswith(f"{case.stack.url}/ratchet/reports/")
    inside(operator).locator("a[data-where=airflow]").first.click()
    operator.wait_for_url(f"{case.stack.url}/dags/**")
    expect(operator.locator("iframe[title=Models]")).to_have_count(0)


def test_a_refused_training_says_so_on_its_own_page(case: Case, viewer: Page) -> None:
    """The tab of the DAG run in Airflow; and its way to the model."""
    viewer.goto(f"{case.stack.url}/dags/train/runs/{case.refused}")
    viewer.get_by_role("link", name="Outcome").click()
    outcome = viewer.frame_locator("iframe[title=Outcome]")
    expect(outcome.locator("main")).to_contain_text("not shown to be below zero")
    outcome.get_by_role("link", name=case.model).first.click()
    expect(outcome.get_by_role("heading", level=1)).to_have_text(case.model)


# -- a night on call ---------------------------------------------------------------------------------------------------
def test_a_night_on_call(case: Case, operator: Page) -> None:
    """Somebody finds the model that is ill, reads why, approves what waits, sees it live, goes back, and freezes."""
    open_models(operator, case)
    worst = inside(operator).locator("#models tbody").first
    expect(worst).to_contain_text(case.model)
    expect(worst).to_contain_text(case.wrong)
    inside(operator).get_by_role("link", name=case.model, exact=True).click()
    expect(inside(operator).locator("#lead")).to_contain_text(case.wrong)

    approve(operator, case, "its shadow is sound, and older than the broken feed")
    see(operator, case.version)
    expect(inside(operator).locator("#decisions")).to_contain_text(case.said("promotion")[-1][1].partition(": ")[2][1:])
    assert case.said("approved")[-1] == ("operator", "its shadow is sound, and older than the broken feed")

    act(operator, case, "rollback", "it is not what we want tonight", choose=f"input[value='{case.before}']")
    see(operator, case.before)
    expect(inside(operator).locator("#decisions")).to_contain_text("it is not what we want tonight")
    who, why = case.said("rollback")[-1]
    assert who == "operator"
    assert why.endswith("it is not what we want tonight")

    act(operator, case, "freeze", "until the feed is mended")
    expect(inside(operator).locator("#state")).to_contain_text("frozen")
    assert case.said("freeze")[-1] == ("operator", "until the feed is mended")
    act(operator, case, "thaw", "the feed is mended")
    expect(inside(operator).locator("#state")).not_to_contain_text("frozen")
    assert case.said("thaw")[-1] == ("operator", "the feed is mended")


def approve(page: Page, case: Case, reason: str) -> None:
    question = inside(page).locator("#answer")
    question.get_by_label("Reason").fill(reason)
    question.get_by_role("button", name="Approve").click()
    _back(page, case)


def act(page: Page, case: Case, action: str, reason: str, choose: str = "") -> None:
    """Open the action, say why, send it, and go back to the model from the page that says what was done."""
    form = inside(page).locator(f"#do-{action}")
    form.locator("summary").click()
    if choose:
        form.locator(choose).check()
    form.get_by_label("Reason").fill(reason)
    form.locator("button").click()
    _back(page, case)


def _back(page: Page, case: Case) -> None:
    inside(page).get_by_role("link", name=f"Back to {case.model}").click()
    expect(inside(page).get_by_role("heading", level=1)).to_have_text(case.model)


def see(page: Page, version: int) -> None:
    """The page comes to say that this version is live, without being loaded anew."""
    frame = inside(page).locator("main").element_handle().owner_frame()
    assert frame is not None
    frame.evaluate("window.never_left = true")
    expect(inside(page).locator("#facts div").first).to_contain_text(f"v{version}", timeout=400_000)
    assert frame.evaluate("window.never_left")
