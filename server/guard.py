"""Knows what every call goes through: it is counted, timed, and ends with a documented status.

It refuses to know what is asked. The text of an unforeseen error stays here.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc

from ilk.errors import DeadlineExceeded, IlkError, let_go
from ilk.types import Examples, ItemId, Profile, Text, UserId
from server import status
from server.access.control import Access
from server.access.terms import Terms
from server.admission import Gate, Lane, Patience, Shed
from server.logs import cause_of
from server.metrics import NO_KIND, Calls, Counts
from server.privacy.users import UserPrivacy

log = logging.getLogger("ilk.server")

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

REQUEST_ID: Final = "x-request-id"
KINDS: Final[dict[type, str]] = {
    ItemId: "item",
    UserId: "user",
    Profile: "profile",
    Examples: "examples",
    Text: "text",
}
_MAX_REQUEST_ID = 128
# What has less time left is not begun: its answer would not be there in time.
TOO_LATE_S = 1e-3
# What is told to a call that is turned away unread.
_RETRY_S = 0.1


class ByKind(dict[str, Calls]):
    """The calls of one rpc by kind of query, each found in one look-up."""

    def __init__(self, counts: Counts, method: str) -> None:
        super().__init__()
        self._counts = counts
        self._method = method

    def __missing__(self, kind: str) -> Calls:
        self[kind] = calls = self._counts.of(self._method, kind)
        return calls


class Call:
    """One call, as its handler sees it; what the handler writes here is counted when it ends.

    Parameters
    ----------
    context
        gRPC's.
    by_kind
        Where queries of its rpc are counted.

    Attributes
    ----------
    terms
        On what terms its caller is answered; None: on any.
    left_s
        Seconds that were left until the deadline when the call began; None if there is none.
    kind
        Of query.
    code
        The name of the status that it ends with.
    search_s, requested, returned
        The time spent looking for neighbors; how many were asked for, and found.
    """

    __slots__ = (
        "_id",
        "by_kind",
        "code",
        "context",
        "kind",
        "left_s",
        "requested",
        "returned",
        "search_s",
        "terms",
    )

    def __init__(self, context: Context, by_kind: ByKind) -> None:
        self.context = context
        self.by_kind = by_kind
        self.left_s = context.time_remaining()
        self.terms: Terms | None = None
        self._id: str | None = None
        self.kind = NO_KIND
        self.code = "OK"
        self.search_s = 0.0
        self.requested = self.returned = 0

    def patience(self) -> Patience:
        """Return how long the caller will wait from now on."""
        return Patience(self.context.time_remaining())

    @property
    def privacy(self) -> UserPrivacy | None:
        """What is kept from the caller; None: nothing."""
        return None if self.terms is None else self.terms.privacy

    @property
    def metadata(self) -> dict[str, str]:
        """What the caller sent with the call, but for binary values."""
        pairs = self.context.invocation_metadata() or ()
        return {key: value for key, value in pairs if isinstance(value, str)}

    @property
    def request_id(self) -> str:
        """The caller's own name for the call, or one made here; what the log knows it by."""
        if self._id is None:
            told = self.metadata.get(REQUEST_ID, "")
            fit = told.isascii() and told.isprintable()
            self._id = told[:_MAX_REQUEST_ID] if told and fit else _made_up_id()
        return self._id


Observer: TypeAlias = Callable[[str, Call, float], None]


class Guard:
    """Wraps handlers.

    Parameters
    ----------
    gate
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
        gate: Gate,
        counts: Counts,
        observers: Sequence[Observer] = (),
        access: Access | None = None,
    ) -> None:
        self._gate = gate
        self.counts = counts
        self._observers = observers
        self._access = access

    def refuses(self, lane: Lane | None, left_s: float) -> bool:
        """Take note that a call has come, and tell whether to turn it away before it is even read.

        Parameters
        ----------
        lane
            Where its work would wait, if that is known.
        left_s
            How long its caller will wait.
        """
        gate = self._gate
        gate.passed += 1
        if gate.in_flight >= gate.max_in_flight:
            self.counts.shed["in flight"] += 1
            return True
        if lane is not None and lane.is_full(left_s):
            self.counts.shed["queue"] += 1
            return True
        return False

    def unary(
        self, method: str, handler: Callable[[bytes, Call], Awaitable[bytes]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """Return what gRPC calls for a unary rpc."""
        if self._access is not None:
            handler = self._access.admitted(method, handler)
        gate, by_kind = self._gate, ByKind(self.counts, method)

        async def guarded(data: bytes, context: Context) -> bytes:
            started_s = perf_counter()
            gate.in_flight += 1
            gate.passed += 1
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
                gate.in_flight -= 1
                gate.passed += 1
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
        gate, by_kind = self._gate, ByKind(self.counts, method)

        async def guarded(_: object, context: Context) -> None:
            started_s = perf_counter()
            gate.streams += 1
            call = Call(context, by_kind)
            try:
                if gate.streams > gate.max_streams:
                    self.counts.shed["in flight"] += 1
                    raise Shed(_RETRY_S)
                await converse(context, call)
            except asyncio.CancelledError:
                call.code = "CANCELLED"
                raise
            except Exception as error:  # noqa: BLE001 - the last door: nothing passes it unlogged
                await self._end(context, call, error)
            finally:
                gate.streams -= 1
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
        except Exception as error:  # noqa: BLE001 - a fault of what guards the others
            await fail(context, error)

    return handle_and_tell_nothing


async def fail(context: Context, error: BaseException) -> NoReturn:
    """Log a fault of ours, and end the call that met it without a word of it."""
    name = _made_up_id()
    log_failure(name, error)
    await context.abort(grpc.StatusCode.INTERNAL, status.internal(name))
    raise AssertionError  # abort raises


def failing(error: BaseException) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return a handler that ends a call, whatever its rpc, because of a fault that was met before."""

    async def handle(_: object, context: Context) -> None:
        await fail(context, error)

    return grpc.stream_stream_rpc_method_handler(handle)


def _made_up_id() -> str:
    return uuid.uuid4().hex[:16]


async def _shed(_: object, context: Context) -> None:
    await context.abort_with_status(status.to_shed_status(_RETRY_S))


# A handler of streams, whatever the rpc: gRPC reads no message before it runs.
SHEDDING: Final["grpc.RpcMethodHandler[Any, Any]"] = grpc.stream_stream_rpc_method_handler(_shed)


def log_failure(request_id: str, error: BaseException) -> None:
    """Log a fault of ours under the call's request id, without what the caller sent."""
    cause = cause_of(error)
    log.error("request %s failed\n%s", request_id, cause, extra={"request_id": request_id})


def log_call(method: str, call: Call, took_s: float) -> None:
    """Leave a line in the log of a call that ended; an :data:`Observer`."""
    fields = {
        "request_id": call.request_id,
        "method": method,
        "kind": call.kind,
        "code": call.code,
        "took_ms": round(1e3 * took_s, 3),
    }
    if call.terms is not None:
        fields["caller"] = call.terms.name
    log.info("%(method)s %(code)s in %(took_ms)g ms, request %(request_id)s", fields, extra=fields)
