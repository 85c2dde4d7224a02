"""Knows where work is done: at once, in turns on the event loop, or in threads.

It refuses to know what the work is.
"""

from concurrent.futures import Executor
from typing import Final

from ilk.errors import InvalidRequest
from server.load.admission import Lane
from server.load.traffic import Traffic
from server.observability.metrics import Counts
from server.settings import ServerSettings

# Up to so many multiplications (about half a millisecond) waiting for a turn would cost more than it
# brings; up to so many the event loop can be held up, if others get turns between.
SHORT: Final = 2_000_000
LONG: Final = 20_000_000


class Work:
    """Deals out work.

    Parameters
    ----------
    traffic, counts
        See :class:`server.load.admission.Lane`.
    pool
        Where long work runs.
    settings
        How long it may wait, how much of it one request may ask for, and on how many threads it runs.

    Attributes
    ----------
    traffic
        As given.
    turns, threads
        Where work is done in turns on the event loop, and where it is done in threads.
    """

    def __init__(
        self, traffic: Traffic, counts: Counts, pool: Executor, settings: ServerSettings
    ) -> None:
        self.traffic = traffic
        self.turns = Lane(traffic, counts, settings.max_wait_s)
        self.threads = Lane(traffic, counts, settings.max_wait_s, pool, settings.executor_threads)
        # What is short is never refused: a query alone is not even held against it.
        self._max_cost = max(settings.max_cost, SHORT)

    @property
    def wait_s(self) -> float:
        """How long work that is asked for now would wait, at worst."""
        return max(self.turns.wait_s, self.threads.wait_s)

    def lane(self, cost: int) -> Lane:
        """Return where one query of ``cost``, which is not short, waits."""
        return self.turns if cost <= LONG else self.threads

    def lane_of_many(self, cost: int, n_queries: int) -> Lane:
        """Return where ``n_queries`` that together cost ``cost`` wait."""
        return self.turns if cost <= SHORT * n_queries else self.threads

    def check(self, field: str, cost: int) -> None:
        """Raise InvalidRequest, with ``field`` to blame, if one request may not ask for so much."""
        if cost > self._max_cost:
            raise InvalidRequest(
                field,
                f"would take about {cost:.1e} multiplications, where this server allows a request "
                f"{self._max_cost:.1e}: ask for fewer neighbors, fewer at once, or less exactly",
            )
