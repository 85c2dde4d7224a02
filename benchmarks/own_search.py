"""Measures Ilk's own searches as `benchmarks.peers.searching` measures other libraries'.

It refuses to know those. Run as ``python -m benchmarks.own_search STORE SPACE WEIGHT N_QUERIES``; prints
points as they do: of the space's index alone, of whole answers, and of the bare faiss index beneath
both, searched and refined by faiss's own call for as many rows at the same effort.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.peers.searching import Search, cpu_us
from benchmarks.scale.serving import recall_of
from ilk import ann
from ilk.ann import IndexKind, compare_with_all, recall, searched
from ilk.bundle import Bundle, open_bundle
from ilk.query import answer
from ilk.query.plan import Plan, make_plan
from ilk.query.search import fetch_count, through_index
from ilk.space import SPACE_KEYS, Space, SpaceKey
from ilk.types import Accuracy, ItemId, Query, Target, UserId
from ilk.vectors import Float32Matrix, blend, concatenate

ACCURACIES = (0.9, 0.95, 0.98, 0.99, 0.999)
_K = 10
_TURNS = 3


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
    build_s = bundle.manifest.indices[key.name].build_s
    print(json.dumps([{**point, "build_s": build_s} for point in points]))


def _index_points(space: Space, vectors: Float32Matrix) -> list[dict[str, Any]]:
    truth = compare_with_all(concatenate(space.factors, space.content), vectors, _K)
    points = []
    for effort in space.efforts:
        found = recall([space.nearest(vectors, _K, effort)], [truth], _K)
        spent_us = cpu_us(lambda query, effort=effort: space.nearest(query, _K, effort), vectors)  # type: ignore[misc]
        points.append(_point("ilk index", f"effort {effort}", found, spent_us))
    return points


def _answer_points(
    bundle: Bundle, queries: Sequence[Query], vectors: Float32Matrix, target: float
) -> list[dict[str, Any]]:
    accuracy = Accuracy.at_recall(target)
    asked = [replace(query, accuracy=accuracy) for query in queries]
    plans = [make_plan(bundle, query) for query in asked]
    found = recall_of(bundle, asked, plans)
    turn = cycle(asked)
    efforts = "/".join(dict.fromkeys(str(plan.effort) for plan in plans))
    setting = f"accuracy {target:g}, effort {efforts}"
    searches: dict[str, tuple[Callable[[Float32Matrix], object], Float32Matrix]] = {
        "ilk answer": (lambda _: answer(bundle, next(turn)), vectors)
    }
    if all(map(through_index, plans)) and plans[0].space.index.kind is not IndexKind.IVF_PQ_2:
        bare, width = bare_searches(plans)
        whose = cycle(bare)
        wide = np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))
        searches["bare faiss"] = (lambda query: next(whose)(query)), wide
    # In turn, so that the machine is as quick for one as for the other.
    spent = [
        {name: cpu_us(*asked_for) for name, asked_for in searches.items()} for _ in range(_TURNS)
    ]
    return [_point(name, setting, found, min(s[name] for s in spent)) for name in searches]


def bare_searches(plans: Sequence[Plan]) -> tuple[list[Search], int]:
    """Return faiss's own call for what each plan fetches, refined by faiss too, and the width they take.

    Plans are of one space; each is searched at its own effort, as its answer is.
    """
    space = plans[0].space
    inner = refined = space.index._inner
    if space.index.kind.has_codes:
        vectors = concatenate(space.factors, space.content)
        wide = np.pad(vectors, ((0, 0), (0, inner.d - vectors.shape[1])))
        refined = faiss.IndexRefineFlat(inner, faiss.swig_ptr(wide))
    return [_bare_search(plan, refined) for plan in plans], inner.d


def _bare_search(plan: Plan, index: Any) -> Search:
    kind, n_fetched, n_wanted = plan.space.index.kind, fetch_count(plan), plan.n_wanted + 1
    parameters = None
    if kind not in (IndexKind.FLAT, IndexKind.PQ):
        parameters = plan.space.index._parts[0].parameters(searched(plan.effort or 0))
    if not kind.has_codes:
        return lambda query: index.search(query, n_fetched, params=parameters)[1]
    options = faiss.IndexRefineSearchParameters(
        k_factor=n_fetched / n_wanted, base_index_params=parameters
    )
    return lambda query: index.search(query, n_wanted, params=options)[1]


def _point(name: str, setting: str, found: float, spent_us: float) -> dict[str, Any]:
    return {"name": name, "setting": setting, "recall": found, "cpu_us": spent_us}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
