"""What a program shows beside its rpcs while it starts, serves and drains."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from grpc_health.v1 import health_pb2

from server.cores import can_share_port
from server.exposition import Fleet
from server.front import shown
from server.settings import ServerSettings
from tests.server.test_lifecycle import watching

if TYPE_CHECKING:
    from tests.server.conftest import Start

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@contextlib.contextmanager
def a_free_port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    yield port


@pytest.mark.parametrize(
    "n_workers",
    ["1", pytest.param("2", marks=pytest.mark.skipif(not can_share_port(), reason="Linux only"))],
)
@pytest.mark.parametrize("service", ["", "ilk.v1.SimilarityService"])
def test_the_health_port_tells_when_the_server_serves_and_when_it_stops(
    start: "Start", sample_store: Path, n_workers: str, service: str
) -> None:
    with a_free_port() as port:
        flags = ("--port", "0", "--health-port", str(port), "--workers", n_workers)
        program = start("--store", str(sample_store), *flags)
        program.address()
        with watching(f"127.0.0.1:{port}", service) as told:
            assert told.get(timeout=30) == SERVING
            program.process.terminate()
            assert told.get(timeout=30) == NOT_SERVING
            code, log = program.ended()
    assert code == 0, log


def test_nothing_is_told_to_serve_before_it_does(tmp_path: Path) -> None:
    with a_free_port() as port, contextlib.ExitStack() as watches:
        settings = ServerSettings(health_port=port, ready_file=tmp_path / "ready")
        with shown(settings, Fleet) as front:
            told = watches.enter_context(watching(f"127.0.0.1:{port}"))
            assert told.get(timeout=30) == NOT_SERVING
            assert not (tmp_path / "ready").exists()
            front.announce("127.0.0.1:1", 1)
            assert told.get(timeout=30) == SERVING
            assert (tmp_path / "ready").read_text() == "127.0.0.1:1\n"
            front.tell(serving=False)
            assert told.get(timeout=30) == NOT_SERVING
