"""Knows a handler that ends every call with the same status, whatever its rpc and before it is read.

It refuses to know why. Our own transport needs no task for it; ``grpc.aio`` runs it as any other.
"""

from typing import Any

import grpc


class Refusal(grpc.RpcMethodHandler):  # type: ignore[type-arg]
    """Ends calls.

    Parameters
    ----------
    status
        What with.
    """

    # gRPC reads no message of a stream before its handler does.
    request_streaming = response_streaming = True
    request_deserializer = response_serializer = None
    unary_unary = unary_stream = stream_unary = None

    def __init__(self, status: grpc.Status) -> None:
        self.status = status
        self.stream_stream: Any = self._end

    async def _end(self, _: object, context: Any) -> None:
        await context.abort_with_status(self.status)
