"""Knows whether an event loop turns: the loop stamps the time once a second, and any thread reads it.

It refuses to know what holds the loop up, and what is made of it.
"""

import asyncio
import time
from typing import Final

BEAT_S: Final = 1.0
# The longest work on an event loop takes milliseconds; who was silent for this long hangs, or is frozen.
SILENCE_S: Final = 5.0


class Pulse:
    """The beat of the running event loop, from now on until :meth:`stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beat()

    @property
    def is_steady(self) -> bool:
        """Whether the loop has turned of late; from any thread."""
        return time.monotonic() - self._beat_at_s < SILENCE_S

    def stop(self) -> None:
        """Beat no more."""
        self._timer.cancel()

    def _beat(self) -> None:
        self._beat_at_s = time.monotonic()
        self._timer = self._loop.call_later(BEAT_S, self._beat)
