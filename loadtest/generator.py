"""Knows how one process offers load: every call leaves when it is due, whether or not others ended.

It refuses to wait for answers before sending: a server that stalls gets more calls, not fewer.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from ilk.client.channel import Metadata, call_metadata, past_proxies
from ilk.v1 import similarity_pb2 as pb
from loadtest.entry import PLAINTEXT, Entry
from loadtest.kinds import BATCH, KINDS, STREAM
from loadtest.samples import Recorder, Samples

if TYPE_CHECKING:
    Ask: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    Open: TypeAlias = grpc.aio.StreamStreamMultiCallable[bytes, bytes]
    Stream: TypeAlias = grpc.aio.StreamStreamCall[bytes, bytes]

_SERVICE = "/ilk.v1.SimilarityService/"
# There is no service config: gRPC sends again only what a connection that ends never brought to a server.
# What a retry hides from a caller it must not hide from a measurement.
_OPTIONS = (
    # A connection per channel, so that all workers of a port are reached.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.max_receive_message_length", 64 * 2**20),
)
_GAVE_UP: int = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
# A stream that ends well and owes an answer breaks the contract.
_UNANSWERED: int = grpc.StatusCode.INTERNAL.value[0]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The calls of one step.

    Attributes
    ----------
    start_s
        When the step begins, of ``time.monotonic``, which all processes of a machine share.
    due_s
        When each call is due after that, rising.
    kinds
        The kind of each, as a position in the pools.
    """

    start_s: float
    due_s: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.int64]


class Generator:
    """Sends calls to one server over a few connections.

    Parameters
    ----------
    target
        HOST:PORT, or another target that gRPC resolves.
    pools
        Bodies by kind, each asked in turn.
    n_connections
        Connections to spread calls over.
    timeout_s
        Deadline of each call.
    entry
        How the server is entered.
    """

    def __init__(
        self,
        target: str,
        pools: Mapping[str, Sequence[bytes]],
        n_connections: int,
        timeout_s: float,
        entry: Entry = PLAINTEXT,
    ) -> None:
        self._channels = [_channel(target, entry) for _ in range(n_connections)]
        self._metadata = call_metadata(entry.token, ()) or None
        self._rpcs = [KINDS[name].rpc for name in pools]
        self._bodies = [itertools.cycle(pool) for pool in pools.values()]
        self._asks: dict[str, itertools.cycle[Ask]] = {
            rpc: itertools.cycle([c.unary_unary(_SERVICE + rpc) for c in self._channels])
            for rpc in set(self._rpcs) - {STREAM}
        }
        self._streams = itertools.cycle(
            [_LongStream(c, timeout_s, self._metadata) for c in self._channels]
        )
        self._timeout_s = timeout_s

    async def ready(self) -> None:
        """Wait until every connection is made, or the deadline of a call has passed."""
        waits = (channel.channel_ready() for channel in self._channels)
        await asyncio.wait_for(asyncio.gather(*waits), max(self._timeout_s, 5.0))

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def run(self, schedule: Schedule) -> Samples:
        """Offer the calls of one step and return how each ended."""
        recorder = Recorder(schedule.start_s)
        calls: set[asyncio.Task[None]] = set()
        streams: set[_LongStream] = set()
        due_s = (schedule.start_s + schedule.due_s).tolist()
        for due, kind in zip(due_s, schedule.kinds.tolist(), strict=True):
            # Also when late: answers have to be let in between.
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            body = next(self._bodies[kind])
            if self._rpcs[kind] == STREAM:
                stream = next(self._streams)
                stream.send(due, kind, body, recorder)
                streams.add(stream)
            else:
                call = asyncio.create_task(self._call(due, kind, body, recorder))
                calls.add(call)
                call.add_done_callback(calls.discard)
        if calls:
            await asyncio.wait(calls)
        await asyncio.gather(*(stream.finish() for stream in streams))
        return recorder.samples()

    async def _call(self, due_s: float, kind: int, body: bytes, recorder: Recorder) -> None:
        rpc = self._rpcs[kind]
        sent_s = time.monotonic()
        code = 0
        try:
            answer = await next(self._asks[rpc])(
                body, timeout=self._timeout_s, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            code = error.code().value[0]
        ended_s = time.monotonic()
        if rpc == BATCH and not code:
            code = _first_code(pb.BatchFindNeighborsResponse.FromString(answer).outcomes)
        recorder.add(due_s, sent_s, ended_s, kind, code)


class _LongStream:
    """A stream that lasts from its first message to the end of a step; each message is a call."""

    def __init__(
        self, channel: grpc.aio.Channel, timeout_s: float, metadata: Metadata | None
    ) -> None:
        self._metadata = metadata
        self._open: Open = channel.stream_stream(_SERVICE + STREAM)
        self._timeout_s = timeout_s
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._pending: deque[tuple[float, float, int, Recorder]] = deque()
        self._reading: asyncio.Task[None] | None = None

    def send(self, due_s: float, kind: int, body: bytes, recorder: Recorder) -> None:
        """Put one message on its way; the stream is opened if none is open."""
        if self._reading is None or self._reading.done():
            self._messages = asyncio.Queue()
            self._reading = asyncio.create_task(
                self._read(self._open(self._written(), metadata=self._metadata))
            )
        self._pending.append((due_s, time.monotonic(), kind, recorder))
        self._messages.put_nowait(body)

    async def finish(self) -> None:
        """Say that no more comes, and wait for the answers as long as a call would."""
        if self._reading is None:
            return
        self._messages.put_nowait(None)
        await asyncio.wait({self._reading}, timeout=self._timeout_s)
        self._reading.cancel()
        self._end_all(_GAVE_UP)

    async def _written(self) -> AsyncIterator[bytes]:
        while (body := await self._messages.get()) is not None:
            yield body

    async def _read(self, call: "Stream") -> None:
        code = _UNANSWERED
        try:
            async for answer in call:
                self._end_first(_first_code([pb.StreamFindNeighborsResponse.FromString(answer)]))
        except grpc.aio.AioRpcError as error:
            code = error.code().value[0]
        finally:
            call.cancel()
        # Else the answers of the next stream would be taken for those to messages of this one.
        self._end_all(code)

    def _end_all(self, code: int) -> None:
        while self._pending:
            self._end_first(code)

    def _end_first(self, code: int) -> None:
        """Keep how the oldest message ended: by its own deadline at the latest, as a call does."""
        due_s, sent_s, kind, recorder = self._pending.popleft()
        ended_s, gave_up_s = time.monotonic(), sent_s + self._timeout_s
        if ended_s > gave_up_s:
            ended_s, code = gave_up_s, _GAVE_UP
        recorder.add(due_s, sent_s, ended_s, kind, code)


def _channel(target: str, entry: Entry) -> grpc.aio.Channel:
    credentials, options = entry.credentials(), (*_OPTIONS, *past_proxies(target))
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


def _first_code(
    outcomes: Sequence[pb.QueryOutcome] | Sequence[pb.StreamFindNeighborsResponse],
) -> int:
    """Return the code of the first query that failed; 0 if none did."""
    return next((o.error.code for o in outcomes if o.HasField("error")), 0)
