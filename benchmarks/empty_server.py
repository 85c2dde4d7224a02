"""The limit that serving is measured against: the same server whose handler does nothing.

Run as ``python -m benchmarks.empty_server`` with the flags of ``python -m server``; ``--transport aio``
makes it the limit of servers written with ``grpc.aio``.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from server.calls.service import SERVICE, SimilarityService
from server.processes.app import start
from server.processes.front import Alone
from server.settings import ServerSettings, Transport

if TYPE_CHECKING:
    import grpc


class EmptyService(SimilarityService):
    """Answers every unary call with no bytes, without reading the request."""

    def handlers(self) -> "grpc.GenericRpcHandler":
        """Return the empty handler under every unary name."""
        # Imported late: the server says how, before it is imported.
        import grpc

        async def nothing(data: bytes, context: object) -> bytes:
            return b""

        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(nothing)
        methods = {m.name: handler for m in SERVICE.methods if not m.client_streaming}
        return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)


if __name__ == "__main__":
    flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    settings = ServerSettings(
        store=Path(flags["--store"]),
        port=int(flags["--port"]),
        ready_file=Path(flags["--ready-file"]),
        transport=cast("Transport", flags.get("--transport", "core")),
    )
    start(settings, Alone(settings), EmptyService)
