"""Knows how many calls and streams are under way, and whether others want the event loop.

It refuses to know whose work waits, and for what.
"""

import asyncio
import time

# So many rounds of the loop bring to light what has come meanwhile.
_ROUNDS = 2
# How long the transport may take to bring the next call; uvloop's clock knows no less.
_TRANSPORT_S = 1e-3
# Streams that may be open for each call that may be under way: most are silent at any time.
_STREAMS_PER_CALL = 4


class Traffic:
    """Counts the calls under way, and knows how many there may be.

    Parameters
    ----------
    max_in_flight
        Calls that may be under way at once.

    Attributes
    ----------
    in_flight
        Calls under way. A stream is while what it asked is being answered; between, it is only open.
    max_streams, streams
        Streams that may be open at once, and that are.
    """

    __slots__ = ("in_flight", "max_in_flight", "max_streams", "passed", "streams")

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.max_streams = _STREAMS_PER_CALL * max_in_flight
        self.in_flight = self.streams = 0
        # Calls begun and ended: whether it moves tells whether the loop is wanted.
        self.passed = 0

    async def let_others(self, until_s: float) -> None:
        """Let other calls use the event loop until a time of :func:`time.perf_counter`.

        Returns early if there are none.
        """
        before = self.passed
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        while self.passed != before and time.perf_counter() < until_s:
            before = self.passed
            await asyncio.sleep(_TRANSPORT_S)
