"""A real server on loopback whose answers are scripted, and both clients to ask it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import pytest

from ilk import AsyncSimilarityClient, SimilarityClient
from ilk.v1 import similarity_pb2_grpc as pb_grpc

Ask = Callable[..., Any]


class ScriptedService(pb_grpc.SimilarityServiceServicer):
    """Keeps what it is asked, and answers by the reply scripted for the rpc."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: dict[str, str | bytes] = {}
        self.time_remaining_s: float | None = None
        self.replies: dict[str, Any] = {}

    def _reply(self, rpc: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining_s = context.time_remaining()
        reply = self.replies[rpc]
        return reply(request, context) if callable(reply) else reply

    def FindNeighbors(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._reply("FindNeighbors", request, context)

    def BatchFindNeighbors(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._reply("BatchFindNeighbors", request, context)

    def StreamFindNeighbors(self, requests: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._reply("StreamFindNeighbors", requests, context)

    def PredictRatings(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._reply("PredictRatings", request, context)

    def SearchTitles(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._reply("SearchTitles", request, context)

    def GetItems(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._reply("GetItems", request, context)

    def GetBundle(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._reply("GetBundle", request, context)


@pytest.fixture
def service() -> ScriptedService:
    return ScriptedService()


class Listening(NamedTuple):
    server: grpc.Server
    target: str
    secure_target: str


@pytest.fixture
def listening(service: ScriptedService) -> Iterator[Listening]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        server = grpc.server(pool)
        pb_grpc.add_SimilarityServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        secure_port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
        server.start()
        yield Listening(server, f"127.0.0.1:{port}", f"127.0.0.1:{secure_port}")
        server.stop(None).wait()


@pytest.fixture
def target(listening: Listening) -> str:
    return listening.target


def ask_in_thread(target: str, question: Callable[[Any], Any], **settings: Any) -> Any:
    with SimilarityClient(target, **settings) as client:
        answer = question(client)
        return list(answer) if isinstance(answer, Iterator) else answer


def ask_in_loop(target: str, question: Callable[[Any], Any], **settings: Any) -> Any:
    async def answered() -> Any:
        async with AsyncSimilarityClient(target, **settings) as client:
            answer = question(client)
            if isinstance(answer, AsyncIterator):
                return [outcome async for outcome in answer]
            return await answer

    return asyncio.run(answered())


@pytest.fixture(params=[ask_in_thread, ask_in_loop], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest, target: str) -> Ask:
    """Put a question to each client in turn; streams are read to their end."""

    def put(question: Callable[[Any], Any], **settings: Any) -> Any:
        return request.param(settings.pop("target", target), question, **settings)

    return put
