"""Knows how many connections there can be, how long they last, and how it is found out that one is dead.

It refuses to know what comes by them; gRPC's core does nearly all of it, and is told here what to do.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Final, TypeAlias

try:
    import resource
except ImportError:  # Windows sets no limit
    resource = None  # type: ignore[assignment]

Option: TypeAlias = tuple[str, int]

# Each takes some 16 kB: a gigabyte of them.
_MANY: Final = 65_536
# More than a worker is likely to have, and passed over in a few milliseconds.
_CONNECTIONS: Final = 4_096

CHECKED: Final[tuple[Option, ...]] = (
    # A caller whose machine is gone is noticed within minutes, not after two hours, and what its calls
    # and streams hold is let go.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    # Callers may look as often as they are likely to, with calls under way or without. By default gRPC
    # ends connections of those who look more often than every five minutes, with all their calls.
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.keepalive_permit_without_calls", 1),
)
"""Options of a server whose callers, and who may look for it, are looked for."""


def allow_many() -> None:
    """Let this process, and those that it starts, open as many files as the system lets them.

    By default that is often a thousand, which a thousand callers fill, and nobody else comes in.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY if hard == resource.RLIM_INFINITY else min(hard, _MANY)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS has a limit of its own below that.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def numbered_above() -> Iterator[None]:
    """Give sockets that are opened in the context, to listen, higher numbers than connections will have.

    Linux closes what a killed process had open from the highest number down. A worker whose connections
    end before it has left the port is met there once more by callers who come back at once: they fail
    again, and by default gRPC then waits a second. So it is to leave the port first.
    """
    highest, below = min(_CONNECTIONS, _limit() // 2), [os.open(os.devnull, os.O_RDONLY)]
    try:
        while below[-1] < highest:
            below.append(os.dup(below[0]))
        yield
    finally:
        for number in below:
            os.close(number)


def lasting(max_age_s: float) -> tuple[Option, ...]:
    """Return the options of a server whose connections last about ``max_age_s``; 0: until they fail.

    gRPC asks the caller to open another and leaves the old one to the calls that are on it, however long
    they take; a tenth more or less keeps all from coming at once.
    """
    return (("grpc.max_connection_age_ms", round(1e3 * max_age_s)),) if max_age_s else ()


def _limit() -> int:
    if resource is None:
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if soft == resource.RLIM_INFINITY else soft
