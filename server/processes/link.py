"""Knows the words that pass between the supervisor and a worker, over one socket of their own.

It refuses to know what either does with them. The end of the socket is a word too: the other is gone.
"""

from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final, TypeAlias

from server.observability.metrics import Snapshot
from server.processes import plain
from server.settings import ServerSettings

_MAX_BYTES: Final = 64 << 20


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
        Whether it takes new calls; False while it drains, or its event loop hangs.
    snapshot
        What it has counted.
    """

    serving: bool
    snapshot: Snapshot


Word: TypeAlias = "Failed | Report"


@dataclass(frozen=True, slots=True)
class _Envelope:
    """What a worker sends: one of the two."""

    report: Report | None = None
    failed: Failed | None = None


def give_orders(link: Connection, orders: Orders) -> None:
    """Send a worker its orders; OSError if it is gone."""
    link.send_bytes(plain.written(orders))


def take_orders(link: Connection) -> Orders:
    """Wait for orders; EOFError or OSError if the supervisor is gone."""
    return plain.read(Orders, link.recv_bytes(_MAX_BYTES))


def tell(link: Connection, word: Word) -> None:
    """Send the supervisor a word; OSError if it is gone."""
    envelope = _Envelope(failed=word) if isinstance(word, Failed) else _Envelope(report=word)
    link.send_bytes(plain.written(envelope))


def hear(link: Connection) -> Word:
    """Return a worker's next word; EOFError or OSError if it is gone."""
    envelope = plain.read(_Envelope, link.recv_bytes(_MAX_BYTES))
    word = envelope.failed or envelope.report
    assert word is not None
    return word
