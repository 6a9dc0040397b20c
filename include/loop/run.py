"""What a step knows of the run it belongs to, and the two ways in which a step may end a run on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include import clock, times
from include.settings import Settings


class Skip(Exception):
    """Nothing more is to be done, and that is fine: the run ends green, its tail skipped, with this reason."""


class Stop(Exception):
    """No retry can help (bad input, a batch that is wrong, a package that failed): the task ends red at once."""


@dataclass(frozen=True)
class Run:
    """One run of a DAG as its steps see it. The same values at each retry and clear."""

    settings: Settings
    name: str  # dag id/run id
    page: Path  # where this task writes its page (index.html); its folder is linked from the task
    params: dict[str, Any] = field(default_factory=dict)
    wall: str | None = None  # when the run was due, wall time
    looked: str | None = None  # when this try began, wall time: for steps that look again and again
    actor: str = ""  # who triggered the run; empty: a schedule or an asset did
    interval: tuple[str, str] | None = None  # a backfill's own, data time
    events: tuple[dict[str, Any], ...] = ()  # extras of the asset events that woke the run

    def as_of(self, asked: str | None = None) -> str:
        """The instant whose knowledge the run may use: from its form, else from what woke it, else `asked`, else a
        backfill's own interval, else the clock when the run was due. Raises Stop for a form that holds no time."""
        woken = [e["as_of"] for e in self.events if e.get("as_of")]
        given = self.params.get("as_of") or (max(woken) if woken else None) or asked
        if given:
            return times.iso(self.time(given, "as_of"))
        if self.interval:
            return self.interval[1]
        if self.wall is None:
            raise Stop("as_of: neither the form, nor an event, nor the run's own time says as of when to run")
        try:
            started = clock.load(self.settings.home / "clock.json")
        except clock.ClockNotStarted as error:  # unpausing a DAG makes its latest scheduled run at once: harmless
            raise Skip(f"the schedule has not begun: {error}") from error
        return times.iso(started.at(times.parse(self.wall)))

    def now(self) -> str:
        """Data time when this try began: it moves on from look to look, where `as_of` stands still. Before the clock
        has started: where the data's clock will start."""
        if self.params.get("as_of") or self.looked is None:
            return self.as_of()
        try:
            started = clock.load(self.settings.home / "clock.json")
        except clock.ClockNotStarted:
            return times.iso(self.settings.anchor)
        return times.iso(started.at(times.parse(self.looked)))

    def time(self, text: str, field_name: str) -> Any:
        """A time of the form, or Stop naming the field."""
        try:
            return times.parse(text)
        except ValueError as error:
            raise Stop(f"{field_name}: {error}") from None
