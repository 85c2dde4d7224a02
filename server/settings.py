"""Knows every choice of a server, its default and its range.

It refuses to know where choices come from; the command line reads files, environment and flags.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ilk.errors import SettingsError
from server.cores import can_share_port, default_workers

LOOPBACK = "127.0.0.1"
LogFormat: TypeAlias = Literal["text", "json"]


@dataclass(frozen=True)
class ServerSettings:
    """The choices of a server.

    Parameters
    ----------
    store
        Folder that bundles are published to.
    host
        Address to listen on.
    port
        0 takes a free one; the log and the ready file name it.
    health_port
        Answers health checks from threads of its own, under any load. Default: none does.
    metrics_port
        Answers ``GET /metrics`` for Prometheus. Default: none does.
    workers
        Processes that share the port, each with an event loop. Default: one per core that the server
        may use; always 1 where the system cannot share a port (only Linux can).
    reflection
        Tell callers such as grpcurl which rpcs and messages there are.
    poll_interval_s
        How often a newly published bundle is looked for.
    grace_s
        How long calls under way may take to finish when the server stops.
    executor_threads
        Threads for long searches, title search and predictions.
    max_in_flight
        Calls that one worker may have under way; further ones end with RESOURCE_EXHAUSTED, unread.
    max_wait_s
        Longest that a call may have to wait for its turn; what would wait longer ends with
        RESOURCE_EXHAUSTED at once.
    max_queued
        Calls that may wait in one worker's transport for the event loop. From here on some, from twice
        as many on all further ones are let go by gRPC itself, with CANCELLED: by far the cheapest
        refusal there is.
    max_calls_per_connection
        Calls that one connection may have under way; its client holds the others back.
    max_cost
        Multiplications that one request may take, about: neighbors, queries and effort together.
    shadow_share
        Share of queries that are asked again, exactly and after their answer was sent, to measure live
        recall. 0 is off.
    ready_file
        Written with HOST:PORT once the server answers.
    log_format
        ``text`` for people, ``json`` (an object a line) for machines.
    log_calls
        A line of log for each call: its id, rpc, kind, status and time, and nothing it holds.
    tracing
        A span of OpenTelemetry for each call, sent where the variables ``OTEL_...`` say. Needs the
        extra ``otel``.
    """

    store: Path = field(default_factory=lambda: Path("store"))
    host: str = LOOPBACK
    port: int = 50051
    health_port: int | None = None
    metrics_port: int | None = None
    workers: int = field(default_factory=default_workers)
    reflection: bool = False
    poll_interval_s: float = 2.0
    grace_s: float = 10.0
    executor_threads: int = 2
    max_in_flight: int = 256
    max_wait_s: float = 0.5
    max_queued: int = 200
    max_calls_per_connection: int = 100
    max_cost: float = 5e10
    shadow_share: float = 0.001
    ready_file: Path | None = None
    log_format: LogFormat = "text"
    log_calls: bool = False
    tracing: bool = False

    def __post_init__(self) -> None:
        for name in ("port", "health_port", "metrics_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port <= 65535:
                flag = name.replace("_", "-")
                raise SettingsError(f"--{flag} must be in [0, 65535], got {port}")
        for name in ("poll_interval_s", "grace_s", "max_wait_s", "max_cost"):
            if not 0 < getattr(self, name) < math.inf:
                flag = name.replace("_", "-")
                raise SettingsError(
                    f"--{flag} must be positive and finite, got {getattr(self, name)}"
                )
        if not 0 <= self.shadow_share <= 1:
            raise SettingsError(f"--shadow-share must be in [0, 1], got {self.shadow_share}")
        for name in (
            *("workers", "executor_threads"),
            *("max_in_flight", "max_queued", "max_calls_per_connection"),
        ):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise SettingsError(f"--{flag} must be at least 1, got {getattr(self, name)}")
        if self.workers > 1 and not can_share_port():
            raise SettingsError(
                f"--workers {self.workers}: this system gives all connections of a port to one "
                "process; use --workers 1, or several servers on ports of their own"
            )
