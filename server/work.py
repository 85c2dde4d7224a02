"""Knows where work is done: at once, in turns on the event loop, or in threads.

It refuses to know what the work is.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar

from ilk.errors import InvalidRequest
from server.admission import Gate, Lane, Patience, Place
from server.metrics import Counts
from server.settings import ServerSettings

T = TypeVar("T")

# Up to so many multiplications (about half a millisecond) waiting for a turn would cost more than it
# brings; up to so many the event loop can be held up, if others get turns between.
SHORT: Final = 2_000_000
LONG: Final = 20_000_000


class Work:
    """Deals out work.

    Parameters
    ----------
    gate, counts
        See :class:`server.admission.Lane`.
    pool
        Where long work runs.
    settings
        How long it may wait, how much of it one request may ask for, and on how many threads it runs.
    """

    def __init__(
        self, gate: Gate, counts: Counts, pool: Executor, settings: ServerSettings
    ) -> None:
        self._turns = Lane(gate, counts, settings.max_wait_s)
        self._threads = Lane(gate, counts, settings.max_wait_s, pool, settings.executor_threads)
        self._max_cost = settings.max_cost

    @property
    def wait_s(self) -> float:
        """How long work that is asked for now would wait, at worst."""
        return max(self._turns.wait_s, self._threads.wait_s)

    def check(self, field: str, cost: int) -> None:
        """Raise InvalidRequest, with ``field`` to blame, if one request may not ask for so much."""
        if cost > self._max_cost:
            raise InvalidRequest(
                field,
                f"would take about {cost:.1e} multiplications, where this server allows a request "
                f"{self._max_cost:.1e}: ask for fewer neighbors, fewer at once, or less exactly",
            )

    async def do(
        self, sort: str, cost: int, patience: Patience, work: Callable[[], T], *, threads: bool
    ) -> T:
        """Return what ``work`` does, once its turn has come; errors as :meth:`Lane.admitted`."""
        async with self.admitted(sort, cost, patience, threads=threads) as place:
            return await place.run(cost, work)

    def admitted(
        self, sort: str, cost: int, patience: Patience, *, threads: bool
    ) -> AbstractAsyncContextManager[Place]:
        """Return the context of a place in the queue for threads, or for turns on the event loop."""
        lane = self._threads if threads else self._turns
        return lane.admitted(patience, sort, cost)
