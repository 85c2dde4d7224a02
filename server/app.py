"""Knows the life of a server process: open, listen, be healthy, drain, stop.

It refuses to know what is answered.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from ilk import ann
from ilk.errors import SettingsError
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
    health: health_aio.HealthServicer


@contextlib.asynccontextmanager
async def serving(
    settings: ServerSettings, service_type: type[SimilarityService] = SimilarityService
) -> AsyncIterator[Running]:
    """Serve the store's current bundle until the context ends, then drain.

    Parameters
    ----------
    settings
        Where to listen and what to serve.
    service_type
        What answers; benchmarks put an empty one in its place.

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
    live.start()
    with ThreadPoolExecutor(settings.executor_threads, "search") as executor:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
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
            yield Running(port, health)
        finally:
            await health.enter_graceful_shutdown()
            await server.stop(settings.grace_s)
            live.stop()


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> int:
    address = _address(settings.host, settings.port)
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise SettingsError(f"cannot listen on {address}: is another server there?") from error


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--ready-file {path} cannot be written: {error}") from error


async def run(
    settings: ServerSettings, service_type: type[SimilarityService] = SimilarityService
) -> None:
    """Serve until SIGTERM or SIGINT; parameters and errors as :func:`serving`."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform != "win32":
            loop.add_signal_handler(number, stopping.set)
    async with serving(settings, service_type) as running:
        address = _address(settings.host, running.port)
        log.info("listening on %s", address)
        if settings.ready_file is not None:
            _write(settings.ready_file, address + "\n")
        await stopping.wait()
        log.info("stopping: calls under way have %g s", settings.grace_s)
