"""What a worker does at several times the load it can bear.

Capacity is measured first: what the server answers when it is offered a little more than it can. Then
multiples of it are offered, on schedule, by a process of its own; health is checked meanwhile on its
port, and afterwards half of capacity is offered until latency is what it was before.
"""

import functools
import multiprocessing
import os
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.http2 import Request
from benchmarks.openloop import Outcome, offer
from benchmarks.processes import free_port, running
from ilk.bundle import Bundle, open_bundle
from ilk.v1 import similarity_pb2 as pb

METHODS: Final = "/ilk.v1.SimilarityService"
_BATCH: Final = 64
# Latency is normal again when its 99th percentile is within this factor of what it was.
_NORMAL: Final = 2.0
# And so much of what is offered then is answered: who refuses all is quick too.
_ANSWERED: Final = 0.95
_RECOVERY_S: Final = 5.0
_WINDOW_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is offered, and for how long.

    Attributes
    ----------
    workload
        ``single`` queries, ``batch`` of 64, or a ``mix`` of every kind of call.
    throttled
        Whether callers hold themselves back as Ilk's clients do; else they send whatever is due.
    multiples
        Of capacity.
    probe_s
        How long each load is offered that looks for capacity, or for the normal latency.
    """

    workload: str = "mix"
    throttled: bool = True
    multiples: tuple[float, ...] = (2, 5, 10)
    duration_s: float = 60.0
    timeout_s: float = 1.0
    probe_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of one multiple of capacity; times in seconds."""

    multiple: float
    outcome: Outcome
    health_p99_s: float
    recovered_s: float
    n_expired: int
    n_in_vain: int

    def row(self, capacity: float) -> str:
        """Return a line of the table."""
        of, shares = self.outcome, Counter(self.outcome.statuses)
        told = ", ".join(f"{k} {100 * n / of.n_due:.1f}%" for k, n in shares.most_common())
        return (
            f"{self.multiple:4g} x  goodput {100 * of.goodput / capacity:5.1f}% of C   "
            f"p50 {1e3 * of.quantile_s(0.5):4.0f} ms  p99 {1e3 * of.quantile_s(0.99):4.0f} ms   "
            f"generator late p99 {1e3 * of.lag_s(0.99):.0f} ms   "
            f"health p99 {1e3 * self.health_p99_s:4.0f} ms   normal after {self.recovered_s:.0f} s   "
            f"expired {self.n_expired} of {of.n_due}, searched for {self.n_in_vain}   {told}"
        )


def measure(store: Path, plan: Plan) -> tuple[float, list[Offered]]:
    """Return the capacity in calls per second, and what became of each multiple of it."""
    requests = requests_of(open_bundle(store), plan.workload)
    health, metrics = free_port(), free_port()
    # What is remembered costs no search, and is no load.
    ports = ("--health-port", str(health), "--metrics-port", str(metrics))
    flags = ("--workers", "1", "--answer-memory-mb", "0", *ports)
    context = multiprocessing.get_context("spawn")
    with (
        running("server", ("--store", str(store), *flags), core=0) as server,
        ProcessPoolExecutor(1, context, keep_to_other_cores) as generator,
    ):
        send = functools.partial(offer, throttled=plan.throttled)

        def begin(rate: float, duration_s: float) -> "Future[Outcome]":
            return generator.submit(
                send, server.address, requests, rate, duration_s, plan.timeout_s
            )

        capacity = _capacity(lambda rate: begin(rate, plan.probe_s).result())
        normal_s = begin(capacity / 2, plan.probe_s).result().quantile_s(0.99)
        offered = []
        for multiple in plan.multiples:
            searches = _searches(metrics)
            with _Checks(health) as checks:
                outcome = begin(multiple * capacity, plan.duration_s).result()
            n_searches = _searches(metrics) - searches
            recovered_s = _recovered_s(lambda: begin(capacity / 2, _WINDOW_S).result(), normal_s)
            offered.append(
                Offered(
                    multiple,
                    outcome,
                    checks.p99_s,
                    recovered_s,
                    outcome.statuses["DEADLINE_EXCEEDED"],
                    max(0, round(n_searches) - len(outcome.latencies_s)),
                )
            )
    return capacity, offered


