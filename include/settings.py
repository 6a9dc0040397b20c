"""One frozen Settings, read from the environment (`RATCHET_…`). All state lies under `home`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parents[1]


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_utc)]


class Settings(BaseSettings):
    """Frozen: two tasks of one run can never see different settings. A misspelt argument fails at once."""

    model_config = SettingsConfigDict(env_prefix="RATCHET_", frozen=True, extra="forbid")

    home: Path = ROOT / "var"
    source: str = "nycflights"
    model: str = "flights_on_time"

    # the clock: data = anchor + speed x (wall - start); see include/clock.py
    history_start: UtcTime = datetime(2013, 1, 1, 5, tzinfo=UTC)  # midnight in New York
    anchor: UtcTime = datetime(2013, 3, 25, tzinfo=UTC)
    speed: float = Field(default=1.0, gt=0, le=10_000)

    mlflow_uri: str = "http://127.0.0.1:5000"
    ledger_uri: str = ""  # empty: SQLite under home

    look_seconds: float = Field(default=30.0, gt=0)  # wall time between two looks at a release
    alert_webhook: str = ""  # alerts are posted there as {"text": …}; empty: only to alerts/alerts.jsonl under home

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
