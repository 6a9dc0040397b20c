"""Planted installations, and an MLflow that answers, is silent or has lost what it had."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from include.loop.console import kept
from include.settings import Settings
from tests.console import planted

NOWHERE = "http://127.0.0.1:9"  # nothing listens on the port that discards


@pytest.fixture
def empty(tmp_path: Path) -> Settings:
    """An installation in which nothing has happened yet."""
    return Settings(home=tmp_path / "var", mlflow_uri=NOWHERE)


@pytest.fixture
def one(empty: Settings) -> Settings:
    """Sixty days of one model."""
    planted.plant(empty)
    return empty


@dataclass
class FakeTracking:
    """What MLflow's server has: artifacts as text by (run, path), and which requests came."""

    url: str = ""
    artifacts: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def tracking() -> Iterator[FakeTracking]:
    """The two answers of MLflow's REST API that the console asks for."""
    held = FakeTracking()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            held.asked.append(self.path)
            if parts.path == "/get-artifact":
                self._say(held.artifacts.get((asked["run_uuid"], asked["path"])))
            elif parts.path == "/api/2.0/mlflow/runs/get":
                self._say(json.dumps({"run": {"info": {"experiment_id": "7"}}}))
            else:
                self._say(None)

        def _say(self, text: str | None) -> None:
            body = (text or "{}").encode()
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield held
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    """No answer of MLflow of one test is another's."""
    kept.forget()
    yield
    kept.forget()
