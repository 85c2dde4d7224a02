"""Knows one call: what its handler may ask of it, and how it ends.

It refuses to know how handlers are found, and what they do.
"""

import asyncio
import time
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from typing import Any, Final, NoReturn

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from server.wire.loop import CompletionLoop
from server.wire.pause import Pause
from server.wire.stream import Inbox, Outbox
from server.wire.unread import LARGE_BYTES, Unread

_NO_FLAGS: Final = 0
# Of deadlines, which are Unix times, the core's "never" is above this.
_NEVER_S: Final = 1e15
_OK: Final = 0
_EXHAUSTED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
_RECEIVE: Final = cygrpc.ReceiveMessageOperation
_CLOSE: Final = cygrpc.ReceiveCloseOnServerOperation
_SEND: Final = cygrpc.SendMessageOperation
# They own nothing that a second batch under way would overwrite, and so serve all calls.
_BEGIN: Final = cygrpc.SendInitialMetadataOperation((), _NO_FLAGS)
_END: Final = cygrpc.SendStatusFromServerOperation((), _OK, b"", _NO_FLAGS)

Metadata = Sequence[tuple[str, str | bytes]]


class Nobody:
    """Asked for what nobody waits for."""

    def complete(self, event: Any) -> None:
        """Do nothing."""


NOBODY: Final = Nobody()


