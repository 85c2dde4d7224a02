"""Knows every choice of a server, its default and its range.

It refuses to know where choices come from; the command line reads files, environment and flags.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ilk.errors import SettingsError
from ilk.types import MAX_NEIGHBORS
from server.address import check_host, is_loopback
from server.cores import can_share_port, default_workers

LOOPBACK = "127.0.0.1"
LogFormat: TypeAlias = Literal["text", "json"]
Transport: TypeAlias = Literal["core", "aio"]
# What timers, gRPC's core and the system's calls can bear; what is absurd is most likely a slip.
_PORTS: Final = (0, 65_535)
_SECONDS: Final = (1e-3, 1e6)
_PROCESSES: Final = (1, 1024)
_CALLS: Final = (1, 1_000_000_000)
_RANGES: Final[dict[str, tuple[float, float]]] = {
    **dict.fromkeys(("port", "health_port", "metrics_port"), _PORTS),
    **dict.fromkeys(("poll_interval_s", "grace_s", "max_wait_s"), _SECONDS),
    **dict.fromkeys(("workers", "executor_threads"), _PROCESSES),
    **dict.fromkeys(("max_in_flight", "max_queued", "max_calls_per_connection"), _CALLS),
    "max_connection_age_s": (1, 1e6),
    "burst_s": (1e-3, 1e9),
    "rate_limit": (1, 1e18),
    "max_cost": (1, 1e18),
    "answer_memory_mb": (0, 1e6),
    "shadow_share": (1e-9, 1),
    "users_crowd": (1, MAX_NEIGHBORS),
    "users_score_step": (1e-9, 1),
}
_OFF_AT_ZERO: Final = ("max_connection_age_s", "shadow_share", "users_score_step")


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
    monitoring_host
        Address that the health port and the metrics port listen on. They speak plaintext, ask nobody who
        they are, and tell nothing of users.
    reflection
        Tell callers such as grpcurl which rpcs and messages there are; where callers are known, those
        with the scope admin.
    tls_cert
        File with the certificate chain, in PEM: connections are TLS. Files of TLS are looked at every
        ``poll_interval_s``, and taken into use when they have changed and fit each other.
    tls_key
        File with its private key, in PEM.
    tls_client_ca
        File with the authorities, in PEM, that client certificates must be signed by: mutual TLS.
    callers
        File of who may call, and what each may ask; ``python -m server.callers`` writes it. Looked at
        every ``poll_interval_s``.
    allow_plaintext
        Listen without TLS where other machines can reach it, as behind a mesh or a proxy that encrypts.
    allow_anonymous
        Answer whoever asks, where other machines can; users are not told of.
    rate_limit
        What one caller may ask for, in multiplications a second, on all workers together; what it costs
        is counted as for ``max_cost``. A caller is who the file of callers says, else the name in a
        client certificate, else an address. Default: anything.
    burst_s
        A caller that has asked for nothing for so long may ask for that much at once.
    pseudonym_key
        File with a key, in hexadecimal, under which users are called by pseudonyms by callers that may
        ask for users.
    users_crowd
        Users are told of in crowds of so many, among whom nobody is nearer than another; 1 is off.
    users_score_step
        Scores of users are rounded to multiples of it; 0 is off.
    poll_interval_s
        How often a newly published bundle is looked for.
    grace_s
        How long calls under way may take to finish when the server stops.
    executor_threads
        Threads for long searches, title search and predictions.
    max_in_flight
        Calls that one worker may have under way; further ones end with RESOURCE_EXHAUSTED, unread.
        Streams count while they are answered; four times as many may be open.
    max_wait_s
        Longest that a call may have to wait for its turn; what would wait longer ends with
        RESOURCE_EXHAUSTED at once.
    max_queued
        Calls that may wait in one worker's transport for the event loop. From here on some, from twice
        as many on all further ones are let go by gRPC itself, with CANCELLED: by far the cheapest
        refusal there is.
    max_calls_per_connection
        Calls that one connection may have under way; its client holds the others back.
    max_connection_age_s
        After about so long a connection's client is asked to make another, on which new calls go to
        whichever worker or server takes it: one that has just come gets its share. 0 is never.
    max_cost
        Multiplications that one request may take, about: neighbors, queries and effort together. Two
        million are never too many.
    answer_memory_mb
        Megabytes that each worker may take, about, to remember answers to plain queries: what is asked
        again is answered without a search. 0 is off.
    shadow_share
        Share of queries that are asked again, exactly and after their answer was sent, to measure live
        recall; of as many as a hundredth of a core can answer so. 0 is off.
    ready_file
        Written with HOST:PORT once the server answers; removed as it starts, and when it ends.
    log_format
        ``text`` for people, ``json`` (an object a line) for machines.
    log_calls
        A line of log for each call: its id, rpc, kind, status and time, and nothing it holds.
    transport
        ``core`` takes calls from gRPC's core on the event loop's own thread; ``aio`` leaves that to
        ``grpc.aio``, at some four times the CPU. Answers are the same.
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
    monitoring_host: str = LOOPBACK
    reflection: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    callers: Path | None = None
    allow_plaintext: bool = False
    allow_anonymous: bool = False
    rate_limit: float | None = None
    burst_s: float = 2.0
    pseudonym_key: Path | None = None
    users_crowd: int = 1
    users_score_step: float = 0.0
    poll_interval_s: float = 2.0
    grace_s: float = 10.0
    executor_threads: int = 2
    max_in_flight: int = 256
    max_wait_s: float = 0.5
    max_queued: int = 200
    max_calls_per_connection: int = 100
    max_connection_age_s: float = 300.0
    max_cost: float = 5e10
    answer_memory_mb: float = 32.0
    shadow_share: float = 0.001
    ready_file: Path | None = None
    log_format: LogFormat = "text"
    log_calls: bool = False
    transport: Transport = "core"
    tracing: bool = False

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is None or least <= value <= most or (value == 0 and name in _OFF_AT_ZERO):
                continue
            off = "0 or " if name in _OFF_AT_ZERO else ""
            raise SettingsError(
                f"--{name.replace('_', '-')} must be {off}in [{least:.10g}, {most:.10g}], got {value}"
            )
        if self.workers > 1 and not can_share_port():
            raise SettingsError(
                f"--workers {self.workers}: this system gives all connections of a port to one "
                "process; use --workers 1, or several servers on ports of their own"
            )
        self._check_access()

    @property
    def knows_callers(self) -> bool:
        """Whether access control is on: callers have to show who they are."""
        return self.callers is not None or self.tls_client_ca is not None

    def _check_access(self) -> None:
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise SettingsError("--tls-cert and --tls-key belong together; give both, or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise SettingsError("--tls-client-ca needs TLS: give --tls-cert and --tls-key too")
        for flag, host in (("host", self.host), ("monitoring-host", self.monitoring_host)):
            check_host(f"--{flag}", host)
        if is_loopback(self.host):
            return
        if self.tls_cert is None and not self.allow_plaintext:
            raise SettingsError(
                f"--host {self.host} can be reached by other machines, and calls would be plaintext: "
                "give --tls-cert and --tls-key; or --allow-plaintext, if something else encrypts"
            )
        if not self.knows_callers and not self.allow_anonymous:
            raise SettingsError(
                f"--host {self.host} can be reached by other machines, and anybody could call: give "
                "--callers or --tls-client-ca; or --allow-anonymous, if something else keeps others out"
            )
