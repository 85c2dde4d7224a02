"""What serving costs over its limits: an empty handler for single calls, bare faiss for batches.

The empty handler is that of our own transport (ADR 20), and of ``grpc.aio``, which others would use.

The server is a process of its own; this one calls it with prepared bytes (`calls`) and reads the server's
CPU seconds. Calls are measured on a server that remembers no answers and on one that does, as servers do
by default: how often it meets a query again is told too.

This client takes longer for a call than the server does, which so is never busy. Where h2load is
installed (nghttp2), it shows what a server does that is: each on a core of its own. Its programs ask
eight things over and over, so that a server that remembers answers has them all.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import saturation
from benchmarks.calls import BATCH, Requests, Spent, call, drawn, stream
from benchmarks.own_search import bare_searches, query_vectors
from benchmarks.processes import running
from ilk import ann
from ilk.bundle import Bundle, open_bundle
from ilk.query.plan import Plan, make_plan
from ilk.query.search import fetch_count
from ilk.vectors import widened
from server.messages.requests import parse_query

_BARE_REPEATS = 50


def measure(store: Path, n_calls: int, n_rounds: int) -> dict[str, float]:
    """Return figures of unary calls and of batches of 64; medians of ``n_rounds`` interleaved rounds."""
    ann.use_threads(1)
    bundle = open_bundle(store)
    rounds = drawn(bundle, n_calls, n_rounds)
    spent, bare = _spent(store, bundle, rounds)
    cpu_us = {name: float(np.median([s.cpu_us_per_call for s in of])) for name, of in spent.items()}
    rate = {name: float(np.median([s.calls_per_s for s in of])) for name, of in spent.items()}
    bare_us, refined_us = (float(np.median(of)) for of in zip(*bare, strict=True))
    busy = _busy(store, rounds, bare_us, refined_us) if saturation.is_there() else {}
    batch_us, again_us = cpu_us["batch"] / BATCH, cpu_us["batch again"] / BATCH
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
        "bare faiss, refined to find as much: CPU, us per query": refined_us,
        "batch queries per CPU-second / that": refined_us / batch_us,
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


def _spent(
    store: Path, bundle: Bundle, rounds: Sequence[Requests]
) -> tuple[dict[str, list[Spent]], list[tuple[float, float]]]:
    """Return what each kind of call cost in each round, and each query of the bare indices."""
    spent: dict[str, list[Spent]] = defaultdict(list)
    bare: list[tuple[float, float]] = []
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
            spent["empty"].append(call(empty, "FindNeighbors", asked.unary))
            spent["stock"].append(call(grpc_aio, "FindNeighbors", asked.unary))
            spent["unary"].append(call(real, "FindNeighbors", asked.unary))
            spent["batch"].append(call(real, "BatchFindNeighbors", asked.batches))
            spent["stream"].append(stream(real, asked.streamed))
            spent["two"].append(call(two, "FindNeighbors", asked.unary, workers=2))
            spent["unary again"].append(call(remembering, "FindNeighbors", asked.unary))
            spent["batch again"].append(call(remembering, "BatchFindNeighbors", asked.batches))
            bare.append(bare_search_us(bundle, asked.unary))
    return spent, bare


def _busy(
    store: Path, rounds: Sequence[Requests], bare_us: float, refined_us: float
) -> dict[str, float]:
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
        "busy: batch of 64, us per query": cpu_us["batch"] / BATCH,
        "busy: batch queries per CPU-second / bare": bare_us / (cpu_us["batch"] / BATCH),
        "busy: batch queries per CPU-second / refined": refined_us / (cpu_us["batch"] / BATCH),
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


def _asked_before(rounds: Sequence[Sequence[bytes]]) -> float:
    """Return the share of the last round's requests that were sent before."""
    met, n_again = {body for earlier in rounds[:-1] for body in earlier}, 0
    for body in rounds[-1]:
        n_again += body in met
        met.add(body)
    return n_again / len(rounds[-1])


def bare_search_us(bundle: Bundle, bodies: Sequence[bytes]) -> tuple[float, float]:
    """Return CPU microseconds per query of bare searches, of 64 queries searched as served ones are.

    First of ``index.search`` alone, which of codes is less than what is served; then of faiss's own
    refined search, which finds as much. Those that take the same effort and as many rows share a search.
    """
    together: dict[tuple[int, int], list[Plan]] = defaultdict(list)
    for body in bodies[:BATCH]:
        plan = make_plan(bundle, parse_query(body))
        together[plan.effort or 0, fetch_count(plan)].append(plan)
    alone: list[Callable[[], object]] = []
    refined: list[Callable[[], object]] = []
    for (effort, n_fetched), plans in together.items():
        index, vectors = plans[0].space.index, query_vectors(plans)
        alone.append(partial(index.nearest, vectors, n_fetched, effort))
        (search, *_), width = bare_searches(plans)
        refined.append(partial(search, widened(vectors, width)))
    return _cpu_us(alone), _cpu_us(refined)


def _cpu_us(searches: Sequence[Callable[[], object]]) -> float:
    for search in searches:
        search()
    started = time.process_time()
    for _ in range(_BARE_REPEATS):
        for search in searches:
            search()
    return 1e6 * (time.process_time() - started) / (_BARE_REPEATS * BATCH)
