"""Knows a server as its operator does: a program with workers, a log, signals and resources.

It refuses to know what is asked of it.
"""

import contextlib
import json
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import free_port, running, workers_of

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What all workers of a server hold."""

    resident_bytes: int
    n_files: int
    n_threads: int


@dataclass(frozen=True)
class Program:
    """``python -m server``, running."""

    process: "subprocess.Popen[bytes]"
    log: Path
    address: str
    metrics_port: int

    def workers(self) -> list[psutil.Process]:
        """Return the processes that answer calls."""
        own = psutil.Process(self.process.pid)
        return workers_of(own) or [own]

    def resources(self) -> Resources:
        """Return what the workers hold now."""
        workers = self.workers()
        return Resources(
            sum(w.memory_info().rss for w in workers),
            sum(w.num_fds() for w in workers),
            sum(w.num_threads() for w in workers),
        )

    def n_serving(self) -> int:
        """Return how many workers answer calls."""
        return int(self.metrics().get("ilk_workers", 0))

    def metrics(self) -> dict[str, float]:
        """Return all samples by name and labels, as the metrics port writes them."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as told:
            lines = told.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log; a last one that is not whole yet is left out."""
        *whole, _ = self.log.read_text().split("\n")
        return [json.loads(line) for line in whole]

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_TIMEOUT_S)


@contextlib.contextmanager
def started(store: Path, *flags: str) -> Iterator[Program]:
    """Run a server of ``store`` on a free port until the context ends, if not stopped before."""
    with tempfile.TemporaryDirectory() as folder:
        log, metrics_port = Path(folder) / "log", free_port()
        observed = ("--metrics-port", str(metrics_port), "--log-format", "json")
        with running("server", ("--store", str(store), *observed, *flags), log=log) as server:
            yield Program(server.process, log, server.address, metrics_port)


def wait_for(happened: Callable[[], bool], within_s: float = _TIMEOUT_S) -> float:
    """Wait until something has happened, and return how many seconds that took."""
    started_s = time.monotonic()
    while not happened():
        if time.monotonic() - started_s > within_s:
            raise TimeoutError(f"it did not happen within {within_s:g} s")
        time.sleep(0.02)
    return time.monotonic() - started_s
