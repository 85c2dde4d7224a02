"""Knows how the counts of all workers are put before Prometheus, over HTTP.

It refuses to know how they are counted (`metrics`) and gathered.
"""

import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from server.address import address_of, taken
from server.observability.logs import cause_of
from server.observability.metrics import BOUNDS_S, Counts, Histogram, Snapshot

log = logging.getLogger("ilk.server")

# How long a connection may be silent.
_SILENCE_S: Final = 10.0
_BUCKETS: Final = (*map(str, BOUNDS_S), "+Inf")


@dataclass(frozen=True, slots=True)
class Fleet:
    """All workers of a server.

    Attributes
    ----------
    living
        What each last said of itself, by its number.
    n_serving
        How many of them serve: not those that drain, or have fallen silent.
    retired
        What those that have ended had counted: sums must not fall.
    restarts
        How many workers fell and were started again.
    """

    living: dict[int, Snapshot] = field(default_factory=dict)
    n_serving: int = 0
    retired: Counts = field(default_factory=Counts)
    restarts: int = 0


Gather: TypeAlias = Callable[[], Fleet]


@contextlib.contextmanager
def metrics_port(host: str, port: int | None, gather: Gather) -> Iterator[int | None]:
    """Answer ``GET /metrics`` until the context ends; yield the port. Without one, nobody listens.

    Raises
    ------
    SettingsError
        If the address cannot be listened on.
    """
    if port is None:
        yield None
        return
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fleet(gather))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise taken(address_of(host, port), error) from error
    # Each connection has a thread: one that says nothing is not waited for without end.
    adapted: Any = server
    handler = adapted.RequestHandlerClass
    adapted.RequestHandlerClass = type(handler.__name__, (handler,), {"timeout": _SILENCE_S})
    # Left to itself it writes a trace to stderr, past the log, for each probe that hangs up.
    adapted.handle_error = _log_fault
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _log_fault(*_: object) -> None:
    """Log the error that is being handled; a connection that broke off or fell silent is none."""
    error = sys.exc_info()[1]
    if error is not None and not isinstance(error, OSError):
        log.error("a request for metrics failed\n%s", cause_of(error))


class _Fleet(Collector):
    def __init__(self, gather: Gather) -> None:
        self._gather = gather

    def collect(self) -> Iterable[Metric]:
        fleet = self._gather()
        counts = Counts()
        for part in (fleet.retired, *(s.counts for s in fleet.living.values())):
            counts.add(part)
        yield from _of_calls(counts)
        yield from _of_totals(counts, fleet.restarts)
        yield from _of_workers(fleet.living, fleet.n_serving)


def _of_calls(counts: Counts) -> Iterator[Metric]:
    calls = _counter("calls", "Calls that ended, by status.", "method", "code")
    queries = _counter(
        "queries", "Queries answered or refused, alone or as part.", "method", "kind", "code"
    )
    requested = _counter("neighbors_requested", "Neighbors asked for.", "method", "kind")
    returned = _counter("neighbors_returned", "Neighbors found.", "method", "kind")
    search = HistogramMetricFamily(
        "ilk_search_seconds", "Time spent looking for neighbors.", labels=("method", "kind")
    )
    ended: Counter[tuple[str, str]] = Counter()
    latencies: dict[str, Histogram] = {}
    for (method, kind), of in counts.calls.items():
        ended.update({(method, code): n for code, n in of.statuses.items()})
        latencies.setdefault(method, Histogram()).add(of.latency)
        for code, n in (of.queries + of.statuses if kind else of.queries).items():
            queries.add_metric((method, kind, code), n)
        if of.requested:
            requested.add_metric((method, kind), of.requested)
            returned.add_metric((method, kind), of.returned)
            _add(search, (method, kind), of.search)
    for labels, n in ended.items():
        calls.add_metric(labels, n)
    latency = HistogramMetricFamily(
        "ilk_call_seconds",
        "From the handler's start to its end; of a stream, for each message.",
        labels=("method",),
    )
    for method, histogram in latencies.items():
        _add(latency, (method,), histogram)
    yield from (calls, queries, latency, search, requested, returned)


def _of_totals(counts: Counts, restarts: int) -> Iterator[Metric]:
    shed = _counter("shed", "Calls turned away for load, by reason.", "reason")
    for reason, n in counts.shed.items():
        shed.add_metric((reason,), n)
    expired = _counter("expired", "Calls dropped because nobody waited any more.", "where")
    for where, n in counts.expired.items():
        expired.add_metric((where,), n)
    yield from (shed, expired)
    for name, text, total in (
        ("bundle_swaps", "Bundles swapped in after the first, by all workers.", counts.swaps),
        ("bundle_refusals", "Bundles refused, by all workers.", counts.refusals),
        ("answers_remembered", "Queries answered with no search.", counts.remembered),
        ("shadow_queries", "Queries asked again exactly.", counts.shadowed),
        ("shadow_places", "Places in the answers to those.", counts.shadow_places),
        ("shadow_hits", "Places of those that were right: live recall.", counts.shadow_hits),
        ("worker_restarts", "Workers that fell and were started again.", restarts),
    ):
        metric = _counter(name, text)
        metric.add_metric((), total)
        yield metric


def _of_workers(living: dict[int, Snapshot], n_serving: int) -> Iterator[Metric]:
    workers = _gauge("workers", "Workers that serve.")
    workers.add_metric((), n_serving)
    yield workers
    for name, text, attribute in (
        (
            "in_flight",
            "Calls taken up and not ended; streams while they are answered.",
            "in_flight",
        ),
        ("waiting_seconds", "How long new work would wait for its turn.", "waiting_s"),
        ("memory_bytes", "Resident memory; mapped bundles are shared.", "memory_bytes"),
        ("bundle_created_timestamp_seconds", "When the bundle was built.", "created_at_s"),
        ("bundle_live_timestamp_seconds", "Since when it is served.", "live_since_s"),
        (
            "certificate_expiry_timestamp_seconds",
            "When the certificate in use is good no more.",
            "certificate_expires_at_s",
        ),
    ):
        metric = _gauge(name, text, "worker")
        for number, snapshot in living.items():
            value = getattr(snapshot, attribute)
            if value is not None:
                metric.add_metric((str(number),), value)
        yield metric
    serving = _gauge("bundle_info", "How many workers serve a version.", "version")
    for version, n in Counter(s.version for s in living.values()).items():
        serving.add_metric((version,), n)
    yield serving


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"ilk_{name}", text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"ilk_{name}", text, labels=labels)


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], of: Histogram) -> None:
    buckets, n = [], 0
    for bound, count in zip(_BUCKETS, of.counts, strict=True):
        n += count
        buckets.append((bound, n))
    family.add_metric(labels, buckets=buckets, sum_value=of.total_s)
