"""Knows what every call goes through: it is counted, timed, and ends with a documented status.

It refuses to know what is asked. The text of an unforeseen error stays here.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Final, NoReturn, TypeVar

import grpc

from ilk.errors import DeadlineExceeded, IlkError, let_go
from server import status
from server.access.control import Access
from server.calls.call import REQUEST_ID, ByKind, Call, Context, Observer, log_failure, made_up_id
from server.load.admission import Lane, Shed
from server.load.backlog import TOO_LATE_S, Waited, is_in_vain
from server.load.traffic import Traffic
from server.observability.logs import is_of_a_lost_call
from server.observability.metrics import NO_KIND, Counts
from server.wire.refusal import Refusal

Request = TypeVar("Request")
Reply = TypeVar("Reply")
# What is told to a call that is turned away unread.
_RETRY_S = 0.1


class Guard:
    """Wraps handlers.

    Parameters
    ----------
    traffic
        Counts the calls under way.
    counts
        Where calls are counted by rpc, kind and status.
    observers
        Told of each call as it ends: its rpc, itself, and the seconds it took.
    access
        Who is let in; None: everybody.
    """

    def __init__(
        self,
        traffic: Traffic,
        counts: Counts,
        observers: Sequence[Observer] = (),
        access: Access | None = None,
    ) -> None:
        self._traffic = traffic
        self.counts = counts
        self._observers = observers
        self._access = access

    def refusal(
        self, lane: Lane | None, waited: Waited | None
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Take note that a call has come, and return what ends it before it is even read; None: nothing.

        Parameters
        ----------
        lane
            Where its work would wait, if that is known.
        waited
            What the transport tells of it; None where that is ``grpc.aio``, which tells nothing.
        """
        traffic = self._traffic
        traffic.passed += 1
        if traffic.in_flight >= traffic.max_in_flight:
            self.counts.shed["in flight"] += 1
            return SHEDDING
        left_s = math.inf
        if waited is not None:
            told_s = waited.time_remaining()
            left_s = math.inf if told_s is None else told_s
            if is_in_vain(waited, left_s):
                if left_s <= TOO_LATE_S:
                    self.counts.expired["arrival"] += 1
                    return EXPIRED
                self.counts.shed["late"] += 1
                return SHEDDING
        if lane is not None and lane.is_full(left_s):
            self.counts.shed["queue"] += 1
            return SHEDDING
        return None

    def turned_away(self, method: str, context: Any) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return what ends a unary call of who may not make it, before it is read; None: it may.

        On what terms it may, the context is told.

        Parameters
        ----------
        method
            The rpc.
        context
            Of our own transport, a ``CallContext``: it knows who calls before it reads what is asked.
        """
        if self._access is None:
            return None
        try:
            self._access.check(method, context)
        except IlkError as refusal:
            error = refusal

            async def refuse(_: object, call: Call) -> NoReturn:
                call.terms = context.terms
                raise error

            return grpc.stream_stream_rpc_method_handler(self._guarded(method, refuse))
        return None

    def unary(
        self, method: str, handler: Callable[[bytes, Call], Awaitable[bytes]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """Return what gRPC calls for a unary rpc."""
        if self._access is not None:
            handler = self._access.admitted(method, handler)
        return self._guarded(method, handler)

    def _guarded(
        self, method: str, handler: Callable[[bytes, Call], Awaitable[bytes]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        traffic, by_kind = self._traffic, ByKind(self.counts, method)

        async def guarded(data: bytes, context: Context) -> bytes:
            started_s = perf_counter()
            traffic.in_flight += 1
            traffic.passed += 1
            call = Call(context, by_kind)
            try:
                if call.left_s is not None and call.left_s <= TOO_LATE_S:
                    self.counts.expired["arrival"] += 1
                    raise DeadlineExceeded(status.EXPIRED)
                return await handler(data, call)
            except asyncio.CancelledError:
                call.code = "CANCELLED"
                raise
            except Exception as error:  # noqa: BLE001 - the last door: nothing passes it unlogged
                # gRPC keeps how a call was ended, with the frames up to here, until a collection.
                data = b""
                await self._end(context, call, error)
            finally:
                traffic.in_flight -= 1
                traffic.passed += 1
                took_s = perf_counter() - started_s
                by_kind[call.kind].record(call.code, took_s, call)
                for observe in self._observers:
                    observe(method, call, took_s)

        return behind_last_door(guarded)

    def stream(
        self, method: str, converse: Callable[[Context, Call], Awaitable[None]]
    ) -> Callable[[object, Context], Awaitable[None]]:
        """Return what gRPC calls for an rpc of two streams."""
        if self._access is not None:
            converse = self._access.admitted(method, converse)
        traffic, by_kind = self._traffic, ByKind(self.counts, method)

        async def guarded(_: object, context: Context) -> None:
            started_s = perf_counter()
            traffic.streams += 1
            call = Call(context, by_kind)
            try:
                if traffic.streams > traffic.max_streams:
                    self.counts.shed["in flight"] += 1
                    raise Shed(_RETRY_S)
                await converse(context, call)
            except asyncio.CancelledError:
                call.code = "CANCELLED"
                raise
            except Exception as error:  # noqa: BLE001 - the last door: nothing passes it unlogged
                await self._end(context, call, error)
            finally:
                traffic.streams -= 1
                by_kind[NO_KIND].statuses[call.code] += 1
                for observe in self._observers:
                    observe(method, call, perf_counter() - started_s)

        return behind_last_door(guarded)

    async def _end(self, context: Context, call: Call, error: Exception) -> NoReturn:
        """End a call with the status of ``error``; what is a fault of ours goes to the log."""
        if isinstance(error, IlkError) and not status.is_ours(error):
            call.code = status.name_of(error)
            let_go(error)
            told = (
                status.to_shed_status(error.retry_after_s, str(error))
                if isinstance(error, Shed)
                else status.to_status(error)
            )
            await context.abort_with_status(told)
        call.code = "INTERNAL"
        log_failure(call.request_id, error)
        let_go(error)
        metadata = ((REQUEST_ID, call.request_id),)
        text = status.internal(call.request_id)
        await context.abort(grpc.StatusCode.INTERNAL, text, metadata)
        raise AssertionError  # abort raises


def behind_last_door(
    handle: Callable[[Request, Context], Awaitable[Reply]],
) -> Callable[[Request, Context], Awaitable[Reply]]:
    """Return ``handle``, with what it raises kept from gRPC, which would tell the caller its text."""

    async def handle_and_tell_nothing(request: Request, context: Context) -> Reply:
        try:
            return await handle(request, context)
        except grpc.aio.AbortError:  # the call was ended on purpose
            del request
            raise
        except Exception as error:
            if is_of_a_lost_call(error):
                raise
            await fail(context, error)

    return handle_and_tell_nothing


async def fail(context: Context, error: BaseException) -> NoReturn:
    """Log a fault of ours, and end the call that met it without a word of it."""
    name = made_up_id()
    log_failure(name, error)
    await context.abort(grpc.StatusCode.INTERNAL, status.internal(name))
    raise AssertionError  # abort raises


def failing(error: BaseException) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return a handler that ends a call, whatever its rpc, because of a fault that was met before."""

    async def handle(_: object, context: Context) -> None:
        await fail(context, error)

    return grpc.stream_stream_rpc_method_handler(handle)


SHEDDING: Final = Refusal(status.to_shed_status(_RETRY_S))
EXPIRED: Final = Refusal(status.to_status(DeadlineExceeded(status.EXPIRED)))
