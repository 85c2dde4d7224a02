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
    ready_file
        Written with HOST:PORT once the server answers.
    log_format
        ``text`` for people, ``json`` (an object a line) for machines.
    """

    store: Path = field(default_factory=lambda: Path("store"))
    host: str = LOOPBACK
    port: int = 50051
    workers: int = field(default_factory=default_workers)
    reflection: bool = False
    poll_interval_s: float = 2.0
    grace_s: float = 10.0
    executor_threads: int = 2
    ready_file: Path | None = None
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"--port must be in [0, 65535], got {self.port}")
        for name in ("poll_interval_s", "grace_s"):
            if not 0 < getattr(self, name) < math.inf:
                flag = name.replace("_", "-")
                raise SettingsError(
                    f"--{flag} must be positive and finite, got {getattr(self, name)}"
                )
        for name in ("workers", "executor_threads"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise SettingsError(f"--{flag} must be at least 1, got {getattr(self, name)}")
        if self.workers > 1 and not can_share_port():
            raise SettingsError(
                f"--workers {self.workers}: this system gives all connections of a port to one "
                "process; use --workers 1, or several servers on ports of their own"
            )
