"""Knows how the server tells whether it serves: beside the rpcs, and on a port of its own.

It refuses to know why. On the port of its own, threads of its own answer, however busy the event loop
is.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from server import connections
from server.address import address_of, taken

# "" is the server as a whole.
SERVICES: Final = ("", "ilk.v1.SimilarityService")
_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
_NOT_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
_UNKNOWN = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
# Checks are answered in microseconds; watchers hold no thread.
_N_THREADS = 2


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


class HealthPort:
    """What is told on the port of its own, from any thread.

    Attributes
    ----------
    port
        The port; None if nobody listens.
    """

    def __init__(self) -> None:
        self.port: int | None = None
        self.servicer = health.HealthServicer()
        self._serving = True
        self.tell(serving=False)

    def tell(self, *, serving: bool) -> None:
        """Tell every check and watch from now on whether the server serves."""
        if serving is self._serving:
            return
        self._serving = serving
        told = _SERVING if serving else _NOT_SERVING
        for service in SERVICES:
            self.servicer.set(service, told.status)


@contextlib.contextmanager
def health_port(host: str, port: int | None) -> Iterator[HealthPort]:
    """Answer health checks on ``port`` until the context ends; NOT_SERVING until told otherwise.

    Without a port, nobody listens.

    Raises
    ------
    SettingsError
        If the address cannot be listened on.
    """
    told = HealthPort()
    if port is None:
        yield told
        return
    with ThreadPoolExecutor(_N_THREADS, "health") as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0), *connections.CHECKED])
        health_pb2_grpc.add_HealthServicer_to_server(told.servicer, server)
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
