"""What serving costs over its limits: an empty handler for single calls, bare faiss for batches.

The server is a process of its own; this one calls it with prepared bytes and reads the server's CPU
seconds. Queries are for items like films drawn by popularity.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from benchmarks.processes import ServerProcess, running
from ilk import ann
from ilk.bundle import Bundle, open_bundle
from ilk.plan import make_plan
from ilk.search import fetch_count
from ilk.types import ItemId, Query
from ilk.v1 import similarity_pb2 as pb
from ilk.vectors import blend

_BATCH = 64
_CONCURRENCY = 32
# More would wait longer than a server lets them.
_BATCHES_AT_ONCE = 4
_CONNECTIONS = 4
_OWN = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one kind of call cost: server CPU, and calls per second of this run's clock."""

    cpu_us_per_call: float
    calls_per_s: float


def measure(store: Path, n_calls: int, n_rounds: int) -> dict[str, float]:
    """Return figures of unary calls and of batches of 64; medians of ``n_rounds`` interleaved rounds."""
    ann.use_threads(1)
    bundle = open_bundle(store)
    unary, batches, queries = _requests(bundle)
    kinds = ("empty", "unary", "batch", "stream", "two")
    spent: dict[str, list[Spent]] = {kind: [] for kind in kinds}
    bare: list[float] = []
    messages = [pb.FindNeighborsRequest.FromString(body) for body in unary]
    streamed = [pb.StreamFindNeighborsRequest(query=m).SerializeToString() for m in messages]
    arguments = ("--store", str(store), "--workers")
    with (
        running("benchmarks.empty_server", (*arguments, "1")) as empty,
        running("server", (*arguments, "1")) as real,
        running("server", (*arguments, "2")) as two,
    ):
        for _ in range(n_rounds):
            spent["empty"].append(_call(empty, "FindNeighbors", unary, n_calls))
            spent["unary"].append(_call(real, "FindNeighbors", unary, n_calls))
            n_batches = max(n_calls // _BATCH, 50)
            spent["batch"].append(_call(real, "BatchFindNeighbors", batches, n_batches))
            spent["stream"].append(asyncio.run(_stream(real, streamed, n_calls)))
            spent["two"].append(_call(two, "FindNeighbors", unary, n_calls))
            bare.append(_bare_search_us(bundle, queries))
    cpu_us = {name: float(np.median([s.cpu_us_per_call for s in of])) for name, of in spent.items()}
    rate = {name: float(np.median([s.calls_per_s for s in of])) for name, of in spent.items()}
    bare_us = float(np.median(bare))
    batch_us = cpu_us["batch"] / _BATCH
    return {
        "empty handler: server CPU, us per call": cpu_us["empty"],
        "FindNeighbors: server CPU, us per call": cpu_us["unary"],
        "FindNeighbors over empty handler, us": cpu_us["unary"] - cpu_us["empty"],
        "unary capacity / empty handler's (CPU)": cpu_us["empty"] / cpu_us["unary"],
        "unary throughput / empty handler's (clock)": rate["unary"] / rate["empty"],
        "batch of 64: server CPU, us per query": batch_us,
        "bare index.search of 64: CPU, us per query": bare_us,
        "batch queries per CPU-second / bare faiss's": bare_us / batch_us,
        "streaming: server CPU, us per query": cpu_us["stream"],
        "streamed queries per CPU-second / unary's": cpu_us["unary"] / cpu_us["stream"],
        "2 workers' calls per CPU / 1 worker's, times 2": 2 * cpu_us["unary"] / cpu_us["two"],
    }


def _requests(bundle: Bundle) -> tuple[list[bytes], list[bytes], list[Query]]:
    rng = np.random.default_rng(0)
    rated = bundle.manifest.n_items // 4
    rows = np.minimum(rng.zipf(1.3, 4096) - 1, rated - 1)
    ids = [bundle.items.vocabulary.id_of(int(row)) for row in rows]
    messages = [pb.FindNeighborsRequest(item_id=i, target=pb.TARGET_ITEMS) for i in ids]
    batches = [
        pb.BatchFindNeighborsRequest(queries=messages[at : at + _BATCH]).SerializeToString()
        for at in range(0, len(messages), _BATCH)
    ]
    return [m.SerializeToString() for m in messages], batches, [Query(ItemId(i)) for i in ids]


def _call(server: ServerProcess, method: str, bodies: Sequence[bytes], n_calls: int) -> Spent:
    return asyncio.run(_call_many(server, method, bodies, n_calls))


async def _call_many(
    server: ServerProcess, method: str, bodies: Sequence[bytes], n_calls: int
) -> Spent:
    """Keep ``_CONCURRENCY`` calls under way until ``n_calls`` have been answered."""
    async with contextlib.AsyncExitStack() as stack:
        # Connections of their own, or all would be one, and reach one worker.
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(server.address, _OWN))
            for _ in range(_CONNECTIONS)
        ]
        asks: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(f"/ilk.v1.SimilarityService/{method}") for channel in channels
        ]
        left = iter(range(n_calls))

        async def caller() -> None:
            for at in left:
                await asks[at % len(asks)](bodies[at % len(bodies)])

        for at in range(_CONCURRENCY):
            await asks[at % len(asks)](bodies[at % len(bodies)])
        cpu_s, clock_s = server.cpu_s(), time.perf_counter()
        at_once = _BATCHES_AT_ONCE if method.startswith("Batch") else _CONCURRENCY
        await asyncio.gather(*(caller() for _ in range(at_once)))
        spent_s = server.cpu_s() - cpu_s
        return Spent(1e6 * spent_s / n_calls, n_calls / (time.perf_counter() - clock_s))


async def _stream(server: ServerProcess, bodies: Sequence[bytes], n_queries: int) -> Spent:
    """Send ``n_queries`` over ``_CONNECTIONS`` streams, each as fast as the server takes them."""
    each = n_queries // _CONNECTIONS
    async with grpc.aio.insecure_channel(server.address) as channel:
        ask: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/ilk.v1.SimilarityService/StreamFindNeighbors"
        )

        async def caller() -> int:
            asked = (bodies[at % len(bodies)] for at in range(each))
            return len([answer async for answer in ask(asked)])

        cpu_s, clock_s = server.cpu_s(), time.perf_counter()
        n_answers = sum(await asyncio.gather(*(caller() for _ in range(_CONNECTIONS))))
        spent_s = server.cpu_s() - cpu_s
        return Spent(1e6 * spent_s / n_answers, n_answers / (time.perf_counter() - clock_s))


def _bare_search_us(bundle: Bundle, queries: Sequence[Query]) -> float:
    """Return CPU microseconds per query of ``index.search`` alone, 64 at a time, as served queries do."""
    plans = [make_plan(bundle, q) for q in queries[:_BATCH]]
    vectors = np.concatenate(
        [blend(p.seeker.collaborative, p.seeker.content, p.content_weight) for p in plans]
    )
    index, n_fetched = plans[0].space.index, fetch_count(plans[0])
    index.nearest(vectors, n_fetched, plans[0].effort or 0)
    n_repeats = 50
    started = time.process_time()
    for _ in range(n_repeats):
        index.nearest(vectors, n_fetched, plans[0].effort or 0)
    return 1e6 * (time.process_time() - started) / (n_repeats * _BATCH)
