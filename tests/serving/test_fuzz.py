"""Whatever is sent, no answer is a 5xx, and what is answered is what /openapi.json says: data made from the document
itself, good and bad, then what no document provides for, byte by byte."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from include.packaging.server import HOST
from include.serving.plan import NAMES as BOOKED
from include.serving.requests import MAX_BYTES
from include.settings import Settings
from tests.serving.calling import FLIGHT, middle
from tests.serving.following import Scene, scene

pytestmark = pytest.mark.xdist_group("service")

EXAMPLES = 50  # drawn of each kind for each path that takes a body, beside the boundaries
SECONDS = 20.0
POSTS = ("/predict", "/predict/batch", "/score")
GETS = ("/healthz", "/livez", "/readyz", "/metrics", "/openapi.json")
JSON = "application/json"


class Fuzzed(NamedTuple):
    """A service, its document as schemathesis reads it, and the statuses that it gave by path."""

    scene: Scene
    document: Any
    session: requests.Session
    statuses: dict[str, set[int]]


@pytest.fixture(scope="module")
def fuzzed(history: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with scene(history, tmp_path_factory.mktemp("fuzz")) as made, requests.Session() as session:
        document = schemathesis.openapi.from_url(f"http://{HOST}:{made.service.port}/openapi.json")
        found = Fuzzed(made, document, session, defaultdict(set))
        yield found
        if set(found.statuses) == {*POSTS, *GETS}:  # all of the module has run, in whatever order
            of_both_kinds_enough_came_through(found)


def of_both_kinds_enough_came_through(fuzzed: Fuzzed) -> None:
    """Good requests were answered and bad ones refused: else the fuzzing has shown nothing."""
    assert all(200 in statuses for statuses in fuzzed.statuses.values()), fuzzed.statuses
    refused = {path: {400, 422} & fuzzed.statuses[path] for path in POSTS}
    assert refused == {"/predict": {400, 422}, "/predict/batch": {400, 422}, "/score": {400}}


# -- from the document -----------------------------------------------------------------------------------------------
def check(fuzzed: Fuzzed, case: schemathesis.Case) -> None:
    """The answer is documented: its status, its type and its content; bad data is refused, no method is taken for
    another one."""
    response = case.call_and_validate(session=fuzzed.session, timeout=SECONDS, excluded_checks=REFUSABLE)
    fuzzed.statuses[case.operation.path].add(response.status_code)


# a flight that the document allows may be refused: it is in no schedule, or it arrives before it departs
REFUSABLE: list[Any] = [positive_data_acceptance]
OPERATIONS = [*((path, "post") for path in POSTS), *((path, "get") for path in GETS)]


def test_all_operations_are_known_here(fuzzed: Fuzzed) -> None:
    found = [operation.ok() for operation in fuzzed.document.get_all_operations()]
    itself = {("/openapi.json", "get")}  # schemathesis leaves out what it was given
    assert {(operation.path, operation.method) for operation in found} | itself == set(OPERATIONS)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_boundaries(fuzzed: Fuzzed, path: str, method: str) -> None:
    operation = fuzzed.document[path][method]
    config = fuzzed.document.config.generation_for(operation=operation, phase="coverage")
    cases = list(
        fuzzed.document.iter_coverage_cases(operation, generation_modes=list(GenerationMode), generation_config=config)
    )
    assert len(cases) > (300 if method == "post" else 5)
    for case in cases:
        check(fuzzed, case)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", POSTS)
def test_drawn_data(fuzzed: Fuzzed, path: str, mode: GenerationMode) -> None:
    @examples(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=fuzzed.document[path]["post"].as_strategy(generation_mode=mode))
    def draw(case: schemathesis.Case) -> None:
        check(fuzzed, case)

    draw()


# -- bodies that no document provides for ----------------------------------------------------------------------------
GOOD = {"flight": {**FLIGHT, "features": {n: v for n, v in middle().items() if n not in BOOKED}}}
BODY = {
    "/predict": GOOD,
    "/predict/batch": {"flights": [GOOD["flight"]]},
    "/score": {"rows": [middle()]},
}
NUMBERS = (
    *("NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "1e999", "-1e999", "1e-999", "1e400000000000", "-0.0"),
    *("9" * 5000, "0." + "9" * 5000, "1e5", "01", "1.", ".5", "+1", "0x10", "1_000", "1e", "--1", "½", "١"),
    *("true", "null", '""', '"1"', "[]", "{}", "[1]", '"NaN"', "18446744073709551616", "4.9e-324", "1.8e308"),
)
MOMENTS = (
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2013-02-29T00:00:00Z"),
    *("2013-01-31T23:59:60Z", "2013-01-31T24:00:00Z", "2013-01-31T23:59:00", "2013-01-31", "1970-01-01T00:00:00Z"),
    *("2013-01-31T23:59:00+99:99", "2013-13-31T23:59:00Z", "-2013-01-31T23:59:00Z", "2013-03-10T02:30:00-05:00"),
    *("", "\x00", "\ud800", "now", "1359673140", "2013-01-31T23:59:00.9999999999999999Z", "\u202e2013-01-31T23:59:00Z"),
)
WIDE = {"utf-16", "utf-16-le", "utf-32"}  # Python's JSON, which reads rows, knows them
WORDS = (
    "",
    "\x00",
    "B\x00",
    "\ud800",
    "\udfff\ud800",
    "ÄÖ",
    "B6" * 50_000,
    "\u202e6",
    "'; DROP TABLE",
    "../",
    "𝔹𝟞",
    "b6",
)


def with_value(path: str, field: str, literal: str) -> bytes:
    """A good body of a path, a field's value replaced by some text, JSON or not."""
    value = json.loads(json.dumps(BODY[path]))
    holder = value["rows"][0] if path == "/score" else value["flight"] if path == "/predict" else value["flights"][0]
    holder = holder["features"] if field not in holder else holder
    holder[field] = "HERE"
    return json.dumps(value).replace('"HERE"', literal).encode("utf-8", "surrogatepass")


