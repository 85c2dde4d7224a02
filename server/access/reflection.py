"""Knows how reflection is offered, and that it is for administrators where callers are known.

It refuses to know what there is to reflect.
"""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from ilk.errors import PermissionDenied
from server import status
from server.access.control import Access
from server.transports import AnyServer


class _Guarded(ReflectionServicer):  # type: ignore[misc]
    def __init__(self, names: Sequence[str], access: Access) -> None:
        super().__init__(names)
        self._access = access

    async def ServerReflectionInfo(  # noqa: N802 - the rpc's name
        self, request_iterator: AsyncIterable[Any], context: Any
    ) -> AsyncIterator[Any]:
        """Tell administrators what there is."""
        try:
            self._access.terms_for(context)
        except PermissionDenied as error:
            await context.abort_with_status(status.to_status(error))
        async for response in super().ServerReflectionInfo(request_iterator, context):
            yield response


def offer_reflection(server: AnyServer, services: Sequence[str], access: Access | None) -> None:
    """Let a server tell of ``services``; to administrators alone, where callers are known."""
    names = (*services, reflection.SERVICE_NAME)
    # Not with `reflection.enable_server_reflection`: it knows servers of gRPC's own by their types.
    servicer = ReflectionServicer(names) if access is None else _Guarded(names, access)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
