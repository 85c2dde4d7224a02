"""How a server begins and ends: as a program with flags, exit codes and signals, and its health."""

import contextlib
import math
import queue
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ilk import SimilarityClient
from ilk.errors import SettingsError, Unavailable
from ilk.program import exits
from ilk.types import ItemId, Query
from ilk.v1 import similarity_pb2 as pb
from ilk.v1.similarity_pb2_grpc import SimilarityServiceStub
from server.__main__ import app
from server.address import reserved
from server.cores import can_share_port
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Start

MATRIX = "the-matrix-1999"


class Conversation:
    """A stream that is kept open from query to query."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._asked: queue.Queue[Any] = queue.Queue()
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        self.answers = stub.StreamFindNeighbors(iter(self._asked.get, None), timeout=30)

    def ask(self, request_id: str) -> str:
        query = pb.FindNeighborsRequest(item_id=MATRIX)
        self._asked.put(pb.StreamFindNeighborsRequest(request_id=request_id, query=query))
        return str(next(self.answers).request_id)

    def end(self) -> None:
        self._asked.put(None)


@contextlib.contextmanager
def watching(address: str, name: str = "") -> "Iterator[queue.Queue[int]]":
    """Yield what a health watch tells, status by status, and -1 when it is ended by the server."""
    told: queue.Queue[int] = queue.Queue()

    def watch() -> None:
        with grpc.insecure_channel(address) as channel:
            changes = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=name), timeout=60
            )
            try:
                for change in changes:
                    told.put(change.status)
            except grpc.RpcError:
                told.put(-1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield told
    watcher.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_lets_calls_under_way_finish_and_ends_with_0(
    start: "Start", sample_store: Path, number: signal.Signals, wait_until: Any
) -> None:
    # Nothing waits for the end of the grace: the test would not.
    program = start("--store", str(sample_store), "--port", "0", "--grace-s", "600")
    address = program.address()
    with (
        SimilarityClient(address) as client,
        grpc.insecure_channel(address) as channel,
        watching(address) as told,
    ):
        assert told.get(timeout=30) == health_pb2.HealthCheckResponse.SERVING
        assert len(client.find_neighbors(Query(ItemId(MATRIX))).neighbors) == 10
        conversation = Conversation(channel)
        assert conversation.ask("before") == "before"
        program.process.send_signal(number)
        wait_until(lambda: "stopping" in program.log.read_text())
        assert conversation.ask("after") == "after"
        with pytest.raises(Unavailable):
            client.get_bundle()
        with pytest.raises(grpc.RpcError) as end:
            next(conversation.answers)
        assert end.value.code() is grpc.StatusCode.UNAVAILABLE
        conversation.end()
        code, log = program.ended()
        assert told.get(timeout=30) == health_pb2.HealthCheckResponse.NOT_SERVING
    assert (code, "Traceback" in log) == (0, False), log
    assert f"listening on {address}" in log


def ignores(pid: int, number: signal.Signals) -> bool:
    (mask,) = re.findall(
        r"^SigIgn:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return bool(int(mask, 16) & 1 << (number - 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process ignores")
@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_a_server_that_starts_ignores_sighup(
    start: "Start", sample_store: Path, n_workers: str, wait_until: Any
) -> None:
    program = start("--store", str(sample_store), "--port", "0", "--workers", n_workers)
    wait_until(lambda: ignores(program.process.pid, signal.SIGHUP))
    while not program.ready_file.exists():
        program.process.send_signal(signal.SIGHUP)
        assert program.process.poll() is None, program.log.read_text()
        time.sleep(0.02)
    with SimilarityClient(program.address()) as client:
        assert client.get_bundle().version
    program.process.terminate()
    assert program.ended()[0] == 0


def test_the_environment_chooses_the_port_and_a_second_server_is_told_that_it_is_taken(
    start: "Start", sample_store: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    choices = {"ILK_SERVER_PORT": port, "ILK_SERVER_STORE": str(sample_store)}
    first = start(**choices)
    assert first.address() == f"127.0.0.1:{port}"
    code, log = start(**choices).ended()
    assert code == 2
    assert f"127.0.0.1:{port}" in log
    assert "is another server there? Stop it, or name another port" in log
    assert "Traceback" not in log


def test_a_store_without_a_bundle_ends_with_3_and_says_how_to_make_one(
    start: "Start", tmp_path: Path
) -> None:
    code, log = start("--store", str(tmp_path / "nowhere"), "--port", "0").ended()
    assert code == 3
    assert "nowhere holds no published bundle" in log
    assert "python -m indexer build --store" in log
    assert "Traceback" not in log


def test_a_ready_file_that_cannot_be_written_ends_with_2(
    start: "Start", sample_store: Path, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere" / "ready"
    program = start("--store", str(sample_store), "--port", "0", ILK_SERVER_READY_FILE=str(nowhere))
    code, log = program.ended()
    assert "nowhere" in log
    assert (code, "Traceback" in log) == (2, False), log


USAGE = {
    "unknown flag": (["--nonsense"], "--nonsense"),
    "port that is no number": (["--port", "http"], "--port"),
    "port out of range": (["--port", "65536"], "--port must be in [0, 65535], got 65536"),
    "no threads": (["--executor-threads", "0"], "--executor-threads must be in [1, 1024], got 0"),
    "negative grace": (["--grace-s", "-1"], "--grace-s must be in [0.001, 1000000], got -1"),
    "no interval": (["--poll-interval-s", "0"], "--poll-interval-s must be in [0.001, 1000000]"),
    "interval NaN": (["--poll-interval-s", "nan"], "--poll-interval-s must be in [0.001, 1000000]"),
    "interval beyond timers": (["--poll-interval-s", "1e20"], "in [0.001, 1000000], got 1e+20"),
    "share that is no share": (
        ["--shadow-share", "1e-320"],
        "--shadow-share must be 0 or in [1e-09, 1], got 1e-320",
    ),
    "step that is none": (["--users-score-step", "1e-320"], "must be 0 or in [1e-09, 1]"),
    "more than the core counts": (
        ["--max-queued", "100000000000"],
        "--max-queued must be in [1, 1000000000], got 100000000000",
    ),
    "more than a connection has": (
        ["--max-calls-per-connection", "10000000000"],
        "--max-calls-per-connection must be in [1, 1000000000]",
    ),
    "no host": (["--host", ""], "--host '' cannot be resolved to an address"),
    "too long for a host": (["--monitoring-host", "x" * 64], "cannot be resolved to an address"),
}


@pytest.mark.parametrize(("flags", "says"), USAGE.values(), ids=USAGE)
def test_wrong_usage_ends_with_2_and_says_why(
    capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    assert exits.run(app, flags) == exits.USAGE == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.out == ""


def test_a_host_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Mock(side_effect=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SettingsError, match=r"--host 'nosuch' cannot be resolved.*not known"):
        ServerSettings(host="nosuch", allow_plaintext=True, allow_anonymous=True)


@pytest.mark.parametrize("name", ["max_queued", "max_calls_per_connection"])
def test_the_most_that_may_be_asked_for_is_taken(
    serve: "Serve", sample_store: Path, name: str
) -> None:
    settings = ServerSettings(sample_store, port=0, **{name: 10**9})  # type: ignore[arg-type]
    with serve(settings) as address, SimilarityClient(address) as client:
        assert client.get_bundle().version


# BUG: an endless interval overflows in the watcher's wait: its thread dies, no new bundle is ever seen.
def test_an_endless_poll_interval_is_refused() -> None:
    with pytest.raises(SettingsError, match="--poll-interval-s"):
        ServerSettings(poll_interval_s=math.inf)


def test_flags_win_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ilk.toml").write_text("[server]\nport = 1\ngrace-s = 1.5\npoll-interval-s = 1.5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ILK_SERVER_PORT", "2")
    monkeypatch.setenv("ILK_SERVER_GRACE_S", "2.5")
    _, bound, _ = app.parse_args(["--port", "3"])
    settings = bound.arguments["settings"]
    assert (settings.port, settings.grace_s, settings.poll_interval_s) == (3, 2.5, 1.5)
    assert settings.host == ServerSettings().host == "127.0.0.1"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


# BUG: an IPv6 address gets no brackets, so `::1` and port 50051 become the address `::1:50051`, and
# the message asks whether another server is there.
def test_an_ipv6_address_can_be_listened_on(serve: "Serve", sample_store: Path) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 loopback here")
    with serve(ServerSettings(sample_store, host="::1", port=0)) as address:
        port = address.rpartition(":")[2]
        with SimilarityClient(f"[::1]:{port}") as client:
            assert client.get_bundle().version


@pytest.mark.parametrize("name", ["", "ilk.v1.SimilarityService"])
def test_health_turns_to_not_serving_while_the_server_stops(
    serve: "Serve", sample_store: Path, name: str
) -> None:
    settings = ServerSettings(sample_store, port=0, grace_s=600)
    with contextlib.ExitStack() as watches:
        with serve(settings) as address:
            told = watches.enter_context(watching(address, name))
            assert told.get(timeout=30) == health_pb2.HealthCheckResponse.SERVING
        assert told.get(timeout=30) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert told.get(timeout=30) == -1


def test_a_stopped_server_lets_its_port_go(serve: "Serve", sample_store: Path) -> None:
    with serve(ServerSettings(sample_store, port=0)) as address:
        port = int(address.rpartition(":")[2])
    with serve(ServerSettings(sample_store, port=port)) as again:
        assert again == address


def test_a_taken_port_is_a_settings_error(serve: "Serve", sample_store: Path, target: str) -> None:
    port = int(target.rpartition(":")[2])
    with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"):
        serve(ServerSettings(sample_store, port=port)).__enter__()
    with SimilarityClient(target) as client:
        assert client.get_bundle().version


def test_an_address_that_this_machine_does_not_have_is_called_that(
    start: "Start", sample_store: Path
) -> None:
    flags = ("--store", str(sample_store), "--allow-plaintext", "--allow-anonymous")
    code, log = start(*flags, "--host", "192.0.2.1", "--port", "0", "--workers", "2").ended()
    assert code == 2
    assert "cannot listen on 192.0.2.1:0: " in log
    assert "is another server there?" not in log


@pytest.mark.skipif(not can_share_port(), reason="nobody shares a port here")
def test_a_port_that_is_taken_on_one_of_a_names_addresses_is_taken() -> None:
    try:
        other = socket.create_server(("::1", 0), family=socket.AF_INET6, reuse_port=True)
    except OSError:
        pytest.skip("there is no IPv6 here")
    port = other.getsockname()[1]
    refused = pytest.raises(SettingsError, match="is another server there")
    with other, refused, reserved("localhost", port):
        pass


def test_one_process_takes_no_part_of_a_name_either(serve: "Serve", sample_store: Path) -> None:
    """gRPC is content with any of its addresses: two servers would answer by turns."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"localhost:{port}: is another server there"):
            serve(ServerSettings(sample_store, host="localhost", port=port)).__enter__()
