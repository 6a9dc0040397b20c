"""The console's pages through the real api-server: who may read them, how they are sent, and what errors look like."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from include import pages
from include.release import ledger as book
from include.settings import ROOT
from scripts.stack import control
from scripts.stack.config import Stack, environment
from tests.console import planted

pytestmark = [pytest.mark.xdist_group("api_server"), pytest.mark.usefixtures("planted_server")]

Visit = Callable[[str | None], httpx.Client]

MODEL = planted.OURS
CONSOLE = "/ratchet/console/"
RUN = planted.training_of(MODEL, 14).partition("/")[2]
SHOWN = [
    "",
    f"models/{MODEL}",
    f"models/{MODEL}?kind=promotion&kind=gate&before=1000000",
    f"models/{MODEL}/versions/1",
    f"models/{MODEL}/live",
    f"models/{MODEL}/live?at=2026-11-21T10:00",
    f"models/{MODEL}/live?at=2026-11-21T10:00%2B02:00",
    f"runs/train/{RUN}",
    "dags/train",
    "dags/release",
]
FILES = ["static/console.css", "static/console.js", "static/vega.js"]
READERS = ("viewer", "person", "operator", "admin")


# -- who may read ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", [*SHOWN, *FILES])
def test_nobody_and_a_guest_read_nothing(visit: Visit, path: str) -> None:
    for user, status in ((None, 401), ("guest", 403)):
        answer = visit(user).get(CONSOLE + path)
        assert answer.status_code == status, answer.text
        assert "<!doctype html" in answer.text.lower()
        assert "Incident" not in answer.text


@pytest.mark.parametrize("path", [*SHOWN, *FILES])
@pytest.mark.parametrize("user", READERS)
def test_readers_read(visit: Visit, path: str, user: str) -> None:
    answer = visit(user).get(CONSOLE + path)
    assert answer.status_code == 200, answer.text
    if path in SHOWN:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert MODEL in answer.text


@pytest.mark.parametrize("user", READERS)
def test_only_who_may_act_is_offered_to(visit: Visit, user: str) -> None:
    text = visit(user).get(f"{CONSOLE}models/{MODEL}").text
    assert ('method="post"' in text) == (user != "viewer")


def test_nobody_is_shown_the_way_in(visit: Visit) -> None:
    answer = visit(None).get(CONSOLE)
    assert "/auth/login" in answer.text


def test_a_cookie_is_enough(planted_server: Stack) -> None:
    cookies = {"_token": control.token(planted_server, "viewer")}
    with httpx.Client(base_url=planted_server.url, cookies=cookies, trust_env=False, timeout=30) as browser:
        assert browser.get(CONSOLE).status_code == 200
        cookies["_token"] = "no.such.token"
    answer = httpx.get(planted_server.url + CONSOLE, cookies=cookies, trust_env=False)
    assert answer.status_code in (401, 403)


# -- how pages are sent ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", [*SHOWN, "models/none", "nothing"])
def test_pages_load_nothing_foreign_and_are_not_kept(visit: Visit, path: str) -> None:
    headers = visit("viewer").get(CONSOLE + path).headers
    parts = (part.strip().partition(" ") for part in headers["content-security-policy"].split(";"))
    policy = {name: value for name, _, value in parts}
    assert policy["default-src"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == "'self'"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_what_has_not_changed_is_not_sent_again(visit: Visit) -> None:
    client, path = visit("viewer"), f"{CONSOLE}models/{MODEL}"
    answers = []
    for _ in range(3):  # a page is made anew with each minute
        tag = client.get(path).headers["etag"]
        answers.append(client.get(path, headers={"If-None-Match": f'"other", {tag}'}))
    assert 304 in [answer.status_code for answer in answers]
    assert all(answer.content == b"" for answer in answers if answer.status_code == 304)


def test_what_has_changed_is_sent(visit: Visit, planted_server: Stack) -> None:
    client, path = visit("viewer"), f"{CONSOLE}models/{MODEL}"
    first = client.get(path).headers["etag"]
    assert visit("operator").get(path).headers["etag"] != first  # what is offered is part of a page
    ledger = book.connect(planted_server.settings.ledger_url)
    said = book.Decision(f"test/{uuid4().hex}", MODEL, "freeze", "somebody", "an audit", "2013-02-01T00:00:00+00:00")
    book.freeze(ledger, said, frozen=True)
    answer = client.get(path, headers={"If-None-Match": first})
    assert answer.status_code == 200
    assert "an audit" in answer.text
    lifted = book.Decision(f"test/{uuid4().hex}", MODEL, "thaw", "somebody", "it is over", "2013-02-01T00:00:00+00:00")
    book.freeze(ledger, lifted, frozen=False)


def test_pages_are_packed(visit: Visit) -> None:
    answer = visit("viewer").get(f"{CONSOLE}models/{MODEL}", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"


def test_files_are_kept_as_long_as_their_address_says(visit: Visit) -> None:
    assert "immutable" in visit("viewer").get(CONSOLE + "static/console.css?v=1").headers["cache-control"]
    assert "no-cache" in visit("viewer").get(CONSOLE + "static/console.css").headers["cache-control"]


# -- errors ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("models/none", 404, "none"),
        (f"models/{MODEL}/versions/999", 404, "999"),
        (f"models/{MODEL}/versions/one", 422, "number"),
        (f"models/{MODEL}?before=0", 422, "before"),
        (f"models/{MODEL}/live?at=yesterday", 422, "yesterday"),
        (f"models/{MODEL}/live?at=0001-01-01T00:00%2B12:00", 422, "no time"),
        ("models/none/live", 404, "none"),
        ("runs/train/none", 404, "none"),
        ("runs/train/%2e%2e%2f%2e%2e%2fsecrets", 404, "secrets"),
        ("runs/sample/none", 404, "none of the DAGs"),
        ("runs/~/none", 404, "none of the DAGs"),
        ("dags/sample", 404, "none of the DAGs"),
        ("dags/~", 404, "none of the DAGs"),
        ("static/none.css", 404, "no such page"),
        ("static/%2e%2e%2frender.py", 404, "no such page"),
        ("nothing", 404, "no such page"),
        ("docs", 404, "no such page"),
        ("openapi.json", 404, "no such page"),
    ],
)
def test_errors_are_words(visit: Visit, path: str, status: int, words: str) -> None:
    answer = visit("admin").get(CONSOLE + path)
    assert answer.status_code == status, answer.text
    assert "<!doctype html" in answer.text.lower()
    assert words in answer.text


def test_a_run_that_has_come_to_nothing_yet(visit: Visit) -> None:
    run = f"manual__{uuid4().hex}+00:00"
    body = {"dag_run_id": run, "logical_date": None}
    visit("admin").post("/api/v2/dags/monitor/dagRuns", json=body).raise_for_status()
    for id in (quote(run, safe=""), quote(quote(run, safe=""), safe="")):
        answer = visit("viewer").get(f"{CONSOLE}runs/monitor/{id}")
        assert answer.status_code == 200
        assert "is queued" in answer.text


def test_a_runs_id_may_arrive_encoded_twice(visit: Visit) -> None:
    twice = quote(quote(RUN, safe=""), safe="")
    answer = visit("viewer").get(f"{CONSOLE}runs/train/{twice}")
    assert answer.status_code == 200
    assert "Nothing yet" not in answer.text


# -- in Airflow --------------------------------------------------------------------------------------------------------
def test_airflow_shows_the_console_in_three_places(visit: Visit) -> None:
    assert visit("admin").get("/api/v2/plugins/importErrors").raise_for_status().json()["import_errors"] == []
    found = visit("admin").get("/api/v2/plugins").raise_for_status().json()["plugins"]
    (ours,) = [plugin for plugin in found if plugin["name"] == "ratchet_console"]
    views = {view["destination"]: view for view in ours["external_views"]}
    assert {place: view["name"] for place, view in views.items()} == {
        "nav": "Models",
        "dag": "Model",
        "dag_run": "Outcome",
    }
    assert all(not view["href"].startswith("/") for view in views.values())
    assert len({view["url_route"] for view in views.values()}) == 3
    href = views["dag_run"]["href"].replace("{DAG_ID}", "train").replace("{RUN_ID}", quote(RUN, safe=""))
    assert visit("viewer").get("/" + href).status_code == 200
    assert visit("viewer").get("/" + views["dag"]["href"].replace("{DAG_ID}", "train")).status_code == 200
    assert visit("viewer").get("/" + views["nav"]["href"]).status_code == 200


def test_tasks_link_to_the_console(visit: Visit, planted_server: Stack) -> None:
    run, settings = "manual__of+links", planted_server.settings
    for dag in ("train", "monitor"):
        body = {"dag_run_id": run, "logical_date": None}
        visit("admin").post(f"/api/v2/dags/{dag}/dagRuns", json=body).raise_for_status()
    of = "/api/v2/dags/{}/dagRuns/" + quote(run, safe="") + "/taskInstances/{}/links"
    found = visit("viewer").get(of.format("train", "plan")).raise_for_status().json()["extra_links"]
    assert found["Console"] == "/dags/train/runs/manual__of%2Blinks/plugin/outcome"
    assert found["Evidently"] is None
    assert visit("viewer").get(of.format("monitor", "measure")).json()["extra_links"]["Evidently"] is None
    project = subprocess.run(
        [sys.executable, "-c", f"from include.monitoring.workspace import project_id as p; print(p({MODEL!r}))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (settings.evidently / project).mkdir(parents=True)
    found = visit("viewer").get(of.format("monitor", "measure")).json()["extra_links"]
    assert found["Evidently"] == f"{planted_server.evidently_url}/projects/{project}"


# -- inside ------------------------------------------------------------------------------------------------------------
_INSIDE = """
import json, sys
from airflow import plugins_manager
plugins_manager.ensure_plugins_loaded()
loaded = set(sys.modules)
from airflow.api_fastapi.app import init_auth_manager
init_auth_manager()
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from include.console.view import Powers
from plugins.console import DAGS, access, actions, answers, facts, pages

