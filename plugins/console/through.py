"""Airflow's own public API, asked in this process with the reader's own token.

So what the console does is done as that reader: Airflow authorises, validates and logs it as if it came over the
network, without needing to know its own address, and without a token that could do more.

It is asked in a thread, on an event loop of that thread's own, one call at a time. Airflow writes its audit log on the
event loop that a request came in by: on SQLite, with another write under way that needs the same loop to end, the whole
server would stand still until the database gives up, half a minute later. A doubled click was enough.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from plugins.console import AIRFLOW

_CREDENTIALS = ("authorization", "cookie")
_one = threading.Lock()


async def call(request: Request, method: str, path: list[str], body: dict[str, Any] | None = None) -> httpx.Response:
    """Ask /api/v2/<path> as whoever has sent `request`. An error inside Airflow comes as a 500."""
    headers = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
    headers["referer"] = str(request.url)  # a person at a page asks: the run is triggered by "ui"
    client = (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)
    transport = httpx.ASGITransport(request.scope[AIRFLOW], raise_app_exceptions=False, client=client)
    url = str(request.base_url.replace(path="/api/v2/" + "/".join(quote(part, safe="") for part in path)))
    return await run_in_threadpool(_ask, transport, httpx.Request(method, url, headers=headers, json=body))


def _ask(transport: httpx.ASGITransport, asked: httpx.Request) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.send(asked)

    with _one:
        return asyncio.run(ask())


def said(answer: httpx.Response) -> str:
    """Airflow's words of a refusal, in one line."""
    try:
        detail = answer.json().get("detail", "")
    except (ValueError, AttributeError):
        return ""
    if isinstance(detail, list):  # of pydantic
        detail = "; ".join(f"{one.get('loc', ['?'])[-1]}: {one.get('msg', '')}" for one in detail)
    if isinstance(detail, dict):
        detail = detail.get("reason", "")
    return " ".join(str(detail).split())[:500]
