"""Which version answers: the deployment that a worker follows, loaded, warmed and swapped by one assignment.

A version that cannot be loaded never takes the place of one that works: the old champion goes on, a broken challenger
is left out, and both are said to be broken until they load.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from include.bundle import Bundle, load, predict
from include.contracts import FEATURES, VIEWS, Ref
from include.serving import plan

CHAMPION, CANARY, FALLBACK = "champion", "canary", "fallback"  # who answered
_SHADOWED = ("shadow", "approval", "canary")  # stages in which the challenger's scores are compared
_ANSWERING = "canary"  # the stage in which it also answers
_THRESHOLD = 0.5  # of bundles that were made before they held one
_FEW = 8  # values that are checked sooner one by one than by NumPy
_WARM = (1, 1, 16)  # rows of the calls before the first request


class Unusable(RuntimeError):
    """A version that this service must not or cannot serve."""


class ModelFailed(RuntimeError):
    """The model gave no probability."""


class Deployment(Protocol):
    """What the ledger says is live: include/release/ledger.py."""

    @property
    def generation(self) -> int: ...
    @property
    def champion(self) -> int | None: ...
    @property
    def challenger(self) -> int | None: ...
    @property
    def stage(self) -> str: ...
    @property
    def share(self) -> float: ...
    @property
    def release(self) -> int | None: ...


class Package(NamedTuple):
    """Where a version's bundle lies, and the code that it was rehearsed with (None: not known)."""

    bundle: Ref
    code_hash: str | None


@dataclass(frozen=True)
class Model:
    """A loaded version. Rows come in the order of include.contracts.FEATURES, whatever the model reads of them."""

    name: str
    version: int
    bundle: Bundle
    take: np.ndarray | None  # positions of the model's features in FEATURES; None: all, in order
    used: tuple[tuple[int, str], ...]  # position and name of each feature that the model reads
    required: frozenset[str]  # of them those that may not be missing
    reference: np.ndarray | None  # float32 [k], the model's own order; None: an old bundle, which explains nothing
    threshold: float
    refuse_stale: bool
    log_rate: float

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities, float64 [n], of rows float32 [n, 36]. Raises ModelFailed, and what ONNX Runtime raises."""
        return self.run(self.own(rows))

    def own(self, rows: np.ndarray) -> np.ndarray:
        """The columns that the model reads, in its order."""
        return rows if self.take is None else rows[..., self.take]

    def run(self, rows: np.ndarray) -> np.ndarray:
        """As `score`, of rows in the model's own order."""
        found = predict(self.bundle, rows)
        for p in found.tolist() if len(found) < _FEW else (found.min(), found.max()):
            if not 0 <= p <= 1:  # NaN fails too, and NumPy hands it on
                raise ModelFailed(f"version {self.version} gave {p}, which is no probability")
        return found

    def check(self, values: Sequence[float]) -> None:
        """Raises ModelFailed when a value is missing that the model cannot do without. Values are a row of 36."""
        for i, name in self.used:
            if values[i] != values[i] and name in self.required:
                raise ModelFailed(f"version {self.version} needs {name}, which is missing")

    @cached_property
    def views(self) -> tuple[int, ...]:
        """Positions in VIEWS of those whose stored features the model reads."""
        names = {name for _, name in self.used} - set(plan.NAMES)
        return tuple(i for i, view in enumerate(VIEWS) if names & {f.name for f in view.features})

    @cached_property
    def scorer(self) -> Callable[[np.ndarray], np.ndarray]:
        """`score`, the same object each time: the recorder scores in batches what is scored by the same."""
        return self.score


def model(name: str, version: int, bundle: Bundle) -> Model:
    """Raises Unusable for a bundle that reads a feature nobody here knows."""
    names, every = bundle.features, list(FEATURES)
    if unknown := [n for n in names if n not in FEATURES]:
        raise Unusable(f"version {version} reads the features {unknown}, which this service does not know")
    positions = [every.index(n) for n in names]
    serving = bundle.schema.get("serving", {})
    medians = bundle.schema.get("reference")
    reference = None
    if medians is not None:
        reference = np.array([np.nan if medians[n] is None else medians[n] for n in names], dtype=np.float32)
    return Model(
        name=name,
        version=version,
        bundle=bundle,
        take=None if positions == list(range(len(every))) else np.array(positions),
        used=tuple(zip(positions, names, strict=True)),
        required=frozenset(f["name"] for f in bundle.schema["features"] if not f["nullable"]),
        reference=reference,
        threshold=float(serving.get("threshold", _THRESHOLD)),
        refuse_stale=serving.get("stale", "flag") == "refuse",
        log_rate=float(serving.get("log_rate", 1.0)),
    )


