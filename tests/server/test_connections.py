"""How long connections last, and what becomes of those whose other end is gone."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest

from ilk import SimilarityClient
from ilk.errors import DeadlineExceeded
from ilk.types import ItemId, Neighbors, Query
from server.cores import can_share_port
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Start

shared = pytest.mark.skipif(not can_share_port(), reason="two workers need one port")
MATRIX = Query(ItemId("the-matrix-1999"), neighbor_count=3)


class Seen:
    """How often a channel had a connection, and had none."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.states: list[grpc.ChannelConnectivity] = []
        channel.subscribe(self.states.append, try_to_connect=True)

    @property
    def n_connections(self) -> int:
        return self.states.count(grpc.ChannelConnectivity.READY)


def test_who_looks_for_the_server_again_and_again_keeps_the_connection(target: str) -> None:
    # gRPC's own server puts up with two pings in five minutes.
    looking = [
        ("grpc.keepalive_time_ms", 600),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(target, options=looking) as channel:
        seen = Seen(channel)
        client = SimilarityClient(channel=channel)
        client.find_neighbors(MATRIX)
        time.sleep(6 * 0.6)
        client.find_neighbors(MATRIX)
    assert seen.n_connections == 1
    assert grpc.ChannelConnectivity.IDLE not in seen.states[1:]


def test_connections_are_renewed_and_no_call_or_stream_ends_for_it(
    serve: "Serve", sample_store: Path
) -> None:
    settings = ServerSettings(sample_store, port=0, max_connection_age_s=1)
    renewed = threading.Event()

    def queries() -> Iterator[Query]:
        yield MATRIX
        renewed.wait(30)
        yield MATRIX

    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        seen, client = Seen(channel), SimilarityClient(channel=channel)
        told = client.stream_find_neighbors(queries())
        assert isinstance(next(told), Neighbors)
        began_s = time.monotonic()
        while seen.n_connections < 3:
            client.find_neighbors(MATRIX)
            assert time.monotonic() - began_s < 30
        renewed.set()
        assert isinstance(next(told), Neighbors)


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="nothing tells of limits here")
@pytest.mark.parametrize("n_workers", [1, pytest.param(2, marks=shared)])
def test_as_many_connections_are_let_in_as_the_system_allows(
    start: "Start", sample_store: Path, n_workers: int
) -> None:
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4000))"
    flags = ("--store", str(sample_store), "--port", "0", "--workers", str(n_workers))
    program = start(*flags, first=few)
    program.address()
    own = psutil.Process(program.process.pid)
    for process in (own, *own.children()):
        assert process.rlimit(psutil.RLIMIT_NOFILE) == (4000, 4000)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be frozen here")
def test_a_server_of_two_that_is_frozen_is_left_and_come_back_to(
    start: "Start", sample_store: Path, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    flags = ("--store", str(sample_store), "--port", "0", "--workers", "1")
    frozen, other = start(*flags), start(*flags)
    both = f"ipv4:{frozen.address()},{other.address()}"
    with SimilarityClient(both, timeout_s=0.5) as client:

        def n_answered_in_a_row() -> int:
            for n in range(20):
                try:
                    client.find_neighbors(MATRIX)
                except DeadlineExceeded:
                    return n
            return 20

        assert n_answered_in_a_row() == 20
        os.kill(frozen.process.pid, signal.SIGSTOP)
        try:
            assert n_answered_in_a_row() < 20
            wait_until(lambda: n_answered_in_a_row() == 20)
        finally:
            os.kill(frozen.process.pid, signal.SIGCONT)
        assert n_answered_in_a_row() == 20


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing tells what is open here")
@shared
def test_a_killed_worker_leaves_the_port_before_its_connections_end(
    start: "Start", sample_store: Path
) -> None:
    # The system closes the highest number first. Where few numbers are allowed, half of them are below.
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))"
    flags = ("--store", str(sample_store), "--port", "0", "--workers", "2")
    for first in (few, ""):
        program = start(*flags, first=first)
        address = program.address()
        port = int(address.rpartition(":")[2])
        alone = [("grpc.use_local_subchannel_pool", 1)]
        with contextlib.ExitStack() as open_channels:
            for _ in range(16):
                channel = open_channels.enter_context(grpc.insecure_channel(address, options=alone))
                SimilarityClient(channel=channel).find_neighbors(MATRIX)
            n_listening = 0
            most, _ = psutil.Process(program.process.pid).rlimit(psutil.RLIMIT_NOFILE)
            above = min(4_096, most // 2)
            for worker in psutil.Process(program.process.pid).children():
                sockets = [each for each in worker.net_connections() if each.laddr.port == port]
                listening = [each.fd for each in sockets if each.status == psutil.CONN_LISTEN]
                connected = [each.fd for each in sockets if each.status == psutil.CONN_ESTABLISHED]
                assert min(listening, default=above) >= above
                assert max(connected, default=0) < above
                n_listening += len(listening)
        assert n_listening >= 2
