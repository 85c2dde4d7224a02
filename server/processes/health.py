"""Knows how the server tells whether it serves: beside the rpcs, and on a port of its own.

It refuses to know why. On the port of its own, threads of its own answer, however busy the event loop
is.
"""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from typing import Any, Final, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server import connections
from server.address import address_of, expect_free, taken

_Told: TypeAlias = health_pb2.HealthCheckResponse
# "" is the server as a whole.
SERVICES: Final = ("", "ilk.v1.SimilarityService")
_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
_NOT_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
_UNKNOWN = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
# Checks are answered in microseconds; watchers hold no thread.
_N_THREADS = 2
# A caller who does not take what it is told holds nobody up for longer.
_TELLING_S = 1.0


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """``grpc.health.v1.Health`` on an event loop: serving until it is told to stop.

    Unlike the library's own, a watch ends when the server stops, so that none holds up the drain.
    """

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Turn to NOT_SERVING, and end every watch once it has told so."""
        self._stopping.set()

    async def Check(  # noqa: N802 - the rpc's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """Tell whether a service is served."""
        if request.service not in SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return _NOT_SERVING if self._stopping.is_set() else _SERVING

    async def Watch(  # noqa: N802 - the rpc's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Tell so now, and when it changes."""
        known = request.service in SERVICES
        if not self._stopping.is_set():
            yield _SERVING if known else _UNKNOWN
            await self._stopping.wait()
        if known:
            yield _NOT_SERVING
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")


class _Watch:
    """One caller who is told, as it changes, whether a service is served; any thread may tell."""

    def __init__(self, look: Callable[[], _Told], send: Callable[[_Told], None]) -> None:
        self._look = look
        self._send = send
        self._lock = threading.Lock()
        self._changed = self._sending = False
        self._last: _Told | None = None

    def tell(self) -> None:
        """Send what is new; where that is being done, let it be done by who does."""
        with self._lock:
            self._changed = True
            if self._sending:
                return
            self._sending = True
        while self._is_changed():
            told = self._look()
            if told is not self._last:
                self._last = told
                self._send(told)

    def _is_changed(self) -> bool:
        with self._lock:
            self._sending, self._changed = self._changed, False
            return self._sending


class HealthPort(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """``grpc.health.v1.Health`` on threads, of which watches hold none; told from any thread.

    The library's own sends while it holds the lock that ending a watch takes, on the thread that is to
    tell that something was sent: a few watches that end as they begin stop it for good.

    Attributes
    ----------
    port
        Where it answers; None if nobody listens.
    """

    def __init__(self, pool: Executor) -> None:
        self.port: int | None = None
        self._serving = False
        self._pool = pool
        self._lock = threading.Lock()
        self._watches: set[_Watch] = set()

    def tell(self, *, serving: bool) -> None:
        """Tell every check and watch from now on whether the server serves."""
        if serving is self._serving:
            return
        self._serving = serving
        with self._lock:
            watches = list(self._watches)
        wait([self._pool.submit(watch.tell) for watch in watches], _TELLING_S)

    def Check(  # noqa: N802 - the rpc's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """Tell whether a service is served."""
        if request.service not in SERVICES:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self._told(request.service)

    def Watch(  # noqa: N802 - the rpc's name
        self,
        request: health_pb2.HealthCheckRequest,
        context: Any,
        send: Callable[[_Told | None], None],
    ) -> None:
        """Tell so now, and when it changes."""
        watch = _Watch(functools.partial(self._told, request.service), send)
        with self._lock:
            self._watches.add(watch)

        def end() -> None:
            with self._lock:
                self._watches.discard(watch)
            send(None)

        if context.add_callback(end):
            watch.tell()
        else:
            end()

    def _told(self, service: str) -> _Told:
        if service not in SERVICES:
            return _UNKNOWN
        return _SERVING if self._serving else _NOT_SERVING

    # Has gRPC give it ``send``, and take its thread back.
    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]


@contextlib.contextmanager
def health_port(host: str, port: int | None) -> Iterator[HealthPort]:
    """Answer health checks on ``port`` until the context ends; NOT_SERVING until told otherwise.

    Without a port, nobody listens.

    Raises
    ------
    SettingsError
        If the address cannot be listened on.
    """
    with ThreadPoolExecutor(_N_THREADS, "health") as pool:
        told = HealthPort(pool)
        if port is None:
            yield told
            return
        if port:
            expect_free(host, port)
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0), *connections.CHECKED])
        health_pb2_grpc.add_HealthServicer_to_server(told, server)
        try:
            told.port = server.add_insecure_port(address_of(host, port))
        except RuntimeError as error:
            raise taken(address_of(host, port)) from error
        server.start()
        try:
            yield told
        finally:
            told.tell(serving=False)
            server.stop(None).wait()
