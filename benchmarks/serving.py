"""What serving costs over its limits: an empty handler for single calls, bare faiss for batches.

The empty handler is that of our own transport (ADR 20), and of ``grpc.aio``, which others would use.

The server is a process of its own; this one calls it with prepared bytes and reads the server's CPU
seconds. Queries are for items like items that are drawn as often as people rate them, each round's anew.
Calls are measured on a server that remembers no answers and on one that does, as servers do by default:
how often it meets a query again is told too.

This client takes longer for a call than the server does, which so is never busy. Where h2load is
installed (nghttp2), it shows what a server does that is: each on a core of its own.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from benchmarks import saturation
from benchmarks.own_search import query_vectors
from benchmarks.processes import ServerProcess, running
from ilk import ann
from ilk.bundle import Bundle, open_bundle
from ilk.plan import Plan, make_plan
from ilk.search import fetch_count
from ilk.v1 import similarity_pb2 as pb
from server.requests import parse_query

_BATCH = 64
_BARE_REPEATS = 50
_LEAST_BATCHES = 50
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


@dataclass(frozen=True, slots=True)
class Requests:
    """One round's requests, as bytes: alone, in batches of 64, and in a stream."""

    unary: list[bytes]
    batches: list[bytes]
    streamed: list[bytes]


def measure(store: Path, n_calls: int, n_rounds: int) -> dict[str, float]:
    """Return figures of unary calls and of batches of 64; medians of ``n_rounds`` interleaved rounds."""
    ann.use_threads(1)
    bundle = open_bundle(store)
    rounds = _rounds(bundle, n_calls, n_rounds)
    kinds = ("empty", "stock", "unary", "batch", "stream", "two", "unary again", "batch again")
    spent: dict[str, list[Spent]] = {kind: [] for kind in kinds}
    bare: list[float] = []
    stock = ("--transport", "aio")
    stored, forgetful = ("--store", str(store)), ("--answer-memory-mb", "0")
    with (
        running("benchmarks.empty_server", (*stored, "--workers", "1")) as empty,
        running("benchmarks.empty_server", (*stored, "--workers", "1", *stock)) as grpc_aio,
        running("server", (*stored, "--workers", "1", *forgetful)) as real,
        running("server", (*stored, "--workers", "2", *forgetful)) as two,
        running("server", (*stored, "--workers", "1")) as remembering,
    ):
        for asked in rounds:
            spent["empty"].append(_call(empty, "FindNeighbors", asked.unary))
            spent["stock"].append(_call(grpc_aio, "FindNeighbors", asked.unary))
            spent["unary"].append(_call(real, "FindNeighbors", asked.unary))
            spent["batch"].append(_call(real, "BatchFindNeighbors", asked.batches))
            spent["stream"].append(asyncio.run(_stream(real, asked.streamed)))
            spent["two"].append(_call(two, "FindNeighbors", asked.unary, workers=2))
            spent["unary again"].append(_call(remembering, "FindNeighbors", asked.unary))
            spent["batch again"].append(_call(remembering, "BatchFindNeighbors", asked.batches))
            bare.append(bare_search_us(bundle, asked.unary))
    cpu_us = {name: float(np.median([s.cpu_us_per_call for s in of])) for name, of in spent.items()}
    rate = {name: float(np.median([s.calls_per_s for s in of])) for name, of in spent.items()}
    bare_us = float(np.median(bare))
    busy = _busy(store, rounds, bare_us) if saturation.is_there() else {}
    batch_us, again_us = cpu_us["batch"] / _BATCH, cpu_us["batch again"] / _BATCH
    return {
        "empty handler: server CPU, us per call": cpu_us["empty"],
        "FindNeighbors: server CPU, us per call": cpu_us["unary"],
        "FindNeighbors over empty handler, us": cpu_us["unary"] - cpu_us["empty"],
        "unary capacity / empty handler's (CPU)": cpu_us["empty"] / cpu_us["unary"],
        "unary throughput / empty handler's (clock)": rate["unary"] / rate["empty"],
        "grpc.aio's empty handler: server CPU, us per call": cpu_us["stock"],
        "unary capacity / grpc.aio's empty handler's (CPU)": cpu_us["stock"] / cpu_us["unary"],
        "unary throughput / the same (clock)": rate["unary"] / rate["stock"],
        "batch of 64: server CPU, us per query": batch_us,
        "bare index.search of 64: CPU, us per query": bare_us,
        "batch queries per CPU-second / bare faiss's": bare_us / batch_us,
        "streaming: server CPU, us per query": cpu_us["stream"],
        "streamed queries per CPU-second / unary's": cpu_us["unary"] / cpu_us["stream"],
        "2 workers' calls per CPU / 1 worker's, times 2": 2 * cpu_us["unary"] / cpu_us["two"],
        "remembering: calls asked before, last round": _asked_before([r.unary for r in rounds]),
        "remembering: server CPU, us per call": cpu_us["unary again"],
        "remembering: over empty handler, us": cpu_us["unary again"] - cpu_us["empty"],
        "remembering: capacity / empty handler's (CPU)": cpu_us["empty"] / cpu_us["unary again"],
        "remembering: throughput / empty handler's (clock)": rate["unary again"] / rate["empty"],
        "remembering: capacity / grpc.aio's empty handler's": cpu_us["stock"]
        / cpu_us["unary again"],
        "remembering: batch, us per query": again_us,
        "remembering: batch queries per CPU-second / bare": bare_us / again_us,
        **busy,
    }


