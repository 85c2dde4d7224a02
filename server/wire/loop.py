"""Knows how an event loop waits for gRPC's core: the queue of its completions is where it sleeps.

It refuses to know what completes. ``grpc.aio`` sleeps elsewhere: a thread of its own waits for the core
and wakes the loop through a socket, four times a call, which costs more than most answers.
"""

import asyncio
import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from grpc._cython import cygrpc  # type: ignore[attr-defined]

# So many completions in a row are taken before the loop's own work has a turn.
_MOST_AT_ONCE: Final = 64
# Taking what is there, with all that has to be read for it, hardly ever takes as long as this.
_QUIET_S: Final = 5e-4
_PAST: Final = 0.0


class CompletionSelector(selectors.BaseSelector):
    """Waits for completions, and for files too.

    Files are watched by a thread, which does nothing as long as they are silent; what it sees it tells
    through the queue.

    Attributes
    ----------
    queue
        Where the core tells what is done.
    idle
        Whether the loop has nothing to do when it is back: set before each completion, to be cleared by
        whoever gives it something.
    quiet_at_s
        When the core was last waited for, on the clock of :func:`time.perf_counter`.
    """

    def __init__(self) -> None:
        self.queue = cygrpc.CompletionQueue()
        self.idle = True
        self.quiet_at_s = time.perf_counter()
        self._files = selectors.DefaultSelector()
        self._heard = threading.Semaphore(0)
        self._rung = False
        self._closed = self._watching = False
        # What was taken from the queue, and has not been gone on from.
        self._ahead: Any = None
        self._bell = _Bell(self.queue)
        self._ending, self._end = socket.socketpair()
        self._files.register(self._ending, selectors.EVENT_READ)
        self._watcher = threading.Thread(target=self._watch, name="files", daemon=True)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Go on from what completes, until the loop is wanted; return the files that are ready."""
        if not self._watching:
            # Not before: a watcher may not see what is registered while it waits.
            self._watching = True
            self._watcher.start()
        if self._rung:
            self._rung = False
            self._heard.release()
        until_s = None if timeout is None else time.time() + max(timeout, 0.0)
        self.idle = True
        for _ in range(_MOST_AT_ONCE):
            event = self._ahead or self._next(until_s)
            self._ahead = None
            tag = event.tag
            if tag is None:  # nothing came in time
                break
            if tag is self._bell:
                self._rung = True
                return self._files.select(0)
            tag.complete(event)
            # An event that is kept keeps its call alive.
            del event, tag
            if not self.idle:
                until_s = _PAST
        return []

    def _next(self, until_s: float | None) -> Any:
        asked_s = time.perf_counter()
        event = self.queue.poll(deadline=until_s)
        told_s = time.perf_counter()
        if told_s - asked_s >= _QUIET_S:
            self.quiet_at_s = told_s
        return event

    def has_more(self) -> bool:
        """Return whether something more has completed; asked by what goes on from a completion."""
        if self._ahead is None:
            event = self.queue.poll(deadline=_PAST)
            if event.tag is not None:
                self._ahead = event
        return self._ahead is not None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: D102
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: D102
        return self._files.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:  # noqa: D102
        return self._files.get_map()

    def close(self) -> None:
        """Watch no more."""
        self._closed = True
        self._end.close()
        self._heard.release()
        if self._watching:
            self._watcher.join()
        self._files.close()
        self._ending.close()

    def _watch(self) -> None:
        while not self._closed:
            if self._files.select() and not self._closed:
                self._bell.ring()
                self._heard.acquire()


class _Bell:
    """Wakes who waits for completions, from any thread.

    The core offers Python nothing to complete at will, but that a server without a port has shut down.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._server = self._made()

    def ring(self) -> None:
        """Complete with the bell itself as the tag."""
        self._server.shutdown(self._queue, self)
        self._server = self._made()

    def _made(self) -> Any:
        server = cygrpc.Server((), False)
        server.register_completion_queue(self._queue)
        server.start()
        return server


class CompletionLoop(asyncio.SelectorEventLoop):
    """An event loop that sleeps where gRPC's core wakes it.

    Attributes
    ----------
    completions
        What it waits with.
    """

    def __init__(self) -> None:
        self.completions = CompletionSelector()
        super().__init__(self.completions)

    def call_soon(self, *args: Any, **context: Any) -> asyncio.Handle:  # type: ignore[override]
        """Take note that the loop is wanted."""
        self.completions.idle = False
        return super().call_soon(*args, **context)

    def call_at(self, *args: Any, **context: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        """Take note that the loop is wanted: how long it may sleep is to be worked out anew."""
        self.completions.idle = False
        return super().call_at(*args, **context)


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` to its end in a loop of its own; where the loop fails, ``work`` is cancelled."""
    loop = CompletionLoop()
    asyncio.set_event_loop(loop)
    task = loop.create_task(work)
    try:
        loop.run_until_complete(task)
    finally:
        if not task.done():
            # Else its threads would keep the process, which answers nobody any more.
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
