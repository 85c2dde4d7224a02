"""Knows what access control a server's settings ask for, and sets it up as the server starts.

It refuses to know calls.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc

from server.access import certificates
from server.access.certificates import Certificates
from server.access.control import Access
from server.access.limits import open_ledger
from server.access.watching import Watched, Watcher
from server.address import is_loopback
from server.observability.metrics import Counts
from server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Doors:
    """How a server is entered.

    Attributes
    ----------
    access
        Who is let in; None: everybody, to everything.
    credentials
        What its port is opened with; None: connections are plaintext.
    look
        Looks at the files of both now, from any thread.
    certificates
        What the server shows.
    """

    access: Access | None
    credentials: grpc.ServerCredentials | None
    look: Callable[[], None]
    certificates: Certificates


@contextlib.contextmanager
def doors(settings: ServerSettings, counts: Counts, ledger: int | None) -> Iterator[Doors]:
    """Set up access control, and heed changed files until the context ends.

    Parameters
    ----------
    settings
        Of the server.
    counts
        Where refusals for callers' rates are counted.
    ledger
        Memory shared by all workers for what callers have asked for; None: there is one worker.

    Raises
    ------
    SettingsError
        If a file cannot be read or used.
    """
    files: list[Watched] = []
    access = Access(settings, open_ledger(ledger), counts) if _is_wanted(settings) else None
    if access is not None and settings.callers is not None:
        files.append(Watched("--callers", [settings.callers], access.load))
    shown = Certificates()
    pair = certificates.watched(settings, shown)
    if pair is not None:
        files.append(pair)
    for watched in files:
        watched.start()
    opened = None
    if pair is not None:
        opened = shown.credentials(ask_clients=settings.tls_client_ca is not None)
    with contextlib.closing(Watcher(files, settings.poll_interval_s)) as watcher:
        yield Doors(access, opened, watcher.look, shown)


def _is_wanted(settings: ServerSettings) -> bool:
    """Whether anything is kept from any caller."""
    hides = settings.pseudonym_key or settings.users_crowd > 1 or settings.users_score_step
    limited = settings.knows_callers or settings.rate_limit is not None
    return bool(limited or hides or not is_loopback(settings.host))
