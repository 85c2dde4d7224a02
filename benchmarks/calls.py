"""Knows the calls that serving is measured with: what is asked, and how this process asks it.

It refuses to know what the servers are. Queries are for items like items, drawn as often as people rate
them, each round's anew.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from benchmarks.processes import ServerProcess
from ilk.bundle import Bundle
from ilk.v1 import similarity_pb2 as pb

BATCH = 64
_LEAST_BATCHES = 50
_CONCURRENCY = 32
# More would wait longer than a server lets them.
_BATCHES_AT_ONCE = 4
_CONNECTIONS = 4
_OWN = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(frozen=True, slots=True)
class Requests:
    """One round's requests, as bytes: alone, in batches of 64, and in a stream."""

    unary: list[bytes]
    batches: list[bytes]
    streamed: list[bytes]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one kind of call cost: server CPU, and calls per second of this run's clock."""

    cpu_us_per_call: float
    calls_per_s: float


def drawn(bundle: Bundle, n_calls: int, n_rounds: int) -> list[Requests]:
    """Return the requests of ``n_rounds`` rounds, each of ``n_calls`` or what 50 batches take."""
    rng = np.random.default_rng(0)
    return [_requests(bundle, rng, max(n_calls, _LEAST_BATCHES * BATCH)) for _ in range(n_rounds)]


def _requests(bundle: Bundle, rng: np.random.Generator, n: int) -> Requests:
    # Batches are drawn for themselves: a server that remembers has not just answered all of them.
    messages, of_batches = _messages(bundle, rng, n), _messages(bundle, rng, n - n % BATCH)
    batches = [
        pb.BatchFindNeighborsRequest(queries=of_batches[at : at + BATCH]).SerializeToString()
        for at in range(0, len(of_batches), BATCH)
    ]
    streamed = [pb.StreamFindNeighborsRequest(query=m).SerializeToString() for m in messages]
    return Requests([m.SerializeToString() for m in messages], batches, streamed)


def _messages(bundle: Bundle, rng: np.random.Generator, n: int) -> list[pb.FindNeighborsRequest]:
    rows = rng.choice(bundle.ratings_by_user.others, n).tolist()
    ids = map(bundle.items.vocabulary.id_of, rows)
    return [pb.FindNeighborsRequest(item_id=i, target=pb.TARGET_ITEMS) for i in ids]


def call(server: ServerProcess, method: str, bodies: Sequence[bytes], *, workers: int = 1) -> Spent:
    """Make unary calls, ``_CONCURRENCY`` at once for each worker; batches are fewer at once."""
    return asyncio.run(_call_all(server, method, bodies, workers))


def stream(server: ServerProcess, bodies: Sequence[bytes]) -> Spent:
    """Send messages over ``_CONNECTIONS`` streams of one connection, as fast as the server takes them."""
    return asyncio.run(_stream_all(server, bodies))


async def _call_all(
    server: ServerProcess, method: str, bodies: Sequence[bytes], workers: int
) -> Spent:
    async with contextlib.AsyncExitStack() as stack:
        # Connections of their own, or all would be one, and reach one worker.
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(server.address, _OWN))
            for _ in range(workers * _CONNECTIONS)
        ]
        asks: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(f"/ilk.v1.SimilarityService/{method}") for channel in channels
        ]
        left = iter(range(len(bodies)))

        async def caller() -> None:
            for at in left:
                await asks[at % len(asks)](bodies[at])

        for ask in asks:
            await ask(bodies[0])
        cpu_s, clock_s = server.cpu_s(), time.perf_counter()
        at_once = _BATCHES_AT_ONCE if method.startswith("Batch") else _CONCURRENCY
        await asyncio.gather(*(caller() for _ in range(workers * at_once)))
        spent_s = server.cpu_s() - cpu_s
        took_s = time.perf_counter() - clock_s
        return Spent(1e6 * spent_s / len(bodies), len(bodies) / took_s)


async def _stream_all(server: ServerProcess, bodies: Sequence[bytes]) -> Spent:
    async with grpc.aio.insecure_channel(server.address) as channel:
        ask: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/ilk.v1.SimilarityService/StreamFindNeighbors"
        )

        async def caller(first: int) -> int:
            return len([answer async for answer in ask(iter(bodies[first::_CONNECTIONS]))])

        await channel.channel_ready()
        cpu_s, clock_s = server.cpu_s(), time.perf_counter()
        n_answers = sum(await asyncio.gather(*map(caller, range(_CONNECTIONS))))
        spent_s = server.cpu_s() - cpu_s
        return Spent(1e6 * spent_s / n_answers, n_answers / (time.perf_counter() - clock_s))
