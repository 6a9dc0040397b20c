"""The one clock: wall time to data time, `data = anchor + speed x (wall - start)`. Nothing here reads the wall clock.

The mapping is fixed at the first start of an installation and kept in `var/clock.json`, so that a restart, a clear or
a retry of a run maps its time as before. With the real world as a source, `anchor = start` and `speed = 1`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from include.files import read_json, write_json


class ClockNotStarted(RuntimeError):
    """No installation has been started here: there is no mapping from wall time to data time."""


@dataclass(frozen=True)
class Clock:
    start: datetime  # wall
    anchor: datetime  # data
    speed: float

    def at(self, wall: datetime) -> datetime:
        """Data time at a wall time, UTC. Before the start it stands still at the anchor: history is explicit."""
        elapsed = max((wall - self.start).total_seconds(), 0.0)
        return datetime.fromtimestamp(self.anchor.timestamp() + self.speed * elapsed, tz=UTC)


def start(path: Path, wall: datetime, anchor: datetime, speed: float) -> Clock:
    """Fix the mapping at the first call; afterwards return what was fixed, whatever the arguments say."""
    if not path.exists():
        write_json(path, {"start": wall.isoformat(), "anchor": anchor.isoformat(), "speed": speed})
    return load(path)


def load(path: Path) -> Clock:
    """The mapping of this installation. Raises ClockNotStarted."""
    if not path.exists():
        raise ClockNotStarted(f"{path} is missing: the installation has not been started (`make up` or `make demo`)")
    kept = read_json(path)
    return Clock(datetime.fromisoformat(kept["start"]), datetime.fromisoformat(kept["anchor"]), float(kept["speed"]))
