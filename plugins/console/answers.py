"""What the console sends: pages with their headers, 304 where nothing changed, and words instead of bare errors."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote, urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.configuration import conf
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from include.console import render
from include.console.render import Site
from include.console.view import Link, Powers, Tone
from plugins.console import ACT, PREFIX

log = logging.getLogger("ratchet.console")

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}
_HTML = "text/html; charset=utf-8"
_TITLES = {
    401: "You are not logged in",
    403: "Not yours to see or do",
    404: "There is no such page",
    405: "Nothing was done now",
}
_BARE = ("Forbidden", "Not Found", "Invalid JWT token")  # what Airflow and Starlette say on their own
_TEXTS = {
    401: "Airflow does not know who you are: its session has ended, or never began. Log in, then open this page again.",
    403: "Airflow's authorisation does not let your user see or do this. Nothing was changed.",
    404: "The address may be mistyped, or from an older version. Nothing was changed.",
    405: "An action is carried out when its form is sent, not when its address is opened or loaded again. What was "
    "sent before stands: the model's page shows it.",
}


def page(html: str, status: int = 200, etag: str = "") -> Response:
    return Response(html, status, headers={**HEADERS, **({"ETag": etag} if etag else {})}, media_type=_HTML)


def unchanged(etag: str) -> Response:
    return Response(status_code=304, headers={**HEADERS, "ETag": etag})


def tag(*parts: Any) -> str:
    """A weak entity tag: the same for the same parts. Weak, for a page's hours and tokens differ from view to view."""
    return f'W/"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether the reader has this already."""
    return etag in [known.strip() for known in request.headers.get("if-none-match", "").split(",")]


def site(request: Request, powers: Powers, wall: datetime, etag: str = "") -> Site:
    """Where the page stands: its links are relative, so that they hold behind any prefix of a proxy."""
    here, up = _place(request)
    console, act = (up, up + "../act/") if here == PREFIX else (up + "../console/", up)
    airflow = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return Site(root=console, airflow=airflow, act=act, wall=wall, powers=powers, etag=etag)


def _place(request: Request) -> tuple[str, str]:
    """The app that is asked, and the way up to its root as a browser walks it: an encoded slash is none."""
    path = (request.scope.get("raw_path") or request.scope["path"].encode()).decode("latin-1")
    for prefix in (PREFIX, ACT):
        _, found, rest = path.partition(prefix + "/")
        if found:
            return prefix, "../" * rest.count("/")
    return PREFIX, ""


def message(
    request: Request,
    title: str,
    text: str,
    tone: Tone,
    links: Sequence[Link] = (),
    status: int = 200,
    user: str = "",
) -> Response:
    """A page of words: what happened, what was kept, what to do."""
    about = site(request, Powers(user), datetime.now(UTC))
    return page(render.message(title, text, tone, links, about), status)


# -- errors ------------------------------------------------------------------------------------------------------------
def explain(app: FastAPI) -> None:
    """Every error of an app becomes a page: what FastAPI refuses, what Airflow refuses, and what is broken."""
    handlers: list[tuple[Any, Callable[..., Response]]] = [
        (HTTPException, _refused),
        (404, _refused),
        (405, _refused),
        (RequestValidationError, _wrong),
        (Exception, _broken),
    ]
    for of, handler in handlers:
        app.add_exception_handler(of, cast(Any, handler))


def _refused(request: Request, error: HTTPException) -> Response:
    ours = error.status_code in (403, 404) and error.detail not in _BARE
    text = str(error.detail) if ours else _TEXTS.get(error.status_code, str(error.detail))
    name = str(request.path_params.get("model") or request.path_params.get("name") or "")
    links = [Link(f"To {name}", f"models/{quote(name, safe='')}")] if error.status_code == 405 and name else []
    links.append(Link("Log in", _login(), "airflow") if error.status_code == 401 else Link("All models", ""))
    answer = message(
        request, _TITLES.get(error.status_code, "It was not possible"), text, "warn", links, error.status_code
    )
    answer.headers.update(error.headers or {})
    return answer


def _login() -> str:
    """Airflow's page to log in: a path without the prefix, which links to Airflow get anyway; or a whole address."""
    address = str(get_auth_manager().get_url_login())
    prefix = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return address.removeprefix(prefix) if address.startswith("/") else address


def _wrong(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    text = f"{first['loc'][-1]}: {first['msg']}. Correct the address; nothing was changed."
    return message(request, "The address is not understood", text, "warn", [Link("All models", "")], 422)


def _broken(request: Request, error: Exception) -> Response:
    """Something that nobody foresaw. Its words may hold addresses and secrets: they go to the log alone."""
    number = secrets.token_hex(4)
    log.error("console error %s at %r", number, request.scope.get("path"), exc_info=error)
    text = (
        f"The console came upon an error ({type(error).__name__}). Nothing was changed by showing this page; what you "
        f"had sent may have been carried out. Look for “console error {number}” in the api-server's log, and try again."
    )
    try:
        return message(request, "This page could not be made", text, "bad", [Link("All models", "")], 500)
    except Exception:  # even the pages are broken: plain words
        log.exception("console error %s: nor could its page be made", number)
        return Response(text, 500, headers=HEADERS, media_type="text/plain; charset=utf-8")
