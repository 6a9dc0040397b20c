"""Pages of tasks, through the real api-server: who may read them, and that nothing else can be read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest

from include import pages
from scripts.stack.config import Stack

pytestmark = pytest.mark.xdist_group("api_server")

Visit = Callable[[str | None], httpx.Client]

RUN = "manual__2013-03-01T05:00:00+00:00"
PAGE = "<!doctype html><h1>the page</h1>"


@pytest.fixture(scope="module", autouse=True)
def written(api_server: Stack, visit: Visit) -> None:
    """A run of the DAG, and the pages that its tasks would have written."""
    settings = api_server.settings
    body = {"dag_run_id": RUN, "logical_date": None}
    visit("admin").post("/api/v2/dags/sample/dagRuns", json=body).raise_for_status()
    folder = pages.folder(settings, "sample", RUN, "hello")
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    pages.write_links(folder / "index.html", {"MLflow run": "http://127.0.0.1:5000/#/run"})
    other = pages.folder(settings, "sample", RUN, "many", 1)
    pages.write_links(other / "index.html", {"MLflow run": "javascript:alert(1)"})
    (folder / "scripted.html").write_text("<SCRIPT>parent.document</SCRIPT>")
    (folder / "model.pkl").write_text("no page")
    (folder / "leak.html").symlink_to(api_server.home / "secrets" / "passwords.json")
    packed = pages.folder(settings, "sample", RUN, "many", 3)
    packed.mkdir(parents=True)
    (packed / "index.html.gz").write_bytes(gzip.compress(PAGE.encode()))


def url(*parts: str) -> str:
    return "/ratchet/reports/" + "/".join(quote(part, safe="") for part in parts) + "/"


def test_nobody_reads_nothing(visit: Visit) -> None:
    answer = visit(None).get(url("sample", RUN, "hello"))
    assert answer.status_code in (401, 403)
    assert "the page" not in answer.text


def test_a_forged_token_is_refused(api_server: Stack) -> None:
    answer = httpx.get(api_server.url + url("sample", RUN, "hello"), headers={"Authorization": "Bearer no.such.token"})
    assert answer.status_code in (401, 403)


@pytest.mark.parametrize("user", ["viewer", "operator", "admin"])
def test_users_read(visit: Visit, user: str) -> None:
    answer = visit(user).get(url("sample", RUN, "hello"))
    assert (answer.status_code, answer.text) == (200, PAGE)


def policy(answer: httpx.Response) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_scripts_of_a_page_have_no_origin(visit: Visit) -> None:
    found = policy(visit("viewer").get(url("sample", RUN, "hello") + "scripted.html"))
    assert found["sandbox"] == "allow-scripts"
    assert found["default-src"] == "'none'"


def test_a_page_with_an_origin_runs_no_scripts(visit: Visit) -> None:
    found = policy(visit("viewer").get(url("sample", RUN, "hello")))
    assert found["sandbox"] == "allow-same-origin"
    assert found["script-src"] == found["default-src"] == "'none'"


def test_pages_are_not_kept_by_browsers(visit: Visit) -> None:
    headers = visit("viewer").get(url("sample", RUN, "hello")).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_run_id_may_arrive_encoded_twice(visit: Visit) -> None:
    answer = visit("viewer").get(url("sample", quote(RUN, safe=""), "hello"))
    assert answer.text == PAGE


@pytest.mark.parametrize("index", ["{MAP_INDEX}", "-1"])
def test_the_tab_of_a_task_that_is_not_mapped(visit: Visit, index: str) -> None:
    path = url("sample", quote(RUN, safe=""), "hello", index)
    for address in (path, path + "index.html"):
        answer = visit("viewer").get(address, follow_redirects=True)
        assert (answer.status_code, answer.text) == (200, PAGE)


@pytest.mark.parametrize("index", ["{MAP_INDEX}/", "-1/", ""])
def test_a_page_links_to_that_of_the_task_beside_it(visit: Visit, index: str) -> None:
    """From the tab as from the link: a relative address is resolved by where the page has come from."""
    here = visit("viewer").get(url("sample", RUN, "hello") + index, follow_redirects=True).url
    beside = visit("viewer").get(here.join("../many/0/index.html"), follow_redirects=True)
    assert beside.url.path == visit("viewer").get(url("sample", RUN, "many", "0") + "index.html").url.path
    deep = visit("viewer").get(url("sample", RUN, "hello") + index + "day/none.html", follow_redirects=True)
    assert deep.status_code == 404
    assert deep.url.path.endswith("/hello/day/none.html")


def test_a_redirect_of_a_page_leads_nowhere_else(visit: Visit) -> None:
    path = url("sample", RUN, "hello")
    for walk in ("-1//elsewhere.example/", "-1/%2F%2Felsewhere.example", "-1/%5Celsewhere.example"):
        answer = visit("viewer").get(path + walk)
        assert answer.headers.get("location", "..").startswith("..")
    assert visit(None).get(path + "-1/").status_code in (401, 403)


def test_a_task_without_a_page_says_so(visit: Visit) -> None:
    answer = visit("viewer").get(url("sample", RUN, "many", "0"))
    assert answer.status_code == 404
    assert "There is no page of this task" in answer.text


def test_packed_pages_are_unpacked_for_those_who_ask(visit: Visit) -> None:
    client, path = visit("viewer"), url("sample", RUN, "many", "3")
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert plain.text == packed.text == PAGE
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "path",
    [
        url("sample", RUN, "none"),
        url("sample", RUN, "hello") + "model.pkl",
        url("sample", RUN, "hello") + "leak.html",
        url("sample", RUN, "hello") + "%2e%2e/%2e%2e/%2e%2e/%2e%2e/secrets/passwords.json",
        url("sample", RUN, "hello") + "..%2f..%2f..%2f..%2fsecrets%2fpasswords.json",
        url("sample", RUN, "hello") + "%2fetc%2fhostname",
        url("sample", RUN, "hello") + "a%00b.html",
        "/ratchet/reports/sample/%2e%2e/%2e%2e/secrets/passwords.json",
        "/ratchet/reports/%2e%2e/x/secrets/passwords.json",
        "/ratchet/reports/~/x/hello/",
    ],
)
def test_nothing_else_can_be_read(visit: Visit, path: str) -> None:
    answer = visit("admin").get(path)
    assert answer.status_code in (401, 404), answer.text


def test_the_route_tells_nothing_about_itself(visit: Visit) -> None:
    assert visit(None).get("/ratchet/reports/openapi.json").status_code == 404
    assert visit(None).get("/ratchet/reports/docs").status_code == 404


@pytest.mark.parametrize(
    ("task", "index", "report", "run"),
    [
        ("hello", -1, url("sample", RUN, "hello"), "http://127.0.0.1:5000/#/run"),
        ("many", 3, url("sample", RUN, "many", "3"), None),
        ("many", 1, None, None),  # a link that is no address of a page is no link
        ("many", 0, None, None),
    ],
)
def test_tasks_link_to_their_pages(visit: Visit, task: str, index: int, report: str | None, run: str | None) -> None:
    path = f"/api/v2/dags/sample/dagRuns/{RUN}/taskInstances/{task}/links"
    found = visit("viewer").get(path, params={"map_index": index}).raise_for_status().json()["extra_links"]
    assert {name: found[name] for name in ("Report", "MLflow run")} == {"Report": report, "MLflow run": run}
    assert found["Console"] is None  # the DAG is not one of the project's
    if report:
        assert visit("viewer").get(report).text == PAGE
