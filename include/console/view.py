"""What the console's pages show, as plain values: include.loop.console gathers them, include.console.render shows them.

Wall times are aware datetimes, data times are ISO texts (see include.times): the two are never mixed in one field.
Numbers keep their interval and their unit. None is "not known", with a `Gap` that says why where a person would ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Tone = Literal["good", "bad", "warn", "quiet"]
Where = Literal["console", "airflow", "report", "outside"]


@dataclass(frozen=True)
class Number:
    """A measured value. `low`, `high`: its 95 % interval, clustered by day. `unit`: empty for a share of one."""

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Link:
    """`href`: for "console" relative to the console's root, for "airflow" a path of Airflow's, else a whole address."""

    text: str
    href: str
    where: Where = "console"


@dataclass(frozen=True)
class Gap:
    """Something that could not be shown, and why: "MLflow does not answer", "packed away by maintain" …"""

    what: str
    why: str


# -- what Airflow knows: gathered by the plugin, for include never imports Airflow ---------------------------------
@dataclass(frozen=True)
class DagState:
    """`next_run`: wall time, None without a schedule. `running`: ids of runs that are queued or running."""

    dag_id: str
    paused: bool
    next_run: datetime | None
    running: Sequence[str] = ()
    failed: str | None = None  # the newest run, if it failed


@dataclass(frozen=True)
class Question:
    """A human-in-the-loop question of the `release` DAG that waits for an answer."""

    run_id: str
    task_id: str
    map_index: int
    subject: str
    body: str
    asked: datetime
    over: bool = False  # its release has ended; unanswered it holds up the next one


@dataclass(frozen=True)
class Airflow:
    dags: Mapping[str, DagState] = field(default_factory=dict)
    questions: Sequence[Question] = ()


@dataclass(frozen=True)
class Powers:
    """What the reader may do, as Airflow says."""

    user: str = ""
    retrain: bool = False
    rollback: bool = False
    freeze: bool = False
    approve: bool = False


# -- parts -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Health:
    """The newest verdict. `state`: healthy, insufficient, incident, rollback, retrain; "unwatched" before any, and
    while there is none about this champion.
    `since`: data time of the first of the looks that have said the same without a break; `since_at`: its wall time."""

    state: str
    reason: str
    as_of: str | None  # data time of the look
    at: datetime | None
    run: str | None  # dag id/run id
    findings: Sequence[Mapping[str, Any]] = ()  # as in include.monitoring.verdict.Finding, those that fired first
    since: str | None = None
    since_at: datetime | None = None
    version: int | None = None  # the champion that the look was about

    @property
    def tone(self) -> Tone:
        tones: dict[str, Tone] = {"healthy": "good", "incident": "bad", "rollback": "bad", "unwatched": "quiet"}
        return tones.get(self.state, "warn")


@dataclass(frozen=True)
class Decision:
    """One entry of the ledger. `what` is the kind in words: "refused by the gate", "promoted", "rolled back" …"""

    id: int
    kind: str
    what: str
    tone: Tone
    version: int | None
    actor: str
    reason: str
    as_of: str
    at: datetime
    run: str | None
    links: Sequence[Link] = ()


@dataclass(frozen=True)
class Day:
    """How the version in charge did on one local day's flights, as stated by the newest look. `log_loss`, `bias` (mean
    prediction - base rate): that version's, pooled over the seven days up to this one, interval clustered by day;
    `daily` is the day's own log loss, `estimated` what was expected of it before its labels came. `coverage`: share
    labelled."""

    day: str
    version: int
    flights: int
    coverage: float
    daily: float | None
    estimated: float | None
    log_loss: Number | None
    bias: Number | None


@dataclass(frozen=True)
class Alert:
    title: str
    cause: str
    action: str
    severity: str
    time: str  # data time
    link: Link | None
    runbook: Link | None


@dataclass(frozen=True)
class Frozen:
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class Traffic:
    """Of the newest look's recent hours. Latency in milliseconds; `failed`, `stale`: shares of answers."""

    requests: float
    hours: float
    p50_ms: float | None
    p99_ms: float | None
    failed: float | None
    stale: float | None
    last: str | None  # data time of the newest logged prediction


@dataclass(frozen=True)
class Progress:
    """Where the challenger stands on its way. `done`, `of`: of the stage's requests or labelled flights, whichever is
    further behind; `text` says it, `since` is when the stage began."""

    version: int
    stage: str
    share: float
    text: str
    done: float | None
    of: float | None
    since: datetime
    as_of: str
    run: str | None


