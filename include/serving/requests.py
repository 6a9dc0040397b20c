"""What a request may be, and what it is answered with: the structs that are decoded, checked and documented alike.

A body that is no JSON is refused with 400, one that is not what it must be with 422; the refusal names the field.
NaN and Infinity are no JSON and never pass.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from include.bundle import BadInput
from include.contracts import FEATURES, Feature

MAX_FLIGHTS = 1_000
MAX_BYTES = 4_000_000  # four times what 1,000 flights with all of their features need
_SHOWN = 200  # characters of a client's own text that an answer repeats


class Refused(BadInput):
    """A request that is not answered: `status` says whose fault it is."""

    def __init__(self, status: int, message: str, field: str, row: int | None = None) -> None:
        super().__init__(message, row, field)
        self.status = status


class TooLarge(Refused):
    """More bytes than one request may have."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(413, message, field)


def status(error: BadInput) -> int:
    """The HTTP status of a refusal."""
    return error.status if isinstance(error, Refused) else 400


def _value(feature: Feature) -> Any:
    number = Annotated[float, Meta(ge=feature.low, le=feature.high)]
    return (number | None | UnsetType) if feature.nullable else (number | UnsetType)


Features = msgspec.defstruct(
    "Features",
    [(name, _value(feature), UNSET) for name, feature in FEATURES.items()],
    forbid_unknown_fields=True,
    module=__name__,
)
Airport = Annotated[str, Meta(pattern="^[A-Z0-9]{3}$", max_length=3)]
Moment = Annotated[datetime, Meta(tz=True)]


class Flight(Struct, forbid_unknown_fields=True):
    """A flight and what is known of it at booking."""

    carrier: Annotated[str, Meta(pattern="^[A-Z0-9]{2}$", max_length=2, description="two letters, e.g. B6")]
    flight: Annotated[int, Meta(ge=1, le=9999, description="the flight's number")]
    origin: Airport
    dest: Airport
    sched_dep: Annotated[Moment, Meta(description="scheduled departure, with its time zone")]
    sched_arr: Annotated[Moment, Meta(description="scheduled arrival, with its time zone")]
    distance: Annotated[float, Meta(ge=50, le=6000, description="miles")]
    at: Annotated[Moment | None, Meta(description="when the prediction is made, in data time; only with features")] = (
        None
    )
    features: Annotated[
        Features | None,  # type: ignore[valid-type]
        Meta(description="values that take the place of the feature store's: a replay, a what-if"),
    ] = None


class Predict(Struct, forbid_unknown_fields=True):
    flight: Flight
    explain: Annotated[bool, Meta(description="also answer what each feature contributes")] = False


class PredictBatch(Struct, forbid_unknown_fields=True):
    flights: Annotated[list[Flight], Meta(min_length=1, max_length=MAX_FLIGHTS)]
    explain: Annotated[bool, Meta(description="also answer what each feature contributes; of 50 flights at most")] = (
        False
    )


class Used(Struct):
    """Which features an answer rests on."""

    at: datetime
    oldest_seconds: Annotated[float | None, Meta(description="age of the oldest row read; null: none was")]
    stale: Annotated[list[str], Meta(description="views whose row was older than its time to live")]
    missing: Annotated[list[str], Meta(description="features without a value: nothing happened, or nothing is known")]
    given: Annotated[list[str], Meta(description="features that the request brought along")]


class Contributions(Struct):
    """`base` and all `values` add up to the log odds of the probability."""

    base: float
    values: dict[str, float]


class Answer(Struct, omit_defaults=True):
    prediction_id: str
    model: str
    version: int
    stage: Annotated[str, Meta(description="who answered: champion, canary, or fallback when the canary failed")]
    probability: Annotated[float, Meta(ge=0, le=1)]
    not_on_time: Annotated[bool, Meta(description="the probability reaches the threshold")]
    threshold: float
    features: Used
    contributions: Contributions | UnsetType = UNSET


class Answers(Struct):
    predictions: list[Answer]


class Scores(Struct):
    """Of feature rows, which came without a flight."""

    predictions: list[Annotated[float, Meta(ge=0, le=1)]]
    model: str
    version: str


class State(Struct):
    """What a worker serves."""

    model: str
    code_hash: Annotated[str, Meta(description="of the service's code: challengers of other code are not taken")]
    generation: Annotated[int, Meta(description="of the ledger's deployment; 0: it follows none")]
    champion: int | None
    challenger: int | None
    stage: str
    share: float
    broken: Annotated[dict[str, str], Meta(description="versions that are wanted and cannot be served, and why")]
    note: str  # what keeps the worker from following; empty: nothing


class Fault(Struct):
    field: str
    row: int | None
    message: str


class Failure(Struct):
    error: Fault


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)  # the latter for a text within that is no UTF-8
_one = msgspec.json.Decoder(Predict)
_many = msgspec.json.Decoder(PredictBatch)


def one(body: bytes) -> Predict:
    """The request for one flight. Raises Refused."""
    try:
        return _one.decode(body)
    except _UNREADABLE as error:
        raise _refused(error) from None


def many(body: bytes) -> PredictBatch:
    """The request for several flights. Raises Refused."""
    try:
        return _many.decode(body)
    except _UNREADABLE as error:
        raise _refused(error) from None


def given(flight: Flight) -> dict[str, float]:
    """The features that a request brings along; NaN where it says null."""
    if flight.features is None:
        return {}
    brought = msgspec.structs.asdict(flight.features)
    return {n: float("nan") if v is None else v for n, v in brought.items() if v is not UNSET}


def failure(error: BadInput) -> bytes:
    """A refusal as JSON. A client's own text is cut short, so that an answer is never as large as the request."""
    field, message = _utf8(error.field or "body")[:_SHOWN], _utf8(str(error))[: 2 * _SHOWN]
    return msgspec.json.encode(Failure(Fault(field, error.row, message)))


def _utf8(text: str) -> str:
    return text.encode(errors="replace").decode()  # half a character is JSON's, not UTF-8's


_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:missing required|contains unknown) field `(?P<name>.*?)`", re.DOTALL)
_ROW = re.compile(r"^\.flights\[(\d+)\]")


def _refused(error: msgspec.DecodeError | UnicodeDecodeError) -> Refused:
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Refused(400, f"body: not JSON: {text}", "body")
    place = _PATH.search(text)
    path = place["path"] if place else ""
    named = _NAMED.search(text)
    last = [part.partition("[")[0] for part in path.split(".") if part]
    field = named["name"] if named else last[-1] if last else "body"
    row = _ROW.match(path)
    why = text[: place.start()] if place else text
    return Refused(422, f"{field[:_SHOWN]}: {why}", field, int(row[1]) if row else None)
