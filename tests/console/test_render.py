"""Pages as documents: escaped, without inline code, labelled, with the forms that the reader may use and no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from include.console import render
from include.console.view import Gap, Link, ModelPage, Row
from tests.console import views

PAGES: dict[str, Callable[[], str]] = {
    "models": lambda: render.index(views.several(), views.site()),
    "fifty models": lambda: render.index(views.many(), views.site()),
    "nothing yet": lambda: render.index(views.empty(), views.site()),
    "healthy": lambda: _model(views.row()),
    "incident": lambda: _model(views.broken()),
    "waiting": lambda: _model(views.waiting()),
    "frozen": lambda: _model(replace(views.row(), frozen=views.FROZEN)),
    "training": lambda: _model(views.training()),
    "blank": lambda: render.model(views.blank(), views.site(root="../")),
    "version": lambda: render.version(views.version(), views.site(root="../../../")),
    "without MLflow": lambda: render.version(views.version(views.MLFLOW_DOWN), views.site(root="../../../")),
    "refused": lambda: render.run(views.refused(), views.site(root="../../")),
    "live": lambda: render.live(views.live(), views.NAME, views.site(root="../../")),
    "message": lambda: render.message("Nothing was done", "Say why.", "bad", views.LINKS, views.site(), "Go back."),
}


def _model(row: Row) -> str:
    return render.model(views.page(row), views.site(root="../"))


class Document(HTMLParser):
    """A page's elements, and the forms' fields; raises where tags do not close in their order."""

    VOID = frozenset({"meta", "link", "input", "br", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(params=PAGES, scope="module")
def page(request: pytest.FixtureRequest) -> Document:
    return Document(PAGES[request.param]())


# -- every page --------------------------------------------------------------------------------------------------------
def test_no_page_has_code_or_style_of_its_own(page: Document) -> None:
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
    for script in page.of("script"):
        assert script.get("src", "").startswith(("static/", "../")) or script["type"] == "application/json"  # type: ignore[union-attr]


def test_no_two_parts_have_one_id(page: Document) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, times in ids.items() if times > 1] == []


def test_parts_that_are_kept_live_can_be_found_again(page: Document) -> None:
    assert all(attributes.get("id") for _, attributes in page.elements if "data-live" in attributes)


def test_tables_have_captions_and_scopes_and_fields_have_labels(page: Document) -> None:
    assert len(page.of("caption")) == len(page.of("table"))
    assert all(cell.get("scope") for cell in page.of("th"))
    labelled = {label["for"] for label in page.of("label") if "for" in label}
    fields = [field for tag in ("input", "textarea") for field in page.of(tag)]
    for field in fields:
        assert field.get("type") in ("hidden", "radio") or field["id"] in labelled


def test_every_chart_has_its_words(page: Document) -> None:
    assert all(attributes["aria-label"] for _, attributes in page.elements if "data-chart" in attributes)


def test_nothing_is_fetched_from_elsewhere(page: Document) -> None:
    fetched = [a.get("src") or a.get("href") or "" for tag in ("script", "link", "img") for a in page.of(tag)]
    assert all(not url.startswith(("http", "//")) for url in fetched)


# -- what is told ------------------------------------------------------------------------------------------------------
def test_what_is_wrong_since_when_and_what_to_do_comes_first() -> None:
    text = PAGES["incident"]()
    main = text[text.index("<main") :]
    places = [main.index(part) for part in ("76% of its rows", "Since", "Mend the feed", "Retrain", "How it did")]
    assert places == sorted(places)


def test_gaps_say_what_is_missing_and_the_rest_is_shown() -> None:
    text = PAGES["without MLflow"]()
    assert "MLflow does not answer" in text
    assert "Bento" in text
    assert "None can be shown" in text


def test_an_empty_installation_says_what_to_do() -> None:
    text = PAGES["nothing yet"]()
    assert text.index("No model has been trained yet") < text.index("Trigger <code>train</code>")


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "</script><b>"])
def test_what_people_write_is_never_markup(hostile: str) -> None:
    decision = replace(views.decisions()[0], reason=hostile, actor=hostile, what=hostile)
    row = replace(views.waiting(), model=hostile, frozen=replace(views.FROZEN, reason=hostile, actor=hostile))
    asked = replace(row, question=replace(views.QUESTION, subject=hostile, body=hostile, run_id=hostile))
    page = replace(views.page(asked), decisions=[decision], marks=[decision], gaps=(Gap(hostile, hostile),))
    for text in (render.model(page, views.site()), render.index(replace(views.several(), rows=[asked]), views.site())):
        assert hostile not in text
        found = Document(text)
        assert not found.of("img")
        assert not [attributes for attributes in found.of("script") if not attributes]


@pytest.mark.parametrize(
    ("link", "href"),
    [
        (Link("x", "models/a", "console"), "../models/a"),
        (Link("x", "/dags/train", "airflow"), "/prefix/dags/train"),
        (Link("x", "/ratchet/reports/a/", "report"), "/prefix/ratchet/reports/a/"),
        (Link("x", "https://example.org/#/a", "outside"), "https://example.org/#/a"),
        (Link("x", "javascript:alert(1)", "outside"), "#"),
        (Link("x", "//evil.example/", "airflow"), "#"),
    ],
)
def test_a_link_leads_where_it_says_and_runs_nothing(link: Link, href: str) -> None:
    site = replace(views.site(root="../"), airflow="/prefix")
    document = Document(render.message("t", "t", "quiet", [link], site))
    assert href in [a["href"] for a in document.of("a") if a.get("data-where") == link.where]


# -- what may be done --------------------------------------------------------------------------------------------------
def _posts(page: ModelPage, site: render.Site) -> list[str]:
    forms = [form for form in Document(render.model(page, site)).of("form") if form.get("method") == "post"]
    return sorted(str(form["action"]).rpartition("/")[2] for form in forms)


def test_an_operator_has_every_form_with_a_reason_and_a_name_of_its_own() -> None:
    page = views.page(views.waiting())
    assert _posts(page, views.site()) == ["answer", "freeze", "retrain", "rollback"]
    document = Document(render.model(page, views.site()))
    reasons = document.of("textarea")
    assert len(reasons) == 4
    assert all("required" in reason and reason["maxlength"] == "500" for reason in reasons)
    onces = [field["value"] for field in document.of("input") if field.get("name") == "once"]
    assert len(set(onces)) == 4
    again = Document(render.model(page, views.site())).of("input")
    assert not set(onces) & {field.get("value") for field in again}


def test_a_frozen_model_can_be_thawed_and_not_frozen() -> None:
    assert "thaw" in _posts(views.page(replace(views.row(), frozen=views.FROZEN)), views.site())


def test_a_viewer_has_no_form_and_reads_why() -> None:
    page = views.page(views.waiting())
    assert _posts(page, views.site(views.NONE)) == []
    assert "your role may not trigger the DAG rollback" in render.model(page, views.site(views.NONE))


def test_another_installations_model_is_only_shown() -> None:
    assert _posts(views.page(replace(views.waiting(), ours=False)), views.site()) == []


def test_a_rollback_offers_whole_former_champions_only() -> None:
    document = Document(_model(views.row()))
    chosen = [field["value"] for field in document.of("input") if field.get("name") == "version"]
    assert chosen == ["1"]  # 4 and 3 never were champion, 2 is it


# -- how much ----------------------------------------------------------------------------------------------------------
def test_fifty_models_stay_light() -> None:
    assert len(PAGES["fifty models"]()) < 300_000


def test_only_the_consoles_own_files_are_served() -> None:
    for name, kind in (("console.css", "text/css"), ("console.js", "text/javascript")):
        found = render.static(name)
        assert found is not None
        assert found[1].startswith(kind)
    assert render.static("../render.py") is None
    assert render.static("render.py") is None


def test_no_rollback_to_what_was_rolled_back_is_chosen_before_anybody_chose() -> None:
    """Of those that were champion the newest that was not left for being bad; without one nothing is chosen."""
    page = views.page(views.row())
    found = {v.version: v.was_champion and v.version != views.row().champion for v in page.versions}
    (target,) = [number for number, possible in found.items() if possible]

    def chosen(rolled_back: bool) -> bool:
        versions = [replace(v, rolled_back=rolled_back and v.version == target) for v in page.versions]
        html = render.model(replace(page, versions=versions), views.site())
        assert f'name="version" value="{target}" required' in html
        assert ("was rolled back" in html) == rolled_back
        return f'name="version" value="{target}" required checked' in html

    assert chosen(rolled_back=False)
    assert not chosen(rolled_back=True)


def test_a_question_whose_release_is_over_can_only_be_rejected() -> None:
    row = replace(views.waiting(), question=replace(views.QUESTION, over=True), challenger=None)
    html = render.model(views.page(row), views.site())
    assert "Its release is over." in html
    assert 'value="Approve"' not in html
    assert 'value="Reject"' in html
