"""The console's actions through the real api-server: who may act, that no other site can, what Airflow then has."""

from __future__ import annotations

import sqlite3
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.release import ledger as book
from include.release import releases
from include.release.ledger import Decision
from plugins.console import forms
from scripts.stack import control
from scripts.stack.config import Stack

pytestmark = [pytest.mark.xdist_group("api_server"), pytest.mark.usefixtures("planted_server")]

Visit = Callable[[str | None], httpx.Client]
Post = Callable[..., httpx.Response]

MODEL = "flights_on_time"
OWN = {"Sec-Fetch-Site": "same-origin"}
ACTIONS = ("retrain", "rollback", "freeze", "thaw", "answer")
DAG = {"retrain": "train", "rollback": "rollback", "freeze": "freeze", "thaw": "freeze"}
CONF: dict[str, dict[str, Any]] = {
    "retrain": {"note": "the storm is over"},
    "rollback": {"version": 3, "reason": "the storm is over"},
    "freeze": {"frozen": True, "reason": "the storm is over"},
    "thaw": {"frozen": False, "reason": "the storm is over"},
}
ACT = "/ratchet/act/models/{}/{}"
MAY = ("person", "operator", "admin")  # roles USER, OP and ADMIN of Airflow's SimpleAuthManager
MAY_NOT = ("viewer", "guest", None)


def form(action: str, **other: str | None) -> dict[str, str]:
    """A form as the page would send it; a field that is None is left out."""
    more = {
        "rollback": {"version": "3"},
        "answer": {"run_id": "manual__none", "task_id": "approval", "map_index": "-1", "choice": "Approve"},
    }
    found = {"reason": "the storm is over", "once": uuid4().hex, **more.get(action, {}), **other}
    return {name: value for name, value in found.items() if value is not None}


@pytest.fixture(scope="module")
def post(visit: Visit) -> Post:
    def send(user: str | None, action: str, data: Any = None, headers: Any = None, **other: Any) -> httpx.Response:
        body = form(action) if data is None and not other else data
        sent = OWN if headers is None else headers
        return visit(user).post(ACT.format(MODEL, action), data=body, headers=sent, **other)

    return send


def runs(visit: Visit, dag: str) -> dict[str, dict[str, Any]]:
    """The runs of a DAG by their ids, as Airflow's API tells them."""
    found = visit("admin").get(f"/api/v2/dags/{dag}/dagRuns", params={"limit": 100}).raise_for_status().json()
    return {run["dag_run_id"]: run for run in found["dag_runs"]}


# -- who may -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("user", MAY)
@pytest.mark.parametrize("action", DAG)
def test_who_may_trigger_runs_acts_in_the_own_name(post: Post, visit: Visit, user: str, action: str) -> None:
    sent = form(action)
    answer = post(user, action, sent)
    assert answer.status_code == 200, answer.text
    made = runs(visit, DAG[action])[f"console__{sent['once']}"]
    assert made["conf"] == CONF[action]
    assert made["triggering_user_name"] == user
    assert made["triggered_by"] == "ui"
    assert f"console__{sent['once']}" in answer.text
    assert user in answer.text


@pytest.mark.parametrize("user", MAY_NOT)
@pytest.mark.parametrize("action", ACTIONS)
def test_who_may_not_leaves_nothing(post: Post, visit: Visit, user: str | None, action: str) -> None:
    dag = DAG.get(action, "release")
    before = set(runs(visit, dag))
    answer = post(user, action)
    assert answer.status_code == (403 if user else 401), answer.text
    assert "<!doctype html" in answer.text.lower()
    assert set(runs(visit, dag)) == before


def test_a_viewer_is_told_why(post: Post) -> None:
    answer = post("viewer", "rollback")
    assert "viewer, look, but not trigger runs of the DAG rollback" in answer.text
    assert "Nothing was changed" in answer.text


def test_a_forged_token_is_refused(api_server: Stack) -> None:
    headers = {**OWN, "Authorization": "Bearer no.such.token"}
    url = api_server.url + ACT.format(MODEL, "freeze")
    assert httpx.post(url, data=form("freeze"), headers=headers, trust_env=False).status_code in (401, 403)


def test_a_cookie_is_enough_from_the_own_site(api_server: Stack, visit: Visit) -> None:
    """As a browser has it after the login: the token in a cookie, no header."""
    cookies = {"_token": control.token(api_server, "operator")}
    with httpx.Client(base_url=api_server.url, cookies=cookies, trust_env=False, timeout=30) as browser:
        sent = form("freeze")
        answer = browser.post(ACT.format(MODEL, "freeze"), data=sent, headers=OWN)
        assert answer.status_code == 200, answer.text
        assert runs(visit, "freeze")[f"console__{sent['once']}"]["triggering_user_name"] == "operator"
        foreign = browser.post(ACT.format(MODEL, "freeze"), data=form("freeze"))
        assert foreign.status_code == 403


