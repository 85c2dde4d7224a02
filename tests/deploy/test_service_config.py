"""The client service config does what the operations page says: it repeats, waits and gives up."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import grpc
import pytest

from ilk import SimilarityClient
from ilk.client import SERVICE_CONFIG
from ilk.errors import InvalidRequest, Overloaded
from ilk.types import ItemId, Query
from ilk.v1 import similarity_pb2 as pb
from tests.deploy.conftest import DEPLOY

CONFIG = (DEPLOY / "client-service-config.json").read_text()
ALIEN = Query(ItemId("alien"))
PUSHBACK_MS = 300

Ask: TypeAlias = Callable[[list[tuple[grpc.StatusCode, int | None]]], tuple[int, float]]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Ask a server that fails as scripted, then answers; return the attempts and the time taken."""
    script: list[tuple[grpc.StatusCode, int | None]] = []
    attempts = 0

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        nonlocal attempts
        attempts += 1
        if script:
            code, pushback_ms = script.pop(0)
            if pushback_ms is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", str(pushback_ms)),))
            context.abort(code, "not now")
        return pb.FindNeighborsResponse().SerializeToString()

    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "FindNeighbors": grpc.unary_unary_rpc_method_handler(answer)
    }
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        service = "ilk.v1.SimilarityService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()

        def asked(failures: list[tuple[grpc.StatusCode, int | None]]) -> tuple[int, float]:
            nonlocal attempts
            attempts, script[:] = 0, failures
            options = [("grpc.service_config", CONFIG)]
            with grpc.insecure_channel(target, options=options) as channel:
                started_s = time.monotonic()
                try:
                    SimilarityClient(channel=channel, timeout_s=30).find_neighbors(ALIEN)
                finally:
                    asked_s[0] = time.monotonic() - started_s
            return attempts, asked_s[0]

        asked_s = [0.0]
        yield asked
        server.stop(None).wait()


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED], ids=str
)
def test_what_passes_is_asked_again(ask: Ask, code: grpc.StatusCode) -> None:
    attempts, took_s = ask([(code, None)] * 4)
    assert attempts == 5
    # No shorter than gRPC waits, by default, before it tries a failed connection again.
    assert took_s > 0.8


def test_a_server_that_names_a_pause_is_given_it(ask: Ask) -> None:
    attempts, took_s = ask([(grpc.StatusCode.RESOURCE_EXHAUSTED, PUSHBACK_MS)])
    assert attempts == 2
    assert took_s >= 0.9 * PUSHBACK_MS / 1e3


def test_a_server_that_says_never_is_not_asked_again(ask: Ask) -> None:
    with pytest.raises(Overloaded):
        ask([(grpc.StatusCode.RESOURCE_EXHAUSTED, -1)] * 2)


def test_the_fifth_refusal_is_the_answer(ask: Ask) -> None:
    with pytest.raises(Overloaded):
        ask([(grpc.StatusCode.RESOURCE_EXHAUSTED, 1)] * 5)


def test_a_wrong_question_is_not_asked_again(ask: Ask) -> None:
    with pytest.raises(InvalidRequest):
        ask([(grpc.StatusCode.INVALID_ARGUMENT, None)] * 2)


def test_it_covers_the_contract_and_agrees_with_our_client() -> None:
    told = json.loads(CONFIG)
    (method,) = told["methodConfig"]
    service = pb.DESCRIPTOR.services_by_name["SimilarityService"].full_name
    assert method["name"] == [{"service": service}]
    assert told == SERVICE_CONFIG
