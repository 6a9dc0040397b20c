"""One frozen Settings, read from the environment (`RATCHET_…`). All state lies under `home`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parents[1]


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_utc)]


Days = Annotated[int, Field(ge=1, le=36_500)]  # of wall time. At least one: what a run has just made is in use


class Retention(BaseModel):
    """What `maintain` keeps, and for how long (docs/retention.md): RATCHET_RETENTION__KEEP_DAYS=30 and so on. Ages
    count from when a thing was last written. What an eligible version needs stays, whatever its age."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_days: Days = 90  # a version entered, or champion, within them is eligible for rollback and reproduction
    keep_champions: int = Field(default=3, ge=2)  # and so are the last champions; a rollback needs the one before

    plans: Days = 30  # what a run was planned on: a cleared run older than that is planned anew
    trainings: Days = 30  # fitted candidates, their predictions and evidence
    bundles: Days = 30  # of candidates that never became a version, or whose version is not eligible
    bentos: Days = 30
    frames: Days = 14
    snapshots: Days = 14
    windows: Days = 3
    mlflow_models: Days = 30  # copies of models in MLflow's artifacts; manifest, evidence and verdict stay for ever
    inputs: Days = 90  # deliveries that could not be landed whole, rows that validation looked at
    reports: Days = 60  # then they are packed into archive/
    archive: Days = 730
    evidently: Days = 60  # Evidently's snapshots: its UI keeps each of them in memory
    airflow_logs: Days = 30
    stack_logs: Days = 30  # rotated ones; a living log is its program's
    refused: Days = 90  # log lines that are no predictions
    leftovers: Days = 2  # hidden work of processes that were killed
    vacuum: Days = 30  # files that no version younger than this, or pinned, refers to
    predictions: Days | None = None  # days of data time; None: for ever
    compact_files: int = Field(default=4, ge=2)  # of a table's day, from which on they become one
    unused_days: Days = 28  # of data time: a model that predicted nothing for as long is reported

    @model_validator(mode="after")
    def _plans_are_readable(self) -> Self:
        if self.plans > self.vacuum:
            raise ValueError(
                f"plans {self.plans} > vacuum {self.vacuum}: a plan would outlive the tables that it names"
            )
        return self


class Settings(BaseSettings):
    """Frozen: two tasks of one run can never see different settings. A misspelt argument fails at once."""

    model_config = SettingsConfigDict(env_prefix="RATCHET_", env_nested_delimiter="__", frozen=True, extra="forbid")

    home: Path = ROOT / "var"
    source: str = "nycflights"
    model: str = "flights_on_time"

    # the clock: data = anchor + speed x (wall - start); see include/clock.py
    history_start: UtcTime = datetime(2013, 1, 1, 5, tzinfo=UTC)  # midnight in New York
    anchor: UtcTime = datetime(2013, 4, 30, tzinfo=UTC)
    speed: float = Field(default=1.0, gt=0, le=10_000)

    mlflow_uri: str = "http://127.0.0.1:5000"
    ledger_uri: str = ""  # empty: SQLite under home
    evidently_url: str = ""  # where `evidently ui` answers, for links to it; empty: nowhere

    look_seconds: float = Field(default=30.0, gt=0)  # wall time between two looks at a release
    alert_webhook: str = ""  # alerts are posted there as {"text": …}; empty: only to alerts/alerts.jsonl under home
    alert_connection: str = "ratchet_alerts"  # Airflow connections of the type Apprise: all alerts go there,
    page_connection: str = "ratchet_pages"  # and those that should wake somebody also there (docs/alerts.md)
    retention: Retention = Retention()  # what `maintain` keeps, and how long

    @cached_property
    def lake(self) -> Path:
        return self.home / "lake"

    @cached_property
    def ledger_url(self) -> str:
        return self.ledger_uri or f"sqlite:///{self.home / 'ledger.db'}"

    @cached_property
    def snapshots(self) -> Path:
        return self.home / "snapshots"

    @cached_property
    def frames(self) -> Path:
        return self.home / "frames"

    @cached_property
    def feast(self) -> Path:
        return self.home / "feast"

    @cached_property
    def trainings(self) -> Path:
        """Work of training runs, one folder a run: trials, fitted candidates, predictions."""
        return self.home / "trainings"

    @cached_property
    def bundles(self) -> Path:
        """Content-addressed model bundles, bundles/<hash>/: see include/bundle.py"""
        return self.home / "bundles"

    @cached_property
    def bentos(self) -> Path:
        return self.home / "bentos"

    @cached_property
    def alerts(self) -> Path:
        return self.home / "alerts" / "alerts.jsonl"

    @cached_property
    def predictions(self) -> Path:
        """What workers of the service log, one folder a worker, until `collect` has taken it into the lake."""
        return self.home / "predictions"

    @cached_property
    def windows(self) -> Path:
        """What monitors have looked at, one content-addressed file a look."""
        return self.home / "windows"

    @cached_property
    def evidently(self) -> Path:
        """Evidently's workspace, which `evidently ui` serves."""
        return self.home / "evidently"

    @cached_property
    def reports(self) -> Path:
        """Pages linked from tasks: reports/<dag>/<run>/<task>/index.html"""
        return self.home / "reports"


def settings() -> Settings:
    """The settings of this process. Read anew each time, so that a test can change the environment."""
    return Settings()
