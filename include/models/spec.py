"""What a model's folder declares: target, features, search space, gate, triggers. Frozen; a typo fails at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.contracts import FEATURES
from include.files import hash_value

Family = Literal["logistic", "xgboost"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Frozen):
    """One dimension of a search space: a uniform range, on a log scale or of integers if said so."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"range [{self.low}, {self.high}] is empty, or not above zero on a log scale")
        return self


class Candidate(Frozen):
    """A family of models and where to look for its parameters; `fixed` are not searched."""

    family: Family
    space: dict[str, Range] = {}
    fixed: dict[str, float | int | str] = {}


class Tuning(Frozen):
    """Successive halving: all trials on `first_rung_rows` rows, the best `1/cut` of them on all rows."""

    trials: int = Field(default=8, ge=1, le=200)
    cut: int = Field(default=3, ge=2)
    first_rung_rows: int = Field(default=12_000, ge=1_000)
    validation_days: int = Field(default=14, ge=1)  # of 7, logistic and XGBoost take turns by chance


class Gate(Frozen):
    """What a challenger must show. Losses are log loss in nats; intervals are clustered by day."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    margin: float = Field(default=0.005, gt=0)  # non-inferiority: how much worse may still be noise
    floor_skill: float = 0.05  # at least this share below the naive baseline's log loss
    max_calibration_error: float = 0.05  # |mean prediction - base rate|, and expected calibration error
    slices: tuple[str, ...] = ("origin", "carrier", "hour_band")
    min_slice_rows: int = 300
    slice_margin: float = 0.03
    min_days: int = 5
    min_rows: int = 1_000
    max_latency_ms: float = 50.0  # p99 of one row through the model alone
    max_size_mb: float = 20.0


class Triggers(Frozen):
    """When the model itself is the matter: the monitor asks for a retrain. Raw drift explains, it never triggers.

    A finding persists when it fired at the newest look and at `persist[0]` of the last `persist[1]` looks at this
    version. How often these limits err is measured in docs/monitoring.md.
    """

    window_days: int = Field(default=7, ge=1)  # of predictions that a look judges the model by
    persist: tuple[int, int] = (3, 5)
    max_age_days: float = Field(default=21.0, gt=0)
    max_surprise: float = Field(default=0.03, gt=0)  # nats of log loss above the model's own entropy, surely
    score_psi: float = Field(default=0.2, gt=0)  # unless labels clear it: surprise has not fired
    min_coverage: float = Field(default=0.5, gt=0, le=1)  # of mature labels that a window needs to say anything
    worse_margin: float = Field(default=0.02, gt=0)  # nats by which a champion may trail its predecessor, surely


class Feed(Frozen):
    """When the data is the matter: an incident, and no retrain until it is mended. See include.monitoring.feed.

    Each limit lies between what sound days reach and what faults do, with March to June of 2013 to choose by. Shares
    are of the recent rows. How often these limits err is measured in docs/monitoring.md.
    """

    recent_hours: float = Field(default=24.0, gt=0)  # of predictions that the feed is judged by
    persist: tuple[int, int] = (1, 1)  # of looks: at night, one day of garbage is enough
    nulls: float = Field(default=0.45, gt=0, lt=1)  # share missing, above training's worst day
    stuck: float = Field(default=0.65, gt=0, lt=1)  # share of one value, above training's worst day
    outside: float = Field(default=0.05, gt=0, lt=1)  # share beyond what is physically possible
    novel: float = Field(default=0.4, gt=0, lt=1)  # share between the values of a fixed set (whole knots), never seen
    keyed: float = Field(default=0.05, gt=0, lt=1)  # share of another constant of its key than ever (a distance)
    disagree: float = Field(default=0.2, gt=0, lt=1)  # share that differs within one key and hour
    frozen: float = Field(default=0.3, gt=0, lt=1)  # share that repeats the hour before, above training's worst day
    repeated: float = Field(default=0.3, gt=0, lt=1)  # share that repeats the day before, above training's worst day
    jump: float = Field(default=1.5, gt=0)  # step of a day's median, in units of training's largest
    spread: float = Field(default=2.0, gt=0)  # doublings of a day's spread beyond training's range
    continuity: float = Field(default=0.35, gt=0, lt=2)  # rank correlation with the value before, below training's
    volume: float = Field(default=0.85, gt=0)  # doublings or halvings of a day's flights
    silence_hours: float = Field(default=12.0, gt=0)  # of the prediction log, while flights were due
    mismatch: float = Field(default=0.2, gt=0, lt=1)  # share of rows that the skew audit finds different


class Levels(Frozen):
    """When somebody should look, whatever the verdict says. What only explains never pages."""

    latency_p99_ms: float = Field(default=500.0, gt=0)
    capacity: float = Field(default=2_000.0, gt=0)  # requests a second of one worker, as `make bench-serving` measures
    load: float = Field(default=0.8, gt=0, le=1)  # share of that capacity in the busiest minute
    missing: float = Field(default=0.05, gt=0, lt=1)  # share of a feature's values, above the reference's
    accuracy_drop: float = Field(default=0.05, gt=0, lt=1)  # share of the training's accuracy
    memory: float = Field(default=0.8, gt=0, le=1)  # share of a worker's limit
    stale: float = Field(default=0.05, gt=0, lt=1)  # share of answers with a feature beyond its time to live
    silence_hours: float = Field(
        default=6.0, gt=0
    )  # data time since the last logged prediction, while flights were due
    mismatch: float = Field(default=0.01, gt=0, lt=1)  # share of rows that the skew audit finds different
    errors: float = Field(default=0.005, gt=0, lt=1)  # share of answers that failed
    psi: float = Field(default=0.1, gt=0)  # explains, never pages


class Governor(Frozen):
    """How often a model may be trained because somebody or something asks. Data time."""

    cooldown_days: float = Field(default=7.0, ge=0)  # after a request: a week gives the gate other days to look at
    trainings: int = Field(default=6, ge=1)  # in any `budget_days`
    budget_days: float = Field(default=30.0, gt=0)


class Serving(Frozen):
    """How answers are made. Goes into the bundle: what was rehearsed is what serves."""

    threshold: float = Field(default=0.4, gt=0, lt=1)  # a probability at or above it is answered as true
    stale: Literal["flag", "refuse"] = "flag"  # features older than their TTL: use and say so, or answer with an error
    log_rate: float = Field(default=1.0, gt=0, le=1)  # share of predictions that are logged, by hash of their id


class Rollout(Frozen):
    """How a challenger becomes champion. Hours are data time; the approval's are people's, wall time.

    Quality is judged on pairs: both versions' scores of the same requests, all traffic, from shadow through canary.
    The canary is judged on errors, latency and sanity. How often these limits err is measured in docs/release.md.
    """

    shadow_requests: int = Field(default=300, ge=1)
    shadow_labelled: int = Field(default=500, ge=0)  # distinct flights whose outcome is known
    shadow_max_hours: float = Field(default=96.0, gt=0)
    approval: bool = True
    approval_hours: float = Field(default=72.0, gt=0)
    steps: tuple[float, ...] = (0.05, 0.25)  # (1.0,) is blue/green
    canary_requests: int = Field(default=50, ge=1)  # answered by the challenger, in each step
    canary_max_hours: float = Field(default=96.0, gt=0)

    confidence: float = Field(default=0.99, gt=0.5, lt=1)  # of each interval, over all looks together
    max_errors: float = Field(default=0.005, gt=0, lt=1)  # share of attempts at which the challenger fails
    max_slowdown: float = Field(default=2.0, gt=1)  # ratio of the medians, challenger to champion
    slowdown_us: float = Field(default=50.0, ge=0)  # a difference of medians below it is nobody's concern
    loss_margin: float = Field(default=0.01, gt=0)  # log loss above the champion's, nats: what may still be noise
    max_shift: float = Field(default=0.06, gt=0, lt=1)  # |mean difference of the scores| of the same requests
    max_calibration_gap: float = Field(default=0.05, gt=0, lt=1)  # by which |bias| may exceed the champion's
    min_spread: float = Field(default=0.6, gt=0, lt=1)  # ratio of the spreads of the log odds, and its inverse

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.steps or any(not 0 < s <= 1 for s in self.steps) or list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps {self.steps} must rise and lie in (0, 1]")
        return self


class ModelSpec(Frozen):
    """One model. `features` are names from include.contracts.VIEWS, in the order of the model's input."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    target: str
    horizon: timedelta  # as-of of a prediction: this long before the scheduled departure
    label_maturity: timedelta  # after it every label is known: younger rows would over-represent early labels
    features: tuple[str, ...]
    window_days: int | None = None  # None: everything since history began
    holdout_days: int = Field(default=7, ge=1)
    candidates: tuple[Candidate, ...]
    tuning: Tuning = Tuning()
    gate: Gate = Gate()
    triggers: Triggers = Triggers()
    feed: Feed = Feed()
    levels: Levels = Levels()
    governor: Governor = Governor()
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    seed: int = 2013
    min_training_rows: int = 5_000

    @model_validator(mode="after")
    def _known_features(self) -> Self:
        unknown = [f for f in self.features if f not in FEATURES]
        if unknown:
            raise ValueError(f"features {unknown} are in no view of include.contracts.VIEWS")
        if len(set(self.features)) != len(self.features):
            raise ValueError("a feature is named twice")
        return self

    def configuration_hash(self, families: tuple[str, ...] | None = None) -> str:
        """Identity of the configuration: features, search space, target. Tuned values and a newer as-of are no change.

        A refresh has its champion's hash and must be non-inferior; another hash must be superior.
        """
        chosen = [c for c in self.candidates if families is None or c.family in families]
        parts = self.model_dump(mode="json", include={"target", "horizon", "features", "window_days"})
        return hash_value({**parts, "candidates": [c.model_dump(mode="json") for c in chosen]})
