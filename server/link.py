"""Knows the words that pass between the supervisor and a worker, over one socket of their own.

It refuses to know what either does with them. The end of the socket is a word too: the other is gone.
"""

from dataclasses import dataclass
from typing import TypeAlias

from server.metrics import Snapshot
from server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told as it starts.

    Attributes
    ----------
    number
        Which worker it is, from 0.
    settings
        The server's, its port already chosen.
    fallback_version
        A version known to be sound, to be served should the current one be refused.
    ledger
        Descriptor of the memory that all workers share, for what callers have asked for.
    """

    number: int
    settings: ServerSettings
    fallback_version: str | None
    ledger: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot start, for a reason that a restart will not mend by itself."""

    exit_code: int
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """How a worker stands; sent again and again as long as it lives.

    Attributes
    ----------
    serving
        Whether it takes new calls; False while it drains.
    snapshot
        What it has counted.
    """

    serving: bool
    snapshot: Snapshot


Word: TypeAlias = "Failed | Report"
