"""Knows which work is taken up, in what order, and which is turned away while that is still cheap.

It refuses to know rpcs and answers. Work that a caller no longer waits for, or will not be able to
wait for, never begins.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import TypeVar

from ilk.errors import DeadlineExceeded, Overloaded
from server.load.traffic import Traffic
from server.observability.metrics import Counts
from server.status import EXPIRED, SHED

T = TypeVar("T")

# A first guess of how long a multiplication takes; soon replaced by what is measured.
_FIRST_PACE_S = 2e-10
# The weight of the newest piece of work in the pace that is expected of the next.
_NEWEST = 0.2
# After a piece of work on the event loop, others may use the loop for this share of the time it took.
_OTHERS_SHARE = 0.25
# Work that had to wait begins if so many times what it is expected to take is left, and the way back.
_SURE = 1.5
_WAY_BACK_S = 2e-3
# How long calls are turned away unread after one came too late, but for those that have so much more
# time left than it had: they have not waited where it has.
_FLUSH_S = 0.05


class Shed(Overloaded):
    """Work that was turned away.

    Parameters
    ----------
    retry_after_s
        When the caller may try again.
    text
        Why.
    """

    def __init__(self, retry_after_s: float, text: str = SHED) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Patience:
    """How long one caller will wait.

    Parameters
    ----------
    left_s
        Seconds until the call's deadline; None if it has none.
    """

    __slots__ = ("_deadline_s", "gone")

    def __init__(self, left_s: float | None) -> None:
        self._deadline_s = None if left_s is None else time.monotonic() + left_s
        self.gone = False

    @property
    def left_s(self) -> float:
        """The seconds left; infinite without a deadline, not positive past it."""
        return float("inf") if self._deadline_s is None else self._deadline_s - time.monotonic()

    def check(self) -> None:
        """Raise DeadlineExceeded if nobody waits any more; from any thread."""
        if self.gone or self.left_s <= 0:
            raise DeadlineExceeded(EXPIRED)


class Lane:
    """A queue for one sort of work, kept as short as its callers can bear.

    Parameters
    ----------
    traffic
        Where the calls are counted that share the event loop with this work.
    counts
        Where what is shed and expired is counted.
    max_wait_s
        Work that would wait longer than this before it begins is turned away.
    pool, n_threads
        Where the work runs; None: on the event loop, a piece at a time.
    """

    def __init__(
        self,
        traffic: Traffic,
        counts: Counts,
        max_wait_s: float,
        pool: Executor | None = None,
        n_threads: int = 1,
    ) -> None:
        self._traffic = traffic
        self._counts = counts
        self._max_wait_s = max_wait_s
        self._pool = pool
        self._n_threads = n_threads
        self._slots = asyncio.Semaphore(n_threads)
        self._others_until_s = 0.0
        self._n_places = 0
        self._ahead_s = 0.0
        # Until then, whoever has no more time left than this has come too late.
        self._stale_until_s = self._stale_left_s = 0.0
        self._pace_s: dict[str, float] = defaultdict(lambda: _FIRST_PACE_S)

    @property
    def wait_s(self) -> float:
        """How long new work would wait before it begins, as far as can be told."""
        return max(self._ahead_s, 0.0) / self._n_threads

    @contextlib.asynccontextmanager
    async def admitted(self, patience: Patience, sort: str, cost: int) -> AsyncIterator["Place"]:
        """Yield a place in the queue for work of ``cost``, to be done in one piece or several.

        Parameters
        ----------
        patience
            How long the caller will wait.
        sort
            Work of one sort takes a like time for a like cost.
        cost
            In any unit, if always the same for the sort.

        Raises
        ------
        Shed
            If it would wait too long, or be done too late because it has to wait.
        DeadlineExceeded
            If nobody waits for it any more.
        """
        place = Place(self, patience, sort, cost * self._pace_s[sort])
        self._admit(place)
        self._n_places += 1
        self._ahead_s += place.left_s
        try:
            yield place
        finally:
            self._n_places -= 1
            # What rounding leaves of the sum would be a wait, and only what need not wait is tried
            # whatever is expected of it.
            self._ahead_s = self._ahead_s - place.left_s if self._n_places else 0.0

    def is_full(self, left_s: float) -> bool:
        """Whether new work would have to wait too long, here or in the transport before.

        Parameters
        ----------
        left_s
            How long its caller will wait.
        """
        return self.wait_s > self._max_wait_s or (
            left_s <= self._stale_left_s and time.monotonic() < self._stale_until_s
        )

    def _admit(self, place: "Place") -> None:
        wait_s, left_s = self.wait_s, place.patience.left_s
        # Work that need not wait is tried whatever is expected of it, lest a wrong guess stay.
        late = wait_s > 0 and wait_s + place.needs_s > left_s
        if late or left_s <= 0:
            # It has spent its time in the transport's queue, and so have those behind it: until they
            # are gone, turning them away unread is all that can be done for those to come. Or it never
            # had more, or wants much: others have.
            self._stale_left_s = max(min(left_s, wait_s), 0.0) + _FLUSH_S
            self._stale_until_s = time.monotonic() + _FLUSH_S
        if left_s <= 0:
            self._counts.expired["arrival"] += 1
            place.patience.check()
        if late or self.is_full(left_s):
            self._counts.shed["deadline" if late else "queue"] += 1
            raise Shed(wait_s)

    async def do(self, sort: str, cost: int, patience: Patience, work: Callable[[], T]) -> T:
        """Return what ``work`` does, once its turn has come; errors as :meth:`admitted`."""
        async with self.admitted(patience, sort, cost) as place:
            return await place.run(cost, work)

    async def run(self, place: "Place", cost: int, work: Callable[[], T]) -> T:
        """Wait for a turn, and run one piece of work of ``cost`` in it unless nobody waits for it.

        On the event loop, others come first after a piece of the same place, and as long as they are owed
        for the turn before. So whoever waits for an answer has it as soon as it is there.
        """
        waits = self._slots.locked()
        async with self._slots:
            began_s = time.perf_counter()
            if self._pool is None and (place.begun or began_s < self._others_until_s):
                await self._traffic.let_others(self._others_until_s)
            if waits and not place.begun and 0 < place.patience.left_s < place.needs_s:
                self._counts.shed["deadline"] += 1
                raise Shed(self.wait_s)
            place.begun = True
            turn_s = time.perf_counter()
            result = await self._run(place.patience, work)
            now_s = time.perf_counter()
            self._others_until_s = now_s + _OTHERS_SHARE * (now_s - turn_s)
            # With what others had of it: those who wait wait for that too.
            took_s = now_s - began_s
            pace_s = self._pace_s[place.sort]
            self._pace_s[place.sort] += _NEWEST * (took_s / max(cost, 1) - pace_s)
            done_s = min(place.left_s, cost * pace_s)
            place.left_s -= done_s
            self._ahead_s -= done_s
        return result

    async def _run(self, patience: Patience, work: Callable[[], T]) -> T:
        def unless_expired() -> T:
            patience.check()
            return work()

        try:
            if self._pool is None:
                return unless_expired()
            return await _until_done(self._pool, unless_expired, patience)
        except DeadlineExceeded:
            self._counts.expired["queue"] += 1
            raise


async def _until_done(pool: Executor, work: Callable[[], T], patience: Patience) -> T:
    """Return what ``work`` does in a thread.

    Where whoever waits is cancelled, that takes effect when the thread is free: its turn is over then.
    """
    running = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        patience.gone = True
        with contextlib.suppress(Exception):
            await running
        raise


class Place:
    """One caller's place in a lane.

    Attributes
    ----------
    left_s
        How long the work that is left in it is expected to take.
    begun
        Whether a piece of it has had its turn.
    """

    __slots__ = ("_lane", "begun", "left_s", "patience", "sort")

    def __init__(self, lane: Lane, patience: Patience, sort: str, left_s: float) -> None:
        self._lane = lane
        self.patience = patience
        self.sort = sort
        self.left_s = left_s
        self.begun = False

    @property
    def needs_s(self) -> float:
        """The time that must be left for its answer to come in time."""
        return _SURE * self.left_s + _WAY_BACK_S

    async def run(self, cost: int, work: Callable[[], T]) -> T:
        """Run one piece of the work when its turn comes; see :meth:`Lane.run`."""
        return await self._lane.run(self, cost, work)
