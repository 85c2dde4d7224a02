"""Bundles are changed and rolled back under load: every answer must be right for the version it names."""

import dataclasses
from pathlib import Path

from benchmarks.steadiness.load import load
from benchmarks.steadiness.oracle import Oracle
from benchmarks.steadiness.program import Program, started, wait_for
from ilk import SimilarityClient
from ilk.bundle import Store
from ilk.errors import IlkError
from ilk.types import Neighbors
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings

_BATCH = 8


def publish_versions(data: Interactions, store: Path, n_versions: int = 3) -> None:
    """Publish versions of ``data`` that answer differently."""
    settings = BuildSettings(factors=16, iterations=3, evaluate=False)
    for seed in range(n_versions):
        chosen = dataclasses.replace(settings, seed=seed)
        assemble_and_publish(data, store, chosen, {}, Progress(quiet=True))


def measure(path: Path, n_swaps: int = 200, n_rollbacks: int = 20) -> dict[str, float]:
    """Return how many answers were wrong or failed over that many changes, and how memory grew."""
    store, oracle = Store(path), Oracle(path)
    versions = store.list_versions()
    store.point_current_at(versions[0])

    def ask(client: SimilarityClient, n: int) -> str:
        at = n % len(oracle.queries)
        try:
            if n % 5:
                told = client.find_neighbors(oracle.queries[at])
                return "right" if oracle.is_right(at, told) else "wrong"
            many = [(at + step) % len(oracle.queries) for step in range(_BATCH)]
            queries = [oracle.queries[a] for a in many]
            if n % 10:
                outcomes = client.batch_find_neighbors(queries)
                mixed = len({o.bundle_version for o in outcomes if isinstance(o, Neighbors)}) > 1
            else:
                outcomes, mixed = list(client.stream_find_neighbors(queries)), False
            right = all(oracle.is_right(a, o) for a, o in zip(many, outcomes, strict=True))
            return "mixed" if mixed else "right" if right else "wrong"
        except IlkError as error:
            return type(error).__name__

    flags = ("--workers", "2", "--poll-interval-s", "0.05")
    with started(path, *flags) as program, load(program.address, ask) as callers:
        settled = 0
        every = max(n_swaps // max(n_rollbacks, 1), 1)
        for change in range(n_swaps):
            before = store.current_version()
            _change(program, store, versions[(change + 1) % len(versions)])
            if change % every == every - 1:
                _change(program, store, before)
                _change(program, store, versions[(change + 1) % len(versions)])
            if change == n_swaps // 5:
                settled = program.resources().resident_bytes
        grown = program.resources().resident_bytes / settled - 1
        swaps = program.metrics()["ilk_bundle_swaps_total"] / 2
    n_right = callers.ended.pop("right")
    return {
        "changes that both workers made": swaps,
        "answers that were right for their version": n_right,
        "answers that were mixed": callers.ended.pop("mixed", 0),
        "answers that were wrong": callers.ended.pop("wrong", 0),
        "calls that failed": callers.ended.total(),
        "memory grown since the first fifth of the changes": grown,
    }


def _change(program: Program, store: Store, version: str) -> None:
    """Point CURRENT at ``version`` and wait until both workers serve it."""
    store.point_current_at(version)
    name = f'ilk_bundle_info{{version="{version}"}}'
    wait_for(lambda: program.metrics().get(name) == 2)
