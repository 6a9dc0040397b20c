"""The console's actions: each is a form that is checked here, and carried out by Airflow's own API as its reader.

A run's id is made of the form's own `once`, so that a doubled click, a reload or a lost answer makes no second run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from include.console.view import Link
from include.settings import settings
from plugins.console import answers, beforehand, facts, forms
from plugins.console.access import Reader, Reads, reader, same_origin
from plugins.console.through import call, said

CHOICES = {"Approve": "approved", "Reject": "rejected"}
_KEPT = "Nothing was changed."


def app() -> FastAPI:
    """All actions. The app itself asks that they come from this site and from a reader: no route can forget to."""
    made = FastAPI(
        title="Ratchet actions",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(same_origin), Depends(reader)],
    )
    answers.explain(made)
    made.add_exception_handler(forms.BadForm, _bad_form)  # type: ignore[arg-type]
    for name, action in _ACTIONS.items():
        made.post(f"/models/{{model}}/{name}")(action)
    return made


async def _retrain(request: Request, who: Reads, model: str) -> Response:
    await _allowed(who, model, "train")
    form = await _form(request, "reason", "once")
    told = await run_in_threadpool(beforehand.training, model)
    what = f"A training of {model} was asked for"
    return await _trigger(request, who, model, "train", form["once"], {"note": form["reason"]}, what, told)


async def _rollback(request: Request, who: Reads, model: str) -> Response:
    await _allowed(who, model, "rollback")
    form = await _form(request, "version", "reason", "once")
    number = forms.number("version", form["version"])
    wrong = await run_in_threadpool(beforehand.rollback, model, number)
    told = wrong or "The version is rehearsed first; the ledger has the entry in your name when it is live."
    what = f"A rollback of {model} to version {number} was asked for"
    conf = {"version": number, "reason": form["reason"]}
    return await _trigger(request, who, model, "rollback", form["once"], conf, what, told)


async def _freeze(request: Request, who: Reads, model: str) -> Response:
    return await _ice(request, who, model, frozen=True)


async def _thaw(request: Request, who: Reads, model: str) -> Response:
    return await _ice(request, who, model, frozen=False)


async def _ice(request: Request, who: Reader, model: str, frozen: bool) -> Response:
    await _allowed(who, model, "freeze")
    form = await _form(request, "reason", "once")
    told = await run_in_threadpool(beforehand.freeze, model, frozen)
    what = f"{'A freeze' if frozen else 'The lifting of the freeze'} of {model} was asked for"
    conf = {"frozen": frozen, "reason": form["reason"]}
    return await _trigger(request, who, model, "freeze", form["once"], conf, what, told)


async def _answer(request: Request, who: Reads, model: str) -> Response:
    """Approve or reject a release that waits for a person."""
    await _allowed(who, model, "release", answers_only=True)
    form = await _form(request, "run_id", "task_id", "map_index", "choice", "reason", "once")
    choice, place = forms.choice(form["choice"], CHOICES), forms.index(form["map_index"])
    run, asked = forms.key("run_id", form["run_id"]), forms.key("task_id", form["task_id"])
    if choice == "Approve" and await run_in_threadpool(beforehand.is_over, model, f"release/{run}"):
        text = f"The release of this question is over: whatever the answer, nothing would go live by it. {_KEPT}"
        text += " Reject it, so that the next release can begin."
        return answers.message(request, "Its release is over", text, "warn", [_back(model)], 409, who.name)
    task = ["dags", "release", "dagRuns", run, "taskInstances", asked, str(place), "hitlDetails"]
    body = {"chosen_options": [choice], "params_input": {"reason": form["reason"]}}
    answer = await call(request, "PATCH", task, body)
    facts.forget()
    links = _links("release", run, model)
    if answer.is_success:
        title = f"The release was {CHOICES[choice]}"
        text = f"Airflow has your answer, {who.name}; the run goes on with it and enters it in the ledger."
        return answers.message(request, title, text, "good", links, user=who.name)
    if answer.status_code == httpx.codes.CONFLICT:
        given = await call(request, "GET", task)
        if _is_own(given, who, choice):
            text = f"{_given(given)} Your answer stands; it was given once."
            return answers.message(request, "You have answered it", text, "quiet", links, user=who.name)
        text = f"{_given(given)} An answer stands as it was given first: yours was not taken."
        return answers.message(request, "It was answered before", text, "warn", links, 409, who.name)
    return _refused(request, who, answer, model, "release")


_ACTIONS: dict[str, Callable[..., Awaitable[Response]]] = {
    "retrain": _retrain,
    "rollback": _rollback,
    "freeze": _freeze,
    "thaw": _thaw,
    "answer": _answer,
}


# -- checks ------------------------------------------------------------------------------------------------------------
async def _allowed(who: Reader, model: str, dag: str, answers_only: bool = False) -> None:
    """Raises 404 for a model that this installation's DAGs do not act on, 403 for who may only look."""
    if model != (ours := settings().model):
        raise HTTPException(404, f"This installation's DAGs act on {ours} alone.")
    if not await run_in_threadpool(who.may_answer if answers_only else partial(who.may_run, dag)):
        what = "answer questions" if answers_only else "trigger runs"
        text = f"Airflow's authorisation lets your user, {who.name}, look, but not {what} of the DAG {dag}. {_KEPT}"
        raise HTTPException(403, text)


