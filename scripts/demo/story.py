"""The chapters of the demo: which run, as of when, and what it is there to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from include.settings import Settings

FIRST_AS_OF = "2013-04-10T04:00:00+00:00"  # midnight in New York: three months of history
CHANGE_AS_OF = "2013-04-17T04:00:00+00:00"
# From 21 to 27 April 2013 US air traffic controllers were on furlough, and New York's airports ran late.
LOOKS = ("2013-04-24", "2013-04-25", "2013-04-26", "2013-04-27", "2013-04-28", "2013-04-29")
LOOK = "T06:30:00+00:00"  # the hour of the monitor's schedule
BROKEN, MENDED = "2013-04-29T18:00:00+00:00", "2013-04-30T00:00:00+00:00"
_DAY_BEFORE = "2013-04-28T18:00:00+00:00"


@dataclass(frozen=True)
class Chapter:
    """One run. `conf` None: nobody starts it, another run's asset event does.

    `live`: the clock runs and the replay's traffic flows from here on. `plant`: a bad challenger is planted before it.
    `quiet`: it is left out when the chapter before has asked for a training.
    `asks`: flights scheduled between these times are asked about before it, with the features of their moments, spoilt
    by `fault` if it has a name.
    `approve`: whoever answers its approval; empty: nobody in the demo, it is the reader's. `ends`: how it has to end;
    "waits": with an approval that waits for its answer.
    """

    key: str
    title: str
    dag: str
    conf: dict[str, Any] | None = field(default_factory=dict)
    live: bool = False
    plant: bool = False
    quiet: bool = False
    asks: tuple[str, str] | None = None
    fault: str = ""
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
            "Three months of flights and weather are taken in, checked and made features",
            "ingest",
            {"start": begin, "end": FIRST_AS_OF, "as_of": FIRST_AS_OF},
        ),
        Chapter(
            "2_first_model",
            "The first model is trained; with no champion to beat, it must pass the absolute gates",
            "train",
            {"as_of": FIRST_AS_OF, "note": "first model"},
        ),
        Chapter(
            "3_april",
            "Three more weeks arrive",
            "ingest",
            {"start": FIRST_AS_OF, "end": anchor, "as_of": anchor},
        ),
        Chapter(
            "4_change",
            "A changed configuration (logistic only) must be superior, or it is refused",
            "train",
            {"as_of": CHANGE_AS_OF, "candidates": ["logistic"], "note": "a changed configuration must be superior"},
        ),
        *_looks(),
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
            "8_broken",
            "A weather station repeats its last observation: an incident, and nothing is trained on it",
            "monitor",
            {"as_of": BROKEN},
            asks=(_DAY_BEFORE, "2013-04-29T20:00:00+00:00"),
            fault="stale weather",
        ),
        Chapter(
            "8_mended",
            "The feed is mended and the flights are asked about again: the next look closes the incident",
            "monitor",
            {"as_of": MENDED},
            asks=(_DAY_BEFORE, MENDED),
        ),
        Chapter(
            "9_another",
            "Another training, with more trials, makes another challenger",
            "train",
            {"as_of": anchor, "trials": 20, "note": "more trials"},
        ),
        Chapter("9_release", "Its release waits for your approval", "release", None, ends="waits"),
    )


def _looks() -> list[Chapter]:
    """The monitor's daily looks through a week in which something happened."""
    first, *others = LOOKS
    return [
        Chapter(
            f"5_look_{first[-2:]}",
            "The service has answered for two weeks; the monitor looks at them with the labels known by now",
            "monitor",
            {"as_of": first + LOOK},
            asks=(FIRST_AS_OF, MENDED),
        ),
        *(
            Chapter(f"5_look_{day[-2:]}", f"And on {day}", "monitor", {"as_of": day + LOOK}, quiet=True)
            for day in others
        ),
    ]
