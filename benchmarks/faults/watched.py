"""Knows a server with its supervisor and workers, and watches what it can take: lives, memory, latency.

It refuses to know what is done to it.
"""

import contextlib
import re
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.processes import free_port, running, workers_of
from ilk import SimilarityClient
from ilk.types import Query

_WORKERS = 2
_SAMPLE_S = 0.1
_TOGETHER = 50
# Latency is back when half of the calls take at most this many times what half of them took before.
_SLACK = 2.0
RECOVERY_S = 5.0
# What a worker may keep, and may need for a moment, beyond what it needed when it was warm.
KEPT_BYTES, PEAK_BYTES = 64 << 20, 256 << 20
_KEPT_FILES = 20
# What only a fault of the server's leaves in its log.
_FAULT = re.compile(r" (?:ERROR|CRITICAL) |Traceback|\[Errno")


@dataclass
class Watched:
    """A running server and what was seen of it.

    Attributes
    ----------
    address, health_address, metrics_address
        Where calls, health checks and Prometheus are answered.
    usual
        The query by which latency is measured.
    log
        What it wrote to stderr.
    """

    address: str
    health_address: str
    metrics_address: str
    usual: Query
    log: Path
    supervisor: psutil.Process
    workers: tuple[psutil.Process, ...]
    peaks: dict[int, int] = field(default_factory=dict)
    _before: dict[int, tuple[int, int]] = field(default_factory=dict)
    _usual_s: float = 0.0

    @property
    def processes(self) -> tuple[psutil.Process, ...]:
        """The supervisor and the workers that there were at the beginning."""
        return (self.supervisor, *self.workers)

    def settle(self) -> None:
        """Take how things stand now as usual: memory, open files, latency."""
        self._usual_s = min(self._median_s() for _ in range(5))
        self._before = {p.pid: (p.memory_info().rss, p.num_fds()) for p in self.processes}
        self.peaks.clear()

    def problems(self) -> list[str]:
        """Return what is wrong with the server now, and what was since :meth:`settle`."""
        now = {p.pid for p in self.supervisor.children()} | {self.supervisor.pid}
        fallen = self._before.keys() - now
        if fallen:
            return [f"{len(fallen)} processes ended"]
        logged = self.log.read_text(encoding="utf-8").splitlines()
        faults = [f"it logged: {line[:300]}" for line in logged if _FAULT.search(line)]
        return faults + [problem for p in self.processes for problem in self._problems_of(p)]

    def recovery_s(self) -> float:
        """Return how long from now it takes until latency is usual again; infinite if it is too long."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < RECOVERY_S:
            if self._median_s() <= _SLACK * self._usual_s:
                return time.monotonic() - began_s
        return float("inf")

    def growth(self) -> str:
        """Return, for people, by how much memory grew: what is kept, and the peak."""
        mib = 1 << 20
        kept = max(p.memory_info().rss - self._before[p.pid][0] for p in self.processes) / mib
        peak = max(self.peaks[p.pid] - self._before[p.pid][0] for p in self.processes) / mib
        return f"at most {kept:.0f} MiB kept and {peak:.0f} MiB for a moment, by one process"

    def _problems_of(self, process: psutil.Process) -> Iterator[str]:
        rss_bytes, n_files = self._before[process.pid]
        kept = process.memory_info().rss - rss_bytes
        if kept > KEPT_BYTES:
            yield f"a process keeps {kept >> 20} MiB more than before"
        if self.peaks[process.pid] - rss_bytes > PEAK_BYTES:
            yield f"a process took {(self.peaks[process.pid] - rss_bytes) >> 20} MiB for a moment"
        if process.num_fds() > n_files + _KEPT_FILES:
            yield f"a process keeps {process.num_fds() - n_files} more files or connections open"

    def _median_s(self) -> float:
        """Ask a usual query over new connections to every worker; return what half of them took."""
        took_s = []
        for _ in self.workers:
            with SimilarityClient(self.address, timeout_s=60) as client:
                client.find_neighbors(self.usual)
                for _ in range(_TOGETHER):
                    began_s = time.perf_counter()
                    client.find_neighbors(self.usual)
                    took_s.append(time.perf_counter() - began_s)
        return statistics.median(took_s)

    def watch(self, ended: threading.Event) -> None:
        """Take note of memory until ``ended``."""
        while not ended.wait(_SAMPLE_S):
            for process in self.processes:
                with contextlib.suppress(psutil.Error):
                    rss_bytes = process.memory_info().rss
                    self.peaks[process.pid] = max(self.peaks.get(process.pid, 0), rss_bytes)


@contextlib.contextmanager
def watched(store: Path, usual: Query, folder: Path) -> Iterator[Watched]:
    """Run a server of ``store`` with two workers until the context ends; its log goes to ``folder``."""
    health, metrics = free_port(), free_port()
    log = folder / "server.log"
    options = ("--store", str(store), "--workers", str(_WORKERS), "--log-calls")
    ports = ("--health-port", str(health), "--metrics-port", str(metrics))
    ended = threading.Event()
    with running("server", (*options, *ports), log=log) as server:
        supervisor = psutil.Process(server.pid)
        workers = tuple(workers_of(supervisor))
        here = "127.0.0.1"
        seen = Watched(
            server.address,
            f"{here}:{health}",
            f"{here}:{metrics}",
            usual,
            log,
            supervisor,
            workers,
        )
        watching = threading.Thread(target=seen.watch, args=(ended,))
        watching.start()
        try:
            yield seen
        finally:
            ended.set()
            watching.join()
