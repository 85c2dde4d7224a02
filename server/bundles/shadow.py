"""Knows how well real queries are answered: a small share of them is asked again, exactly.

It refuses to hold up an answer, and to take more than a hundredth of a core. One thread of the lowest
priority compares, and rests; until it is ready again, queries go unexamined. An exact answer can take as
much as hundreds of others.
"""

import dataclasses
import logging
import math
import os
import random
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Final

from ilk.query import answer
from ilk.types import EXACT, Neighbors, Query
from server.bundles.answers import Question
from server.observability.logs import cause_of
from server.observability.metrics import Counts

if TYPE_CHECKING:
    from server.bundles.live import Served

log = logging.getLogger("ilk.server")

# Scores that differ by less, relatively, are ties; as `ilk.ann.recall` has it.
_SLACK = 1e-5
_LOWEST_PRIORITY = 19
_MOST_OF_A_CORE: Final = 0.01


class Shadow:
    """Measures live recall.

    Parameters
    ----------
    share
        Of queries to ask again, in [0, 1].
    counts
        Where the result is counted.
    seed
        Of the draw; None: another with each start.
    most_of_a_core
        That comparisons may take.

    Attributes
    ----------
    is_busy
        Whether a comparison is under way.
    """

    def __init__(
        self,
        share: float,
        counts: Counts,
        seed: int | None = None,
        most_of_a_core: float = _MOST_OF_A_CORE,
    ) -> None:
        self._share = share
        self._rest = 1 / most_of_a_core - 1
        self._rested_s = 0.0
        self._counts = counts
        self._random = random.Random(seed)  # noqa: S311 - a sample, not a secret
        self._until = self._gap()
        self.is_busy = False
        self._pool = ThreadPoolExecutor(1, "shadow", initializer=_lower_priority)

    def look(self, served: "Served", question: Question) -> None:
        """Ask an answered question again if its turn has come; returns at once."""
        # Threads look too: whatever is lost between them, it goes on.
        self._until -= 1
        if self._until > 0:
            return
        self._until = self._gap()
        query, found = question.query, question.answer
        if self.is_busy or perf_counter() < self._rested_s:
            return
        if _is_comparable(query, found):
            self.is_busy = True
            self._pool.submit(self._compare, served, query, found)

    def look_at_all(self, served: "Served", questions: Sequence[Question]) -> None:
        """Do as :meth:`look` for each of several."""
        if self._until > len(questions):
            self._until -= len(questions)
            return
        for question in questions:
            self.look(served, question)

    def close(self) -> None:
        """Finish the comparison under way, if any."""
        self._pool.shutdown()

    def _gap(self) -> int:
        """Return how many queries to go on to, at random: a fixed step could fall in with callers'."""
        if not 0 < self._share < 1:
            return 1 if self._share else sys.maxsize
        return 1 + int(self._random.expovariate(-math.log1p(-self._share)))

    def _compare(self, served: "Served", query: Query, found: Neighbors) -> None:
        started_s = thread_time()
        try:
            exact = answer(served.bundle, dataclasses.replace(query, accuracy=EXACT))
            hits, places = hits_and_places(found, exact)
            self._counts.shadow_hits += hits
            self._counts.shadow_places += places
            self._counts.shadowed += 1
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread's errors
            log.error("a query could not be asked again exactly\n%s", cause_of(error))
        finally:
            self._rested_s = perf_counter() + self._rest * (thread_time() - started_s)
            self.is_busy = False


def hits_and_places(found: Neighbors, exact: Neighbors) -> tuple[int, int]:
    """Return how many of ``found`` are right, and how many could be; a tie with the last is right."""
    worst = exact.neighbors[-1].score
    floor = worst - _SLACK * max(abs(worst), 1e-3)
    places = len(exact.neighbors)
    return min(places, sum(n.score >= floor for n in found.neighbors)), places


def _is_comparable(query: Query, found: Neighbors) -> bool:
    """Whether the answer could be wrong, and would be the best by score if it were right."""
    asked_exactly = query.accuracy is not None and query.accuracy.exact
    reranked = query.diversity or query.popularity_penalty
    return bool(found.neighbors) and not asked_exactly and not reranked


def _lower_priority() -> None:
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
