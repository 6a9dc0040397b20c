"""The console's pages: gather (include.loop.console), show (include.console.render), answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response

from include.console import render, vega
from include.console.render import Site
from include.console.view import Link, Tone
from include.loop.console import Unknown, live, model, models, run, state, version
from include.settings import Settings, settings
from plugins.console import DAGS, answers, facts
from plugins.console.access import Reader, Reads, reader

_OTHER_DAG = "It belongs to none of the DAGs that this console is about: {dags}."
Make = Callable[[Settings, Site], str]
_ENDED = ("success", "failed")  # states of runs
_MOST = 2**31 - 1  # what a ledger in PostgreSQL can number


def app() -> FastAPI:
    """All pages. Whatever is added here may be read by readers only: they are asked for by the app, not by a route."""
    made = FastAPI(
        title="Ratchet console",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(reader)],
    )
    answers.explain(made)
    for path, page in _PAGES.items():
        made.get(path)(page)
    return made


def _index(request: Request, who: Reads) -> Response:
    wall, known = datetime.now(UTC), facts.facts()
    return _show(request, who, known, wall, lambda s, at: render.index(models.index(s, known.airflow, wall), at))


def _model(
    request: Request,
    who: Reads,
    name: str,
    before: Annotated[int | None, Query(ge=1, le=_MOST)] = None,
    kind: Annotated[list[str] | None, Query(max_length=20)] = None,
) -> Response:
    wall, known = datetime.now(UTC), facts.facts()
    kinds = frozenset(text for text in kind or [] if text)
    return _show(
        request,
        who,
        known,
        wall,
        lambda s, at: render.model(model.page(s, name, known.airflow, wall, before, kinds), at, kinds, before),
    )


def _dag(request: Request, who: Reads, dag_id: str) -> Response:
    """The tab on a DAG's page: this installation's model."""
    _ours(dag_id)
    return _model(request, who, settings().model)


def _version(request: Request, who: Reads, name: str, number: Annotated[int, Path(ge=1, le=_MOST)]) -> Response:
    wall, known = datetime.now(UTC), facts.facts()
    return _show(request, who, known, wall, lambda s, at: render.version(version.page(s, name, number, wall), at))


def _live(request: Request, who: Reads, name: str, at: str = "") -> Response:
    """What was live at a wall time, UTC where it names no zone."""
    wall, known = datetime.now(UTC), facts.facts()
    try:
        when = datetime.fromisoformat(at) if at else wall
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        text = f"at: {at[:40]!r} is no time; write it as 2026-11-21T10:00, in UTC."
        links = [Link(f"Back to {name}", f"models/{name}")]
        return answers.message(request, "The time is not understood", text, "warn", links, 422, who.name)
    if when > wall:
        text = f"at: {when:%Y-%m-%d %H:%M} UTC has not come yet; what is live now may not be live then."
        links = [Link(f"Back to {name}", f"models/{name}")]
        return answers.message(request, "That is in the future", text, "warn", links, 422, who.name)
    return _show(request, who, known, wall, lambda s, site: render.live(live.at(s, name, when), name, site))


def _run(request: Request, who: Reads, dag_id: str, run_id: str) -> Response:
    """The tab on a DAG run's page."""
    _ours(dag_id)
    if not who.may("GET", DagAccessEntity.RUN, dag_id):
        raise HTTPException(403, f"Your user may not read runs of {dag_id}.")
    wall, known = datetime.now(UTC), facts.facts()
    begun = facts.state_of(dag_id, run_id)

    def make(s: Settings, at: Site) -> str:
        try:
            return render.run(run.page(s, dag_id, run_id, wall), at)
        except Unknown:
            if begun is None:  # Airflow does not know it either
                raise
            title, text, tone = _empty(dag_id, run_id, begun)
            links = [Link("The run in Airflow", f"/dags/{dag_id}/runs/{quote(run_id, safe='')}", "airflow")]
            return render.message(title, text, tone, [*links, Link("All models", "")], at, waits=begun not in _ENDED)

    return _show(request, who, known, wall, make, begun)


def _empty(dag_id: str, run_id: str, begun: str) -> tuple[str, str, Tone]:
    """A run that is in no ledger and has left no page: title, text, tone."""
    if begun == "failed":
        text = f"The run {run_id} of {dag_id} failed before it decided anything: by it nothing was changed."
        return (
            "It failed",
            f"{text} The log of its failed task says why, and so does the alert on the model's page.",
            "bad",
        )
    if begun == "success":
        return "Nothing to tell", f"The run {run_id} of {dag_id} ended well, decided nothing and left no page.", "quiet"
    return "Nothing yet", f"The run {run_id} of {dag_id} is {begun}. It has decided nothing yet.", "quiet"


def _static(name: str, v: str = "") -> Response:
    """Style, script and the charts' library; kept by browsers for as long as the address holds its version."""
    if name == "vega.js":
        try:
            found: tuple[bytes, str] | None = (vega.script(settings()).read_bytes(), "text/javascript; charset=utf-8")
        except vega.Unmade as error:
            answers.log.warning("charts: %s", error)
            raise HTTPException(503, f"The charts' library could not be made: {error}.") from error
    else:
        found = render.static(name)
    if found is None:
        raise HTTPException(404)
    kept = "private, max-age=31536000, immutable" if v else "private, no-cache"
    return Response(found[0], headers={**answers.HEADERS, "Cache-Control": kept}, media_type=found[1])


_PAGES: dict[str, Callable[..., Any]] = {
    "/": _index,
    "/models/{name}": _model,
    "/models/{name}/versions/{number}": _version,
    "/models/{name}/live": _live,
    "/runs/{dag_id}/{run_id:path}": _run,
    "/dags/{dag_id}": _dag,
    "/static/{name}": _static,
}


def _show(
    request: Request, who: Reader, known: facts.Facts, wall: datetime, make: Make, more: str | None = None
) -> Response:
    """The page, or that it is still what the reader has. Ages are part of a page: it is made anew once a minute."""
    here = settings()
    powers, minute = who.powers(known), int(wall.timestamp()) // 60
    etag = answers.tag(str(request.url), state.fingerprint(here), known, powers, minute, more)
    if answers.is_known(request, etag):
        return answers.unchanged(etag)
    try:
        return answers.page(make(here, answers.site(request, powers, wall, etag)), etag=etag)
    except Unknown as error:
        text = str(error)
        links = [Link("All models", "")]
        said = f"{text[:1].upper()}{text[1:]}."
        return answers.message(request, "It is not there", said, "quiet", links, 404, who.name)


def _ours(dag_id: str) -> None:
    if dag_id not in DAGS:
        raise HTTPException(404, _OTHER_DAG.format(dags=", ".join(DAGS)))
