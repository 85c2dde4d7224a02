"""Knows how a stream is answered: what waits is answered together, in order, and a stop loses nothing.

It refuses to know single calls and batches.
"""

import asyncio
import functools
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final, Protocol

import grpc

from ilk.errors import DeadlineExceeded, IlkError, InvalidRequest, Unavailable, let_go
from server.bundles.answers import Question
from server.bundles.live import Live, Served
from server.bundles.shadow import Shadow
from server.calls.batches import (
    Heads,
    cost_of,
    count_refused,
    find_all,
    outcome_field,
    refused,
    screened,
)
from server.calls.call import Call, Context
from server.load.admission import Shed
from server.load.work import Work
from server.messages import requests
from server.messages.encoding import delimited
from server.observability.metrics import NO_KIND

# Messages that are answered with one search.
_MOST_TOGETHER: Final = 64
# When the server stops, a stream that is silent for this long has been answered all it asked.
_SILENCE_S: Final = 0.1
_REQUEST_ID: Final = b"\x0a"
_HEADS: Final = Heads(b"\x12", b"\x1a")


class Stream(Protocol):
    """What a stream is read from and written to."""

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`read` would return at once."""

    async def read(self) -> Any:
        """Return the next message; ``grpc.aio.EOF`` after the last."""

    async def write_all(self, messages: Sequence[bytes]) -> None:
        """Send messages."""


class OneByOne:
    """A stream of ``grpc.aio``, which tells nobody what waits: each message is answered for itself."""

    is_ready = False

    def __init__(self, context: Context) -> None:
        self.read = context.read
        self._write = context.write

    async def write_all(self, messages: Sequence[bytes]) -> None:
        """Send messages."""
        for message in messages:
            await self._write(message)


class Streams:
    """The streams under way.

    Parameters
    ----------
    live, work, shadow
        The bundle served; where work is done; what examines it.
    """

    def __init__(self, live: Live, work: Work, shadow: Shadow) -> None:
        self._live = live
        self._work = work
        self._shadow = shadow
        self._stopping = False
        self._readers: set[_Reader] = set()

    def stop(self) -> None:
        """End each stream as soon as it falls silent."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        for reader in self._readers:
            loop.call_later(_SILENCE_S, reader.end_if_waiting, reader.n_taken)

    async def converse(self, context: Context, call: Call) -> None:
        """Answer queries as they come, until the caller has no more or the server stops.

        Raises
        ------
        Unavailable
            If the server stops; all that was read is answered before.
        """
        stream: Any = context if hasattr(context, "write_all") else OneByOne(context)
        reader = _Reader(stream)
        self._readers.add(reader)
        traffic = self._work.traffic
        try:
            while messages := await reader.take(_SILENCE_S if self._stopping else None):
                started_s = perf_counter()
                # Not while it waits for its caller, to ask or to read: that may be for hours.
                traffic.in_flight += 1
                try:
                    answers = await self._answers(messages, call)
                finally:
                    traffic.in_flight -= 1
                await stream.write_all(answers)
                _count(call, perf_counter() - started_s, len(messages))
        finally:
            self._readers.discard(reader)
            reader.close()

    async def _answers(self, messages: list[bytes], call: Call) -> list[bytes]:
        """Return the bytes of a response to each message."""
        served = self._live.get()
        parsed = [_parse(data) for data in messages]
        asked = [
            self._unless_too_dear(question)
            for question in self._asked(served, [body for _, body in parsed], call)
        ]
        cost = cost_of(asked)
        if call.terms is not None:
            call.terms.charge(cost)
        lane = self._work.lane_of_many(cost, len(asked))
        if lane is self._work.turns:
            find_all(served, self._shadow, call, asked)
        else:
            await self._find_in_threads(served, call, asked, cost)
        return [
            delimited(_REQUEST_ID, request_id.encode())
            + b"".join(outcome_field(served, call, question, _HEADS))
            for (request_id, _), question in zip(parsed, asked, strict=True)
        ]

    def _asked(
        self, served: Served, bodies: list[bytes | InvalidRequest], call: Call
    ) -> list[Question | IlkError]:
        """Return what the messages ask, and what is wrong with those that may not be asked."""
        read = iter(
            served.answers.questions([b for b in bodies if isinstance(b, bytes)], call.privacy)
        )
        asked: list[Question | IlkError] = [
            next(read) if isinstance(body, bytes) else body for body in bodies
        ]
        if call.terms is None:
            return asked
        try:
            call.terms.go_on(len(asked))
        except Shed as error:
            let_go(error)
            return [refused(q, error) if isinstance(q, Question) else q for q in asked]
        return screened(asked, call.terms)

    def _unless_too_dear(self, question: Question | IlkError) -> Question | IlkError:
        """Return a question, or that it may not ask for so much: whatever else has come with it."""
        if isinstance(question, Question) and question.found is None:
            try:
                self._work.check("query", question.cost)
            except InvalidRequest as error:
                return refused(question, let_go(error))
        return question

    async def _find_in_threads(
        self, served: Served, call: Call, asked: list[Question | IlkError], cost: int
    ) -> None:
        """Answer what takes long; where that is turned away, each that has no answer is told so."""
        work = functools.partial(find_all, served, self._shadow, call, asked)
        try:
            await self._work.threads.do("batch", cost, call.patience(), work)
        except DeadlineExceeded as error:
            count_refused(call, asked, error)
            raise
        except IlkError as error:
            let_go(error)
            for question in asked:
                if isinstance(question, Question) and not (question.found or question.error):
                    question.error = error
            # Nothing is left to look for, but there may be answers that were remembered.
            work()


def _count(call: Call, took_s: float, n_messages: int) -> None:
    calls = call.by_kind[NO_KIND]
    for _ in range(n_messages):
        calls.latency.observe(took_s)
    calls.record_search(call)
    call.search_s = 0.0
    call.requested = call.returned = 0


class _Reader:
    """What the caller of one stream has sent and nobody has read yet."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reading: asyncio.Task[Any] | None = None
        self._is_waiting = False
        self._ended = False
        self.n_taken = 0

    async def take(self, silence_s: float | None) -> list[bytes]:
        """Return the messages that wait, at least one; none if the caller has no more.

        Raises
        ------
        Unavailable
            If nothing comes for ``silence_s``, or the wait is ended from outside.
        """
        stream = self._stream
        if stream.is_ready:
            message = await stream.read()
        else:
            message = await self._wait(silence_s)
        messages: list[bytes] = []
        while message is not grpc.aio.EOF:
            messages.append(message)
            if len(messages) == _MOST_TOGETHER or not stream.is_ready:
                break
            message = await stream.read()
        self.n_taken += len(messages)
        return messages

    async def _wait(self, silence_s: float | None) -> Any:
        self._reading = asyncio.ensure_future(self._stream.read())
        self._is_waiting = True
        try:
            return await asyncio.wait_for(self._reading, silence_s)
        except (asyncio.CancelledError, asyncio.TimeoutError):
            if silence_s is None and not self._ended:
                raise  # the caller has cancelled
            raise Unavailable("the server is stopping; ask again") from None
        finally:
            self._is_waiting = False

    def end_if_waiting(self, n_taken: int) -> None:
        """End the wait for a message if none came since ``n_taken``."""
        if self._is_waiting and self.n_taken == n_taken:
            self._ended = True
            self.close()

    def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()


def _parse(data: bytes) -> tuple[str, bytes | InvalidRequest]:
    try:
        return requests.parse_stream_message(data)
    except InvalidRequest as error:  # not a message: it had no id to echo
        return "", let_go(error)
