"""What a program shows beside its rpcs while it starts, serves and drains."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ilk.errors import SettingsError
from server.cores import can_share_port
from server.observability.exposition import Fleet
from server.observability.metrics import Counts, Snapshot
from server.processes.front import Alone, shown
from server.processes.health import health_port
from server.processes.link import Report
from server.processes.pulse import Pulse
from server.settings import ServerSettings
from tests.server.test_lifecycle import has_ipv6, watching
from tests.server.test_metrics import get, read
from tests.server.test_workers import Wait, shared, two_workers, workers_of

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


@shared
def test_frozen_workers_do_not_count_until_they_thaw(
    start: "Start", sample_store: Path, wait_until: Wait
) -> None:
    with a_free_port() as health_port, a_free_port() as port:
        program = two_workers(
            *(start, sample_store, "--health-port", str(health_port), "--metrics-port", str(port))
        )
    program.address()
    workers = workers_of(program)

    def n_serving() -> float:
        return get(read(port), "ilk_workers")

    with watching(f"127.0.0.1:{health_port}") as told:
        assert told.get(timeout=30) == SERVING
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        assert told.get(timeout=30) == NOT_SERVING
        assert n_serving() == 0
        # What they have counted is not forgotten, and nobody ends them.
        assert get(read(port), "ilk_memory_bytes", worker="0") > 0
        assert workers_of(program) == workers
        os.kill(workers[0], signal.SIGCONT)
        assert told.get(timeout=30) == SERVING
        os.kill(workers[1], signal.SIGCONT)
        wait_until(lambda: n_serving() == 2)
        program.process.terminate()
        assert program.ended()[0] == 0


def test_watches_that_end_as_they_begin_stop_nobody() -> None:
    with a_free_port() as port, health_port("127.0.0.1", port) as told:
        told.tell(serving=True)
        for _ in range(40):
            # A connection each: one that is there is quicker to end what it began.
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                assert stub.Check(health_pb2.HealthCheckRequest(), timeout=30).status == SERVING
                for watch in [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(5)]:
                    watch.cancel()
        told.tell(serving=False)


def test_a_watch_hears_of_each_change() -> None:
    with (
        contextlib.ExitStack() as watches,
        a_free_port() as port,
        health_port("127.0.0.1", port) as told,
    ):
        heard = watches.enter_context(watching(f"127.0.0.1:{port}"))
        other = watches.enter_context(watching(f"127.0.0.1:{port}", "x"))
        assert heard.get(timeout=30) == NOT_SERVING
        assert other.get(timeout=30) == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        for serving in (True, False, True):
            told.tell(serving=serving)
            assert heard.get(timeout=30) == (SERVING if serving else NOT_SERVING)
        assert heard.empty()
        assert other.empty()


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
    assert not (tmp_path / "ready").exists()


def test_a_ready_file_of_a_server_before_says_nothing(tmp_path: Path) -> None:
    stale, pipe = tmp_path / "ready", tmp_path / "pipe"
    stale.write_text("127.0.0.1:1\n")
    os.mkfifo(pipe)
    with shown(ServerSettings(ready_file=stale), Fleet):
        assert not stale.exists()
        # Another server's, which took the place of this one before it could tell.
        stale.write_text("127.0.0.1:2\n")
    assert stale.read_text() == "127.0.0.1:2\n"
    with shown(ServerSettings(ready_file=pipe), Fleet):
        assert pipe.exists()
    with (
        pytest.raises(SettingsError, match="--ready-file"),
        shown(ServerSettings(ready_file=stale / "below"), Fleet),
    ):
        pass


@pytest.mark.parametrize("n_workers", ["1", pytest.param("2", marks=shared)])
def test_a_ready_file_is_there_as_long_as_the_server(
    start: "Start", sample_store: Path, n_workers: str
) -> None:
    program = start("--store", str(sample_store), "--port", "0", "--workers", n_workers)
    program.address()
    program.process.terminate()
    assert program.ended()[0] == 0
    assert not program.ready_file.exists()


def test_an_ipv6_address_of_metrics_is_told_in_brackets(caplog: pytest.LogCaptureFixture) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 loopback here")
    caplog.set_level(logging.INFO, "ilk.server")
    with shown(ServerSettings(monitoring_host="::1", metrics_port=0), Fleet):
        pass
    assert re.search(r"metrics on http://\[::1\]:\d+/metrics", caplog.text)


def test_a_process_that_serves_alone_tells_when_its_event_loop_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.processes.front.BEAT_S", 0.01)
    turns = threading.Event()
    turns.set()
    snapshot = Snapshot(Counts(), 0, 0.0, 1, "v", 0.0, 0.0)
    with a_free_port() as port:
        alone = Alone(ServerSettings(health_port=port))
        with watching(f"127.0.0.1:{port}") as told:
            assert told.get(timeout=30) == NOT_SERVING
            alone.begin("127.0.0.1:1", lambda: Report(turns.is_set(), snapshot), lambda: None)
            assert told.get(timeout=30) == SERVING
            turns.clear()
            assert told.get(timeout=30) == NOT_SERVING
            turns.set()
            assert told.get(timeout=30) == SERVING
            alone.drain()
            assert told.get(timeout=30) == NOT_SERVING
            alone.end()


async def test_the_pulse_of_a_loop_that_hangs_is_not_steady(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.processes.pulse.BEAT_S", 0.01)
    monkeypatch.setattr("server.processes.pulse.SILENCE_S", 0.5)
    pulse = Pulse()
    await asyncio.sleep(0.6)
    assert pulse.is_steady
    time.sleep(0.6)
    assert not pulse.is_steady
    await asyncio.sleep(0.05)
    assert pulse.is_steady
    pulse.stop()
    await asyncio.sleep(0.6)
    assert not pulse.is_steady