def warm(ready: Model) -> Model:
    """Run the model before it is asked: the first calls of a session allocate."""
    width = len(ready.used)
    row = np.zeros(width, dtype=np.float32) if ready.reference is None else ready.reference
    for count in _WARM:
        predict(ready.bundle, np.tile(row, (count, 1)))
    return ready


@dataclass(frozen=True)
class Live:
    """What a worker serves at one moment; replaced as a whole, never changed."""

    champion: Model | None = None
    challenger: Model | None = None
    generation: int = 0
    stage: str = ""
    share: float = 0.0
    salt: str = ""

    @cached_property
    def stored(self) -> frozenset[str]:
        """Features that come from the feature store and that one of the versions reads."""
        models = [m for m in (self.champion, self.challenger) if m is not None]
        return frozenset(name for m in models for _, name in m.used) - frozenset(plan.NAMES)

    def route(self, entity: str) -> tuple[Model | None, Model | None]:
        """Who answers for an entity, and who is scored beside."""
        if self.challenger is None:
            return self.champion, None
        if self.stage == _ANSWERING and side(self.salt, entity) < self.share:
            return self.challenger, self.champion
        return self.champion, self.challenger


def side(salt: str, entity: str) -> float:
    """Where an entity stands in [0, 1): the same at every share, so that who is in 5 % is in 25 %."""
    digest = hashlib.blake2b(f"{salt}/{entity}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # a float holds 53 bits: rounded up, 1.0 would be no fraction


@dataclass
class Router:
    """Follows one model's deployment. `live` is read by requests, and replaced by the thread that follows."""

    name: str
    code_hash: str
    live: Live = Live()
    broken: dict[int, str] = field(default_factory=dict)  # version: why it is not served
    _loaded: dict[int, Model] = field(default_factory=dict)

    def follow(self, wanted: Deployment, package: Callable[[int], Package]) -> Live:
        """Load what is wanted and not loaded, then swap. Never raises for a version that is broken."""
        broken: dict[int, str] = {}
        champion = self._get(wanted.champion, package, broken, strict=False)
        challenger = None
        if champion is None and wanted.champion is not None:
            champion = self.live.champion  # the new one is broken: the old one goes on, alone
        elif wanted.stage in _SHADOWED:
            challenger = self._get(wanted.challenger, package, broken, strict=True)
        self._loaded = {m.version: m for m in (champion, challenger) if m is not None}
        self.broken = broken
        self.live = Live(
            champion=champion,
            challenger=challenger,
            generation=wanted.generation,
            stage=wanted.stage if challenger else "",
            share=wanted.share if challenger else 0.0,
            salt=f"{self.name}/{wanted.release}",
        )
        return self.live

    def _get(
        self, version: int | None, package: Callable[[int], Package], broken: dict[int, str], strict: bool
    ) -> Model | None:
        """The loaded version, or None and the reason in `broken`. `strict`: other code's versions are not served."""
        if version is None or version in self._loaded:
            return None if version is None else self._loaded[version]
        try:
            found = package(version)
            if strict and found.code_hash not in (None, self.code_hash):
                raise Unusable(f"version {version} was rehearsed with other code than this service runs")
            return warm(model(self.name, version, load(found.bundle)))
        except Exception as error:  # whatever is wrong with it, the service goes on without it
            broken[version] = f"{type(error).__name__}: {error}"
            return None


def describe(router: Router) -> dict[str, Any]:
    """What is served, for /readyz and the status file."""
    live = router.live
    return {
        "model": router.name,
        "code_hash": router.code_hash,
        "generation": live.generation,
        "champion": live.champion.version if live.champion else None,
        "challenger": live.challenger.version if live.challenger else None,
        "stage": live.stage,
        "share": live.share,
        "broken": {str(version): why for version, why in sorted(router.broken.items())},
    }
