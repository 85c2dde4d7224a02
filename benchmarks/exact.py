"""What exact answers cost when only what can be among the best is compared with, beside all (ADR 26).

It refuses to know servers: queries are answered in this process, on one thread.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np

from ilk import ann
from ilk.bundle import Bundle, open_bundle
from ilk.query import answer
from ilk.types import EXACT, NO_FILTER, Filter, ItemId, Neighbors, Query, UserId

_WEIGHTS = (0.1, 0.5, 0.9)
_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of query: CPU milliseconds of each way, and the share of answers that are equal."""

    name: str
    ms: float
    all_ms: float
    alike: float


def measure(store: Path, n_queries: int, seed: int) -> list[Compared]:
    """Return each kind of exact query for items: by users and by items, without and through a filter."""
    ann.use_threads(1)
    bundle, rng = open_bundle(store), np.random.default_rng(seed)
    filters = {"": NO_FILTER, ", one genre": Filter(any_genres=(bundle.content_model.genres[0],))}
    found = []
    for kind, side in ((UserId, bundle.users), (ItemId, bundle.items)):
        rows = rng.choice(len(side), min(n_queries, len(side)), replace=False).tolist()
        asking = [Query(kind(side.vocabulary.id_of(row)), accuracy=EXACT) for row in rows]
        for weight in _WEIGHTS:
            for name, wanted in filters.items():
                queries = [replace(q, content_weight=weight, filter=wanted) for q in asking]
                whom = "a user" if kind is UserId else "an item"
                found.append(_compared(f"items for {whom}, w={weight}{name}", bundle, queries))
    return found


def table(found: Sequence[Compared]) -> list[str]:
    """Return the lines to print."""
    return [
        f"{of.name:<36} {of.ms:8.2f} ms, all {of.all_ms:8.2f} ms   alike {of.alike:.4f}"
        for of in found
    ]


def _compared(name: str, bundle: Bundle, queries: Sequence[Query]) -> Compared:
    ours, ms = _answers(bundle, queries)
    with mock.patch("ilk.space._MANY_ITEMS", _NEVER):
        theirs, all_ms = _answers(bundle, queries)
    alike = sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(queries)
    return Compared(name, ms, all_ms, alike)


def _answers(bundle: Bundle, queries: Sequence[Query]) -> tuple[list[Neighbors], float]:
    answer(bundle, queries[0])
    began_s = time.process_time()
    answers = [answer(bundle, query) for query in queries]
    return answers, 1e3 * (time.process_time() - began_s) / len(queries)