@dataclass(frozen=True)
class Row:
    """One model of the index."""

    model: str
    ours: bool  # this installation's DAGs act on it; the others are only shown
    health: Health
    champion: int | None
    champion_since: datetime | None
    age_days: float | None  # data time since the champion's as-of, at the clock's now
    challenger: Progress | None
    days: Sequence[Day]  # the last 28, oldest first
    features_as_of: str | None  # up to which the lake is published
    labels_as_of: str | None  # newest known outcome in the lake's published tables, or the newest fully labelled day
    traffic: Traffic | None
    alerts: Sequence[Alert]  # open ones of this model, pages first
    question: Question | None
    frozen: Frozen | None
    request: str | None  # the cause of the open retrain request
    next_run: tuple[str, datetime] | None  # dag id and wall time of the next scheduled train
    doing: Sequence[Link] = ()  # runs of this model's DAGs that are under way


@dataclass(frozen=True)
class Index:
    rows: Sequence[Row]  # worst first
    now: str | None  # data time; None before the clock has started
    speed: float
    gaps: Sequence[Gap] = ()


# -- a model -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Drift:
    """One feature. `importance`: mean |contribution| to the log odds in training; `psi` against training."""

    feature: str
    psi: float | None
    importance: float | None
    mean: float | None
    reference_mean: float | None
    nulls: float | None
    reference_nulls: float | None


@dataclass(frozen=True)
class Duel:
    """Champion against challenger on the requests that both have scored."""

    champion: int
    challenger: int
    stage: str
    requests: float
    flights: int
    labelled: int
    rows: Sequence[tuple[str, str, Number | None, Number | None, Number | None]]
    # name, unit, champion's, challenger's, difference
    reason: str
    link: Link | None


@dataclass(frozen=True)
class VersionRow:
    version: int
    as_of: str
    trained_until: str
    at: datetime
    role: str  # champion, challenger, "" …
    was_champion: bool
    gone: str  # what it has lost, so that a rollback to it is impossible; empty: nothing
    log_loss: Number | None = None  # over all days that looks have told of it, in nats
    rolled_back: bool = False  # it was left for being bad, and has not been champion since


@dataclass(frozen=True)
class ModelPage:
    row: Row
    days: Sequence[Day]  # the whole history, oldest first
    decisions: Sequence[Decision]  # newest first
    more: int  # decisions that are older than those
    marks: Sequence[Decision]  # those that the curve shows: trained, refused, promoted, rolled back, frozen …
    versions: Sequence[VersionRow]  # newest first
    duel: Duel | None
    drift: Sequence[Drift]  # worst psi x importance first
    drift_as_of: str | None
    slices: Sequence[tuple[str, str, int, Number]]  # by, value, flights, log loss above expectation; worst first
    links: Sequence[Link]
    now: str | None
    speed: float
    gaps: Sequence[Gap] = ()


@dataclass(frozen=True)
class Live:
    """What was live at a wall time; `deployment` None: nothing."""

    at: datetime
    champion: int | None
    challenger: int | None
    stage: str
    share: float
    decision: Decision | None


# -- a version, a run -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Check:
    """One check of the gate, as include.evaluation.gate.Check."""

    name: str
    passed: bool
    reason: str
    value: float | None
    interval: tuple[float, float] | None
    threshold: float | None
    unit: str


@dataclass(frozen=True)
class Evidence:
    """What the gate saw of one training."""

    accepted: bool
    rule: str
    reason: str
    against: int | None  # the champion's version
    checks: Sequence[Check]
    scores: Sequence[tuple[str, str, Mapping[str, Number]]]  # metric, unit, {"challenger", "champion", "naive"}
    slices: Sequence[tuple[str, str, int, Number]]  # by, value, flights, difference in nats; worst first
    calibration: Mapping[str, Sequence[tuple[float, Number]]]  # side: (predicted, observed)


@dataclass(frozen=True)
class Step:
    """One station of the lineage, from data to bento."""

    name: str
    text: str
    detail: str  # hash or version, whole
    link: Link | None = None


@dataclass(frozen=True)
class VersionPage:
    model: str
    version: VersionRow
    evidence: Evidence | None
    decisions: Sequence[Decision]
    lineage: Sequence[Step]
    causes: Sequence[str]  # who asked for its training, and why
    links: Sequence[Link]
    gaps: Sequence[Gap] = ()


@dataclass(frozen=True)
class RunPage:
    """What one DAG run has made, decided and left. `outcome`: one sentence."""

    dag_id: str
    run_id: str
    model: str
    outcome: str
    tone: Tone
    version: int | None
    evidence: Evidence | None
    decisions: Sequence[Decision]
    lineage: Sequence[Step]
    causes: Sequence[str]
    reports: Sequence[Link]  # pages of its tasks
    links: Sequence[Link]
    gaps: Sequence[Gap] = ()
