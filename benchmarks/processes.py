"""Knows how a server runs beside its caller on a small machine, and what it spends.

Absolute times prove nothing on a shared box: the server's own CPU seconds are read from the system.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_START_TIMEOUT_S = 60.0


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def workers_of(supervisor: psutil.Process) -> list[psutil.Process]:
    """Return the children that answer calls; not the one that stands by, which listens on no port."""
    return [child for child in supervisor.children() if _listens(child)]


def _listens(process: psutil.Process) -> bool:
    try:
        return any(c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp"))
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server: its address, and its process."""

    address: str
    process: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def cpu_s(self) -> float:
        """Return user and system seconds spent so far by the process, its threads and its workers."""
        own = psutil.Process(self.pid)
        return sum(map(_cpu_s, (own, *workers_of(own))))


def _cpu_s(process: psutil.Process) -> float:
    if sys.platform == "linux":
        # clock_getcpuclockid(3): to the nanosecond, where /proc tells hundredths of a second.
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return times.user + times.system


def held_to(pid: int, core: int) -> None:
    """Hold a process to one core, where the system can and has so many."""
    if sys.platform == "linux" and core in os.sched_getaffinity(0):
        os.sched_setaffinity(pid, {core})


@contextlib.contextmanager
def running(
    module: str, arguments: Sequence[str], core: int | None = None, log: Path | None = None
) -> Iterator[ServerProcess]:
    """Run ``python -m module`` on a free loopback port until the context ends.

    ``core`` is the one it may use, where the system can hold it to that; None: all of them. ``log`` gets
    what it writes to stderr; None drops that.
    """
    with tempfile.TemporaryDirectory() as folder, open(log or os.devnull, "wb") as stderr:
        ready = Path(folder) / "ready"
        command = [sys.executable, "-m", module, *arguments, "--port", "0"]
        process = subprocess.Popen([*command, "--ready-file", str(ready)], stderr=stderr)
        if core is not None:
            held_to(process.pid, core)
        try:
            deadline = time.monotonic() + _START_TIMEOUT_S
            while not (ready.exists() and ready.read_text().endswith("\n")):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(command)} did not start")
                time.sleep(0.05)
            yield ServerProcess(ready.read_text().strip(), process)
        finally:
            process.terminate()
            process.wait()
