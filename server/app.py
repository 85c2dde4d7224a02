"""Knows the life of a process that answers calls: open, listen, be healthy, drain, stop.

It refuses to know what is answered, and whether there are other such processes beside it.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from ilk import ann
from server.address import address_of, taken, write_ready_file
from server.link import Report
from server.live import Live
from server.service import SERVICE, SimilarityService
from server.settings import ServerSettings

log = logging.getLogger("ilk.server")

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NAMES = ("", SERVICE.full_name)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers on ``port``."""

    port: int
    live: Live
    health: health_aio.HealthServicer


class Reporter(Protocol):
    """Who is told that a worker serves: see :class:`server.worker.Reporter`."""

    def begin(self, report: Callable[[], Report], stop: Callable[[], object]) -> None:
        """Take reports from now on."""

    def end(self) -> None:
        """Take no more."""


@contextlib.asynccontextmanager
async def serving(
    settings: ServerSettings,
    service_type: type[SimilarityService] = SimilarityService,
    *,
    fallback_version: str | None = None,
    shared_port: bool = False,
) -> AsyncIterator[Running]:
    """Serve the store's current bundle until the context ends, then drain.

    Parameters
    ----------
    settings
        Where to listen and what to serve.
    service_type
        What answers; benchmarks put an empty one in its place.
    fallback_version
        Served if the current bundle is refused.
    shared_port
        Whether other processes listen on the port too.

    Raises
    ------
    BundleError
        If there is no bundle to serve.
    SettingsError
        If the address cannot be listened on.
    """
    # One thread a search: faiss would give every calling thread a pool of its own.
    ann.use_threads(1)
    live = Live(settings.store, settings.poll_interval_s)
    live.start(fallback_version)
    with ThreadPoolExecutor(settings.executor_threads, "search") as executor:
        server = grpc.aio.server(options=[("grpc.so_reuseport", int(shared_port))])
        server.add_generic_rpc_handlers((service_type(live, executor).handlers(),))
        health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        if settings.reflection:
            names = (SERVICE.full_name, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        try:
            port = _listen(server, settings)
            await server.start()
            for name in _NAMES:
                await health.set(name, _SERVING)
            # What is there now stays: no collection need look at it again.
            gc.collect()
            gc.freeze()
            yield Running(port, live, health)
        finally:
            await health.enter_graceful_shutdown()
            await server.stop(settings.grace_s)
            live.stop()


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> int:
    address = address_of(settings.host, settings.port)
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise taken(address) from error


async def run(
    settings: ServerSettings,
    service_type: type[SimilarityService] = SimilarityService,
    *,
    reporter: Reporter | None = None,
    fallback_version: str | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, and look for a new bundle at SIGHUP.

    Parameters and errors as :func:`serving`; with a ``reporter`` this is one worker of several.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    context = serving(
        settings,
        service_type,
        fallback_version=fallback_version,
        shared_port=reporter is not None,
    )
    async with context as running:
        _heed_signals(loop, stopping, running.live)
        address = address_of(settings.host, running.port)
        if reporter is not None:
            reporter.begin(
                lambda: Report(running.live.get().bundle.version),
                lambda: loop.call_soon_threadsafe(stopping.set),
            )
        else:
            log.info("listening on %s", address)
            if settings.ready_file is not None:
                write_ready_file(settings.ready_file, address)
        await stopping.wait()
        log.info("stopping: calls under way have %g s", settings.grace_s)
    if reporter is not None:
        reporter.end()


def _heed_signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event, live: Live) -> None:
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, live.look)


def start(
    settings: ServerSettings,
    *,
    reporter: Reporter | None = None,
    fallback_version: str | None = None,
) -> None:
    """Run :func:`run` in the quickest event loop there is."""
    serve = run(settings, reporter=reporter, fallback_version=fallback_version)
    try:
        import uvloop
    except ImportError:  # Windows has none
        asyncio.run(serve)
    else:
        uvloop.run(serve)
