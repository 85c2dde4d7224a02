"""Knows what was found and what should have been: exact answers, and recall against them.

It refuses to know how an index finds anything.
"""

from collections.abc import Sequence

import faiss
import numpy as np
import numpy.typing as npt

from ilk.ann.index import RowNeighbors
from ilk.vectors import Float32Matrix, Rows


def compare_with_all(vectors: Float32Matrix, queries: Float32Matrix, k: int) -> RowNeighbors:
    """Return the ``k`` rows of ``vectors`` of highest inner product with each query, without an index.

    ``vectors`` has the shape ``(n, dim)``, ``queries`` ``(n_queries, dim)``, both float32.
    """
    scores, rows = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return RowNeighbors(rows, scores)


def top_rows(scores: npt.NDArray[np.float32], k: int) -> Rows:
    """Return the positions of the ``k`` highest scores, best first, equal ones by position."""
    if k < len(scores):
        # Everything above the k-th score, then the lowest positions among those equal to it.
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > threshold)
        ties = np.flatnonzero(scores == threshold)[: k - len(above)]
        chosen = np.concatenate((above, ties))
    else:
        chosen = np.arange(len(scores))
    return chosen[np.lexsort((chosen, -scores[chosen]))]


def recall(found: Sequence[RowNeighbors], truth: Sequence[RowNeighbors], k: int) -> float:
    """Return the share of true neighbors found, by score threshold: a tie is no miss.

    A found row counts if its score reaches the true ``k``-th score (Aumüller, Bernhardsson &
    Faithfull, "ANN-Benchmarks", Information Systems 87, 2020, section 3.2).
    """
    return float(np.mean(_shares(found, truth, k)))


def careful_recall(found: Sequence[RowNeighbors], truth: Sequence[RowNeighbors], k: int) -> float:
    """Return :func:`recall` less its standard error: other queries hardly find less on average.

    A setting that is chosen because it seems just good enough is worse than it seems, by about that much.
    """
    shares = _shares(found, truth, k)
    return float(np.mean(shares) - np.std(shares) / np.sqrt(len(shares)))


def _shares(
    found: Sequence[RowNeighbors], truth: Sequence[RowNeighbors], k: int
) -> npt.NDArray[np.float64]:
    """Return the share of true neighbors that each query found; shape ``(n_queries,)``."""
    shares = []
    for got, true in zip(found, truth, strict=True):
        thresholds = true.scores[:, k - 1 : k]
        slack = 1e-5 * np.maximum(np.abs(thresholds), 1e-3)
        shares.append(np.count_nonzero(got.scores[:, :k] >= thresholds - slack, axis=1) / k)
    return np.concatenate(shares)
