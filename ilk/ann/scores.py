"""Knows the true scores of rows that were chosen, and the best of them.

It refuses to know how they were chosen.
"""

from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from ilk.ann.index import RowNeighbors
from ilk.vectors import Float32Matrix, Rows

# Of so many scores the best are taken out before they are sorted.
_MANY_SORTED: Final = 512


def inner_products(
    vectors: Float32Matrix, queries: Float32Matrix, rows: Rows
) -> npt.NDArray[np.float32]:
    """Return the inner products of each query with its own choice of rows, copying none of them.

    Parameters
    ----------
    vectors
        Shape ``(n, dim)``, float32, C-contiguous.
    queries
        Shape ``(n_queries, dim)``, float32.
    rows
        Shape ``(n_queries, k)``, int64, below ``n``: memory beyond would be read. A negative row is
        none, and has the product ``-inf``.

    Returns
    -------
    ndarray
        Shape ``(n_queries, k)``, float32. A product does not depend on what else is asked.
    """
    products = np.empty(rows.shape, dtype=np.float32)
    # A pointer keeps nothing alive: the copy, if there is one, needs a name until faiss has read it.
    queries, rows = np.ascontiguousarray(queries), np.ascontiguousarray(rows)
    faiss.fvec_inner_products_by_idx(
        faiss.swig_ptr(products),
        faiss.swig_ptr(queries),
        faiss.swig_ptr(vectors),
        faiss.swig_ptr(rows),
        vectors.shape[1],
        *rows.shape,
    )
    return products


def best_of(rows: Rows, scores: npt.NDArray[np.float32], n_best: int) -> RowNeighbors:
    """Return the ``n_best`` of highest score of each query, best first; both shape ``(n, k)``."""
    k = scores.shape[1]
    if k >= _MANY_SORTED and n_best < k:
        best = _taken(rows, scores, scores.argpartition(k - n_best, axis=1)[:, k - n_best :])
        return best_of(*best, n_best)
    return _taken(rows, scores, scores.argsort(axis=1)[:, : -n_best - 1 : -1])


def _taken(rows: Rows, scores: npt.NDArray[np.float32], order: Rows) -> RowNeighbors:
    if len(order) > 1:
        order = order + np.arange(0, scores.size, scores.shape[1])[:, None]
    return RowNeighbors(rows.take(order), scores.take(order))