def _busy(store: Path, rounds: Sequence[Requests], bare_us: float) -> dict[str, float]:
    """Return figures of servers that are never idle."""
    stored = ("--store", str(store), "--workers", "1")
    modules = {
        "empty": ("benchmarks.empty_server", stored),
        "unary": ("server", (*stored, "--answer-memory-mb", "0")),
        "again": ("server", stored),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*modules, "batch")}
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(running(*of, core=saturation.SERVER_CORE))
            for name, of in modules.items()
        }
        for asked in rounds:
            for name, server in servers.items():
                found[name].append(saturation.saturate(server, asked.unary, 3 * len(asked.unary)))
            found["batch"].append(
                saturation.saturate(
                    servers["unary"],
                    asked.batches,
                    len(asked.unary) // 2,
                    method="BatchFindNeighbors",
                )
            )
    cpu_us, rate = (
        {name: float(np.median([pair[at] for pair in of])) for name, of in found.items()}
        for at in (0, 1)
    )
    return {
        "busy: empty handler, us per call": cpu_us["empty"],
        "busy: FindNeighbors, us per call": cpu_us["unary"],
        "busy: over empty handler, us": cpu_us["unary"] - cpu_us["empty"],
        "busy: throughput / empty handler's (clock)": rate["unary"] / rate["empty"],
        "busy: batch of 64, us per query": cpu_us["batch"] / _BATCH,
        "busy: batch queries per CPU-second / bare": bare_us / (cpu_us["batch"] / _BATCH),
        "busy, remembering: over empty handler, us": cpu_us["again"] - cpu_us["empty"],
        "busy, remembering: throughput / empty handler's": rate["again"] / rate["empty"],
        "2 workers on two cores / 1 worker on one (clock)": _two_cores_over_one(store, rounds),
    }


def _two_cores_over_one(store: Path, rounds: Sequence[Requests]) -> float:
    """Return the calls a second of two workers over one's, who call them being on the same cores."""
    flags = ("--store", str(store), "--answer-memory-mb", "0", "--workers")
    cores = (saturation.SERVER_CORE, *saturation.CLIENT_CORES)
    ratios = []
    with (
        running("server", (*flags, "1"), core=saturation.SERVER_CORE) as one,
        running("server", (*flags, "2")) as two,
    ):
        for asked in rounds:
            n_calls = 3 * len(asked.unary)
            of_one = saturation.saturate(one, asked.unary, n_calls, cores[:1])[1]
            ratios.append(saturation.saturate(two, asked.unary, 2 * n_calls, cores)[1] / of_one)
    return float(np.median(ratios))


