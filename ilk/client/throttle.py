"""Knows how many calls a client may have under way, from what became of those before.

It refuses to know what is asked, and of whom: a client that talks to one service keeps one throttle.

A server that is asked for many times what it can do spends itself on saying no: to turn a call away costs
it nearly what a short query does. So a client that meets refusals keeps no more calls under way than
were answered of those before, and refuses the rest itself, at next to no cost to anyone. That number
shrinks to the share that was answered of each round trip, and grows by one with each that was answered
whole: networks hold back like this (Chiu & Jain 1989, Alizadeh et al. 2010), and for calls "Handling
Overload" in Google's SRE book asks for it. While nothing is refused there is no limit.
"""

import math
import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

import grpc

if TYPE_CHECKING:
    from typing_extensions import Self

# The second is how gRPC's server lets go of calls when too many wait, or when it stops.
_REFUSALS: Final = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED})
# A connection that fails takes all its calls with it, and where one server of several hangs, the calls
# that wait for it expire: neither says how busy the others are.
_SAY_NOTHING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class NotSent(grpc.RpcError):
    """A call that the client refused itself; with the status that the server would have given.

    Parameters
    ----------
    limit
        Calls that the client may have under way.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._limit = limit

    def code(self) -> grpc.StatusCode:
        """Return RESOURCE_EXHAUSTED."""
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self) -> str:
        """Return what happened, and what to do."""
        return (
            "not sent, by the client's own choice: the server turns calls away, and takes about "
            f"{self._limit} at a time from here. Do without the answer, or wait before asking again; "
            "where this lasts, ask less or add servers (throttled=False sends every call)"
        )

    def __str__(self) -> str:
        return self.details()


class Throttle:
    """Lets calls begin, or refuses them; any thread may use it.

    Parameters
    ----------
    forget_s
        When nothing has been refused for so long, by the server or here, there is no limit again.
    first_pause_s, longest_pause_s
        After a round trip of which the server refused everything, nothing is sent for about the first;
        each such in a row doubles the pause, up to the longest. Thousands of clients with one call each
        are held back by that alone.
    clock
        Seconds that never go back.
    draw
        Numbers in [0, 1), that pauses be of unlike lengths.
    """

    def __init__(
        self,
        forget_s: float = 2.0,
        first_pause_s: float = 0.05,
        longest_pause_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._forget_s = forget_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._limit = math.inf
        self._under_way = 0
        self._n_begun = 0
        self._refused_s = -math.inf
        self._paused_until_s = -math.inf
        self._n_pauses = 0
        self._begin_round()

    @property
    def limit(self) -> float:
        """Calls that may be under way at once; infinite while there is no limit."""
        return self._limit

    def begin(self, *, is_stream: bool = False) -> "Turn":
        """Return the turn of a call that may be sent now.

        Parameters
        ----------
        is_stream
            How it ends counts as of any call, but it is not counted as under way: until its first answer,
            which may be when its caller likes to ask, it would take a place of which nothing is heard.

        Raises
        ------
        NotSent
            If it is refused here.
        """
        with self._lock:
            if self._limit != math.inf:
                self._check_limit()
            n_places = 0 if is_stream else 1
            self._under_way += n_places
            self._n_begun += 1
            return Turn(self, self._n_begun, n_places)

    def _check_limit(self) -> None:
        now_s = self._clock()
        if now_s - self._refused_s > self._forget_s:
            self._limit = math.inf
            # What was refused in the round that ends here says nothing of the next one's limit.
            self._begin_round()
        elif self._under_way >= self._limit or now_s < self._paused_until_s:
            self._refused_s = now_s
            self._wanted_more = True
            raise NotSent(int(self._limit))

    def _end(self, number: int, n_places: int, status: grpc.StatusCode | None) -> None:
        """Take note of how the call with that number ended; None: nobody knows, it was given up."""
        with self._lock:
            self._under_way -= n_places
            if status is not None and status not in _SAY_NOTHING:
                self._count(status)
                # Calls that began after the round did tell what has become of its limit.
                if number > self._round_began:
                    self._end_round()

    def _count(self, status: grpc.StatusCode) -> None:
        self._n_ended += 1
        if status not in _REFUSALS:
            self._n_pauses = 0
            return
        self._n_refused += 1
        self._refused_s = self._clock()
        if self._limit == math.inf:
            self._limit = max(self._under_way, 1)
            # What it was right to send before says nothing of the limit.
            self._begin_round()

    def _begin_round(self) -> None:
        self._round_began = self._n_begun
        self._n_ended = self._n_refused = 0
        self._wanted_more = False

    def _end_round(self) -> None:
        n_answered = self._n_ended - self._n_refused
        if self._n_refused:
            self._limit = max(self._limit * n_answered // self._n_ended, 1)
        if not n_answered:
            pause_s = min(self._first_pause_s * 2**self._n_pauses, self._longest_pause_s)
            self._paused_until_s = self._clock() + pause_s * (0.5 + self._draw())
            self._n_pauses += 1
        elif self._wanted_more:
            self._limit += 1
        self._begin_round()


class Turn:
    """One call's turn: a context in which it is made, and which sees how it ends."""

    __slots__ = ("_n_places", "_number", "_throttle")

    def __init__(self, throttle: Throttle | None, number: int = 0, n_places: int = 0) -> None:
        self._throttle = throttle
        self._number = number
        self._n_places = n_places

    def end(self, status: grpc.StatusCode | None) -> None:
        """Take note of the call's status, once; None: the caller gave it up."""
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            throttle._end(self._number, self._n_places, status)

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.end(grpc.StatusCode.OK)
        elif isinstance(error, grpc.RpcError) and hasattr(error, "code"):
            self.end(error.code())
        else:
            self.end(None)


class Unthrottled(Throttle):
    """Lets every call begin."""

    def begin(self, *, is_stream: bool = False) -> Turn:
        """Return a turn."""
        return Turn(None)
