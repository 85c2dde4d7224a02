"""Knows how to send unary gRPC calls on schedule, whether or not the server keeps up.

It refuses to know what is sent. A gRPC client in Python takes more CPU than the server it loads; this
one writes HTTP/2 frames by hand (`http2`) at a tenth of that, so that one core can offer ten times what
another can serve. Latency is counted from the moment a call was due, so that a stall hides nothing. Where
it is told to, each connection holds itself back by the throttle of Ilk's own clients.
"""

import contextlib
import math
import selectors
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.http2 import Connection, Request, frames_of
from ilk.client.throttle import Throttle, Unthrottled


@dataclass(slots=True)
class Outcome:
    """How the calls of a run ended.

    Attributes
    ----------
    n_due
        Calls that were due.
    duration_s
        Of the schedule.
    statuses
        By name; DEADLINE_EXCEEDED are also those that this end gave up on, and those its throttle refused
        have a name of their own (`http2.NOT_SENT`).
    latencies_s
        Of calls that were answered in time, from when they were due; rising.
    lags_s
        How late this end came to a call that was due, each time it came to any; rising.
    """

    n_due: int
    duration_s: float
    statuses: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)

    @property
    def goodput(self) -> float:
        """Calls answered in time, per second."""
        return len(self.latencies_s) / self.duration_s

    def quantile_s(self, share: float) -> float:
        """Return the latency that ``share`` of the answered calls stayed within."""
        return _quantile(self.latencies_s, share)

    def lag_s(self, share: float) -> float:
        """Return the lag that this end stayed within in ``share`` of the times it came to calls."""
        return _quantile(self.lags_s, share)


def offer(
    address: str,
    requests: Sequence[Request],
    rate: float,
    duration_s: float,
    timeout_s: float,
    n_connections: int = 8,
    *,
    throttled: bool = False,
) -> Outcome:
    """Send ``rate`` calls a second, ``requests`` over and over, and return how they ended.

    With ``throttled`` every connection is one of Ilk's clients in what it holds back.
    """
    outcome = Outcome(int(rate * duration_s), duration_s)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        ended = _Tally(outcome, timeout_s)
        connections = [
            stack.enter_context(
                contextlib.closing(
                    Connection(
                        address, timeout_s, ended, Throttle() if throttled else Unthrottled()
                    )
                )
            )
            for _ in range(n_connections)
        ]
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        frames = {r: frames_of(r, timeout_s) for r in set(requests)}
        started_s = time.perf_counter()
        n_sent = 0
        while (now_s := time.perf_counter() - started_s) < duration_s + 1.5 * timeout_s:
            n_due = min(int(now_s * rate), outcome.n_due)
            if n_due > n_sent:
                outcome.lags_s.append(now_s - n_sent / rate)
            for n in range(n_sent, n_due):
                request = requests[n % len(requests)]
                connections[n % n_connections].call(frames[request], started_s + n / rate)
            n_sent = n_due
            for connection in connections:
                connection.give_up()
                connection.flush()
            for key, _ in selector.select(0.0005):
                key.data.read()
    outcome.latencies_s.sort()
    outcome.lags_s.sort()
    return outcome


def _quantile(rising: Sequence[float], share: float) -> float:
    return float(np.quantile(rising, share, method="higher")) if rising else math.inf


class _Tally:
    """Counts calls as they end."""

    def __init__(self, outcome: Outcome, timeout_s: float) -> None:
        self._outcome = outcome
        self._timeout_s = timeout_s

    def __call__(self, due_s: float, status: str) -> None:
        took_s = time.perf_counter() - due_s
        if status == "OK" and took_s > self._timeout_s:
            status = "DEADLINE_EXCEEDED"
        self._outcome.statuses[status] += 1
        if status == "OK":
            self._outcome.latencies_s.append(took_s)
