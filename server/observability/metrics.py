"""Knows how a worker counts what it does, at well under a microsecond a call.

It refuses to know Prometheus and other processes. Everything is plain lists and dicts, written by the
event loop and, for long work, by threads, without a lock: a count may be lost where two write at once.
Any thread may take a snapshot.
"""

import functools
import os
import sys
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
# Of a call that failed before its query was read, and of rpcs without a query.
NO_KIND = ""
# What Linux tells of a process's memory is shorter.
_MOST_BYTES = 256
_TOTALS = ("swaps", "refusals", "remembered", "shadowed", "shadow_hits", "shadow_places")


@dataclass(slots=True)
class Histogram:
    """How many durations fell between each pair of ``BOUNDS_S``, and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self.total_s += duration_s

    def add(self, other: "Histogram") -> None:
        """Count all that ``other`` did."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total_s += other.total_s


class Asked(Protocol):
    """What is counted of a call beside its end."""

    search_s: float
    requested: int
    returned: int


@dataclass(slots=True)
class Calls:
    """Calls of one rpc and kind of query.

    Attributes
    ----------
    statuses
        Ended calls by status.
    queries
        Queries of batches and streams by status.
    latency, search
        From the handler's start to its end, of a stream for each message; the part of it that looked
        for neighbors. Waiting in the transport before the handler starts is in neither.
    requested, returned
        Neighbors.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    queries: Counter[str] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)
    search: Histogram = field(default_factory=Histogram)
    requested: int = 0
    returned: int = 0

    def record(self, status: str, latency_s: float, asked: Asked) -> None:
        """Count one call that ended."""
        self.statuses[status] += 1
        self.latency.observe(latency_s)
        self.record_search(asked)

    def record_search(self, asked: Asked) -> None:
        """Count what was looked for and found, if anything was."""
        if asked.search_s:
            self.search.observe(asked.search_s)
        self.requested += asked.requested
        self.returned += asked.returned

    def add(self, other: "Calls") -> None:
        """Count all that ``other`` did."""
        self.statuses.update(other.statuses)
        self.queries.update(other.queries)
        self.latency.add(other.latency)
        self.search.add(other.search)
        self.requested += other.requested
        self.returned += other.returned


@dataclass(slots=True)
class Counts:
    """Everything that only grows; those of several workers, living or ended, can be added up.

    Attributes
    ----------
    calls
        By rpc and kind of query.
    shed
        Calls turned away, by reason.
    expired
        Calls dropped because their caller was gone or out of time, by where they were found.
    swaps, refusals
        Bundles swapped in after the first, and bundles refused.
    remembered
        Queries answered as they were before, with no search.
    shadowed, shadow_hits, shadow_places
        Queries asked again exactly; of how many places in their answers how many were right.
    """

    calls: dict[tuple[str, str], Calls] = field(default_factory=dict)
    shed: Counter[str] = field(default_factory=Counter)
    expired: Counter[str] = field(default_factory=Counter)
    swaps: int = 0
    refusals: int = 0
    remembered: int = 0
    shadowed: int = 0
    shadow_hits: int = 0
    shadow_places: int = 0

    def of(self, method: str, kind: str) -> Calls:
        """Return the calls of one rpc and kind of query."""
        return self.calls.setdefault((method, kind), Calls())

    def copy(self) -> "Counts":
        """Return what is counted now; from any thread."""
        copied = Counts()
        copied.add(self)
        return copied

    def add(self, other: "Counts") -> None:
        """Count all that ``other`` did."""
        for (method, kind), calls in list(other.calls.items()):
            self.of(method, kind).add(calls)
        self.shed.update(other.shed)
        self.expired.update(other.expired)
        for name in _TOTALS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one worker has counted, and how it stands.

    Attributes
    ----------
    counts
        What only grows.
    in_flight
        Calls taken up and not ended; of streams, those that are being answered.
    waiting_s
        How long new work would wait for its turn.
    memory_bytes
        Resident, shared pages included.
    version, created_at_s, live_since_s
        The bundle served, when it was built and since when it is served; Unix seconds.
    certificate_expires_at_s
        When the certificate in use is good no more; None without TLS.
    """

    counts: Counts
    in_flight: int
    waiting_s: float
    memory_bytes: int
    version: str
    created_at_s: float
    live_since_s: float
    certificate_expires_at_s: float | None = None


def resident_bytes() -> int:
    """Return the resident memory of this process; its peak where the system tells only that."""
    try:
        pages = int(os.pread(_own_memory(), _MOST_BYTES, 0).split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        if sys.platform == "win32":
            return 0
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


@functools.cache
def _own_memory() -> int:
    """Return the descriptor of what tells it; kept, for whoever has run out of files reports too."""
    return os.open("/proc/self/statm", os.O_RDONLY)