def test_what_was_done_is_in_airflows_audit_log(post: Post, visit: Visit) -> None:
    sent = form("thaw")
    post("operator", "thaw", sent)
    asked = {"dag_id": "freeze", "run_id": f"console__{sent['once']}"}
    found = visit("admin").get("/api/v2/eventLogs", params=asked).raise_for_status().json()["event_logs"]
    assert [(entry["event"], entry["owner"]) for entry in found] == [("trigger_dag_run", "operator")]


# -- from where --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "SELF"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
def test_no_other_site_can_act(
    api_server: Stack, post: Post, visit: Visit, action: str, headers: dict[str, str]
) -> None:
    dag = DAG.get(action, "release")
    before = set(runs(visit, dag))
    sent = {name: value.replace("SELF", api_server.url) for name, value in headers.items()}
    answer = post("operator", action, headers=sent)
    assert answer.status_code == 403, answer.text
    assert set(runs(visit, dag)) == before


def test_an_old_browser_says_its_origin_and_a_program_brings_its_token(api_server: Stack, post: Post) -> None:
    assert post("operator", "freeze", headers={"Origin": api_server.url}).status_code == 200
    assert post("operator", "freeze", headers={}).status_code == 200


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("user", ["admin", None])
def test_opening_the_address_does_nothing(visit: Visit, action: str, user: str | None) -> None:
    answer = visit(user).get(ACT.format(MODEL, action))
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert "Nothing was done now" in answer.text
    assert f"console/models/{MODEL}" in answer.text


def test_answers_cannot_be_framed_or_kept(post: Post) -> None:
    for answer in (post("operator", "freeze"), post("viewer", "freeze"), post(None, "freeze")):
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


# -- forms -------------------------------------------------------------------------------------------------------------
WRONG = [
    ("retrain", {"reason": None}, 422, "reason"),
    ("retrain", {"reason": " \n\t "}, 422, "reason"),
    ("retrain", {"reason": "x" * 501}, 422, "reason"),
    ("retrain", {"reason": "a\x00b"}, 422, "reason"),
    ("retrain", {"once": None}, 422, "once"),
    ("retrain", {"once": "A" * 32}, 422, "once"),
    ("retrain", {"once": "../" + "a" * 29}, 422, "once"),
    ("retrain", {"as_of": "2013-01-01"}, 422, "as_of"),
    ("rollback", {"version": None}, 422, "version"),
    ("rollback", {"version": "0"}, 422, "version"),
    ("rollback", {"version": "-1"}, 422, "version"),
    ("rollback", {"version": "1.0"}, 422, "version"),
    ("rollback", {"version": "١"}, 422, "version"),
    ("answer", {"choice": "Perhaps"}, 422, "choice"),
    ("answer", {"map_index": "x"}, 422, "map_index"),
    ("answer", {"run_id": ".."}, 422, "run_id"),
    ("answer", {"run_id": "a/../b"}, 422, "run_id"),
    ("answer", {"task_id": "."}, 422, "task_id"),
    ("freeze", {"reason": "x" * 20_000}, 413, "KB"),
]


@pytest.mark.parametrize(("action", "other", "status", "named"), WRONG)
def test_a_wrong_form_names_its_field(
    post: Post, visit: Visit, action: str, other: dict[str, str | None], status: int, named: str
) -> None:
    dag = DAG.get(action, "release")
    before = set(runs(visit, dag))
    answer = post("admin", action, form(action, **other))
    assert answer.status_code == status, answer.text
    assert named in answer.text
    assert "Nothing was changed" in answer.text
    assert set(runs(visit, dag)) == before


def test_only_forms_are_taken(post: Post) -> None:
    assert post("admin", "freeze", json=form("freeze")).status_code == 415
    assert post("admin", "freeze", files={"reason": b"x"}).status_code == 415
    once = f"once={uuid4().hex}"
    kind = {**OWN, "Content-Type": "application/x-www-form-urlencoded"}
    twice = post("admin", "freeze", content=f"reason=a&reason=b&{once}".encode(), headers=kind)
    broken = post("admin", "freeze", content=f"reason=%ff&{once}".encode(), headers=kind)
    assert (twice.status_code, broken.status_code) == (422, 422)


