"""Knows how a search library is measured: recall by score, and CPU, of one query at a time on one thread.

It refuses to know any library, and Ilk, for it runs where only one of them is installed, beside numpy:
``python -m benchmarks.peers.ann_NAME FOLDER``. The folder holds ``vectors.npy`` and ``queries.npy``,
float32, and ``thresholds.npy``, the score of each query's 10th nearest vector by inner product.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Float32Matrix: TypeAlias = npt.NDArray[np.float32]
# Takes one query, shape (1, dim); returns the rows of 10 neighbors, -1 where there is none.
Search: TypeAlias = Callable[[Float32Matrix], npt.ArrayLike]
# Builds over the vectors, then yields one setting after the other with a search that uses it.
Library: TypeAlias = Callable[[Float32Matrix], Iterator[tuple[str, Search]]]

K = 10
# Settings beyond this recall only cost more.
ENOUGH_RECALL = 0.9995
_ROUNDS = 4
_ROUND_S = 0.05


def main(libraries: dict[str, Library]) -> None:
    """Measure what the folder named on the command line holds, and print a list of points as JSON."""
    folder = Path(sys.argv[1])
    vectors, queries, thresholds = (
        np.load(folder / f"{name}.npy", allow_pickle=False)
        for name in ("vectors", "queries", "thresholds")
    )
    points: list[dict[str, Any]] = []
    for name, library in libraries.items():
        started = time.process_time()
        settings = library(vectors)
        for setting, search in settings:
            build_s = (
                time.process_time() - started if not points or points[-1]["name"] != name else 0
            )
            found = recall(search, vectors, queries, thresholds)
            points.append(
                {
                    "name": name,
                    "setting": setting,
                    "recall": found,
                    "cpu_us": cpu_us(search, queries),
                    "build_s": build_s,
                }
            )
            if found >= ENOUGH_RECALL:
                break
    print(json.dumps(points))


def recall(
    search: Search, vectors: Float32Matrix, queries: Float32Matrix, thresholds: Float32Matrix
) -> float:
    """Return the share of true neighbors found; a row that scores like one of them is no miss."""
    hits = 0
    for query, threshold in zip(queries, thresholds.tolist(), strict=True):
        rows = np.asarray(search(query[None])).ravel().astype(np.int64)
        rows = np.unique(rows[(rows >= 0) & (rows < len(vectors))])
        slack = 1e-5 * max(abs(threshold), 1e-3)
        hits += int(np.count_nonzero(vectors[rows] @ query >= threshold - slack))
    return hits / (K * len(queries))


def cpu_us(search: Callable[[Float32Matrix], object], queries: Float32Matrix) -> float:
    """Return CPU microseconds per query: of several rounds the best, which others disturbed least."""
    rows = [np.ascontiguousarray(query[None]) for query in queries]
    rounds = []
    for _ in range(_ROUNDS):
        n_asked, started = 0, time.process_time()
        while (spent := time.process_time() - started) < _ROUND_S:
            for row in rows:
                search(row)
            n_asked += len(rows)
        rounds.append(spent / n_asked)
    return 1e6 * min(rounds)
