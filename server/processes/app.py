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

from ilk import ann
from server import connections
from server.access.control import Access
from server.access.opening import Doors, doors
from server.access.reflection import offer_reflection
from server.address import address_of, expect_free, taken
from server.bundles.live import Live
from server.bundles.shadow import Shadow
from server.calls.call import Observer, log_call
from server.calls.guard import Guard
from server.calls.service import SERVICE, SimilarityService
from server.calls.tracing import tracing
from server.load.traffic import Traffic
from server.load.work import Work
from server.observability.logs import watch_loop
from server.observability.metrics import Counts, Snapshot, resident_bytes
from server.processes.health import Health
from server.processes.link import Report
from server.processes.pulse import Pulse
from server.processes.signals import never
from server.settings import ServerSettings
from server.transports import AnyServer, new_server, run_in_loop

log = logging.getLogger("ilk.server")


class Reporter(Protocol):
    """Who is told how the process stands."""

    def begin(self, address: str, report: Callable[[], Report], stop: Callable[[], object]) -> None:
        """Take note that it answers at ``address``; ask ``report`` at any time, from any thread."""

    def drain(self) -> None:
        """Take note that it takes no more calls."""

    def end(self) -> None:
        """Ask no more."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers on ``port``; ``look`` lets it look for a new bundle and new files now."""

    port: int
    look: Callable[[], None]
    snapshot: Callable[[], Snapshot]


@contextlib.asynccontextmanager
async def serving(
    settings: ServerSettings,
    service_type: type[SimilarityService] = SimilarityService,
    *,
    fallback_version: str | None = None,
    shared_port: bool = False,
    ledger: int | None = None,
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
    ledger
        Memory that those share, for what callers have asked for.

    Raises
    ------
    BundleError
        If there is no bundle to serve.
    SettingsError
        If the address cannot be listened on, or a file of callers or certificates cannot be used.
    """
    # One thread a search: faiss would give every calling thread a pool of its own.
    ann.use_threads(1)
    counts, traffic = Counts(), Traffic(settings.max_in_flight)
    memory_bytes = 1e6 * settings.answer_memory_mb
    live = Live(settings.store, settings.poll_interval_s, counts, memory_bytes)
    live.start(fallback_version)
    with (
        contextlib.closing(live),
        ThreadPoolExecutor(settings.executor_threads, "search") as pool,
        contextlib.closing(Shadow(settings.shadow_share, counts)) as shadow,
        contextlib.ExitStack() as watching,
        doors(settings, counts, ledger) as entered,
    ):
        work = Work(traffic, counts, pool, settings)
        observers: list[Observer] = [log_call] if settings.log_calls else []
        if settings.tracing:
            observers.append(watching.enter_context(tracing()))
        guard = Guard(traffic, counts, observers, entered.access)
        service = service_type(live, work, shadow, guard)
        health = Health()
        server = _server(settings, service, health, entered.access, shared_port=shared_port)
        port = _listen(server, settings, entered.credentials, shared_port=shared_port)
        await server.start()
        # What is there now stays: no collection need look at it again.
        gc.collect()
        gc.freeze()
        try:

            def look() -> None:
                live.look()
                entered.look()

            yield Running(port, look, lambda: _snapshot(counts, traffic, work, live, entered))
        finally:
            health.stop()
            service.stop()
            await server.stop(settings.grace_s)
            gc.unfreeze()


def _server(
    settings: ServerSettings,
    service: SimilarityService,
    health: Health,
    access: Access | None,
    *,
    shared_port: bool,
) -> AnyServer:
    options = [
        ("grpc.so_reuseport", int(shared_port)),
        ("grpc.max_concurrent_streams", settings.max_calls_per_connection),
        ("grpc.server.max_pending_requests", settings.max_queued),
        ("grpc.server.max_pending_requests_hard_limit", 2 * settings.max_queued),
        *connections.CHECKED,
        *connections.lasting(settings.max_connection_age_s),
    ]
    server = new_server(options)
    server.add_generic_rpc_handlers((service.handlers(),))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if settings.reflection:
        names = (SERVICE.full_name, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        offer_reflection(server, names, access)
    return server


def _listen(
    server: AnyServer,
    settings: ServerSettings,
    credentials: grpc.ServerCredentials | None,
    *,
    shared_port: bool,
) -> int:
    address = address_of(settings.host, settings.port)
    if settings.port and not shared_port:
        expect_free(settings.host, settings.port)
    try:
        with connections.numbered_above():
            if credentials is not None:
                return server.add_secure_port(address, credentials)
            return server.add_insecure_port(address)
    except RuntimeError as error:
        raise taken(address) from error


def _snapshot(counts: Counts, traffic: Traffic, work: Work, live: Live, entered: Doors) -> Snapshot:
    served = live.get()
    return Snapshot(
        counts=counts.copy(),
        in_flight=traffic.in_flight,
        waiting_s=work.wait_s,
        memory_bytes=resident_bytes(),
        version=served.bundle.version,
        created_at_s=served.bundle.manifest.created_at_s,
        live_since_s=served.since_s,
        certificate_expires_at_s=entered.certificates.expires_at_s,
    )


async def run(
    settings: ServerSettings,
    reporter: Reporter,
    service_type: type[SimilarityService] = SimilarityService,
    *,
    fallback_version: str | None = None,
    shared_port: bool = False,
    ledger: int | None = None,
    is_closed: Callable[[], bool] = never,
) -> None:
    """Serve until SIGTERM or SIGINT; look for a new bundle, callers and certificates at SIGHUP.

    Parameters and errors as :func:`serving`; ``reporter`` is told how it goes, and ``is_closed`` asked
    at SIGHUP whether it says that the terminal is closed, and so the same as SIGTERM.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    watch_loop(loop)
    context = serving(
        settings,
        service_type,
        fallback_version=fallback_version,
        shared_port=shared_port,
        ledger=ledger,
    )
    try:
        async with context as running:
            _heed_signals(loop, stopping, running.look, is_closed)
            pulse = Pulse()
            reporter.begin(
                address_of(settings.host, running.port),
                lambda: Report(pulse.is_steady and not stopping.is_set(), running.snapshot()),
                lambda: loop.call_soon_threadsafe(stopping.set),
            )
            await stopping.wait()
            log.info("stopping: calls under way have %g s", settings.grace_s)
            reporter.drain()
            pulse.stop()
    finally:
        reporter.end()


def _heed_signals(
    loop: asyncio.AbstractEventLoop,
    stopping: asyncio.Event,
    look: Callable[[], None],
    is_closed: Callable[[], bool],
) -> None:
    def hang_up() -> None:
        if is_closed():
            stopping.set()
        else:
            look()

    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, hang_up)


def start(
    settings: ServerSettings,
    reporter: Reporter,
    service_type: type[SimilarityService] = SimilarityService,
    *,
    fallback_version: str | None = None,
    shared_port: bool = False,
    ledger: int | None = None,
    is_closed: Callable[[], bool] = never,
) -> None:
    """Run :func:`run` in the event loop that the transport wants."""
    serve = run(
        settings,
        reporter,
        service_type,
        fallback_version=fallback_version,
        shared_port=shared_port,
        ledger=ledger,
        is_closed=is_closed,
    )
    run_in_loop(serve, settings.transport)