@pytest.mark.parametrize("action", ACTIONS)
def test_another_model_is_not_acted_on(visit: Visit, action: str) -> None:
    answer = visit("admin").post(ACT.format("another", action), data=form(action), headers=OWN)
    assert answer.status_code == 404
    assert MODEL in answer.text


READABLE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=forms.REASON).filter(
    lambda text: text.strip() == text
)


@given(READABLE, st.text(string.hexdigits.lower()[:16], min_size=32, max_size=32))
def test_what_a_person_can_write_comes_through(reason: str, once: str) -> None:
    body = httpx.Request("POST", "http://x", data={"reason": reason, "once": once}).content
    assert forms.parse("application/x-www-form-urlencoded; charset=utf-8", body, ("reason", "once")) == {
        "reason": reason,
        "once": once,
    }


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(forms.BadForm):
        found = forms.parse("application/x-www-form-urlencoded", body, ("reason", "once"))
        assert found["reason"].strip()
        assert len(found["once"]) == 32


# -- once --------------------------------------------------------------------------------------------------------------
def test_a_doubled_click_makes_one_run(post: Post, visit: Visit) -> None:
    sent = form("retrain")
    first, second = post("operator", "retrain", sent), post("operator", "retrain", sent)
    assert (first.status_code, second.status_code) == (200, 200)
    assert "asked for already" in second.text
    assert f"runs/train/console__{sent['once']}" in second.text
    assert f"console__{sent['once']}" in runs(visit, "train")


