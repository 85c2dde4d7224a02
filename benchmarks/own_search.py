"""Measures Ilk's own searches as `benchmarks.peers.searching` measures other libraries'.

It refuses to know those. Run as ``python -m benchmarks.own_search STORE SPACE WEIGHT N_QUERIES``; prints
points as they do: of the bundle's index alone, of whole answers, and of the bare faiss index beneath
both, searched by faiss's own call for as many rows at the same effort.
"""

import json
import sys
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.searching import cpu_us
from benchmarks.scale.serving import exact_scores
from ilk import ann
from ilk.ann import RowNeighbors, recall
from ilk.bundle import Bundle, open_bundle
from ilk.plan import Plan, make_plan
from ilk.query import answer
from ilk.search import fetch_count
from ilk.space import SPACE_KEYS, Space, SpaceKey
from ilk.types import Accuracy, ItemId, Query, Target, UserId
from ilk.vectors import Float32Matrix, blend

ACCURACIES = (0.9, 0.95, 0.98, 0.99, 0.999)
_K = 10


def drawn_queries(bundle: Bundle, key: SpaceKey, weight: float, n_queries: int) -> list[Query]:
    """Return queries in a space: users as they are, items as they are rated; the same every time."""
    rng = np.random.default_rng(0)
    by_users = (key.target is Target.USERS) == key.by_likeness
    if by_users:
        of_user = bundle.users.vocabulary.id_of
        rows = rng.integers(0, len(bundle.users), n_queries)
        return [Query(UserId(of_user(row)), key.target, weight) for row in rows.tolist()]
    of_item = bundle.items.vocabulary.id_of
    rows = rng.choice(bundle.ratings_by_user.others, n_queries)
    return [Query(ItemId(of_item(row)), key.target, weight) for row in rows.tolist()]


def query_vectors(plans: Sequence[Plan]) -> Float32Matrix:
    """Return the vectors that plans search with, shape ``(n, dim)``."""
    seekers = [(p.seeker, p.content_weight) for p in plans]
    return np.concatenate([blend(s.collaborative, s.content, weight) for s, weight in seekers])


def main(store: Path, space_name: str, weight: float, n_queries: int) -> None:
    """Print the points of one space at one blend."""
    ann.use_threads(1)
    bundle = open_bundle(store)
    key = next(key for key in SPACE_KEYS if key.name == space_name)
    queries = drawn_queries(bundle, key, weight, n_queries)
    space = bundle.spaces[key]
    vectors = query_vectors([make_plan(bundle, query) for query in queries])
    points = _index_points(space, vectors)
    for target in ACCURACIES:
        points += _answer_points(bundle, queries, vectors, target)
    print(json.dumps(points))


def _index_points(space: Space, vectors: Float32Matrix) -> list[dict[str, Any]]:
    index = space.index
    exact = RowNeighbors(np.empty(0, np.int64), _exact(space, vectors))
    points = []
    for effort in dict(space.efforts):
        found = recall([index.nearest(vectors, _K, effort)], [exact], _K)
        spent = cpu_us(lambda query, effort=effort: index.nearest(query, _K, effort), vectors)  # type: ignore[misc]
        points.append(_point("ilk index", f"effort {effort}", found, spent))
    return points


def _exact(space: Space, vectors: Float32Matrix) -> Float32Matrix:
    n_factors = space.factors.shape[1]
    scores = vectors[:, :n_factors] @ space.factors.T + vectors[:, n_factors:] @ space.content.T
    return -np.sort(-scores, axis=1)[:, :_K]


def _answer_points(
    bundle: Bundle, queries: Sequence[Query], vectors: Float32Matrix, target: float
) -> list[dict[str, Any]]:
    accuracy = Accuracy.at_recall(target)
    asked = [Query(q.whom, q.target, q.content_weight, accuracy=accuracy) for q in queries]
    plans = [make_plan(bundle, query) for query in asked]
    space, effort, k = plans[0].space, plans[0].effort or 0, fetch_count(plans[0])
    scores = np.full((len(asked), _K), -np.inf, dtype=np.float32)
    for at, query in enumerate(asked):
        told = [n.score for n in answer(bundle, query).neighbors]
        scores[at, : len(told)] = told
    none = np.empty(0, np.int64)
    exact = exact_scores(space, plans)
    found = recall([RowNeighbors(none, scores)], [RowNeighbors(none, exact)], _K)
    turn = cycle(asked)
    inner, parameters = space.index._inner, space.index._parameters(effort, None)
    searches: dict[str, Callable[[Float32Matrix], Any]] = {
        "ilk answer": lambda _: answer(bundle, next(turn)),
        "bare faiss": lambda query: inner.search(query, k, params=parameters),
    }
    setting = f"accuracy {target:g}, effort {effort}"
    return [
        _point(name, setting, found, cpu_us(search, vectors)) for name, search in searches.items()
    ]


def _point(name: str, setting: str, found: float, spent_us: float) -> dict[str, Any]:
    return {"name": name, "setting": setting, "recall": found, "cpu_us": spent_us, "build_s": 0.0}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
