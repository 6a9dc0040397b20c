"""Pages that tasks write, one click from the task: the tab and the link *Report*, and the route that serves them.

Routes of plugins are open to anyone by default: this one asks Airflow whether the user may read runs of that DAG.
Pages hold words and scripts of third-party tools, so each is served in a sandbox: no script of a page can speak to
Airflow in the reader's name, and no page can load anything from the network.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from uuid import NAMESPACE_URL, uuid5

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

from include import pages
from include.files import read_json
from include.settings import settings

if TYPE_CHECKING:
    from fastapi import FastAPI, Response

PREFIX = "/ratchet/reports"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Encoding",
}
_NOTHING_FOREIGN = (
    "default-src 'none'; style-src 'unsafe-inline' data:; img-src data: blob:; font-src data:; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
)
# Where scripts run, the page is of no origin: nothing in it can act in the reader's name, nor be followed with the
# reader's cookie. Where none may run it keeps its origin, so that its links to pages beside it can be followed.
_SCRIPTED = _NOTHING_FOREIGN + "script-src 'unsafe-inline' 'unsafe-eval' blob: data:; sandbox allow-scripts"
_STATIC = _NOTHING_FOREIGN + "script-src 'none'; sandbox allow-same-origin"
_NO_PAGE = """<!doctype html><title>No report</title>
<meta name="color-scheme" content="light dark"><style>body { font: 1rem system-ui; margin: 2rem }</style>
<p>There is no page of this task: it did not run, it is none of those that report, or <code>maintain</code> has packed
the pages of its run away (<code>var/archive</code>, docs/retention.md).</p>
"""


def _answer(path: Path, accepts_gzip: bool) -> Response:
    from fastapi import Response

    packed = path.suffix == ".gz"
    body = path.read_bytes()
    page = gzip.decompress(body) if packed else body
    headers = {**_HEADERS, "Content-Security-Policy": _SCRIPTED if b"<script" in page.lower() else _STATIC}
    if packed and accepts_gzip:
        headers["Content-Encoding"] = "gzip"
    else:
        body = page
    kind = path.with_suffix("").suffix if packed else path.suffix
    return Response(body, media_type=pages.TYPES[kind], headers=headers)


@cache
def _routes() -> FastAPI:
    """Built at the first request: only the api-server pays for FastAPI and Airflow's security."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI, Request, Response
    from fastapi.responses import RedirectResponse

    app = FastAPI(title="Ratchet reports", docs_url=None, redoc_url=None, openapi_url=None)
    may_read = Depends(requires_access_dag("GET", DagAccessEntity.RUN))

    # a text annotation could not name a class imported in here, and FastAPI would take `request` for a query parameter
    def report(request, dag_id: str, run_id: str, task_id: str, rest: str = ""):  # type: ignore[no-untyped-def]
        for unmapped in (
            "{MAP_INDEX}",
            "-1",
        ):  # what Airflow's template of the tab leaves for a task that is not mapped
            if rest.startswith(unmapped + "/"):  # one address a page, so that its links to the task beside it hold
                rest = rest.removeprefix(unmapped + "/")
                return RedirectResponse("../" * (rest.count("/") + 1) + quote(rest), headers=_HEADERS)
            rest = "" if rest == unmapped else rest
        # "~" means all DAGs to Airflow: what was asked for must be one DAG, and that one is what is served
        found = pages.find(settings(), dag_id, run_id, task_id, rest) if dag_id != "~" else None
        if found is None:
            return Response(_NO_PAGE, 404, headers=_HEADERS, media_type=pages.TYPES[".html"])
        return _answer(found, "gzip" in request.headers.get("accept-encoding", ""))

    report.__annotations__["request"] = Request
    app.get("/{dag_id}/{run_id}/{task_id}/{rest:path}", dependencies=[may_read])(report)
    return app


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await _routes()(scope, receive, send)


def _task_folder(key: Any) -> Path:
    return pages.folder(settings(), key.dag_id, key.run_id, key.task_id, key.map_index)


class ReportLink(BaseOperatorLink):
    """The task's page; no link while there is none."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        folder = _task_folder(ti_key)
        if not any((folder / name).is_file() for name in (pages.INDEX, pages.INDEX + ".gz")):
            return ""
        index = [str(ti_key.map_index)] if ti_key.map_index >= 0 else []
        parts = [ti_key.dag_id, ti_key.run_id, ti_key.task_id, *index]
        root = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
        return f"{root}{PREFIX}/" + "/".join(quote(part, safe="") for part in parts) + "/"


class RunLink(BaseOperatorLink):
    """The MLflow run that the task wrote to, as the task has noted it."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        note = _task_folder(ti_key) / pages.LINKS
        url = str(read_json(note).get(self.name, "")) if note.is_file() else ""
        return url if url.startswith(("http://", "https://")) else ""


class EvidentlyLink(BaseOperatorLink):
    """The model's project in Evidently, from the tasks of `monitor`, which fill it; no link before it is there."""

    name = "Evidently"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        here = settings()
        if ti_key.dag_id != "monitor" or not here.evidently_url.startswith(("http://", "https://")):
            return ""
        project = str(uuid5(NAMESPACE_URL, f"ratchet/{here.model}"))  # as include.monitoring.workspace names it
        return f"{here.evidently_url}/projects/{project}" if (here.evidently / project).is_dir() else ""


class RatchetReports(AirflowPlugin):
    name = "ratchet_reports"
    fastapi_apps = [{"app": _app, "url_prefix": PREFIX, "name": "Ratchet reports"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Report",
            "href": f"{PREFIX[1:]}/{{DAG_ID}}/{{RUN_ID}}/{{TASK_ID}}/{{MAP_INDEX}}/",
            "destination": "task_instance",
            "url_route": "report",
        }
    ]
    global_operator_extra_links = [ReportLink(), RunLink(), EvidentlyLink()]  # noqa: RUF012