def _rounds(bundle: Bundle, n_calls: int, n_rounds: int) -> list[Requests]:
    rng = np.random.default_rng(0)
    return [_requests(bundle, rng, max(n_calls, _LEAST_BATCHES * _BATCH)) for _ in range(n_rounds)]


def _requests(bundle: Bundle, rng: np.random.Generator, n: int) -> Requests:
    # Batches are drawn for themselves: a server that remembers has not just answered all of them.
    messages, of_batches = _messages(bundle, rng, n), _messages(bundle, rng, n - n % _BATCH)
    batches = [
        pb.BatchFindNeighborsRequest(queries=of_batches[at : at + _BATCH]).SerializeToString()
        for at in range(0, len(of_batches), _BATCH)
    ]
    streamed = [pb.StreamFindNeighborsRequest(query=m).SerializeToString() for m in messages]
    return Requests([m.SerializeToString() for m in messages], batches, streamed)


def _messages(bundle: Bundle, rng: np.random.Generator, n: int) -> list[pb.FindNeighborsRequest]:
    rows = rng.choice(bundle.ratings_by_user.others, n).tolist()
    ids = map(bundle.items.vocabulary.id_of, rows)
    return [pb.FindNeighborsRequest(item_id=i, target=pb.TARGET_ITEMS) for i in ids]


def _asked_before(rounds: Sequence[Sequence[bytes]]) -> float:
    """Return the share of the last round's requests that were sent before."""
    met, n_again = {body for earlier in rounds[:-1] for body in earlier}, 0
    for body in rounds[-1]:
        n_again += body in met
        met.add(body)
    return n_again / len(rounds[-1])


def _call(
    server: ServerProcess, method: str, bodies: Sequence[bytes], *, workers: int = 1
) -> Spent:
    return asyncio.run(_call_many(server, method, bodies, workers))


async def _call_many(
    server: ServerProcess, method: str, bodies: Sequence[bytes], workers: int
) -> Spent:
    """Keep ``_CONCURRENCY`` calls for each worker under way until ``bodies`` have been answered."""
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


async def _stream(server: ServerProcess, bodies: Sequence[bytes]) -> Spent:
    """Send ``bodies`` over ``_CONNECTIONS`` streams, each as fast as the server takes them."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        ask: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/ilk.v1.SimilarityService/StreamFindNeighbors"
        )

        async def caller(first: int) -> int:
            return len([answer async for answer in ask(iter(bodies[first::_CONNECTIONS]))])

        cpu_s, clock_s = server.cpu_s(), time.perf_counter()
        n_answers = sum(await asyncio.gather(*map(caller, range(_CONNECTIONS))))
        spent_s = server.cpu_s() - cpu_s
        return Spent(1e6 * spent_s / n_answers, n_answers / (time.perf_counter() - clock_s))


def bare_search_us(bundle: Bundle, bodies: Sequence[bytes]) -> float:
    """Return CPU microseconds per query of ``index.search`` alone, of 64 searched as served queries are.

    Those that take the same effort and as many rows share a search.
    """
    together: dict[tuple[int, int], list[Plan]] = defaultdict(list)
    for body in bodies[:_BATCH]:
        plan = make_plan(bundle, parse_query(body))
        together[plan.effort or 0, fetch_count(plan)].append(plan)
    searches = [
        (plans[0].space.index, query_vectors(plans), n_fetched, effort)
        for (effort, n_fetched), plans in together.items()
    ]

    def search_all() -> None:
        for index, vectors, n_fetched, effort in searches:
            index.nearest(vectors, n_fetched, effort)

    search_all()
    started = time.process_time()
    for _ in range(_BARE_REPEATS):
        search_all()
    return 1e6 * (time.process_time() - started) / (_BARE_REPEATS * _BATCH)
