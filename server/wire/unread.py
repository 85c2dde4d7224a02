"""Knows how much of what was answered waits for callers to read it, and lets the oldest of it go.

It refuses to know small answers: nearly all are, and they are gone before anybody could count them.
"""

import logging
from typing import Final, Protocol

log = logging.getLogger("ilk.server")

# Answers from this size on are counted; so many bytes of them may wait.
LARGE_BYTES: Final = 65_536
_MOST_BYTES: Final = 256 << 20


class Answered(Protocol):
    """A call that was answered."""

    def let_go(self, why: str) -> None:
        """End it, whether or not its caller has read the answer."""


class Unread:
    """The large answers of one server that have not left it."""

    def __init__(self) -> None:
        self._n_bytes: dict[Answered, int] = {}
        self._total_bytes = 0

    def add(self, call: Answered, n_bytes: int) -> None:
        """Take note of an answer; those that have waited longest make room for it."""
        self._n_bytes[call] = n_bytes
        self._total_bytes += n_bytes
        while self._total_bytes > _MOST_BYTES and len(self._n_bytes) > 1:
            oldest = next(iter(self._n_bytes))
            self.remove(oldest)
            log.warning("an answer that its caller did not read was let go: too many wait")
            oldest.let_go("the answer was not read in time")

    def remove(self, call: Answered) -> None:
        """Take note that an answer has left, or that nobody waits for it."""
        self._total_bytes -= self._n_bytes.pop(call, 0)