def test_many_clicks_at_once_make_one_run(post: Post, visit: Visit) -> None:
    """All at the same moment, and the server answers others meanwhile."""
    sent, began = form("retrain"), monotonic()
    with ThreadPoolExecutor(8) as clicks:
        answers = list(clicks.map(lambda _: post("operator", "retrain", sent), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8, [answer.text for answer in answers]
    assert sum("asked for already" in answer.text for answer in answers) == 7
    assert monotonic() - began < 15  # SQLite gives up after 30 s


def test_a_form_that_was_filled_in_anew_is_told_so(post: Post, visit: Visit) -> None:
    sent = form("rollback")
    post("operator", "rollback", sent)
    for again in ({**sent, "version": "4"}, {**sent, "reason": "another"}):
        answer = post("operator", "rollback", again)
        assert answer.status_code == 409
        assert "the storm is over" in answer.text
    assert post("admin", "rollback", sent).status_code == 409
    assert runs(visit, "rollback")[f"console__{sent['once']}"]["conf"] == CONF["rollback"]


def test_the_longest_reason_is_taken(visit: Visit, post: Post) -> None:
    """Characters count, for the form as for the DAG's own schema."""
    sent = form("retrain", reason="é" * forms.REASON)
    assert post("operator", "retrain", sent).status_code == 200
    assert runs(visit, "train")[f"console__{sent['once']}"]["conf"] == {"note": "é" * forms.REASON}


# -- what it will meet -------------------------------------------------------------------------------------------------
@pytest.fixture
def ledger(api_server: Stack) -> Any:
    return book.connect(api_server.settings.ledger_url)


def decision(kind: str, reason: str, **evidence: Any) -> Decision:
    key = f"test/{kind}/{uuid4().hex}"
    return Decision(key, MODEL, kind, "somebody", reason, "2013-05-01T00:00:00+00:00", None, evidence=evidence)


def test_a_paused_dag_is_told(post: Post) -> None:
    assert "is paused" in post("operator", "retrain").text
    assert "is paused" not in post("operator", "freeze").text


def test_a_run_under_way_is_told(post: Post) -> None:
    post("operator", "rollback")
    assert "is under way" in post("operator", "rollback").text


def test_a_training_is_told_of_incident_and_freeze(post: Post, ledger: Any) -> None:
    book.record(ledger, decision("monitor", "Incident: the weather feed is silent.", state="incident"))
    book.freeze(ledger, decision("freeze", "an audit"), frozen=True)
    text = post("operator", "retrain").text
    assert "the weather feed is silent" in text
    assert "frozen by somebody (an audit)" in text
    assert "frozen already" in post("operator", "freeze").text
    book.freeze(ledger, decision("thaw", "it is over"), frozen=False)
    book.record(ledger, decision("monitor", "Healthy.", state="healthy"))
    text = post("operator", "retrain").text
    assert "incident" not in text
    assert "frozen by" not in text
    assert "It is not frozen" in post("operator", "thaw").text


# -- answers -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def asked(api_server: Stack, visit: Visit) -> dict[str, str]:
    """A release that asks a person, as the operator leaves it that has put the question; no task runs here."""
    run = f"manual__{uuid4().hex}"
    visit("admin").post(
        "/api/v2/dags/release/dagRuns", json={"dag_run_id": run, "logical_date": None}
    ).raise_for_status()
    with sqlite3.connect(api_server.airflow_home / "airflow.db", timeout=30) as airflow:
        of = "dag_id = 'release' AND task_id = 'approval' AND run_id = ?"
        airflow.execute(f"UPDATE task_instance SET state = 'awaiting_input' WHERE {of}", (run,))
        airflow.execute(
            "INSERT INTO hitl_detail"
            " (ti_id, options, subject, body, defaults, multiple, params, created_at, params_input)"
            " SELECT id, '[\"Approve\", \"Reject\"]', 'Release it?', 'the evidence', '[\"Reject\"]', 0, '{}',"
            f" '2026-01-01 00:00:00.000000', '{{}}' FROM task_instance WHERE {of}",
            (run,),
        )
    return {"run_id": run}


def detail(visit: Visit, run: str) -> dict[str, Any]:
    path = f"/api/v2/dags/release/dagRuns/{run}/taskInstances/approval/-1/hitlDetails"
    found: dict[str, Any] = visit("admin").get(path).raise_for_status().json()
    return found


@pytest.mark.parametrize(("choice", "word"), [("Approve", "approved"), ("Reject", "rejected")])
def test_an_answer_is_given_in_the_own_name(
    post: Post, visit: Visit, asked: dict[str, str], choice: str, word: str
) -> None:
    answer = post("operator", "answer", form("answer", **asked, choice=choice))
    assert answer.status_code == 200, answer.text
    assert f"The release was {word}" in answer.text
    found = detail(visit, asked["run_id"])
    assert found["responded_by_user"] == {"id": "operator", "name": "operator"}
    assert found["chosen_options"] == [choice]
    assert found["params_input"] == {"reason": "the storm is over"}


def test_a_viewers_answer_is_none(post: Post, visit: Visit, asked: dict[str, str]) -> None:
    for user in MAY_NOT:
        assert post(user, "answer", form("answer", **asked)).status_code in (401, 403)
    assert post("operator", "answer", form("answer", **asked), headers={"Sec-Fetch-Site": "cross-site"}).is_error
    assert not detail(visit, asked["run_id"])["response_received"]


def test_the_first_answer_stands(post: Post, visit: Visit, asked: dict[str, str]) -> None:
    post("operator", "answer", form("answer", **asked))
    late = post("admin", "answer", form("answer", **asked, choice="Reject"))
    assert late.status_code == 409
    assert "by operator" in late.text
    assert detail(visit, asked["run_id"])["chosen_options"] == ["Approve"]


def test_only_who_is_assigned_may_answer(api_server: Stack, post: Post, visit: Visit, asked: dict[str, str]) -> None:
    with sqlite3.connect(api_server.airflow_home / "airflow.db", timeout=30) as airflow:
        airflow.execute(
            'UPDATE hitl_detail SET assignees = \'[{"id": "person", "name": "person"}]\' WHERE responded_at IS NULL'
        )
    assert post("operator", "answer", form("answer", **asked)).status_code == 403
    assert post("person", "answer", form("answer", **asked)).status_code == 200


def test_there_is_nothing_to_answer(post: Post) -> None:
    answer = post("operator", "answer", form("answer"))
    assert answer.status_code == 404
    assert "Nothing was changed" in answer.text


def test_what_a_rollback_will_refuse_is_told_with_it(post: Post, ledger: Any) -> None:
    sent = form("rollback", version="999")
    assert "It will fail and change nothing: version 999" in post("operator", "rollback", sent).text
    live = book.current(ledger, MODEL)
    if live.champion is not None and live.challenger is None:
        told = post("operator", "rollback", form("rollback", version=str(live.champion))).text
        assert f"version {live.champion} of {MODEL} is the champion already" in told


def test_a_release_that_is_over_is_not_approved(post: Post, ledger: Any) -> None:
    run = f"over__{uuid4().hex}"
    releases.begin(ledger, MODEL, 9, 1, {}, "2013-04-30T00:00:00+00:00", "release", f"release/{run}")
    answer = post("operator", "answer", form("answer", run_id=run))
    assert answer.status_code == 409
    assert "Its release is over" in answer.text
    # a rejection reaches Airflow, which here knows no such run
    assert post("operator", "answer", form("answer", run_id=run, choice="Reject")).status_code == 404