async def _form(request: Request, *fields: str) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > forms.LONGEST:
            break
    return forms.parse(request.headers.get("content-type", ""), body, fields)


def _bad_form(request: Request, error: forms.BadForm) -> Response:
    model = request.path_params.get("model", "")
    text = f"{error}. {_KEPT}"
    return answers.message(request, "The form was not taken", text, "warn", [_back(model)], error.status)


# -- runs --------------------------------------------------------------------------------------------------------------
async def _trigger(
    request: Request, who: Reader, model: str, dag: str, once: str, conf: dict[str, Any], what: str, told: str
) -> Response:
    """One run of a DAG for one form, however often it is sent."""
    run = f"console__{once}"
    known = (await run_in_threadpool(facts.facts)).airflow.dags.get(dag)
    answer = await call(
        request, "POST", ["dags", dag, "dagRuns"], {"dag_run_id": run, "logical_date": None, "conf": conf}
    )
    facts.forget()
    if answer.is_success:
        waits, tone = beforehand.run(dag, known)
        made = f"Run {run} of {dag} was made in your name, {who.name}."
        text = " ".join(part for part in (made, waits, told) if part)
        return answers.message(request, what, text, tone, _links(dag, run, model), user=who.name)
    if answer.status_code == httpx.codes.CONFLICT or answer.is_server_error:  # it may be there all the same
        before = await call(request, "GET", ["dags", dag, "dagRuns", run])
        if before.is_success:
            return _again(request, who, before.json(), conf, _links(dag, run, model))
    return _refused(request, who, answer, model, dag)


def _again(
    request: Request, who: Reader, before: Mapping[str, Any], conf: Mapping[str, Any], links: list[Link]
) -> Response:
    """A form that has made its run before: sent twice, or gone back to and filled in anew."""
    text = f"The run that it made is {before['state']}. No second one was made."
    if before["conf"] == conf and before["triggering_user_name"] == who.name:
        return answers.message(request, "It was asked for already", text, "quiet", links, user=who.name)
    asked = ", ".join(f"{name} “{value}”" for name, value in (before["conf"] or {}).items())
    text += f" What was asked for then stands: {asked}. To ask for something else, open the model's page anew."
    return answers.message(request, "This form was sent before", text, "warn", links, 409, who.name)


def _refused(request: Request, who: Reader, answer: httpx.Response, model: str, dag: str) -> Response:
    """Airflow's refusal in words."""
    status, words = answer.status_code, said(answer)
    if status == httpx.codes.UNAUTHORIZED:
        title, text = "You are not logged in any more", f"Log in to Airflow, then send the form again. {_KEPT}"
    elif status == httpx.codes.NOT_FOUND:
        title = "It is not there"
        text = f"Airflow says: {words}. Is the DAG {dag} listed, without import errors? {_KEPT}"
    elif answer.is_client_error:
        title, text = "Airflow did not take it", f"It says: {words}. {_KEPT}"
    else:
        title = "It is not certain whether it was done"
        text = (
            f"Airflow answered with an error of its own ({status}); its api-server's log says more. Look at the runs "
            f"of {dag}. To send the same form again is safe: it is carried out once."
        )
        links = [Link(f"Runs of {dag}", f"/dags/{dag}", "airflow"), _back(model)]
        return answers.message(request, title, text, "bad", links, 502, who.name)
    return answers.message(request, title, text, "warn", [_back(model)], status, who.name)


def _links(dag: str, run: str, model: str) -> list[Link]:
    safe = quote(run, safe="")
    return [
        Link("What it comes to", f"runs/{dag}/{safe}"),
        Link("The run in Airflow", f"/dags/{dag}/runs/{safe}", "airflow"),
        _back(model),
    ]


def _back(model: str) -> Link:
    return Link(f"Back to {model}", f"models/{quote(model, safe='')}") if model else Link("All models", "")


def _is_own(answer: httpx.Response, who: Reader, choice: str) -> bool:
    """Whether the answer that stands is this reader's, the same: a page that was sent again."""
    found = answer.json() if answer.is_success else {}
    by = (found.get("responded_by_user") or {}).get("id")
    return by == str(who.user.get_id()) and found.get("chosen_options") == [choice]


def _given(answer: httpx.Response) -> str:
    if not answer.is_success:
        return "Somebody has answered it."
    found = answer.json()
    who = (found.get("responded_by_user") or {}).get("name") or "nobody, its time was over"
    return f"The answer was {' and '.join(found.get('chosen_options') or ['none'])}, by {who}."
