"""Knows how the messages of a stream come in and go out, many for one turn of the event loop.

It refuses to know whose they are, and what they say.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from grpc._cython import cygrpc  # type: ignore[attr-defined]

_NO_FLAGS: Final = 0
_RECEIVE: Final = cygrpc.ReceiveMessageOperation
_SEND: Final = cygrpc.SendMessageOperation
# What is read before anybody asks for it; beyond, the caller waits.
_MOST_AHEAD: Final = 64
_MOST_AHEAD_BYTES: Final = 65_536


class Inbox:
    """What the caller of a stream sends: read ahead as far as it is little.

    Parameters
    ----------
    call
        The core's.
    loop
        Where it is waited for.
    """

    __slots__ = ("_ahead_bytes", "_call", "_ended", "_loop", "_messages", "_reading", "_wanted")

    def __init__(self, call: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop
        self._messages: deque[bytes] = deque()
        self._ahead_bytes = 0
        self._reading = self._ended = False
        self._wanted: asyncio.Future[None] | None = None
        self._read()

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`next` would return at once."""
        return bool(self._messages) or self._ended

    async def next(self) -> bytes | None:
        """Return the next message; None after the last."""
        while not self.is_ready:
            self._wanted = self._loop.create_future()
            await self._wanted
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._ahead_bytes -= len(message)
        self._read()
        return message

    def complete(self, event: Any) -> None:
        """Take a message from the core, and ask for the next."""
        self._reading = False
        message = event.batch_operations[0].message()
        if message is None:
            self._ended = True
        else:
            self._messages.append(message)
            self._ahead_bytes += len(message)
            self._read()
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def _read(self) -> None:
        full = len(self._messages) >= _MOST_AHEAD or self._ahead_bytes >= _MOST_AHEAD_BYTES
        if not (self._reading or self._ended or full):
            self._reading = True
            self._call.start_server_batch((_RECEIVE(_NO_FLAGS),), self)


class Outbox:
    """Messages on their way to the caller of a stream: each is sent when the one before is.

    Parameters
    ----------
    call
        The core's.
    loop
        Where it is waited for.
    beginning
        Operations that go before.
    messages
        At least one.

    Attributes
    ----------
    sent
        Done when the last message is on its way, or the call is over.
    """

    __slots__ = ("_at", "_call", "_messages", "sent")

    def __init__(
        self,
        call: Any,
        loop: asyncio.AbstractEventLoop,
        beginning: tuple[Any, ...],
        messages: Sequence[bytes],
    ) -> None:
        self._call = call
        self._messages = messages
        self._at = 0
        self.sent: asyncio.Future[None] = loop.create_future()
        self._send(beginning)

    def complete(self, event: Any) -> None:
        """Send the next message."""
        self._at += 1
        if self.sent.done():  # whoever waited was cancelled
            return
        if not event.success or self._at == len(self._messages):
            self.sent.set_result(None)
        else:
            self._send(())

    def _send(self, before: tuple[Any, ...]) -> None:
        message = _SEND(self._messages[self._at], _NO_FLAGS)
        self._call.start_server_batch((*before, message), self)
