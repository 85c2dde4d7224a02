"""Knows what a piece of work spends: seconds of clock and CPU, and the memory of a process of its own.

It refuses to know what the work is.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ilk.errors import IlkError


class WorkFailed(IlkError):
    """A measured process that ended with an error; what it said is on stderr."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent.

    Attributes
    ----------
    wall_s, cpu_s
        Seconds of clock; user and system seconds of all threads.
    peak_bytes
        The most memory a process had at once; 0 where the work was no process of its own.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            max(self.peak_bytes, other.peak_bytes),
        )


def spent_in(work: Callable[[], object]) -> Spent:
    """Return what one call in this process spends."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    work()
    return Spent(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def spent_by(module: str, arguments: Sequence[str]) -> tuple[Spent, str]:
    """Run ``python -m module`` to its end; return what it spent and what it printed.

    Raises
    ------
    WorkFailed
        If it ends with an error.
    """
    command = [sys.executable, "-m", module, *arguments]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise WorkFailed(f"{' '.join(command)} ended with {process.returncode}")
    return Spent(wall_s, usage.ru_utime + usage.ru_stime, _peak_bytes(usage)), printed


def own_peak_bytes() -> int:
    """Return the most memory that this process has had at once, pages of mapped files counted."""
    return _peak_bytes(resource.getrusage(resource.RUSAGE_SELF))


def _peak_bytes(usage: resource.struct_rusage) -> int:
    # Linux counts it in KiB, macOS in bytes.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
