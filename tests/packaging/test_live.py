"""The running service, over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.packaging import leash
from include.packaging.checks import records
from include.packaging.server import Server, ask
from tests.packaging import tiny

ROW = records(tiny.frame(1, missing=0), tiny.NAMES)[0]


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = server.connect()
    yield connection
    connection.close()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3))
spoilt = st.dictionaries(st.sampled_from(tiny.NAMES) | st.text(max_size=3), values, max_size=3).map(
    lambda more: {"rows": [ROW, {**ROW, **more}]}
)
bodies = st.one_of(
    st.binary(max_size=60),
    values.map(lambda v: json.dumps(v).encode()),
    values.map(lambda v: json.dumps({"rows": v}).encode()),
    spoilt.map(lambda v: json.dumps(v).encode()),
)


@settings(max_examples=80, deadline=None)
@given(body=bodies)
def test_no_body_whatever_gives_a_500(connection: http.client.HTTPConnection, body: bytes) -> None:
    status, value = ask(connection, body)
    assert status in (200, 400, 413)
    if status == 200:
        assert all(0 <= p <= 1 for p in value["predictions"])
    else:
        error = value["error"]
        assert set(error) == {"field", "row", "message"}
        assert isinstance(error["field"], str)
        assert error["message"]


@pytest.mark.parametrize("missing", ["null", "NaN"])
def test_missing_values_score_as_in_training(connection: http.client.HTTPConnection, missing: str) -> None:
    frame = tiny.frame(40, seed=3, missing=0.5)
    body = json.dumps({"rows": records(frame, tiny.NAMES)}).replace("null", missing).encode()
    status, value = ask(connection, body)
    assert status == 200
    assert value["model"] == tiny.MODEL
    assert value["version"] == "7"
    np.testing.assert_allclose(value["predictions"], tiny.scores(frame.to_numpy()), atol=1e-9)


def test_a_body_above_the_limit_is_refused_and_the_service_lives_on(server: Server) -> None:
    for headers in ({"Content-Length": str(50_000_000)}, {"Transfer-Encoding": "chunked"}):
        connection = server.connect()
        connection.putrequest("POST", "/score")
        for header in headers.items():
            connection.putheader(*header)
        connection.endheaders()
        part = b" " * 1_000_000
        try:
            for _ in range(50):
                connection.send(b"%x\r\n%s\r\n" % (len(part), part) if "Transfer-Encoding" in headers else part)
        except OSError:
            pass  # the service has answered and closed
        try:
            response = connection.getresponse()
            assert response.status == 413
            assert json.loads(response.read())["error"]["field"] == "body"
        except ConnectionError:
            pass  # the answer was lost with the connection: also a refusal
        connection.close()
    assert ask(server.connect(), json.dumps({"rows": [ROW]}).encode())[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/predict", 405),
        ("POST", "/healthz", 405),
        ("POST", "/", 404),
        ("GET", "/docs.json", 404),
    ],
)
def test_paths(connection: http.client.HTTPConnection, method: str, path: str, status: int) -> None:
    connection.request(method, path)
    response = connection.getresponse()
    response.read()
    assert response.status == status


def test_it_listens_on_this_machine_only(server: Server) -> None:
    addresses = [
        c.laddr for p in leash.inside(server.home) for c in p.net_connections() if c.status == psutil.CONN_LISTEN
    ]
    assert server.port in {a.port for a in addresses}
    assert {a.ip for a in addresses} == {"127.0.0.1"}
