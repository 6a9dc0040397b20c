"""Airflow's own public API, asked in this process with the reader's own token.

So what the console does is done as that reader: Airflow authorises, validates and logs it as if it came over the
network, without needing to know its own address, and without a token that could do more.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import Request

from plugins.console import AIRFLOW

_CREDENTIALS = ("authorization", "cookie")


async def call(request: Request, method: str, path: list[str], body: dict[str, Any] | None = None) -> httpx.Response:
    """Ask /api/v2/<path> as whoever has sent `request`. An error inside Airflow comes as a 500."""
    headers = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
    headers["referer"] = str(request.url)  # a person at a page asks: the run is triggered by "ui"
    client = (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)
    transport = httpx.ASGITransport(request.scope[AIRFLOW], raise_app_exceptions=False, client=client)
    url = "/api/v2/" + "/".join(quote(part, safe="") for part in path)
    async with httpx.AsyncClient(transport=transport, base_url=str(request.base_url.replace(path="/"))) as asked:
        # a task of its own: what Airflow's middlewares keep in the context of a request is not mixed up with ours
        return await asyncio.create_task(asked.request(method, url, headers=headers, json=body))


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
