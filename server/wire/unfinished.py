"""Knows which calls have begun and not said what they ask, and lets those go that take too long.

It refuses to know calls that are being answered, and streams, which may be silent. What has come of a
message is held by gRPC's core, up to 4 MiB a call, before anybody here can see it.
"""

import logging
from collections.abc import Collection
from typing import Final, Protocol

log = logging.getLogger("ilk.server")

# How often calls are looked at.
LOOK_S: Final = 1.0
# So many looks a message may take to come.
_MOST_LOOKS: Final = 10
# So many calls may be waited for at more than one look; beyond, those that have taken longest are let go.
_MOST_SLOW: Final = 64


class Asking(Protocol):
    """A call."""

    awaits_message: bool

    def let_go(self, why: str) -> None:
        """End it."""


class Unfinished:
    """The calls of one server whose one message has not come.

    Parameters
    ----------
    calls
        Those under way.
    """

    def __init__(self, calls: Collection[Asking]) -> None:
        self._calls = calls
        self._n_looks: dict[Asking, int] = {}

    def look(self) -> None:
        """Let go of calls that have taken too long, to be called every ``LOOK_S`` seconds."""
        before = self._n_looks
        self._n_looks = {
            call: before.get(call, 0) + 1 for call in self._calls if call.awaits_message
        }
        slow = sorted(
            (call for call, n_looks in self._n_looks.items() if n_looks > 1),
            key=lambda call: -self._n_looks[call],
        )
        late = [
            call
            for place, call in enumerate(slow)
            if self._n_looks[call] > _MOST_LOOKS or place < len(slow) - _MOST_SLOW
        ]
        for call in late:
            call.let_go("the request did not come in time")
        if late:
            log.warning("calls whose requests did not come in time were let go: %d", len(late))
