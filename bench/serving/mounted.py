"""The bare app mounted in a Bento service, with the same switches as the project's own."""

from __future__ import annotations

import gc

import bentoml

from bench.serving.bare import app, loaded


@bentoml.service(
    name="bare",
    workers=1,
    traffic={"timeout": 10},
    http={"host": "127.0.0.1"},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(app, path="/")
class Bare:
    def __init__(self) -> None:
        loaded()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
