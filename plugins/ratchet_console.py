"""The console: what is live, why, and what to do next. Pages in Airflow's frame, and links to them from each task.

Here is only what every process of Airflow loads; the pages and the actions are in plugins/console, which only the
api-server imports, when the first request comes.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

from plugins.console import ACT, AIRFLOW, DAGS, PREFIX

_RUN = "outcome"  # the tab on a DAG run's page


@cache
def _built(module: str) -> Any:
    return import_module(f"plugins.console.{module}").app()


async def _pages(scope: Any, receive: Any, send: Any) -> None:
    await _ask("pages", scope, receive, send)


async def _actions(scope: Any, receive: Any, send: Any) -> None:
    await _ask("actions", scope, receive, send)


async def _ask(module: str, scope: Any, receive: Any, send: Any) -> None:
    """Starlette raises what it has answered with a page once more, for servers to log: ours are logged by then."""
    begun = False

    async def sent(message: Any) -> None:
        nonlocal begun
        begun = True
        await send(message)

    try:
        await _built(module)({**scope, AIRFLOW: scope.get("app")}, receive, sent)
    except Exception:
        if not begun:
            raise


class ConsoleLink(BaseOperatorLink):
    """What the task's run has come to, in the console; no link from DAGs that are not this project's."""

    name = "Console"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        if ti_key.dag_id not in DAGS:
            return ""
        run = "/".join(("dags", quote(ti_key.dag_id, safe=""), "runs", quote(ti_key.run_id, safe="")))
        root = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
        return f"{root}/{run}/plugin/{_RUN}"


def _icon() -> str:
    """A ratchet's wheel. Light with a dark edge: it is seen on the navigation's light, dark and chosen ground."""
    teeth = "M12 3l2 3 4-1v4l3 3-3 3v4l-4-1-2 3-2-3-4 1v-4l-3-3 3-3V5l4 1z"
    edge = "stroke='#334155' stroke-width='1.75' stroke-linejoin='round'"
    shape = f"<path d='{teeth}' fill='white' {edge}/><circle cx='12' cy='12' r='3' fill='#334155'/>"
    drawn = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'>{shape}</svg>"
    return "data:image/svg+xml," + quote(drawn, safe="'/ =:")


class RatchetConsole(AirflowPlugin):
    name = "ratchet_console"
    fastapi_apps = [  # noqa: RUF012
        {"app": _pages, "url_prefix": PREFIX, "name": "Ratchet console"},
        {"app": _actions, "url_prefix": ACT, "name": "Ratchet actions"},
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Models",
            "href": f"{PREFIX[1:]}/",
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "models",
            "icon": _icon(),
        },
        {
            "name": "Model",
            "href": f"{PREFIX[1:]}/dags/{{DAG_ID}}",
            "destination": "dag",
            "url_route": "model",
        },
        {
            "name": "Outcome",
            "href": f"{PREFIX[1:]}/runs/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": _RUN,
        },
    ]
    global_operator_extra_links = [ConsoleLink()]  # noqa: RUF012
