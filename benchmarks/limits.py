"""Knows what a caller far over its rate limit does to another that is not: how long the other waits.

It refuses to trust absolute times: what another waits is told as a multiple of what it waits alone, round
by round in one run.
"""

import dataclasses
import multiprocessing
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.http2 import Request
from benchmarks.openloop import Outcome, offer
from benchmarks.overload import keep_to_other_cores, requests_of
from benchmarks.processes import running
from ilk.bundle import open_bundle
from ilk.types import ItemId, Query
from server.access.callers import Caller, Callers, Scope, new_token, to_bytes
from server.bundles.cost import PER_QUERY, Costs
from server.settings import LOOPBACK

_TIMEOUT_S = 1.0
_SHARE = 0.99


@dataclass(frozen=True, slots=True)
class Plan:
    """Who asks how much.

    Attributes
    ----------
    rate
        Calls a second of the one who keeps within bounds.
    limit
        Calls a second that the noisy one may make.
    multiple
        How many times that it makes.
    n_rounds, duration_s
        Rounds, in each of which both are offered alone and together, and how long each lasts.
    """

    rate: float = 200
    limit: float = 50
    multiple: float = 10
    n_rounds: int = 5
    duration_s: float = 4


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the quiet caller alone, beside the noisy one, and beside it without limits."""

    alone: Outcome
    limited: Outcome
    unlimited: Outcome
    noise: Counter[str]


def measure(store: Path, plan: Plan) -> tuple[float, list[Round]]:
    """Return the cost of the noisy caller's call in multiplications, and every round."""
    bundle = open_bundle(store)
    # What the call costs, and what its query does.
    cost = PER_QUERY + Costs(bundle).of(Query(ItemId(bundle.items.vocabulary.id_of(0))))
    with tempfile.TemporaryDirectory() as folder:
        tokens = _write_callers(Path(folder) / "callers.json", plan.limit * cost)
        singles = requests_of(bundle, "single")
        asked = {
            name: [dataclasses.replace(request, token=token) for request in singles]
            for name, token in tokens.items()
        }
        flags = ("--store", str(store), "--workers", "1", "--host", LOOPBACK, "--burst-s", "0.5")
        # What is remembered costs no search, and is no load.
        forgetful = ("--answer-memory-mb", "0")
        callers = ("--callers", str(Path(folder) / "callers.json"))
        spawn = multiprocessing.get_context("spawn")
        with (
            running("server", (*flags, *forgetful, *callers), core=0) as server,
            ProcessPoolExecutor(2, spawn, keep_to_other_cores) as generators,
        ):
            _warm(generators, server.address, asked["quiet"], plan)
            return cost, [
                _round(generators, server.address, asked, plan) for _ in range(plan.n_rounds)
            ]


def table(cost: float, plan: Plan, rounds: Sequence[Round]) -> list[str]:
    """Return the lines to print."""
    noise: Counter[str] = sum((r.noise for r in rounds), Counter())
    total = sum(noise.values())
    lines = [
        f"a usual query costs {cost:.3g} multiplications; the limit is {plan.limit * cost:.3g} a second",
        f"noisy: {plan.multiple:g} times its limit; answered {noise['OK'] / total:.1%}, "
        f"turned away {noise['RESOURCE_EXHAUSTED'] / total:.1%}",
    ]
    for name in ("limited", "unlimited"):
        ratios = [getattr(r, name).quantile_s(_SHARE) / r.alone.quantile_s(_SHARE) for r in rounds]
        failed = sum(
            n for r in rounds for code, n in getattr(r, name).statuses.items() if code != "OK"
        )
        lines.append(
            f"beside it, {name:<9}  p99 {statistics.median(ratios):5.2f} x alone "
            f"(rounds {min(ratios):.2f} to {max(ratios):.2f})   failed {failed}"
        )
    alone_ms = 1e3 * statistics.median(r.alone.quantile_s(_SHARE) for r in rounds)
    return [*lines, f"alone: p99 {alone_ms:.2f} ms"]


def _round(
    generators: Executor, address: str, asked: dict[str, list[Request]], plan: Plan
) -> Round:
    def begin(name: str, rate: float) -> "Future[Outcome]":
        return generators.submit(offer, address, asked[name], rate, plan.duration_s, _TIMEOUT_S)

    outcomes, noise = {}, Counter[str]()
    for name, loud in (("alone", None), ("limited", "noisy"), ("unlimited", "free")):
        beside = None if loud is None else begin(loud, plan.multiple * plan.limit)
        outcomes[name] = begin("quiet", plan.rate).result()
        if beside is not None and loud == "noisy":
            noise = beside.result().statuses
        elif beside is not None:
            beside.result()
    return Round(**outcomes, noise=noise)


def _warm(generators: Executor, address: str, asked: list[Request], plan: Plan) -> None:
    for _ in range(2):
        generators.submit(offer, address, asked, plan.rate, 1.0, _TIMEOUT_S).result()


def _write_callers(path: Path, cost_per_s: float) -> dict[str, str]:
    tokens, callers = {}, []
    for name, limit in (("quiet", None), ("noisy", cost_per_s), ("free", None)):
        tokens[name], digest = new_token()
        callers.append(Caller(name, frozenset({Scope.QUERY}), digest, cost_per_s=limit))
    path.write_bytes(to_bytes(Callers(callers)))
    return tokens
