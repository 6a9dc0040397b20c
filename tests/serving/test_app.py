"""The application, called in this process: what is answered, by whom, on which features, and what is logged."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware

from include import bundle
from include.bundle import load
from include.contracts import FEATURES, VIEWS
from include.serving import app as http
from include.serving.explain import log_odds
from include.serving.plan import NAMES as BOOKED
from include.serving.predict import NAMES, STORED
from include.serving.requests import MAX_BYTES
from include.serving.router import Live, Model, model
from include.settings import Settings
from tests.packaging import tiny
from tests.serving import planted
from tests.serving.calling import FLIGHT, FLIGHT_ID, NOW, Kept, Store, app, call, middle

BOOK = {"minute_of_day": 1439, "weekday": 3, "distance": 1576, "block_minutes": 241, "slack_minutes": 44}
BOOK |= {"carrier_code": 3, "origin_code": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("app"))


def version(home: Settings, number: int, content: bytes | None = None, **serving: Any) -> Model:
    made = planted.save(home, content or tiny.model(), **{"threshold": 0.3 + number / 100, **serving})
    return model(tiny.MODEL, number, load(made))


def predict(service: Any, flight: Any = FLIGHT, **more: Any) -> tuple[int, Any]:
    return call(service, "POST", "/predict", {"flight": flight, **more})


def canary(home: Settings, content: bytes, share: float = 1.0) -> Live:
    return Live(version(home, 1), version(home, 2, content), 5, "canary", share, "m/4")


# -- answers ---------------------------------------------------------------------------------------------------------
def test_an_answer_says_who_what_and_on_which_features(home: Settings) -> None:
    store, log = Store(middle()), Kept()
    status, value = predict(app(Live(version(home, 1), generation=5), store, log))
    row = {**middle(), **BOOK}
    due = tiny.scores(np.array([[row[n] for n in NAMES]], dtype=np.float32))[0]
    assert status == 200
    assert value["probability"] == pytest.approx(due, abs=1e-9)
    assert (value["model"], value["version"], value["stage"]) == (tiny.MODEL, 1, "champion")
    assert (value["threshold"], value["not_on_time"]) == (0.31, value["probability"] >= 0.31)
    used = {"at": "2013-01-31T05:00:00Z", "oldest_seconds": 60.0, "stale": [], "missing": [], "given": []}
    assert value["features"] == used
    (entry,) = log.entries
    assert entry.prediction_id == value["prediction_id"]
    assert (entry.version, entry.generation, entry.stage, entry.probability) == (1, 5, "", value["probability"])
    assert (entry.flight["flight_id"], entry.role, entry.error, entry.weight) == (FLIGHT_ID, "answer", None, 1.0)
    np.testing.assert_array_equal(entry.row, np.array([row[n] for n in NAMES], dtype=np.float32))
    assert (entry.at.timestamp(), entry.wall.timestamp()) == (NOW, NOW + 1e9)
    assert entry.features == NAMES
    assert entry.latency_us >= entry.model_us > 0


def test_given_features_take_the_stores_place_and_bring_their_time(home: Settings) -> None:
    store, log = Store(middle()), Kept()
    service = app(Live(version(home, 1)), store, log)
    row = {**middle(), "temp": 11.5, "humid": None}
    status, value = predict(service, {**FLIGHT, "features": row, "at": "2013-01-30T12:00:00-05:00"})
    assert status == 200
    wide = np.array([[np.nan if row[n] is None else row[n] for n in NAMES]], dtype=np.float32)
    assert value["probability"] == pytest.approx(tiny.scores(wide)[0], abs=1e-9)
    assert value["features"]["at"] == "2013-01-30T17:00:00Z"
    assert value["features"]["oldest_seconds"] is None
    assert value["features"]["missing"] == ["humid"]
    assert set(value["features"]["given"]) == set(NAMES)
    assert store.reads == 0
    assert log.entries[0].given
    status, value = predict(service, {**FLIGHT, "features": {"temp": 11.5}})
    assert (status, store.reads, value["features"]["given"]) == (200, 1, ["temp"])


def test_a_batch_is_answered_in_order_as_one_by_one(home: Settings) -> None:
    service = app(Live(version(home, 1)), Store(middle()))
    flights = [{**FLIGHT, "flight": n, "distance": 300 + n} for n in range(1, 150)]
    status, value = call(service, "POST", "/predict/batch", {"flights": flights})
    assert status == 200
    alone = [predict(service, f)[1]["probability"] for f in flights]
    np.testing.assert_allclose([a["probability"] for a in value["predictions"]], alone, atol=1e-12)
    assert len({a["prediction_id"] for a in value["predictions"]}) == len(flights)


def test_the_sampled_share_of_answers_is_logged_with_its_weight(home: Settings) -> None:
    log = Kept()
    service = app(Live(version(home, 1, log_rate=0.25)), Store(middle()), log)
    call(service, "POST", "/predict/batch", {"flights": [FLIGHT] * 1000})
    assert 190 <= len(log.entries) <= 310
    assert {e.weight for e in log.entries} == {4.0}


# -- the age of features ---------------------------------------------------------------------------------------------
HOURLY = [v.name for v in VIEWS if v.ttl.total_seconds() == 3 * 3600]


def test_features_beyond_their_time_to_live_are_used_and_flagged(home: Settings) -> None:
    log = Kept()
    service = app(Live(version(home, 1)), Store(middle(), age=3 * 3600 + 1), log)
    status, value = predict(service)
    assert status == 200
    assert value["features"]["stale"] == HOURLY
    assert value["features"]["oldest_seconds"] == 3 * 3600 + 1
    assert log.entries[0].stale == ",".join(HOURLY)
    text = call(service, "GET", "/metrics")[1].decode()
    assert 'ratchet_stale_total{view="dest_hourly"} 1.0' in text
    assert 'ratchet_feature_age_seconds{view="dest_hourly"} 10801.0' in text


def test_at_exactly_their_time_to_live_they_are_fresh(home: Settings) -> None:
    assert predict(app(Live(version(home, 1)), Store(middle(), age=3 * 3600)))[1]["features"]["stale"] == []


def test_where_the_policy_refuses_them_the_view_is_named(home: Settings) -> None:
    log = Kept()
    service = app(Live(version(home, 1, stale="refuse")), Store(middle(), age=3 * 3600 + 1), log)
    status, value = predict(service)
    assert (status, value["error"]["field"]) == (503, HOURLY[0])
    assert log.entries == []
    assert predict(service, {**FLIGHT, "features": middle()})[0] == 200
    hourly = {f.name for v in VIEWS if v.name in HOURLY for f in v.features}
    assert predict(service, {**FLIGHT, "features": {n: v for n, v in middle().items() if n in hourly}})[0] == 200


@examples(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_may_be_missing_is_listed_and_what_may_not_is_refused(home: Settings, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(STORED), max_size=6))
    log = Kept()
    service = app(Live(version(home, 1)), Store({**middle(), **dict.fromkeys(gone, math.nan)}), log)
    status, value = predict(service)
    needed = [n for n in STORED if n in gone and not FEATURES[n].nullable]
    if needed:
        assert (status, value["error"]["field"]) == (422, needed[0])
        assert log.entries == []
    else:
        assert status == 200
        assert set(value["features"]["missing"]) == gone


# -- the canary ------------------------------------------------------------------------------------------------------
def test_in_the_canary_the_challenger_answers_and_the_champion_is_scored_beside(home: Settings) -> None:
    log = Kept()
    status, value = predict(app(canary(home, planted.constant(0.9)), Store(middle()), log))
    assert (status, value["version"], value["stage"], value["probability"]) == (200, 2, "canary", 0.9)
    (entry,) = log.entries
    assert (entry.version, entry.stage, entry.shadow_version) == (2, "canary", 1)
    assert entry.shadow is not None
    assert 0 < entry.shadow(entry.row[None])[0] < 1


def test_in_the_shadow_the_champion_answers(home: Settings) -> None:
    log, live = Kept(), Live(version(home, 1), version(home, 2, planted.constant(0.9)), 5, "shadow", 0.0, "m/4")
    service = app(live, Store(middle()), log)
    assert predict(service)[1]["version"] == predict(service)[1]["version"] == 1
    assert [e.shadow_version for e in log.entries] == [2, 2]
    assert log.entries[0].shadow is log.entries[1].shadow  # or the recorder could not score them in one call


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1.5])
def test_a_challenger_that_fails_costs_no_answer(home: Settings, wrong: float) -> None:
    log = Kept()
    service = app(canary(home, planted.constant(wrong)), Store(middle()), log)
    status, value = predict(service)
    alone = predict(app(Live(version(home, 1)), Store(middle())))[1]
    assert (status, value["version"], value["stage"]) == (200, 1, "fallback")
    assert value["probability"] == alone["probability"]
    answer, failure = log.entries
    assert (answer.version, answer.role, answer.error, answer.shadow) == (1, "answer", None, None)
    assert (failure.version, failure.role, failure.probability, failure.shadow) == (2, "shadow", None, None)
    assert failure.error is not None
    assert failure.prediction_id == answer.prediction_id == value["prediction_id"]
    assert 'ratchet_challenger_errors_total{version="2"} 1.0' in call(service, "GET", "/metrics")[1].decode()


def test_one_bad_row_of_a_batch_is_one_failure(home: Settings) -> None:
    service = app(canary(home, planted.failing_above(1000)), Store(middle()), log := Kept())
    flights = [{**FLIGHT, "flight": n, "distance": 900 + n} for n in range(90, 111)]
    value = call(service, "POST", "/predict/batch", {"flights": flights})[1]["predictions"]
    assert [a["stage"] for a in value] == ["canary"] * 11 + ["fallback"] * 10
    assert sum(e.error is not None for e in log.entries) == 10


def test_a_challenger_that_needs_what_is_missing_fails_alone(home: Settings) -> None:
    described = bundle.schema(tiny.MODEL, tiny.NAMES, "c" * 64, planted.AS_OF, "logistic", {}, planted.MEDIANS, {})
    for feature in described["features"]:
        feature["nullable"] = False
    strict = model(tiny.MODEL, 2, load(bundle.save(home, planted.constant(0.9), described)))
    live = Live(version(home, 1), strict, 5, "canary", 1.0, "m/4")
    status, value = predict(app(live, Store({**middle(), "temp": math.nan})))
    assert (status, value["version"], value["stage"]) == (200, 1, "fallback")


def test_a_champion_that_fails_is_an_error_of_ours(home: Settings) -> None:
    service = app(Live(version(home, 1, planted.constant(math.nan))), Store(middle()))
    for status, value in (predict(service), call(service, "POST", "/score", {"rows": [middle()]})):
        assert (status, value["error"]["field"]) == (503, "model")


def test_a_model_of_fewer_features_in_another_order_reads_its_own(home: Settings) -> None:
    names = ["temp", "distance", "origin_queue"]
    described = bundle.schema(tiny.MODEL, names, "c" * 64, planted.AS_OF, "logistic", {}, dict.fromkeys(names, 1.0), {})
    small = model(tiny.MODEL, 2, load(bundle.save(home, planted.column(2, 3), described)))
    row = {**middle(), "origin_queue": 0.25, "departures_30m": math.nan}
    status, value = predict(app(Live(small), Store(row)), explain=True)
    assert (status, value["probability"]) == (200, 0.25)
    assert set(value["contributions"]["values"]) == set(names)


# -- explanations ----------------------------------------------------------------------------------------------------
def test_contributions_add_up_to_the_answer(home: Settings) -> None:
    value = predict(app(Live(version(home, 1)), Store(middle())), explain=True)[1]
    told = value["contributions"]
    assert set(told["values"]) == set(NAMES)
    total = told["base"] + sum(told["values"].values())
    assert total == pytest.approx(log_odds(np.array([value["probability"]]))[0], abs=1e-6)


def test_contributions_of_a_logistic_model_are_exact(home: Settings) -> None:
    value = predict(app(Live(version(home, 1)), Store(middle())), explain=True)[1]["contributions"]["values"]
    row = {**middle(), **BOOK}
    for i, name in enumerate(NAMES):
        due = tiny.WEIGHTS[i] * (row[name] - planted.MEDIANS[name]) / (tiny.HIGH[i] - tiny.LOW[i])
        assert value[name] == pytest.approx(due, abs=1e-6)


def test_without_a_reference_an_explanation_is_refused(home: Settings) -> None:
    described = bundle.schema(tiny.MODEL, tiny.NAMES, "c" * 64, planted.AS_OF, "logistic", {})
    old = model(tiny.MODEL, 1, load(bundle.save(home, tiny.model(), described)))
    service = app(Live(old), Store(middle()))
    assert predict(service)[0] == 200
    status, value = predict(service, explain=True)
    assert (status, value["error"]["field"]) == (422, "explain")
    status, value = call(service, "POST", "/predict/batch", {"flights": [FLIGHT] * 51, "explain": True})
    assert (status, value["error"]["field"]) == (422, "explain")


# -- refusals --------------------------------------------------------------------------------------------------------
def test_without_a_champion_nothing_is_answered_but_it_is_said(home: Settings) -> None:
    service = app(Live(), Store(middle()))
    for path, body in (
        ("/predict", {"flight": FLIGHT}),
        ("/predict/batch", {"flights": [FLIGHT]}),
        ("/score", {"rows": [{}]}),
    ):
        status, value = call(service, "POST", path, body)
        assert (status, value["error"]["field"]) == (503, "model")
    assert call(service, "GET", "/readyz")[0] == 503
    assert call(service, "GET", "/healthz")[0] == 200


def test_a_store_that_cannot_be_read_is_503_and_needs_no_store_is_not(home: Settings) -> None:
    store = Store(middle())
    store.fail = OSError("gone")
    service = app(Live(version(home, 1)), store)
    status, value = predict(service)
    assert (status, value["error"]["field"]) == (503, "features")
    assert predict(service, {**FLIGHT, "features": middle()})[0] == 200


def test_alone_the_features_must_be_given(home: Settings) -> None:
    service = app(Live(version(home, 1)))
    status, value = predict(service)
    assert (status, value["error"]["field"]) == (422, STORED[0])
    stored = {n: v for n, v in middle().items() if n not in BOOKED}
    assert predict(service, {**FLIGHT, "features": stored})[0] == 200


def test_refusals_of_a_batch_name_the_row(home: Settings) -> None:
    service = app(Live(version(home, 1)), Store(middle()))
    for wrong, field in (
        ({"sched_arr": FLIGHT["sched_dep"]}, "sched_arr"),
        ({"at": FLIGHT["sched_dep"]}, "at"),
        ({"at": "0001-01-01T00:00:00Z", "features": {"temp": 1}}, "at"),
    ):
        for row in (0, 70):
            flights = [dict(FLIGHT) for _ in range(80)]
            flights[row] |= wrong
            status, value = call(service, "POST", "/predict/batch", {"flights": flights})
            assert (status, value["error"]["field"], value["error"]["row"]) == (422, field, row)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/predict", 405),
        ("PUT", "/score", 405),
        ("POST", "/metrics", 405),
        ("TRACE", "/x", 404),
    ],
)
def test_other_paths_and_methods_are_json_too(home: Settings, method: str, path: str, status: int) -> None:
    found, value = call(app(Live()), method, path)
    assert found == status
    assert value["error"]["message"]


def test_a_body_beyond_the_limit_is_refused(home: Settings) -> None:
    assert call(app(Live()), "POST", "/predict", b" " * (MAX_BYTES + 1))[0] == 413


# -- what is said of it ----------------------------------------------------------------------------------------------
def test_every_status_and_path_is_documented(home: Settings) -> None:
    document = call(app(Live()), "GET", "/openapi.json")[1]
    assert document["openapi"].startswith("3.1")
    for path in ("/predict", "/predict/batch", "/score"):
        assert {"200", "400", "413", "422", "503"} <= set(document["paths"][path]["post"]["responses"])
    assert {"/healthz", "/livez", "/readyz", "/metrics", "/openapi.json"} <= set(document["paths"])
    flight = document["components"]["schemas"]["Flight"]
    assert set(FLIGHT) == set(flight["required"])
    assert flight["additionalProperties"] is False
    assert set(document["components"]["schemas"]["Features"]["properties"]) == set(NAMES)


def test_metrics_count_answers_by_version_and_requests_by_status(home: Settings) -> None:
    service = app(Live(version(home, 7)), Store(middle()))
    for _ in range(3):
        predict(service)
    predict(service, {})
    text = call(service, "GET", "/metrics")[1].decode()
    assert 'ratchet_answers_total{stage="champion",version="7"} 3.0' in text
    assert 'ratchet_latency_seconds_bucket{le="+Inf",stage="champion",version="7"} 3.0' in text
    assert 'ratchet_requests_total{path="/predict",status="200"} 3.0' in text
    assert 'ratchet_requests_total{path="/predict",status="422"} 1.0' in text
    assert 'ratchet_live_version{role="champion"} 7.0' in text


def test_a_fault_of_ours_is_json_and_names_no_secret(home: Settings, tmp_path: Path) -> None:
    service = app(Live(version(home, 1)), Store(middle()))
    service.answering.wall = lambda: 1 / 0
    status, value = predict(service)
    assert (status, value["error"]["field"]) == (503, "service")
    assert "division" not in value["error"]["message"]


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_BODY", 0.01)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(Live())({"type": "http", "path": "/predict", "method": "POST"}, receive, send), 5))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b'"field":"body"' in sent[1]["body"]


def test_requests_pass_none_of_the_layers_around(home: Settings) -> None:
    passed: list[str] = []

    def layer(inner: http.Asgi) -> http.Asgi:
        async def count(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
            passed.append(scope["type"])
            await inner(scope, receive, send)

        return count

    ours = app(Live(champion=version(home, 1)))
    whole = Starlette(middleware=[Middleware(layer), Middleware(http.in_front, serving={"http": ours})])

    async def starts() -> None:
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(message: Any) -> None:
            passed.append(message["type"])

        await whole({"type": "lifespan"}, receive, send)

    assert call(whole, "GET", "/healthz")[0] == 200
    assert passed == ["http"]
    asyncio.run(starts())
    assert passed[1:] == ["lifespan", "lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert call(whole, "GET", "/healthz")[0] == 200
    assert len(passed) == 4
