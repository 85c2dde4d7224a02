"""Servers are stopped and workers killed under load: what was begun ends, what falls comes back."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.steadiness.load import Ask, load
from benchmarks.steadiness.oracle import Oracle
from benchmarks.steadiness.program import started, wait_for
from ilk import SimilarityClient
from ilk.errors import IlkError

_GRACE_S = "600"
# For each caller, so that many ask no more than a few do.
_PAUSE_S = 0.00025


def measure_stops(store: Path, n_stops: int = 20, load_s: float = 1.0) -> dict[str, float]:
    """Stop a server ``n_stops`` times under load; return what became of the calls it had begun.

    The server logs each call that it begins, by its end. A call that was begun and not finished would
    be missing on one side or end there with another status than OK.
    """
    oracle = Oracle(store, 8)
    codes: Counter[int] = Counter()
    answered, begun, unfinished, other = 0, 0, 0, Counter[str]()

    for _ in range(n_stops):
        flags = ("--workers", "2", "--log-calls", "--grace-s", _GRACE_S)
        with started(store, *flags) as program:
            with load(program.address, _asking(oracle), pause_s=0) as callers:
                wait_for(lambda c=callers: c.n_asked > 100)  # type: ignore[misc]
                time.sleep(load_s)
                codes[program.stop()] += 1
            ends = Counter(line["code"] for line in program.lines() if "method" in line)
        answered += callers.ended.pop("right")
        begun += ends.total()
        unfinished += ends.total() - ends["OK"]
        other += callers.ended
    not_begun = other.pop("Unavailable", 0)
    return {
        "stops that ended with exit code 0": codes[0],
        "calls that the server began": begun,
        "of them not finished": unfinished,
        "answers that reached their callers": answered,
        "calls turned away with UNAVAILABLE": not_begun,
        "calls that ended otherwise": other.total(),
    }


def measure_kills(
    store: Path, n_kills: int = 20, between_s: float = 2.0, n_callers: int = 8, n_clients: int = 8
) -> dict[str, float]:
    """Kill one of two workers ``n_kills`` times under load; return how many calls succeeded.

    Callers who share a client lose all their calls at once, when the worker that it reaches is killed.
    """
    oracle, back_s = Oracle(store, 8), list[float]()
    pause_s = _PAUSE_S * n_callers

    with (
        started(store, "--workers", "2") as program,
        load(program.address, _asking(oracle), n_callers, pause_s, n_clients) as callers,
    ):
        for kill in range(n_kills):
            time.sleep(between_s)
            victim = sorted(worker.pid for worker in program.workers())[kill % 2]
            os.kill(victim, signal.SIGKILL)
            killed_s = time.monotonic()
            wait_for(lambda: program.n_serving() < 2)
            wait_for(lambda: program.n_serving() == 2)
            back_s.append(time.monotonic() - killed_s)
    right = callers.ended["right"]
    return {
        "calls": callers.ended.total(),
        "share that succeeded": right / callers.ended.total(),
        "answers that were wrong": callers.ended["wrong"],
        "median time until the worker was back, s": float(np.median(back_s)),
        "longest time until the worker was back, s": max(back_s),
    }


def _asking(oracle: Oracle) -> Ask:
    """Return what asks the oracle's queries in turn, and tells right answers from wrong ones."""

    def ask(client: SimilarityClient, n: int) -> str:
        at = n % len(oracle.queries)
        try:
            told = client.find_neighbors(oracle.queries[at])
        except IlkError as error:
            return type(error).__name__
        return "right" if oracle.is_right(at, told) else "wrong"

    return ask
