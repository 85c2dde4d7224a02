"""Knows the exact answers that indices are held against: the best scores of each query at each blend.

It refuses to know indices, and which rows the scores belong to: recall is told by scores.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ilk.vectors import Float32Matrix

# Scores of a few hundred queries with so many rows stay near the processor.
_CHUNK_ROWS = 1024


def best_scores(
    vectors: tuple[Float32Matrix, Float32Matrix],
    asking: tuple[Float32Matrix, Float32Matrix],
    blends: Sequence[float],
    k: int,
) -> dict[float, Float32Matrix]:
    """Return the ``k`` highest blended scores of each query, by blend.

    Parameters
    ----------
    vectors
        Factors and content of the rows, shapes ``(n, n_factors)`` and ``(n, dim_content)``.
    asking
        Factors and content of the queries, unweighted.
    k
        At most ``n``.

    Returns
    -------
    dict
        Shape ``(n_queries, k)``, float32, falling along axis 1.

    Notes
    -----
    Products are computed once for all blends, and only what reaches the ``k``-th score so far is
    looked at.
    """
    (factors, content), n_queries = vectors, len(asking[0])
    best = {w: np.full((n_queries, k), -np.inf, dtype=np.float32) for w in blends}
    for start in range(0, len(factors), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        by_factors, by_content = asking[0] @ factors[rows].T, asking[1] @ content[rows].T
        for weight in blends:
            scores = np.float32(1 - weight) * by_factors
            scores += np.float32(weight) * by_content
            best[weight] = _merged(best[weight], scores)
    return {weight: -np.sort(-found, axis=1) for weight, found in best.items()}


def _merged(best: Float32Matrix, scores: Float32Matrix) -> Float32Matrix:
    """Return the best of both, each row's least first."""
    n_queries, k = best.shape
    at = np.flatnonzero(scores > best[:, :1])
    if not len(at):
        return best
    queries = at // scores.shape[1]
    counts = np.bincount(queries, minlength=n_queries)
    places = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    both: npt.NDArray[np.float32]
    both = np.full((n_queries, k + int(counts.max())), -np.inf, dtype=np.float32)
    both[:, :k] = best
    both[queries, k + places] = scores.ravel()[at]
    n_dropped = both.shape[1] - k
    return np.partition(both, n_dropped, axis=1)[:, n_dropped:]
