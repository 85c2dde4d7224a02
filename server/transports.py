"""Knows which transport calls come by: our own on gRPC's core, or ``grpc.aio``.

It refuses to know what either does. Our own is built on names of grpcio that are not public, and it is
imported only where they all are there: a grpcio without them is served by ``grpc.aio``.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from server.settings import Transport

if TYPE_CHECKING:
    from server.wire.transport import Server

AnyServer: TypeAlias = "grpc.aio.Server | Server"

log = logging.getLogger("ilk.server")

# All that `server.wire` asks of the core.
CORE_NAMES: Final = (
    "CompletionQueue",
    "ReceiveCloseOnServerOperation",
    "ReceiveMessageOperation",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "Server",
    "auth_context",
)
_MISSING: Final = [name for name in CORE_NAMES if not hasattr(cygrpc, name)]


def usable(wanted: Transport) -> Transport:
    """Return the transport that serves where ``wanted`` is asked for; say so if it is another."""
    if wanted == "aio" or not _MISSING:
        return wanted
    log.warning(
        "grpcio %s has no %s, which --transport core is built on: serving with --transport aio, at "
        "some four times the CPU; the grpcio in requirements.lock has it",
        grpc.__version__,
        ", ".join(_MISSING),
    )
    return "aio"


def run_in_loop(work: Coroutine[Any, Any, None], transport: Transport) -> None:
    """Run ``work`` to its end in the event loop that ``transport``, a usable one, wants."""
    if transport == "core":
        from server.wire.loop import run_loop

        run_loop(work)
        return
    try:
        import uvloop
    except ImportError:  # Windows has none
        asyncio.run(work)
    else:
        uvloop.run(work)


def new_server(options: Sequence[tuple[str, Any]]) -> AnyServer:
    """Return a server that goes with the running event loop."""
    if not _MISSING:
        from server.wire.loop import CompletionLoop
        from server.wire.transport import Server

        if isinstance(asyncio.get_running_loop(), CompletionLoop):
            return Server(options)
    return grpc.aio.server(options=options)
