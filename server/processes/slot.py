"""Knows the place of one worker: who fills it, whether that one serves, when it is to be filled again.

It refuses to know how workers are started and ended.
"""

import subprocess
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from server.processes.link import Report
from server.processes.pulse import SILENCE_S

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 30.0
# A worker that served this long, more than it takes to start, is restarted after the shortest pause.
_PROVEN_S = 1.0


@dataclass(slots=True)
class Slot:
    """The place of one worker, whoever fills it at the time.

    Attributes
    ----------
    number
        Which worker it is, from 0; -1: none yet, it stands by.
    process, link
        The worker in it; None between a fall and the restart.
    report
        What it last said of itself; None until it serves.
    heard_at_s, served_since_s
        When it said so, and when it first did, on the monotonic clock.
    falls
        Deaths in a row without a proven life between.
    restart_at_s
        When the empty place is to be filled, on the monotonic clock.
    doubted_at_s
        When it was first seen to serve no more; None while it serves, or has not begun to.
    """

    number: int = -1
    process: "subprocess.Popen[bytes] | None" = None
    link: Connection | None = None
    report: Report | None = None
    heard_at_s: float = 0.0
    served_since_s: float = 0.0
    falls: int = 0
    restart_at_s: float = 0.0
    doubted_at_s: float | None = None

    @property
    def is_serving(self) -> bool:
        """Whether the worker takes new calls, as far as is known: who falls silent may be frozen."""
        # Read once: the fall of the worker takes it away, and other threads ask too.
        report = self.report
        is_fresh = time.monotonic() - self.heard_at_s <= SILENCE_S
        return report is not None and report.serving and is_fresh

    def doubted_for_s(self, now_s: float) -> float:
        """Look whether it serves, and return for how long those who looked have seen that it does not.

        Where everything stood still for a while, the supervisor too, nobody is doubted for that.
        """
        if self.report is None or self.is_serving:
            self.doubted_at_s = None
        elif self.doubted_at_s is None:
            self.doubted_at_s = now_s
        return 0.0 if self.doubted_at_s is None else now_s - self.doubted_at_s

    def __str__(self) -> str:
        return "the spare worker" if self.number < 0 else f"worker {self.number}"

    def empty(self, now_s: float) -> None:
        """Take note that the worker has ended, and of when the place is to be filled again."""
        proven = self.report is not None and now_s - self.served_since_s >= _PROVEN_S
        self.falls = 1 if proven else self.falls + 1
        self.process = self.link = self.report = self.doubted_at_s = None
        self.restart_at_s = now_s + pause_s(self.falls)


def pause_s(falls: int) -> float:
    """Return how long to wait before the restart after that many ``falls`` in a row."""
    return float(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (min(falls, 20) - 1)))
