"""Knows how a handler waits without a task: whoever it waits for goes on with it.

It refuses to know what it waits for, and gRPC.
"""

from collections.abc import Callable, Coroutine, Generator
from typing import Any

Handler = Coroutine[Any, Any, None]
GoOn = Callable[[Handler, Callable[[Any], Any], Any], None]


class Pause:
    """Awaited by a handler that `server.wire` runs in no task, as its call tells (``may_pause``).

    A task, which waits for a future, is woken by way of the event loop, and that costs more than many an
    answer does.
    """

    __slots__ = ("_go_on", "_handler")

    def __await__(self) -> Generator["Pause", Any, Any]:
        return (yield self)

    def begin(self, handler: Handler, go_on: GoOn) -> None:
        """Take note of who waits, and of what is to run a step of it."""
        self._handler = handler
        self._go_on = go_on

    def resume(self, value: Any) -> None:
        """Go on at once, with ``value`` as what was waited for."""
        self._go_on(self._handler, self._handler.send, value)

    def fail(self, error: BaseException) -> None:
        """Go on at once, with an error."""
        self._go_on(self._handler, self._handler.throw, error)
