"""The chapters of the demo: which run, as of when, and what it is there to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from include.settings import Settings

SECOND_AS_OF = "2013-03-01T05:00:00+00:00"  # midnight in New York: two months of history


@dataclass(frozen=True)
class Chapter:
    """One run. `conf` None: nobody starts it, another run's asset event does.

    `live`: the clock runs and the replay's traffic flows from here on. `plant`: a bad challenger is planted before it.
    `approve`: whoever answers its approval; empty: nobody in the demo, it is the reader's. `ends`: how it has to end;
    "waits": with an approval that waits for its answer.
    """

    key: str
    title: str
    dag: str
    conf: dict[str, Any] | None = field(default_factory=dict)
    live: bool = False
    plant: bool = False
    approve: str = ""
    ends: Literal["success", "failed", "waits"] = "success"

    @property
    def run_id(self) -> str:
        """Fixed, so that a second demo finds what the first has done."""
        return f"demo__{self.key}"


def chapters(settings: Settings) -> tuple[Chapter, ...]:
    """The story before the clock's anchor, in order."""
    begin, anchor = settings.history_start.isoformat(), settings.anchor.isoformat()
    return (
        Chapter(
            "1_history",
            "Two months of flights and weather are taken in, checked and made features",
            "ingest",
            {"start": begin, "end": SECOND_AS_OF, "as_of": SECOND_AS_OF},
        ),
        Chapter(
            "2_first_model",
            "The first model is trained; with no champion to beat, it must pass the absolute gates",
            "train",
            {"as_of": SECOND_AS_OF, "note": "first model"},
        ),
        Chapter(
            "3_march",
            "Three more weeks arrive",
            "ingest",
            {"start": SECOND_AS_OF, "end": anchor, "as_of": anchor},
        ),
        Chapter(
            "4_change",
            "A changed configuration (logistic only) must be superior, or it is refused",
            "train",
            {"as_of": anchor, "candidates": ["logistic"], "note": "a changed configuration must be superior"},
        ),
        Chapter("5_monitor", "The champion is watched; its age asks for a retrain", "monitor", {"as_of": anchor}),
        Chapter("5_retrain", "The request wakes a training by itself", "train", None),
        Chapter(
            "6_release",
            "The challenger wakes its release: shadow, approval by `demo`, canary, champion",
            "release",
            None,
            live=True,
            approve="demo",
        ),
        Chapter(
            "7_bad_release",
            "A bad challenger that no gate has seen is planted: its release takes it out by itself",
            "release",
            {"note": "a planted challenger"},
            plant=True,
            ends="failed",
        ),
        Chapter(
            "8_another",
            "Another training, with more trials, makes another challenger",
            "train",
            {"as_of": anchor, "trials": 20, "note": "more trials"},
        ),
        Chapter("8_release", "Its release waits for your approval", "release", None, ends="waits"),
    )
