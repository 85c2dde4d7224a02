"""Knows which calls have waited so long in the transport that answering them is in vain.

It refuses to know what they ask. gRPC's core hands calls out one at a time, in the order that they came,
and tells how much time each has left, not how long it has waited. Where more come than can be answered,
all come out with less and less time left, until each has just less than its answer takes, and all work is
in vain. So those that have little left are let go unread, and those behind them are answered in time.
"""

from typing import Final, Protocol

# What has less time left is not begun: its answer would not be there in time.
TOO_LATE_S: Final = 1e-3
# Nor, where calls may have waited for so long, what has less left than that: before an answer leaves,
# others are read and searched for.
_LONG_S: Final = 0.05
_LITTLE_S: Final = 0.02


class Waited(Protocol):
    """What our own transport tells of a call that comes out of it."""

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline, at least 0; None if there is none."""

    def longest_wait_s(self) -> float:
        """Return how long the call has waited at the most, in seconds."""


def is_in_vain(call: Waited, left_s: float) -> bool:
    """Return whether a call that has ``left_s`` seconds left would be answered too late."""
    if left_s > _LITTLE_S:
        return False
    # Who has not waited came with no more time than that, and a server that is not busy has it.
    return left_s <= TOO_LATE_S or call.longest_wait_s() >= _LONG_S
