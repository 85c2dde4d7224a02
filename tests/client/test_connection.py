"""Settings of the clients, and what they need to be installed."""

import asyncio
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import ilk
from ilk import AsyncSimilarityClient, SimilarityClient, errors
from ilk.client.channel import past_proxies
from ilk.types import ItemId, Query
from ilk.v1 import similarity_pb2 as pb

if TYPE_CHECKING:
    from tests.client.conftest import Ask, Listening, ScriptedService


def test_credentials_make_the_connection_secure(
    ask: "Ask", listening: "Listening", service: "ScriptedService"
) -> None:
    service.replies["GetBundle"] = pb.GetBundleResponse(bundle_version="v1")
    secure = {
        "target": listening.secure_target,
        "credentials": grpc.local_channel_credentials(),
    }
    assert ask(lambda client: client.get_bundle(), **secure).version == "v1"


@pytest.mark.parametrize("variable", ["http_proxy", "grpc_proxy"])
def test_a_server_on_this_machine_is_asked_past_any_proxy(
    ask: "Ask",
    listening: "Listening",
    service: "ScriptedService",
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv(variable, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        service.replies["GetBundle"] = pb.GetBundleResponse(bundle_version="v1")
        assert ask(lambda client: client.get_bundle(), target=listening.target).version == "v1"


@pytest.mark.parametrize(
    ("target", "is_here"),
    [
        ("127.0.0.1:50051", True),
        ("localhost:1", True),
        ("localhost", True),
        ("[::1]:50051", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("ilk.example.com:50051", False),
        ("dns:///ilk:50051", False),
        ("10.0.0.1:50051", False),
        ("localhost.example.com:1", False),
        ("127.0.0.1.example.com:1", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
    ],
)
def test_only_servers_of_this_machine_are_asked_past_a_proxy(target: str, is_here: bool) -> None:
    assert past_proxies(target) == ((("grpc.enable_http_proxy", 0),) if is_here else ())


def test_a_connection_that_fails_is_tried_again_before_the_repeats_of_a_call_are_over() -> None:
    # As the port of a worker that was just killed does: it takes connections, and resets them.
    accepted_s: list[float] = []

    def reset_two(listener: socket.socket) -> None:
        while len(accepted_s) < 2:
            connection, _ = listener.accept()
            accepted_s.append(time.monotonic())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        resetting = threading.Thread(target=reset_two, args=(listener,))
        resetting.start()
        with SimilarityClient(f"127.0.0.1:{listener.getsockname()[1]}") as client:
            while resetting.is_alive():
                with pytest.raises(errors.ServiceError):
                    client.get_bundle()
        resetting.join()
    # gRPC's own pause is a second, give or take a fifth.
    assert accepted_s[1] - accepted_s[0] < 0.7


def test_of_many_calls_under_way_when_a_server_is_replaced_none_fails() -> None:
    n_calls, all_held, none_answered = 80, threading.Barrier(81), threading.Event()

    def held(request: bytes, context: grpc.ServicerContext) -> bytes:
        all_held.wait(30)
        none_answered.wait(30)
        return b""

    def answered(request: bytes, context: grpc.ServicerContext) -> bytes:
        return pb.GetBundleResponse(bundle_version="v1").SerializeToString()

    with (
        ThreadPoolExecutor(n_calls) as holding,
        ThreadPoolExecutor(n_calls) as callers,
        ThreadPoolExecutor(2) as answering,
    ):
        first, port = bundle_server(held, holding, 0)
        with SimilarityClient(f"127.0.0.1:{port}") as client:
            told = [callers.submit(client.get_bundle) for _ in range(n_calls)]
            all_held.wait(30)
            # What was begun there ends with it, all at once, as when a worker is killed.
            second, _ = bundle_server(answered, answering, port)
            first.stop(None)
            assert {t.result(30).version for t in told} == {"v1"}
        none_answered.set()
        second.stop(None).wait()


def bundle_server(
    answer: Callable[[bytes, grpc.ServicerContext], bytes], pool: ThreadPoolExecutor, port: int
) -> tuple[grpc.Server, int]:
    """Start a server that answers GetBundle so, on that port, free or not."""
    server = grpc.server(pool, options=[("grpc.so_reuseport", 1)])
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "GetBundle": grpc.unary_unary_rpc_method_handler(answer)
    }
    service = "ilk.v1.SimilarityService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, bound


def test_a_channel_given_stays_the_callers_to_close(
    target: str, service: "ScriptedService"
) -> None:
    service.replies["GetBundle"] = pb.GetBundleResponse(bundle_version="v1")
    with grpc.insecure_channel(target) as channel:
        for _ in range(2):
            with SimilarityClient(channel=channel) as client:
                assert client.get_bundle().version == "v1"


def test_a_closed_client_says_that_it_is_closed() -> None:
    client = SimilarityClient("127.0.0.1:1")
    client.close()
    client.close()
    with pytest.raises(errors.ServiceError, match="this client is closed; make another"):
        client.get_bundle()
    with pytest.raises(errors.ServiceError, match="is closed"):
        next(client.stream_find_neighbors([Query(ItemId("alien"))]))


def test_a_channel_that_is_closed_under_its_client_is_told(target: str) -> None:
    channel = grpc.insecure_channel(target)
    client = SimilarityClient(channel=channel)
    channel.close()
    with pytest.raises(errors.Unavailable, match="the connection was closed"):
        client.get_bundle()
    with pytest.raises(errors.Unavailable, match="the connection was closed"):
        next(client.stream_find_neighbors([Query(ItemId("alien"))]))


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="a task does not tell whether it is cancelled"
)
@pytest.mark.parametrize("rpc", ["GetBundle", "StreamFindNeighbors"])
def test_calls_that_run_when_their_client_closes_fail_and_are_not_cancelled(
    target: str, service: "ScriptedService", rpc: str
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def held(asked: object, _: object) -> pb.GetBundleResponse:
        begun.set()
        ended.wait(30)
        return pb.GetBundleResponse()

    service.replies[rpc] = held

    async def ask(client: AsyncSimilarityClient) -> object:
        if rpc == "GetBundle":
            return await client.get_bundle()
        return await anext(client.stream_find_neighbors([Query(ItemId("alien"))]))

    async def close_meanwhile() -> None:
        client = AsyncSimilarityClient(target)
        left, cancelled = (asyncio.create_task(ask(client)) for _ in range(2))
        await asyncio.to_thread(begun.wait, 30)
        cancelled.cancel()
        await client.close()
        with pytest.raises(errors.Unavailable, match="closed"):
            await left
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    try:
        asyncio.run(close_meanwhile())
    finally:
        ended.set()


@pytest.mark.parametrize("client_type", [SimilarityClient, AsyncSimilarityClient])
@pytest.mark.parametrize(
    "given",
    [
        {"token": "secret\n"},
        {"token": "s\u00e9cret"},
        {"metadata": (("Key", "secret"),)},
        {"metadata": (("key", "sec\0ret"),)},
        {"metadata": {"key": "sec\0ret"}},
        {"metadata": (("key-bin", "secret"),)},
        {"metadata": (("key", b"secret"),)},
        {"metadata": {"key": None}},
        {"metadata": {7: "secret"}},
        {"token": b"secret"},
        {"token": ""},
    ],
    ids=str,
)
def test_what_cannot_be_sent_with_calls_is_refused_when_a_client_is_made(
    client_type: Any, given: dict[str, Any]
) -> None:
    with pytest.raises(errors.SettingsError) as refusal:
        client_type("127.0.0.1:1", **given)
    assert "secret" not in str(refusal.value)


def test_a_closed_client_of_asyncio_says_that_it_is_closed() -> None:
    async def ask() -> None:
        client = AsyncSimilarityClient("127.0.0.1:1")
        await client.close()
        with pytest.raises(errors.ServiceError, match="this client is closed; make another"):
            await client.get_bundle()
        with pytest.raises(errors.ServiceError, match="is closed"):
            await anext(client.stream_find_neighbors([Query(ItemId("alien"))]))

    asyncio.run(ask())


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(timeout_s: float) -> None:
    with pytest.raises(errors.SettingsError, match="timeout_s"):
        SimilarityClient(timeout_s=timeout_s)


def test_credentials_beside_a_channel_are_refused() -> None:
    credentials = grpc.local_channel_credentials()
    with (
        grpc.insecure_channel("127.0.0.1:1") as channel,
        pytest.raises(errors.SettingsError, match="not both"),
    ):
        SimilarityClient(channel=channel, credentials=credentials)


def run_python(program: str) -> None:
    command = [sys.executable, "-W", "error", "-c", program]
    root = Path(ilk.__file__).parents[1]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=root)
    assert ran.returncode == 0, ran.stderr


def test_clients_and_command_line_need_only_grpcio_and_protobuf() -> None:
    # typing_extensions is grpcio's own requirement.
    run_python("""
import sys

class OnlyWhatCallersInstall:
    allowed = {"ilk", "grpc", "google", "typing_extensions", *sys.stdlib_module_names}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.allowed or name.startswith("google.rpc"):
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, OnlyWhatCallersInstall())
import ilk.__main__
from ilk import AsyncSimilarityClient, SimilarityClient, errors
from ilk.client.channel import past_proxies
assert AsyncSimilarityClient
try:
    SimilarityClient("127.0.0.1:1").get_bundle()
except errors.Unavailable:
    pass
assert not {"numpy", "rich", "google.rpc", "server", "indexer"} & sys.modules.keys()
""")


def test_errors_and_types_import_no_grpc() -> None:
    run_python("""
import sys
import ilk, ilk.errors, ilk.types
assert not [name for name in sys.modules if name.split(".")[0] in ("grpc", "google")]
""")


def test_the_package_lists_its_clients_and_refuses_other_names() -> None:
    assert {"SimilarityClient", "AsyncSimilarityClient"} <= set(dir(ilk))
    with pytest.raises(AttributeError, match="no attribute 'Similarity'"):
        _ = ilk.Similarity