class CallContext:
    """One call, and the context that its handler is given: as much of ``grpc.aio``'s as handlers use.

    Parameters
    ----------
    event
        With which the core told of it.
    loop
        Where its handler runs if it has to wait.
    ended
        Called once nothing more will happen to it.
    unread
        Where large answers are counted.

    Attributes
    ----------
    awaits_message
        Whether it has begun, and the one message of its caller has not come.
    terms
        For whoever looks at who calls before the message is read, to leave what it found.
    """

    __slots__ = (
        "_begun",
        "_call",
        "_cancelled",
        "_ended",
        "_event",
        "_inbox",
        "_is_large",
        "_loop",
        "_over",
        "_task",
        "_unread",
        "awaits_message",
        "terms",
    )

    def __init__(
        self,
        event: Any,
        loop: CompletionLoop,
        ended: Callable[["CallContext"], object],
        unread: Unread,
    ) -> None:
        self._event = event
        self._call = event.call
        self._loop = loop
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self._over = False
        self._cancelled = False
        self._unread = unread
        self._is_large = False
        self.awaits_message = False
        self.terms: Any = None
        self._inbox: Inbox | None = None
        self._call.start_server_batch((_CLOSE(_NO_FLAGS),), self)

    # What handlers ask.

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline, at least 0; None if there is none."""
        deadline_s: float = self._event.call_details.deadline
        return None if deadline_s > _NEVER_S else max(deadline_s - time.time(), 0.0)

    def invocation_metadata(self) -> Any:
        """Return what came with the call, as pairs."""
        return self._event.invocation_metadata

    def peer(self) -> str:
        """Return who calls."""
        told: str | bytes = self._call.peer()
        return told.decode() if isinstance(told, bytes) else told

    def auth_context(self) -> dict[str, Sequence[bytes]]:
        """Return what is known of who calls from the connection."""
        told = cygrpc.auth_context(self._call)
        return {} if told is None else {key.decode(): of for key, of in told.items()}

    def cancelled(self) -> bool:
        """Return whether the caller has gone, or the deadline is over."""
        return self._cancelled

    @property
    def may_pause(self) -> bool:
        """Whether the handler may wait by a :class:`server.wire.pause.Pause`: no task runs it."""
        return self._task is None

    def has_company(self) -> bool:
        """Return whether the core has more to tell at once: of this call, or of others."""
        return self._loop.completions.has_more()

    def longest_wait_s(self) -> float:
        """Return how long it has waited at the most: as long as the core has never been quiet."""
        return time.perf_counter() - self._loop.completions.quiet_at_s

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """End the call with a status; raises AbortError."""
        self.end(code.value[0], details, trailing_metadata)
        raise grpc.aio.AbortError(f"{code.name}: {details}")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with a status; raises AbortError."""
        self.end_with(status)
        raise grpc.aio.AbortError(f"{status.code.name}: {status.details}")

    async def read(self) -> Any:
        """Return the next message of the caller's stream; ``grpc.aio.EOF`` after the last."""
        if self._inbox is None:
            self._inbox = Inbox(self._call, self._loop)
        if self._over and not self._inbox.is_ready:
            raise asyncio.CancelledError
        message = await self._inbox.next()
        if message is None and self._cancelled:
            raise asyncio.CancelledError
        return grpc.aio.EOF if message is None else message

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`read` would return at once."""
        return self._inbox is not None and self._inbox.is_ready

    async def write(self, message: bytes) -> None:
        """Send a message of the answering stream, once the one before is on its way."""
        await self.write_all((message,))

    async def write_all(self, messages: Sequence[bytes]) -> None:
        """Send messages of the answering stream, each once the one before is on its way."""
        if self._over:
            raise asyncio.CancelledError
        n_bytes = sum(map(len, messages))
        if n_bytes >= LARGE_BYTES:
            self._unread.add(self, n_bytes)
        try:
            await Outbox(self._call, self._loop, self._beginning(), messages).sent
        finally:
            self._unread.remove(self)

    # What becomes of it.

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the handler: at once as far as it gets, as most answers need not wait for anything."""
        self._step(coroutine, coroutine.send, None)

    def _step(
        self, handler: Coroutine[Any, Any, None], step: Callable[[Any], Any], value: Any
    ) -> None:
        try:
            waited = step(value)
        except (StopIteration, asyncio.CancelledError):
            return
        if isinstance(waited, Pause):
            waited.begin(handler, self._step)
        else:
            self.go_on(_resumed(handler, waited))

    def go_on(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the rest of the handler as a task."""
        self._task = self._loop.create_task(coroutine)
        if self._cancelled:
            self._cancel(self._task)

    def receive(self, tag: object) -> None:
        """Ask for the one message of a caller that sends one."""
        self.awaits_message = True
        self._call.start_server_batch((_RECEIVE(_NO_FLAGS),), tag)

    def answer(self, message: bytes) -> None:
        """End the call with the one message that answers it."""
        if not self._over:
            self._over = True
            self._call.start_server_batch((_BEGIN, _SEND(message, _NO_FLAGS), _END), NOBODY)
            if len(message) >= LARGE_BYTES:
                self._is_large = True
                self._unread.add(self, len(message))

    def end(self, code: int = _OK, details: str = "", metadata: Metadata = ()) -> None:
        """End the call with a status, unless it has ended."""
        if self._over:
            return
        self._over = True
        # The core takes names and texts; binary values have names that say so.
        pairs = tuple((key, value) for key, value in metadata)
        status = cygrpc.SendStatusFromServerOperation(pairs, code, details.encode(), _NO_FLAGS)
        self._call.start_server_batch((*self._beginning(), status), NOBODY)

    def end_with(self, status: grpc.Status) -> None:
        """End the call with a status, unless it has ended."""
        self.end(status.code.value[0], status.details, status.trailing_metadata or ())

    def let_go(self, why: str) -> None:
        """End the call, though its caller has not sent all of it, or has not read the answer."""
        self._call.cancel(_EXHAUSTED, why)

    def complete(self, event: Any) -> None:
        """Take note that the caller has gone, or has been told all."""
        self._over = True
        if self._is_large:
            self._unread.remove(self)
        if event.batch_operations[0].cancelled():
            self._cancelled = True
            if self._task is not None:
                self._cancel(self._task)
                # What it raises holds its frames, and they this: it would wait for a collection.
                self._task.add_done_callback(self._forget)
        self._ended(self)

    def _forget(self, _: object) -> None:
        self._task = None

    def _cancel(self, task: "asyncio.Task[None]") -> None:
        # Not before its first step: thrown into what has not begun, it would not reach the handler, which
        # has, and would keep for ever what it holds.
        self._loop.call_soon(task.cancel)

    def _beginning(self) -> tuple[Any, ...]:
        if self._begun:
            return ()
        self._begun = True
        return (_BEGIN,)


async def _resumed(coroutine: Coroutine[Any, Any, None], waited: Any) -> None:
    """Go on with a coroutine that waits for ``waited``."""
    # From Python 3.12 on, a task takes no generator, whatever it is decorated with.
    await _rest(coroutine, waited)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None], waited: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            sent = yield waited
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's
            step: Callable[[Any], Any] = coroutine.throw
            sent = error
        else:
            step = coroutine.send
        try:
            waited = step(sent)
        except StopIteration:
            return
        finally:
            # An error holds the frames that it passed, of which this is one.
            sent = None


async def messages(call: CallContext) -> AsyncIterator[bytes]:
    """Yield what the caller sends."""
    while (message := await call.read()) is not grpc.aio.EOF:
        yield message