def nested(depth: int, opening: str, closing: str, inside: str = "1") -> bytes:
    return (opening * depth + inside + closing * depth).encode()


def odd_bodies(path: str) -> Iterator[tuple[str, bytes]]:
    good = json.dumps(BODY[path])
    one = good.encode()
    for name in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037"):
        yield name, good.encode(name)
    yield from (
        ("gzip", gzip.compress(one)),
        ("zlib", zlib.compress(one)),
        ("nothing", b""),
        ("zero bytes", bytes(1000)),
    )
    yield from (
        ("half", one[: len(one) // 2]),
        ("twice", one * 2),
        ("with a comma", one + b","),
        ("spaces", b" " * 9999),
    )
    yield "no UTF-8", one.replace(b"{", b'{"\xff\xfe": 1, ', 1)
    yield "overlong", one.replace(b"{", b'{"\xc0\xaf": 1, ', 1)
    yield "half a character in a name", one.replace(b"{", b'{"\\ud800": 1, ', 1)
    yield "a name twice", one.replace(b"{", b"{" + one[1:-1] + b", ", 1)
    yield "an empty name", one.replace(b"{", b'{"": 1, ', 1)
    yield "a long name", one.replace(b"{", b'{"' + b"x" * 1_000_000 + b'": 1, ', 1)
    yield "up to the limit", one + b" " * (MAX_BYTES - len(one))
    yield "beyond the limit", one + b" " * (MAX_BYTES - len(one) + 1)
    for literal in ("null", "true", "1", "1e999", "NaN", '"text"', "[]", "{}", "[[]]", "{", "}", '"', "\\", "\x00"):
        yield literal, literal.encode()
    for depth in (100, 1_000, 10_000, 500_000):
        yield f"{depth} lists", nested(depth, "[", "]")
        yield f"{depth} objects", nested(depth, '{"flight":', "}")
        yield f"{depth} lists, not closed", nested(depth, "[", "")
        yield f"{depth} lists in an unknown field", one.replace(b"{", b'{"x": ' + nested(depth, "[", "]") + b", ", 1)
        yield f"{depth} lists for a feature", with_value(path, "temp", nested(depth, "[", "]").decode())


def well_formed(text: bytes) -> Any:
    """JSON without NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in an answer")

    return json.loads(text, parse_constant=refuse)


def post(fuzzed: Fuzzed, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    url = f"http://{HOST}:{fuzzed.scene.service.port}{path}"
    response = fuzzed.session.post(url, body, headers={"Content-Type": JSON, **headers}, timeout=SECONDS)
    assert response.headers["Content-Type"] == JSON
    assert len(response.content) < 20_000  # no answer repeats what a client sent
    return response.status_code, well_formed(response.content)


def judged(status: int, value: Any) -> bool:
    """Answered in order, or refused with a reason and a field."""
    if status == 200:
        return True
    return status in (400, 413, 422) and bool(value["error"]["message"]) and bool(value["error"]["field"])


@pytest.mark.parametrize("path", POSTS)
def test_odd_bodies(fuzzed: Fuzzed, path: str) -> None:
    found = {name: post(fuzzed, path, body) for name, body in odd_bodies(path)}
    assert {name: answer for name, answer in found.items() if not judged(*answer)} == {}
    allowed = {"up to the limit", "a name twice", "utf-8-sig"} | (WIDE if path == "/score" else set())
    assert {name for name, (status, _) in found.items() if status == 200} <= allowed
    assert found["up to the limit"][0] == 200
    assert found["beyond the limit"][0] == 413


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("field", ["distance", "temp", "departures_30m"])
def test_odd_numbers(fuzzed: Fuzzed, path: str, field: str) -> None:
    found = {literal[:20]: post(fuzzed, path, with_value(path, field, literal)) for literal in NUMBERS}
    assert {name: answer for name, answer in found.items() if not judged(*answer)} == {}
    missing = {"null", "NaN"} if path == "/score" else {"null"}  # where a value may be missing, and only there
    allowed = {"1e-999", "-0.0", "4.9e-324", "1.", "1e5", "0." + "9" * 18} | (missing if field == "temp" else set())
    assert {name for name, (status, _) in found.items() if status == 200} <= allowed


@pytest.mark.parametrize("path", POSTS[:2])
def test_odd_moments_and_words(fuzzed: Fuzzed, path: str) -> None:
    found: dict[tuple[str, ...], tuple[int, Any]] = {}
    for field in ("sched_dep", "sched_arr", "at"):
        for text in MOMENTS:
            found[field, text] = post(fuzzed, path, with_value(path, field, json.dumps(text)))
    for field in ("carrier", "origin", "dest"):
        for text in WORDS:
            found[field, text[:9]] = post(fuzzed, path, with_value(path, field, json.dumps(text)))
            found[field, text[:9], "raw"] = post(fuzzed, path, with_value(path, field, f'"{text}"'))
    assert {name: answer for name, answer in found.items() if not judged(*answer)} == {}
    answered = {name for name, (status, _) in found.items() if status == 200}
    assert answered == {("sched_dep", "2013-01-31T23:59:00.9999999999999999Z")}  # a time, if an odd one


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data", "application/xml", "a" * 5000, ";;;="])
def test_the_content_type_does_not_matter(fuzzed: Fuzzed, kind: str) -> None:
    for coding in ("gzip", "deflate", "br", "nonsense"):
        body = json.dumps(GOOD).encode()
        headers = {
            "Content-Type": kind,
            "Content-Encoding": coding,
            "Accept": "text/html",
            "Accept-Encoding": "identity",
        }
        assert post(fuzzed, "/predict", body, **headers)[0] in (200, 400, 415)
        assert post(fuzzed, "/predict", gzip.compress(body), **headers)[0] in (400, 415)


# -- what is hardly HTTP ---------------------------------------------------------------------------------------------
def head(method: str, path: str, *headers: str, version: str = "HTTP/1.1", host: str = "Host: x") -> bytes:
    return "\r\n".join([f"{method} {path} {version}", host, "Connection: close", *headers, "", ""]).encode("latin-1")


def exchange(fuzzed: Fuzzed, sent: bytes, patience: float = SECONDS) -> bytes:
    """All that is answered to some bytes until the service closes the connection, or until our patience ends."""
    parts = []
    address = (HOST, fuzzed.scene.service.port)
    with suppress(OSError), socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(sent)  # the service may close while we still write
        connection.settimeout(patience)
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


ONE = json.dumps(GOOD).encode()
LENGTH = f"Content-Length: {len(ONE)}"
CHUNKED = "Transfer-Encoding: chunked"
TRAVERSAL = (
    *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "/predict/../metrics", "//etc/passwd"),
    *("/predict/", "/predict%00", "/predict;x=1", "/PREDICT", "/predict\\", "/%", "/%zz", "/\xff", "/?%00=%ff", "/#x"),
    *("/static_content/index.css", "/static_content/../../etc/passwd", "/docs.json", "/schema.json", "/docs", "/"),
    *(
        "*",
        "http://example.com/predict",
        "example.com:80",
        "predict",
        "",
        "/" + "x" * 30_000,
        "/predict?" + "a=b&" * 5_000,
    ),
)
STRANGE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 20,
    "zeros": bytes(5000),
    "TLS": bytes.fromhex("16030100fd010000f90303") + bytes(250),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(40),
    "HTTP/0.9": b"GET /readyz\r\n\r\n",
    "HTTP/9.9": head("GET", "/readyz", version="HTTP/9.9"),
    "newlines only": b"\r\n" * 5000,
    "no host": head("GET", "/readyz", host="X: y"),
    "bare newlines": head("POST", "/predict", LENGTH).replace(b"\r\n", b"\n") + ONE,
    "a long header": head("POST", "/predict", LENGTH, "X: " + "x" * 200_000) + ONE,
    "many headers": head("POST", "/predict", LENGTH, *(f"X-{i}: {i}" for i in range(5_000))) + ONE,
    "a header without an end": head("POST", "/predict")[:-2] + b"X: " + b"x" * 300_000,
    "a folded header": head("POST", "/predict", LENGTH, "X: a\r\n b") + ONE,
    "a zero in a header": head("POST", "/predict", LENGTH, "X: a\x00b") + ONE,
    "a header without a name": head("POST", "/predict", LENGTH, ": b") + ONE,
    "no length": head("POST", "/predict") + ONE,
    "too short": head("POST", "/predict", "Content-Length: 100000") + ONE,
    "too long": head("POST", "/predict", "Content-Length: 5") + ONE,
    "a negative length": head("POST", "/predict", "Content-Length: -1") + ONE,
    "a huge length": head("POST", "/predict", "Content-Length: " + "9" * 30) + ONE,
    "no number": head("POST", "/predict", "Content-Length: ten") + ONE,
    "two lengths": head("POST", "/predict", LENGTH, "Content-Length: 3") + ONE,
    "length and chunks": head("POST", "/predict", LENGTH, CHUNKED) + b"3\r\n{}\n\r\n0\r\n\r\n",
    "chunks": head("POST", "/predict", CHUNKED) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(ONE), ONE),
    "one byte a chunk": head("POST", "/predict", CHUNKED) + b"".join(b"1\r\n%c\r\n" % c for c in ONE) + b"0\r\n\r\n",
    "a wrong chunk": head("POST", "/predict", CHUNKED) + b"zz\r\n{}\r\n0\r\n\r\n",
    "a huge chunk": head("POST", "/predict", CHUNKED) + b"fffffffffffffff\r\n{}",
    "chunks without an end": head("POST", "/predict", CHUNKED) + b"2\r\n{}\r\n",
    "unknown coding": head("POST", "/predict", "Transfer-Encoding: gzip, x") + ONE,
    "expecting": head("POST", "/predict", LENGTH, "Expect: 100-continue") + ONE,
    "expecting else": head("POST", "/predict", LENGTH, "Expect: the-impossible") + ONE,
    "a body for GET": head("GET", "/readyz", LENGTH) + ONE,
    "an upgrade": head(
        *(
            "GET",
            "/predict",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ),
    ).replace(b"Connection: close", b"Connection: Upgrade"),
    "an upgrade to HTTP/2": head("GET", "/readyz", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
}


def alive(fuzzed: Fuzzed) -> bool:
    return post(fuzzed, "/predict", ONE)[0] == 200


HARMLESS = {"chunks", "one byte a chunk", "expecting", "a body for GET", "an upgrade to HTTP/2"}  # correct HTTP


@pytest.mark.parametrize("name", STRANGE)
def test_strange_bytes(fuzzed: Fuzzed, name: str) -> None:
    exchange(fuzzed, STRANGE[name], patience=0.001)  # sent and left
    found = statuses(answer := exchange(fuzzed, STRANGE[name], patience=SECONDS if name in HARMLESS else 0.3))
    assert [status for status in found if status >= 500] == []
    assert (200 in found) >= (name in HARMLESS)
    assert b"Traceback" not in answer
    assert alive(fuzzed)


def test_strange_paths(fuzzed: Fuzzed) -> None:
    for path in TRAVERSAL:
        for method in ("GET", "POST"):
            answer = exchange(fuzzed, head(method, path, "Content-Length: 2") + b"{}")
            assert set(statuses(answer)) <= {400, 404, 405, 414, 422}, (method, path, answer[:200])
            assert b"root:" not in answer
    assert alive(fuzzed)


def test_strange_methods(fuzzed: Fuzzed) -> None:
    for method in (
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "HEAD",
        "CONNECT",
        "post",
        "GE T",
        "G\x00T",
        "",
        "X" * 9999,
    ):
        for path in (*POSTS, *GETS, "/nothing"):
            answer = exchange(fuzzed, head(method, path))
            assert set(statuses(answer)) <= {400, 404, 405, 501 if method == "CONNECT" else 405}, (method, path, answer)
    assert alive(fuzzed)


def test_requests_in_one_go_are_answered_in_order(fuzzed: Fuzzed) -> None:
    keep = head("POST", "/predict", LENGTH).replace(b"Connection: close\r\n", b"") + ONE
    bad = head("POST", "/predict", "Content-Length: 2").replace(b"Connection: close\r\n", b"") + b"{}"
    answer = exchange(fuzzed, (keep + bad) * 20 + head("GET", "/readyz"))
    assert statuses(answer) == [200, 422] * 20 + [200]


def test_clients_that_leave_and_idle_ones_cost_nobody_an_answer(fuzzed: Fuzzed) -> None:
    idle = [socket.create_connection((HOST, fuzzed.scene.service.port)) for _ in range(200)]
    for i, connection in enumerate(idle):
        connection.sendall(STRANGE["too short"][: 10 * i])
    assert alive(fuzzed)
    for connection in idle:
        connection.close()
    assert alive(fuzzed)


def test_after_all_this_the_same_process_answers_and_nothing_went_wrong_in_it(fuzzed: Fuzzed) -> None:
    service = fuzzed.scene.service
    log = service.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert len(list((fuzzed.scene.settings.home / "service").iterdir())) == 1  # each worker leaves a file when it dies
    lines = service.ask("GET", "/metrics")[1].decode().splitlines()
    assert [line for line in lines if line.startswith("ratchet_requests_total") and 'status="5' in line] == []
    assert fuzzed.scene.metric("ratchet_log_dropped_total") == 0
