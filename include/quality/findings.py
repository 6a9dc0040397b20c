"""What a check found, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field


class CriticalFailure(RuntimeError):
    """A feed, or the training frame, is broken as a whole. Nothing may be published from it."""


@dataclass(frozen=True)
class Finding:
    """What one expectation found. `rows` are positions in the frame; `evaluated` is False when a column is missing."""

    suite: str
    rule: str
    severity: str  # critical, warning or info
    scope: str  # batch or row
    reason: str
    expectation: str
    success: bool
    evaluated: bool
    observed: str
    count: int = 0
    examples: tuple[str, ...] = ()
    rows: tuple[int, ...] = field(default=(), repr=False)

    @property
    def sentence(self) -> str:
        return f"{self.suite}.{self.rule}: {self.observed}. {self.reason}"
