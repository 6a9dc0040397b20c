"""What the service counts, as Prometheus reads it.

Counting is a list or dict access on the thread that answers; text is made when somebody asks. prometheus_client's own
counters lock and walk their buckets, which is a tenth of a request's time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from include.contracts import VIEWS

BUCKETS = (0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
_LOGGED = ("recorded", "dropped", "shadowed", "shadow_dropped", "shadow_failed")


class Histogram:
    """Counts by bucket, and their sum in seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += times
        self.total += seconds * times


class Metrics:
    """`state` gives what is served (router.describe), `log` the recorder's counts."""

    def __init__(self, state: Callable[[], Mapping[str, Any]], log: Callable[[], Mapping[str, int]]) -> None:
        self.state, self.log = state, log
        self.latency: dict[tuple[int, str], Histogram] = {}
        self.requests: dict[tuple[str, int], int] = {}
        self.challenger_errors: dict[int, int] = {}
        self.stale: dict[str, int] = {}
        self.ages: tuple[float, list[float]] = (0.0, [])  # data time, and event times by view, of the last read
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def answered(self, version: int, stage: str, seconds: float, times: int = 1) -> None:
        key = (version, stage)
        histogram = self.latency.get(key)
        if histogram is None:
            histogram = self.latency[key] = Histogram()
        histogram.observe(seconds, times)

    def request(self, path: str, status: int) -> None:
        key = (path, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def challenger_failed(self, version: int) -> None:
        self.challenger_errors[version] = self.challenger_errors.get(version, 0) + 1

    def used_stale(self, views: list[str]) -> None:
        for view in views:
            self.stale[view] = self.stale.get(view, 0) + 1

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing: a registry would otherwise collect once to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._answers()
        yield from self._features()
        yield from self._log()
        yield from self._deployment()

    def _answers(self) -> Iterator[Metric]:
        latency = HistogramMetricFamily(
            "ratchet_latency_seconds", "From a request's body to its answer", labels=["version", "stage"]
        )
        answers = CounterMetricFamily("ratchet_answers", "Predictions answered", labels=["version", "stage"])
        for (version, stage), histogram in self.latency.items():
            below, buckets = 0, []
            for limit, count in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
                below += count
                buckets.append((limit, below))
            latency.add_metric([str(version), stage], buckets, histogram.total)
            answers.add_metric([str(version), stage], below)
        yield from (latency, answers)
        yield _counter("ratchet_requests", "Requests", ["path", "status"], self.requests)
        failed = {(version,): count for version, count in self.challenger_errors.items()}
        yield _counter("ratchet_challenger_errors", "Answers that the champion took over", ["version"], failed)

    def _features(self) -> Iterator[Metric]:
        age = GaugeMetricFamily("ratchet_feature_age_seconds", "Age of the row read last, data time", labels=["view"])
        at, times = self.ages
        for view, time in zip(VIEWS, times, strict=False):
            if time != float("inf"):
                age.add_metric([view.name], at - time)
        yield age
        stale = {(view,): count for view, count in self.stale.items()}
        yield _counter("ratchet_stale", "Answers made with features beyond their time to live", ["view"], stale)

    def _log(self) -> Iterator[Metric]:
        counts = self.log()
        yield GaugeMetricFamily("ratchet_log_queue", "Predictions waiting to be logged", counts.get("queued", 0))
        for name in _LOGGED:
            yield CounterMetricFamily(f"ratchet_log_{name}", f"Predictions: {name}", counts.get(name, 0))

    def _deployment(self) -> Iterator[Metric]:
        state = self.state()
        yield GaugeMetricFamily("ratchet_generation", "Of the deployment that is followed", state["generation"])
        live = GaugeMetricFamily("ratchet_live_version", "Version in a role", labels=["role"])
        for role in ("champion", "challenger"):
            if state[role] is not None:
                live.add_metric([role], state[role])
        yield live
        broken = GaugeMetricFamily("ratchet_broken_version", "Wanted, but cannot be served", labels=["version"])
        for version in state["broken"]:
            broken.add_metric([version], 1)
        yield broken


def _counter(name: str, text: str, labels: list[str], counts: Mapping[tuple[Any, ...], int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in counts.items():
        family.add_metric([str(part) for part in key], count)
    return family
