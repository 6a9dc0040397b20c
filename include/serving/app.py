"""The service as a raw ASGI application: a body in, JSON out, no framework's objects a request.

    POST /predict, /predict/batch, /score     GET /healthz, /livez, /readyz, /metrics, /openapi.json

Whatever else is asked is answered with JSON too: 404, 405, 413, 400, 422, 503.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from include.bundle import BadInput
from include.serving import openapi, requests, score
from include.serving.metrics import Metrics
from include.serving.predict import Answering
from include.serving.requests import MAX_BYTES, Answer, Answers, Refused, State, TooLarge
from include.serving.router import Router, describe

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = b"application/json"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_BODY = 10.0  # seconds for a body to arrive
_UNREAD = (408, 413)  # statuses of requests whose body was not read to its end
_CHUNK = 64  # flights of a batch between two of which other requests have their turn, some 3 ms

log = logging.getLogger(__name__)


class Gone(ConnectionError):
    """The client left before its body was there."""


class App:
    """Answers HTTP. `router` says which versions are live, `note` what keeps the worker from following the ledger."""

    def __init__(self, router: Router, answering: Answering, metrics: Metrics, note: Callable[[], str]) -> None:
        self.router, self.answering, self.metrics, self.note = router, answering, metrics, note
        self._encode = msgspec.json.Encoder().encode
        self._post: dict[str, Callable[[bytes], Any]] = {
            "/predict": self._predict,
            "/predict/batch": self._predict_batch,
            "/score": self._score,
        }
        self._get: dict[str, Callable[[], tuple[int, bytes, bytes]]] = {
            "/healthz": self._alive,
            "/livez": self._alive,
            "/readyz": self._ready,
            "/metrics": lambda: (200, metrics.text(), TEXT),
            "/openapi.json": self._openapi,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        post = self._post.get(path)
        if post is None or method != "POST":
            await self._other(path, method, send)
            return
        headers: list[tuple[bytes, bytes]] = []
        try:
            body = await _in_time(receive)
            answer = post(body)
            if not isinstance(answer, bytes):
                answer = await answer
            status = 200
        except BadInput as error:
            status, answer = requests.status(error), requests.failure(error)
            if status in _UNREAD:  # the connection cannot carry another request
                headers.append((b"connection", b"close"))
        except Gone:
            return
        except Exception:  # a fault of ours: said in the log, and as JSON
            log.exception("%s failed", path)
            fault = Refused(503, "service: this request could not be answered; the service's log says why", "service")
            status, answer = 503, requests.failure(fault)
        self.metrics.request(path, status)
        await _send(send, status, answer, JSON, headers)

    # -- POST ----------------------------------------------------------------------------------------------------
    def _predict(self, body: bytes) -> bytes:
        asked = requests.one(body)
        return self._encode(self.answering.answer(self.router.live, (asked.flight,), asked.explain)[0])

    async def _predict_batch(self, body: bytes) -> bytes:
        asked = requests.many(body)
        live = self.router.live  # one deployment answers a request, whatever is swapped meanwhile
        size = _CHUNK if not asked.explain else 1
        made: list[Answer] = []
        for first in range(0, len(asked.flights), size):
            if first:
                await asyncio.sleep(0)
            made += self.answering.answer(live, asked.flights[first : first + size], asked.explain, first)
        return self._encode(Answers(made))

    def _score(self, body: bytes) -> bytes:
        champion = self.router.live.champion
        if champion is None:
            raise Refused(503, "model: there is no champion yet", "model")
        return self._encode(score.answer(champion, body))

    # -- GET -----------------------------------------------------------------------------------------------------
    def _alive(self) -> tuple[int, bytes, bytes]:
        return 200, self._encode(self.state()), JSON

    def _ready(self) -> tuple[int, bytes, bytes]:
        return 200 if self.router.live.champion else 503, self._encode(self.state()), JSON

    def _openapi(self) -> tuple[int, bytes, bytes]:
        champion = self.router.live.champion
        features = None if champion is None else champion.bundle.schema["features"]
        return 200, self._encode(openapi.document(features)), JSON

    def state(self) -> State:
        return State(**describe(self.router), note=self.note())

    async def _other(self, path: str, method: str, send: Send) -> None:
        get = self._get.get(path)
        allowed = b"GET" if get else b"POST" if path in self._post else None
        if get is not None and method == "GET":
            status, answer, kind = get()
            await _send(send, status, answer, kind, [])
        elif allowed:
            error = Refused(405, f"method: {method[:20]} is not allowed here, only {allowed.decode()}", "method")
            await _send(send, 405, requests.failure(error), JSON, [(b"allow", allowed)], body=method != "HEAD")
        else:
            error = Refused(404, "path: nothing is served here; /openapi.json lists what is", "path")
            await _send(send, 404, requests.failure(error), JSON, [], body=method != "HEAD")


async def _in_time(receive: Receive) -> bytes:
    """The body. Raises Refused when it takes too long, TooLarge and Gone."""
    try:
        async with asyncio.timeout(_BODY):
            return await _read(receive)
    except TimeoutError:
        raise Refused(408, f"body: did not arrive within {_BODY:g} s", "body") from None


async def _read(receive: Receive) -> bytes:
    """The body. Raises TooLarge as soon as it is, and Gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = bytearray(body)
        while message.get("more_body") and len(parts) <= MAX_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts += message.get("body", b"")
        body = bytes(parts)
    if len(body) > MAX_BYTES:
        raise TooLarge(f"body: at most {MAX_BYTES} bytes are read", "body")
    return body


async def _send(
    send: Send, status: int, answer: bytes, kind: bytes, headers: list[tuple[bytes, bytes]], body: bool = True
) -> None:
    length = str(len(answer)).encode()
    all_headers = [(b"content-type", kind), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": answer if body else b""})


def in_front(app: Asgi, serving: Mapping[str, Asgi]) -> Asgi:
    """ASGI middleware: `serving["http"]` answers every request, `app` keeps what is none: its start and its end.

    BentoML puts its own layers around what is added, and each costs every request: tracing that is switched off still
    matches URLs, the timeout leaves a task and a timer. So at the start this goes around all of them. What their
    timeout was for, a body that does not come, is the application's own affair.
    """

    def around(inner: Asgi) -> Asgi:
        async def front(scope: Scope, receive: Receive, send: Send) -> None:
            await serving.get(scope["type"], inner)(scope, receive, send)

        return front

    innermost = around(app)

    async def first(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            whole = scope["app"]  # Starlette's, with all layers
            whole.middleware_stack = around(whole.middleware_stack)
        await innermost(scope, receive, send)

    return first