def calls(dependant):
    return {dependant.call, *(call for one in dependant.dependencies for call in calls(one))}

made = {"pages": pages.app(), "actions": actions.app()}
routes = [
    [name, getattr(route, "path", str(route)), sorted(getattr(route, "methods", None) or []),
     isinstance(route, APIRoute) and access.reader in calls(route.dependant),
     isinstance(route, APIRoute) and access.same_origin in calls(route.dependant)]
    for name, app in made.items() for route in app.routes
]

class Somebody:
    name = "somebody"
    def may(self, *_): return True
    def powers(self, _): return Powers("somebody")

def broken(*_):
    raise RuntimeError("the password is 1234")

app = made["pages"]
app.dependency_overrides[access.reader] = Somebody
pages.models.index = broken
client = TestClient(app, raise_server_exceptions=False)
once = client.get("/")
answers.render.message = broken
twice = client.get("/")

class Asked:
    def __init__(self, path): self.scope = {"raw_path": path.encode(), "path": path}

places = {path: answers._place(Asked(path)) for path in json.loads(sys.argv[1])}
known = facts._read()
print(json.dumps({
    "dags": DAGS,
    "loaded": [name for name in loaded if name.startswith(("plugins.", "include.")) or name in sys.argv[2].split()],
    "routes": routes,
    "broken": [[a.status_code, a.text, a.headers.get("x-frame-options")] for a in (once, twice)],
    "places": places,
    "known": {dag: [s.paused, list(s.running), s.failed] for dag, s in known.airflow.dags.items()},
}))
"""
PLACES = {
    "/ratchet/console/": ["/ratchet/console", ""],
    "/ratchet/console/models/a%2Fb": ["/ratchet/console", "../"],
    "/ratchet/console/models/a/versions/1": ["/ratchet/console", "../../../"],
    "/behind/a/proxy/ratchet/console/runs/train/a%2Fb": ["/ratchet/console", "../../"],
    "/ratchet/act/models/a/freeze": ["/ratchet/act", "../../"],
}


PARTS = sorted(path.stem for path in (ROOT / "plugins" / "console").glob("[a-z]*.py"))


@pytest.fixture(scope="module")
def inside(planted_server: Stack, visit: Visit) -> dict[str, Any]:
    """What the apps say of themselves, in a process like the api-server's."""
    body = {"dag_run_id": "manual__under_way", "logical_date": None}
    visit("admin").post("/api/v2/dags/train/dagRuns", json=body).raise_for_status()
    visit("admin").post("/api/v2/dags/rollback/dagRuns", json={**body, "conf": {}}).raise_for_status()
    failed = "/api/v2/dags/rollback/dagRuns/manual__under_way"
    visit("admin").patch(failed, json={"state": "failed"}).raise_for_status()
    done = subprocess.run(
        [sys.executable, "-c", _INSIDE, json.dumps(list(PLACES)), " ".join(PARTS)],
        env=environment(planted_server),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_route_is_open(inside: dict[str, Any]) -> None:
    assert len(inside["routes"]) >= 12
    for app, path, methods, asks_reader, asks_origin in inside["routes"]:
        assert asks_reader, f"{app} {path}: everybody may ask for it"
        assert methods == (["GET"] if app == "pages" else ["POST"]), f"{app} {path}"
        assert asks_origin == (app == "actions"), f"{app} {path}: another site could ask for it"


def test_what_breaks_is_a_page_without_its_secrets(inside: dict[str, Any]) -> None:
    for status, text, framed in inside["broken"]:
        assert status == 500
        assert "RuntimeError" in text
        assert "console error" in text
        assert "password" not in text
        assert framed == "SAMEORIGIN"


def test_links_hold_wherever_the_page_stands(inside: dict[str, Any]) -> None:
    assert inside["places"] == PLACES


def test_only_who_is_asked_pays_for_the_pages(inside: dict[str, Any]) -> None:
    """Every process of Airflow loads the plugins, none of which is imported twice."""
    assert PARTS
    parts = {name for part in PARTS for name in (part, f"plugins.console.{part}")}
    assert not parts & set(inside["loaded"])
    assert "plugins.console" in inside["loaded"]
    assert not [name for name in inside["loaded"] if name.startswith(("include.loop", "include.console"))]


def test_airflows_facts(inside: dict[str, Any]) -> None:
    paused, running, failed = inside["known"]["train"]
    assert (paused, failed) == (True, None)
    assert "manual__under_way" in running
    assert inside["known"]["rollback"][2] == "manual__under_way"
    assert "sample" not in inside["known"]


def test_the_console_knows_every_dag(inside: dict[str, Any]) -> None:
    assert set(inside["dags"]) == {path.stem for path in (ROOT / "dags").glob("*.py")} - {"shared", "context"}


def test_pages_of_tasks_are_as_guarded_as_the_console(visit: Visit, planted_server: Stack) -> None:
    folder = pages.folder(planted_server.settings, "train", RUN, "gate")
    assert folder.parent.is_dir() or not folder.exists()
    assert visit("guest").get(f"/ratchet/reports/train/{quote(RUN, safe='')}/gate/").status_code == 403
