"""Knows how any service that finds nearest vectors is measured: tuned to one recall, then timed.

It refuses to know which service it is. It runs in the service's own environment, and so needs nothing
but numpy and psutil: ``python -m benchmarks.peers.NAME FOLDER RECALL``, the answer as JSON on stdout.
"""

import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import psutil

BASE_REQUIREMENTS = ("numpy>=1.26", "psutil>=6")
BATCH = 64
K = 10
# Recalls that differ by no more are called equal.
TOLERANCE = 0.005
_ROUNDS = 3
_ROUND_S = 3.0
_WARM_UP_S = 0.5
_IDLE_S = 2.0
_FEWEST_CALLS = 30
_HIGHEST_EFFORT = 1000

Matrix = npt.NDArray[np.float32]


class Service(Protocol):
    """A service under measurement; it lives in ``folder`` and listens on loopback.

    Attributes
    ----------
    tunable
        Whether ``effort`` trades recall for work.
    """

    tunable: bool

    def start(self, folder: Path) -> None:
        """Start the server and return once it answers."""

    def load(self, items: Matrix, queries: Matrix) -> None:
        """Store the items under their positions and index them; keep the queries to be asked."""

    def search(self, asked: Sequence[int], effort: int) -> Sequence[Sequence[int]]:
        """Return the positions of the ``K`` items of highest inner product with each query asked.

        ``asked`` are positions of queries: one is asked as a single query, several as one batch in
        the cheapest way that the service has.
        """

    def pids(self) -> list[int]:
        """Return the server's processes; their children count too."""

    def stop(self) -> None:
        """End every process that :meth:`start` began."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A service that holds its vectors and waits to be asked.

    Attributes
    ----------
    items, queries
        Float32; what it holds, and what it will be asked.
    floors
        The score of each query's true ``K``-th neighbor.
    load_s
        How long storing and indexing took.
    """

    service: Service
    items: Matrix
    queries: Matrix
    floors: Matrix
    load_s: float

    def recall_at(self, effort: int) -> float:
        """Return recall@K by score threshold: a tie with the true K-th neighbor is no miss."""
        hits = 0
        for start in range(0, len(self.queries), BATCH):
            asked = range(start, min(start + BATCH, len(self.queries)))
            for at, found in zip(asked, self.service.search(asked, effort), strict=True):
                rows = np.unique(np.array(list(found)[:K], dtype=np.int64))
                floor = self.floors[at] - 1e-5 * max(abs(float(self.floors[at])), 1e-3)
                hits += int(np.count_nonzero(self.items[rows] @ self.queries[at] >= floor))
        return hits / (K * len(self.queries))

    def costs(self, effort: int) -> dict[str, dict[str, float]]:
        """Return what queries cost, asked one by one ("single") and in batches ("batch").

        ``cpu_us`` is of the server per query, less what it spends idle; ``p50_ms`` and ``p99_ms`` are
        of a call.
        """
        n_queries = len(self.queries)
        return {
            "single": _cost(self.service, effort, n_queries, 1),
            "batch": _cost(self.service, effort, n_queries, BATCH),
        }


def main(service: Service) -> None:
    """Measure a service on the vectors of the folder that the command line names."""
    with loaded(service, Path(sys.argv[1])) as at_work:
        print(json.dumps(measure(at_work, float(sys.argv[2]))))


@contextlib.contextmanager
def loaded(service: Service, vectors: Path) -> Iterator[Loaded]:
    """Start a service, load it, and end it with the context.

    Parameters
    ----------
    vectors
        Folder of ``items.npy``, ``queries.npy`` and ``floors.npy``.
    """
    items, queries, floors = (
        np.load(vectors / f"{name}.npy", allow_pickle=False)
        for name in ("items", "queries", "floors")
    )
    with tempfile.TemporaryDirectory(prefix="ilk-peer-") as folder:
        # A server that will not run as root must get in.
        os.chmod(folder, 0o755)
        try:
            service.start(Path(folder))
            began = time.monotonic()
            service.load(items, queries)
            yield Loaded(service, items, queries, floors, time.monotonic() - began)
        finally:
            service.stop()


def measure(at_work: Loaded, target: float) -> dict[str, Any]:
    """Return ``recall``, ``effort``, ``load_s`` and :meth:`Loaded.costs` of a service.

    The effort is the least that reaches ``target`` but for the tolerance.
    """
    effort = 0
    if at_work.service.tunable:
        effort = _least_effort(at_work.recall_at, target - TOLERANCE)
    return {
        "recall": round(at_work.recall_at(effort), 4),
        "effort": effort,
        "load_s": round(at_work.load_s, 1),
        **at_work.costs(effort),
    }


def _least_effort(recall_at: Callable[[int], float], wanted: float) -> int:
    low, high = 0, K
    while high < _HIGHEST_EFFORT and recall_at(high) < wanted:
        low, high = high, min(2 * high, _HIGHEST_EFFORT)
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        if middle >= K and recall_at(middle) >= wanted:
            high = middle
        else:
            low = max(middle, K - 1)
    return high


def _idle_share(service: Service) -> float:
    """Return the CPU seconds that the server spends per second while nobody asks."""
    spent_s = _cpu_s(service)
    time.sleep(_IDLE_S)
    return (_cpu_s(service) - spent_s) / _IDLE_S


def _cost(service: Service, effort: int, n_queries: int, size: int) -> dict[str, float]:
    idle = _idle_share(service)
    at = 0

    def call() -> None:
        nonlocal at
        service.search([(at + offset) % n_queries for offset in range(size)], effort)
        at = (at + size) % n_queries

    warm_until = time.monotonic() + _WARM_UP_S
    while time.monotonic() < warm_until:
        call()
    cpu_us, latency_s = [], []
    for _ in range(_ROUNDS):
        spent_s, began = _cpu_s(service), time.monotonic()
        n_calls = 0
        while n_calls < _FEWEST_CALLS or time.monotonic() - began < _ROUND_S:
            sent = time.perf_counter()
            call()
            latency_s.append(time.perf_counter() - sent)
            n_calls += 1
        net_s = _cpu_s(service) - spent_s - idle * (time.monotonic() - began)
        cpu_us.append(1e6 * net_s / (n_calls * size))
    p50, p99 = np.quantile(latency_s, (0.5, 0.99)).tolist()
    return {
        "cpu_us": round(statistics.median(cpu_us), 1),
        "p50_ms": round(1e3 * p50, 3),
        "p99_ms": round(1e3 * p99, 3),
    }


def _cpu_s(service: Service) -> float:
    """Return user and system seconds of all processes of the server."""
    total = 0.0
    seen: set[int] = set()
    for pid in service.pids():
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            if member.pid in seen:
                continue
            seen.add(member.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                total += times.user + times.system
    return total