def requests_of(bundle: Bundle, workload: str, n: int = 1000) -> list[Request]:
    """Return calls for items by popularity and users at random, of the kinds that ``workload`` says."""
    rng = np.random.default_rng(0)
    n_rated = max(bundle.manifest.n_items // 4, 1)
    items = [
        bundle.items.vocabulary.id_of(int(row))
        for row in np.minimum(rng.zipf(1.3, 2 * n) - 1, n_rated - 1)
    ]
    users = [
        bundle.users.vocabulary.id_of(int(row))
        for row in rng.integers(bundle.manifest.n_users, size=n)
    ]
    single = [pb.FindNeighborsRequest(item_id=item) for item in items]
    batches = [
        pb.BatchFindNeighborsRequest(queries=single[at : at + _BATCH]) for at in range(0, n, _BATCH)
    ]
    if workload == "single":
        return [_request("FindNeighbors", q) for q in single[:n]]
    if workload == "batch":
        return [_request("BatchFindNeighbors", q) for q in batches]
    if workload != "mix":
        raise ValueError(f"workload must be single, batch or mix, got {workload}")
    genres = bundle.content_model.genres
    mixed = []
    for at in range(n):
        liked = pb.Profile(liked_item_ids=items[at : at + 5])
        mixed.append(
            [
                _request("FindNeighbors", single[at]),
                _request("FindNeighbors", pb.FindNeighborsRequest(user_id=users[at])),
                _request("FindNeighbors", pb.FindNeighborsRequest(profile=liked)),
                _request("FindNeighbors", pb.FindNeighborsRequest(text=genres[at % len(genres)])),
                _request("BatchFindNeighbors", batches[at % len(batches)]),
            ][int(rng.choice(5, p=(0.5, 0.25, 0.1, 0.05, 0.1)))]
        )
    return mixed


def table(capacity: float, offered: Sequence[Offered]) -> list[str]:
    """Return the lines to print."""
    return [f"capacity C: {capacity:.0f} calls/s", *(o.row(capacity) for o in offered)]


def _request(
    method: str, message: "pb.FindNeighborsRequest | pb.BatchFindNeighborsRequest"
) -> Request:
    return Request(f"{METHODS}/{method}", message.SerializeToString())


def _capacity(offered: Callable[[float], Outcome]) -> float:
    """Return what the server answers at most: the goodput that more load does not raise."""
    rate, goodput = 50.0, 0.0
    while goodput > 0.7 * rate or not goodput:
        rate *= 1.6
        goodput = max(goodput, offered(rate).goodput)
    return goodput


def _recovered_s(offered: Callable[[], Outcome], normal_s: float) -> float:
    """Return how long it took until a window's 99th percentile was normal again."""
    started_s = time.perf_counter()
    while True:
        began_s = time.perf_counter() - started_s
        outcome = offered()
        answered = outcome.goodput * outcome.duration_s >= _ANSWERED * outcome.n_due
        quick = outcome.quantile_s(0.99) <= _NORMAL * normal_s + 0.02
        if (answered and quick) or began_s > 4 * _RECOVERY_S:
            return began_s


def _searches(metrics_port: int) -> float:
    """Return how many calls have reached a search so far."""
    url = f"http://127.0.0.1:{metrics_port}/metrics"
    with urllib.request.urlopen(url) as told:
        lines = told.read().decode().splitlines()
    return sum(float(li.split()[-1]) for li in lines if li.startswith("ilk_search_seconds_count"))


class _Checks:
    """Asks for health twenty times a second, on the port that is for it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._done = threading.Event()
        self._took_s: list[float] = []
        self._thread = threading.Thread(target=self._check)

    def __enter__(self) -> "_Checks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _check(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while not self._done.wait(0.05):
                started_s = time.perf_counter()
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
                self._took_s.append(time.perf_counter() - started_s)
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    raise RuntimeError("the server says that it does not serve")

    @property
    def p99_s(self) -> float:
        """The 99th percentile of the time an answer took."""
        return float(np.quantile(self._took_s, 0.99, method="higher")) if self._took_s else 0.0


def keep_to_other_cores() -> None:
    """Leave the first core to the server."""
    if sys.platform == "linux":
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores - {0} or cores)
