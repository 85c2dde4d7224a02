"""Sixteen threads ask what one has asked before: every kind of index must give the same answers."""

import dataclasses
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

from benchmarks.steadiness.program import started
from ilk.ann import IndexKind
from ilk.bundle import open_bundle
from ilk.client import CHANNEL_OPTIONS
from ilk.v1 import similarity_pb2 as pb
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings

_METHOD = "/ilk.v1.SimilarityService/FindNeighbors"
_N_THREADS = 16


def measure(
    data: Interactions,
    n_queries: int = 2000,
    n_rounds: int = 5,
    kinds: Sequence[IndexKind] = tuple(IndexKind),
) -> dict[str, float]:
    """Return by kind of index how many of the answers differed from those to one caller alone."""
    settings = BuildSettings(factors=16, iterations=3, evaluate=False)
    differing = {}
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder)
            chosen = dataclasses.replace(settings, index=kind)
            assemble_and_publish(data, store, chosen, {}, Progress(quiet=True))
            n_different, n_answers = _compare(store, n_queries, n_rounds)
        differing[f"{kind.value}: answers compared"] = float(n_answers)
        differing[f"{kind.value}: answers that differ"] = float(n_different)
    return differing


def _compare(store: Path, n_queries: int, n_rounds: int) -> tuple[int, int]:
    bodies = _bodies(store, n_queries)
    with (
        started(store, "--workers", "2") as program,
        grpc.insecure_channel(program.address, options=CHANNEL_OPTIONS) as channel,
        ThreadPoolExecutor(_N_THREADS) as pool,
    ):
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
        serial = {body: ask(body, timeout=30) for body in bodies}

        def differs(body: bytes) -> bool:
            return bool(ask(body, timeout=30) != serial[body])

        asked = bodies * n_rounds
        random.Random(0).shuffle(asked)
        return sum(pool.map(differs, asked)), len(asked)


def _bodies(store: Path, n_queries: int) -> list[bytes]:
    bundle, rng = open_bundle(store), np.random.default_rng(0)
    items, users = bundle.items.vocabulary, bundle.users.vocabulary
    bodies = []
    for at in range(n_queries):
        message = pb.FindNeighborsRequest(
            target=pb.TARGET_USERS if at % 3 == 0 else pb.TARGET_ITEMS,
            content_weight=(0.0, 0.3, 1.0)[at % 3],
            neighbor_count=int(rng.integers(1, 50)),
        )
        if at % 2:
            message.item_id = items.id_of(int(rng.integers(len(bundle.items))))
        else:
            message.user_id = users.id_of(int(rng.integers(len(bundle.users))))
        if (message.target == pb.TARGET_USERS) == bool(at % 2):
            message.filter.exclude_seen = True
        bodies.append(message.SerializeToString())
    return list(dict.fromkeys(bodies))
