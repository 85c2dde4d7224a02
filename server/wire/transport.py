"""Knows how calls find their handlers and end: a server as ``grpc.aio``'s is, for what is used of it.

It refuses to know what is served. Built on what ``grpc.server`` is built on, which is not gRPC's public
face: ``make test`` holds it to what ``grpc.aio`` does.
"""

import asyncio
import inspect
import logging
from collections.abc import Sequence
from typing import Any, Final

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from server.observability.logs import cause_of
from server.wire.context import CallContext, messages
from server.wire.loop import CompletionLoop
from server.wire.refusal import Refusal
from server.wire.unfinished import LOOK_S, Unfinished
from server.wire.unread import Unread

log = logging.getLogger("ilk.server")

_UNIMPLEMENTED: Final = grpc.StatusCode.UNIMPLEMENTED.value[0]
_INTERNAL: Final = grpc.StatusCode.INTERNAL.value[0]
_UNKNOWN: Final = grpc.StatusCode.UNKNOWN.value[0]


class _Asked:
    """Details of a call, by which its handler is found."""

    __slots__ = ("call", "invocation_metadata", "method")

    def __init__(self, method: str, call: CallContext) -> None:
        self.method = method
        self.invocation_metadata = call.invocation_metadata()
        self.call = call


class Server:
    """Serves on the loop that it is made in.

    Parameters
    ----------
    options
        Of the channel, as of ``grpc.aio.server``.
    """

    def __init__(self, options: Sequence[tuple[str, Any]]) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CompletionLoop)
        self._loop = loop
        self._queue = loop.completions.queue
        self._core = cygrpc.Server(tuple(options), False)
        self._core.register_completion_queue(self._queue)
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._calls: set[CallContext] = set()
        self._unread = Unread()
        self._unfinished = Unfinished(self._calls)
        self._next_look: asyncio.TimerHandle | None = None
        self._stopped: asyncio.Future[None] | None = None

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve what the handlers know."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, name: str, handlers: Any) -> None:
        """Do nothing: who calls this has given the same handlers to the method above."""

    def add_insecure_port(self, address: str) -> int:
        """Listen in plaintext; return the port. RuntimeError if that cannot be."""
        return self._listening(self._core.add_http2_port(address.encode()), address)

    def add_secure_port(self, address: str, credentials: grpc.ServerCredentials) -> int:
        """Listen with TLS; return the port. RuntimeError if that cannot be."""
        core: Any = credentials
        told = self._core.add_http2_port(address.encode(), core._credentials)
        return self._listening(told, address)

    async def start(self) -> None:
        """Take calls."""
        self._core.start()
        self._core.request_call(self._queue, self._queue, self)
        self._look()

    async def stop(self, grace_s: float | None) -> None:
        """Take no more calls; cancel those that are under way after ``grace_s``."""
        if self._stopped is None:
            self._stopped = self._loop.create_future()
            self._core.shutdown(self._queue, _Stop(self._stopped))
        timer = self._loop.call_later(grace_s or 0.0, self._core.cancel_all_calls)
        try:
            await asyncio.shield(self._stopped)
        finally:
            timer.cancel()
            if self._next_look is not None:
                self._next_look.cancel()

    def complete(self, event: Any) -> None:
        """Take up a call, and ask for the next."""
        if not event.success:  # the server has stopped
            return
        # One that came before the end began is taken up; the core refuses to be asked for more then.
        if self._stopped is None:
            self._core.request_call(self._queue, self._queue, self)
        call = CallContext(event, self._loop, self._calls.discard, self._unread)
        self._calls.add(call)
        try:
            self._begin(call, event)
        except Exception as error:  # noqa: BLE001 - one call must not end the others
            _fail(call, error)

    def _begin(self, call: CallContext, event: Any) -> None:
        name = event.call_details.method
        method = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        handler = self._find(_Asked(method, call))
        if handler is None:
            call.end(_UNIMPLEMENTED, "Method not found!")
        elif isinstance(handler, Refusal):
            call.end_with(handler.status)
        elif handler.request_streaming:
            call.go_on(_converse(call, handler))
        else:
            call.receive(_Unary(call, handler))

    def _look(self) -> None:
        self._unfinished.look()
        self._next_look = self._loop.call_later(LOOK_S, self._look)

    def _find(self, asked: _Asked) -> Any:
        for handlers in self._handlers:
            found = handlers.service(asked)
            if found is not None:
                return found
        return None

    def _listening(self, port: int, address: str) -> int:
        if port == 0:
            raise RuntimeError(f"Failed to bind to address {address}")
        return port


class _Stop:
    def __init__(self, stopped: "asyncio.Future[None]") -> None:
        self._stopped = stopped

    def complete(self, event: Any) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)


class _Unary:
    """Waits for the one message of a call."""

    __slots__ = ("_call", "_handler")

    def __init__(self, call: CallContext, handler: Any) -> None:
        self._call = call
        self._handler = handler

    def complete(self, event: Any) -> None:
        call, handler = self._call, self._handler
        call.awaits_message = False
        message = event.batch_operations[0].message()
        if message is None:
            if not call.cancelled():
                call.end(_UNIMPLEMENTED, "requires exactly one request message")
            return
        if handler.request_deserializer is not None:
            try:
                message = handler.request_deserializer(message)
            except Exception:  # noqa: BLE001 - whatever a parser says, these were no message
                call.end(_INTERNAL, "Exception deserializing request!")
                return
        if handler.response_streaming:
            call.go_on(_tell(call, handler, handler.unary_stream(message, call)))
        else:
            call.begin(_answer(call, handler, message))


async def _answer(call: CallContext, handler: Any, message: Any) -> None:
    try:
        answer = await handler.unary_unary(message, call)
        serialize = handler.response_serializer
        call.answer(answer if serialize is None else serialize(answer))
    except grpc.aio.AbortError:
        pass
    except Exception as error:  # noqa: BLE001 - as grpc.aio does
        _fail(call, error)


async def _converse(call: CallContext, handler: Any) -> None:
    behave = handler.stream_stream
    if inspect.isasyncgenfunction(behave):
        await _tell(call, handler, behave(_parsed(call, handler), call))
        return
    try:
        await behave(None, call)
        call.end()
    except grpc.aio.AbortError:
        pass
    except Exception as error:  # noqa: BLE001 - as grpc.aio does
        _fail(call, error)


async def _parsed(call: CallContext, handler: Any) -> Any:
    async for message in messages(call):
        yield handler.request_deserializer(message)


async def _tell(call: CallContext, handler: Any, answers: Any) -> None:
    try:
        async for answer in answers:
            await call.write(handler.response_serializer(answer))
        call.end()
    except grpc.aio.AbortError:
        pass
    except Exception as error:  # noqa: BLE001 - as grpc.aio does
        _fail(call, error)


def _fail(call: CallContext, error: Exception) -> None:
    """End a call that met an error which nobody handled; the log gets its place, not its text."""
    log.error("a handler failed\n%s", cause_of(error))
    call.end(_UNKNOWN, f"Unexpected {type(error)}")
