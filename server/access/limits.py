"""Knows how much each caller has asked for lately, in all workers, and who has to wait.

It refuses to know who the callers are, and how cost is counted. Each caller has a bucket that fills at
the caller's rate; a call is taken up while there is anything in it, and takes out what it costs, if need
be more than there is. A bucket is one number, the moment when it will be full: the generic cell rate
algorithm (ITU-T I.371), whose whole state fits where workers can share it without a lock.
"""

import contextlib
import hashlib
import mmap
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from server.load.admission import Shed
from server.observability.metrics import Counts

# Buckets that are not full, in all workers; a full one needs no place.
_N_PLACES: Final = 32_768
_PROBES: Final = 8
_KEY_BYTES: Final = 16
SIZE_BYTES: Final = _KEY_BYTES + 16 * _N_PLACES


class RateLimited(Shed):
    """A caller has asked for more than its rate lets it have."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s, "this caller is over its rate limit; wait, and ask less")


class Ledger:
    """The buckets of all callers.

    Parameters
    ----------
    memory
        Of ``SIZE_BYTES``, shared by whoever shares the buckets; see :func:`shared_memory`.
    clock
        Tells seconds, to all that share them alike.

    Notes
    -----
    Workers write without a lock. Where two charge one caller in the same fraction of a microsecond, one
    charge may be lost; nothing else can go wrong.
    """

    def __init__(self, memory: mmap.mmap, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        view = memoryview(memory)
        self._key = bytes(view[:_KEY_BYTES])
        middle = _KEY_BYTES + 8 * _N_PLACES
        self._tags = view[_KEY_BYTES:middle].cast("Q")
        self._full_at_s = view[middle:SIZE_BYTES].cast("d")

    def tag_of(self, caller: str) -> int:
        """Return what stands for a caller here; which place that is, nobody outside can work out."""
        digest = hashlib.blake2b(caller.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little") or 1

    def full_in_s(self, tag: int) -> float:
        """Return how long a bucket needs to be full; 0 if it is."""
        now_s = self._clock()
        place = self._place(tag, now_s)
        return max(0.0, self._full_at_s[place] - now_s) if self._tags[place] == tag else 0.0

    def take(self, tag: int, lasting_s: float) -> None:
        """Take out of a bucket what fills in ``lasting_s`` seconds."""
        now_s = self._clock()
        place = self._place(tag, now_s)
        full_at_s = self._full_at_s[place] if self._tags[place] == tag else now_s
        self._tags[place] = tag
        self._full_at_s[place] = max(full_at_s, now_s) + lasting_s

    def _place(self, tag: int, now_s: float) -> int:
        """Return where the bucket stands, or may be put: in place of the fullest, if none is full."""
        tags, full_at_s, first = self._tags, self._full_at_s, tag % _N_PLACES
        if tags[first] == tag:
            return first
        places = [(first + step) % _N_PLACES for step in range(_PROBES)]
        for place in places:
            if tags[place] == tag:
                return place
        return min(places, key=lambda place: max(full_at_s[place], now_s))


class Limit:
    """The bucket of one caller.

    Parameters
    ----------
    ledger
        Where it stands.
    caller
        Whose it is.
    cost_per_s
        How fast it fills.
    burst_s
        It holds what fills in so long.
    counts
        Where what is refused is counted; None: nowhere.
    """

    __slots__ = ("_burst_s", "_counts", "_ledger", "_s_per_cost", "_tag")

    def __init__(
        self,
        ledger: Ledger,
        caller: str,
        cost_per_s: float,
        burst_s: float,
        counts: Counts | None = None,
    ) -> None:
        self._ledger = ledger
        self._tag = ledger.tag_of(caller)
        self._s_per_cost = 1 / cost_per_s
        self._burst_s = burst_s
        self._counts = counts

    def check(self, n_asked: int = 1) -> None:
        """Raise RateLimited, with when to come back, for ``n_asked`` calls if the bucket is empty."""
        wait_s = self._ledger.full_in_s(self._tag) - self._burst_s
        if wait_s >= 0:
            if self._counts is not None:
                self._counts.shed["rate"] += n_asked
            raise RateLimited(wait_s)

    def charge(self, cost: int) -> None:
        """Take what a call costs out of the bucket."""
        self._ledger.take(self._tag, cost * self._s_per_cost)


@contextlib.contextmanager
def shared_memory() -> Iterator[int]:
    """Yield the descriptor of new memory for a ledger, to be handed to workers; Linux only."""
    descriptor = os.memfd_create("ilk-limits")
    try:
        os.ftruncate(descriptor, SIZE_BYTES)
        os.pwrite(descriptor, os.urandom(_KEY_BYTES), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def open_ledger(
    descriptor: int | None = None, clock: Callable[[], float] = time.monotonic
) -> Ledger:
    """Return the ledger in memory that was handed over, or one of this process alone."""
    memory = mmap.mmap(-1 if descriptor is None else descriptor, SIZE_BYTES)
    if descriptor is None:
        memory[:_KEY_BYTES] = os.urandom(_KEY_BYTES)
    return Ledger(memory, clock)
