"""How the service runs, beside the levels of the spec: somebody should look when one is beyond.

What is measured comes from the log of predictions (see window.build) and from what the workers say of themselves. None
of it says anything about the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.models.spec import ModelSpec

UNITS = {
    "latency_p99_ms": "ms",
    "load": "of a worker's capacity",
    "errors": "of attempts",
    "stale": "of answers",
    "memory": "of a worker's limit",
    "silence_hours": "hours with flights due",
    "lost": "predictions",
}


def measure(
    spec: ModelSpec,
    summary: Mapping[str, Any],
    workers: Sequence[Mapping[str, Any]] = (),
    log: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """{name of UNITS: {"value", "level", "beyond", "unit", "told"}}. A value is None when nothing says it, and then
    never beyond.

    `summary`: the counts of window.build. `workers`: status files of the running workers; "rss" and "memory_limit" in
    bytes count. `log`: totals of the log's counters, "lost" and "dropped". Silence: the hours in which flights were
    due to be asked about and none was, since the last answer; nights without flights are no silence.
    """
    silence, summary = summary["silence"], {**summary, **summary.get("recent", {})}  # a fault of an hour is a day's
    levels, told = spec.levels, summary["predictions"]
    attempts = told + _failed_elsewhere(summary)
    shares = [w["rss"] / w["memory_limit"] for w in workers if w.get("rss") and w.get("memory_limit")]
    counts = log or {}
    gone = counts.get("lost", 0) + counts.get("dropped", 0) if log is not None else None
    found: dict[str, tuple[float | None, float | None, str]] = {
        "latency_p99_ms": (
            summary["latency_ms"]["p99"],
            levels.latency_p99_ms,
            f"of {told:,} answers",
        ),
        "load": (
            summary["worker_peak_per_second"] / levels.capacity if told else None,
            levels.load,
            f"{summary['worker_peak_per_second']:.1f} requests a second at the most, {levels.capacity:g} can be had",
        ),
        "errors": (
            summary["errors"] / attempts if attempts else None,
            levels.errors,
            f"{summary['errors']:,} of {attempts:,} attempts failed",
        ),
        "stale": (
            summary["stale"] / told if told else None,
            levels.stale,
            f"{summary['stale']:,} of {told:,} answers used features beyond their time to live",
        ),
        "memory": (max(shares, default=None), levels.memory, f"of the fullest of {len(shares)} workers"),
        "silence_hours": (
            float(silence["hours"]),
            levels.silence_hours,
            f"{silence['due']:,} flights were due since {silence['since']}, and none was asked about",
        ),
        "lost": (
            None if gone is None else float(gone),
            None,  # of all time, so that it would stay beyond any level; `collect` alerts each new one
            f"{counts.get('lost', 0):,} died with their worker, {counts.get('dropped', 0):,} were dropped",
        ),
    }
    return {
        name: {
            "value": value,
            "level": level,
            "beyond": value is not None and level is not None and value > level,
            "unit": UNITS[name],
            "told": words,
        }
        for name, (value, level, words) in found.items()
    }


def _failed_elsewhere(summary: Mapping[str, Any]) -> int:
    """Attempts at an answer that another version then gave."""
    return int(summary["errors"] - summary["failed_answers"])
