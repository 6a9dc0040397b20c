"""The BentoML service of one model: POST /predict, and GET /healthz, /livez and /readyz, which BentoML serves.

It runs inside of a Bento, beside the bundle that it serves, and imports only what include/packaging/bento.py packs.
/predict is a mounted route, not a Bento API: BentoML's own input models let NaN pass, answer a ragged batch with 500,
accept pickles between services and cost five times the latency. The switches below take the access log, metrics and
tracing out of each request's way.
"""

from __future__ import annotations

import gc
from pathlib import Path

import bentoml
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from include.bundle import load, predict
from include.files import read_json
from include.serving.predict import MAX_BYTES, TooLarge, answer, refusal

PACKED = Path(__file__).resolve().parents[2]  # the Bento's `src` folder: code, bundle/ and identity.json


async def predict_route(request: Request) -> JSONResponse:
    """Read a body of at most MAX_BYTES and answer it."""
    model = request.app.state
    try:
        body = await _read(request)
    except TooLarge as error:
        # the rest of the body is not read, so the connection cannot carry another request
        return JSONResponse(refusal(error), 413, headers={"Connection": "close"})
    status, value = answer(model.bundle, model.identity, body)
    return JSONResponse(value, status)


async def _read(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise TooLarge(f"body: at most {MAX_BYTES} bytes are read", field="body")
        parts.append(part)
    return b"".join(parts)


app = Starlette(routes=[Route("/predict", predict_route, methods=["POST"])])


@bentoml.service(
    name="ratchet",
    workers=1,
    traffic={"timeout": 10},
    http={"host": "127.0.0.1"},  # BentoML's default is every interface
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(app, path="/")
class Ratchet:
    """Loads the bundle, runs one row before it says that it is ready, then leaves the garbage collector little."""

    def __init__(self) -> None:
        bundle = load(PACKED / "bundle")
        app.state.bundle = bundle
        labels = read_json(PACKED / "identity.json")["labels"]
        app.state.identity = {"model": labels["model_name"], "version": labels["model_version"]}
        predict(bundle, np.zeros((1, len(bundle.features)), dtype=np.float32))
        # BentoML's timeout leaves a timer behind each request: by default the collector walks them all, again and again
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
