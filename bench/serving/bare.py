"""As little as it takes: a raw ASGI app, msgspec, the feature read, one ONNX session. Nothing is checked or kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import msgspec
import numpy as np

from bench.serving.common import BUNDLE, THRESHOLD, Features, variable
from include import bundle
from include.serving import requests

_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct):
    probability: float
    not_on_time: bool


@cache
def loaded() -> tuple[Features, Callable[..., Any]]:
    return Features(), bundle.load(variable(BUNDLE)).session.run


def answer(body: bytes) -> bytes:
    features, run = loaded()
    row = np.array([features.row(requests.one(body).flight)], dtype=np.float32)
    probability = float(run([bundle.OUTPUT], {bundle.INPUT: row})[0][0])
    return _encode(Answer(probability, probability >= THRESHOLD))


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", scope["method"] == "POST"
    while more:
        message = await receive()
        body += message["body"]
        more = message.get("more_body", False)
    content = answer(body) if body else b"{}"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
