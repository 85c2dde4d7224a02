"""Knows which lists are near a query, of lists that are told by their centroids.

It refuses to know what is in them.
"""

from functools import cached_property
from typing import Any, Final

import faiss
import numpy as np

from ilk.ann.coding import add_coded
from ilk.index_file import CODES_TOGETHER
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# Lists that may be among the nearest are taken out to be sorted: the best of each so many tell which.
_MOST_IN_GROUP: Final = 16
# From so many lists on, few are found by their centroids' codes, an eighth of the bytes: one in so many.
_MANY_LISTS: Final = 4096
_FEW_OF_MANY: Final = 64
# Codes only show what may be near: so many times as many centroids are compared with, and some more.
_COMPARED: Final = (2, 32)


def told_by_codes(n_all: int, n_lists: int) -> bool:
    """Whether codes tell which centroids to compare with, where ``n_lists`` of ``n_all`` are wanted."""
    return n_all >= _MANY_LISTS and n_lists <= n_all // _FEW_OF_MANY


class Lists:
    """The lists of an index.

    Parameters
    ----------
    centroids
        Shape ``(n_lists, width)``, float32, C-contiguous.
    """

    def __init__(self, centroids: Float32Matrix) -> None:
        self._centroids = centroids
        self._by_codes: Any = _coded(centroids) if told_by_codes(len(centroids), 1) else None
        # Made once for each number of lists: making them takes a tenth of finding those.
        self._options: dict[int, Any] = {}

    def near(self, queries: Float32Matrix, n_lists: int) -> tuple[Rows, Float32Matrix]:
        """Return the nearest lists and their scores, best first, each shape ``(n_queries, n_lists)``.

        Parameters
        ----------
        queries
            Shape ``(n_queries, width)``, float32, C-contiguous.
        n_lists
            At most as many as there are. Few of many may not all be the nearest.
        """
        if told_by_codes(len(self._centroids), n_lists):
            return self._near_by_codes(queries, n_lists)
        # One product with all centroids takes half as long as faiss, which goes row by row, and for many
        # queries a tenth; of one query for few of few lists, calling numpy takes what that saves.
        if len(queries) == 1:
            (scores,) = queries @ self._transposed
            nearest = _highest(scores, n_lists)
            return nearest[None], scores.take(nearest)[None]
        lists = np.empty((len(queries), n_lists), dtype=np.int64)
        likeness = np.empty(lists.shape, dtype=np.float32)
        for at, scores in enumerate(queries @ self._transposed):
            lists[at] = _highest(scores, n_lists)
            scores.take(lists[at], out=likeness[at])
        return lists, likeness

    def _near_by_codes(self, queries: Float32Matrix, n_lists: int) -> tuple[Rows, Float32Matrix]:
        lists = np.empty((len(queries), n_lists), dtype=np.int64)
        likeness = np.empty(lists.shape, dtype=np.float32)
        options = self._options.get(n_lists)
        if options is None:
            times, more = _COMPARED
            # faiss multiplies in float32 and rounds down.
            factor = times + (more + 0.5) / n_lists
            options = faiss.IndexRefineSearchParameters(k_factor=factor)
            self._options[n_lists] = options
        told = map(faiss.swig_ptr, (likeness, lists))
        self._by_codes.search_c(len(queries), faiss.swig_ptr(queries), n_lists, *told, options)
        return lists, likeness

    @cached_property
    def _transposed(self) -> Float32Matrix:
        return np.ascontiguousarray(self._centroids.T)


def _coded(centroids: Float32Matrix) -> Any:
    """Return a faiss index of centroids that looks at their codes first."""
    width = centroids.shape[1]
    coded = faiss.IndexPQ(width, width, 4, faiss.METRIC_INNER_PRODUCT)
    # Values that are learnt tell no more of so few that lie so evenly, and take ten times as long.
    values = np.linspace(centroids.min(axis=0), centroids.max(axis=0), 16, axis=1, dtype=np.float32)
    faiss.copy_array_to_vector(values.ravel(), coded.pq.centroids)
    coded.is_trained = True
    add_coded(coded, centroids, n_factors=width)
    return faiss.IndexRefineFlat(
        faiss.IndexPQFastScan(coded, CODES_TOGETHER), faiss.swig_ptr(centroids)
    )


def _highest(scores: Float32Vector, n_best: int) -> Rows:
    """Return where the ``n_best`` highest scores stand, highest first."""
    each = min(_MOST_IN_GROUP, len(scores) // (2 * n_best))
    reached: Rows
    if each > 1:
        # As many groups as are wanted have a score that reaches this, so all that are wanted do, and more
        # only where they share a group. Partitioning all scores takes six times as long.
        n_groups = len(scores) // each
        best = scores[: n_groups * each].reshape(each, n_groups).max(axis=0)
        best.partition(n_groups - n_best)
        reached = (scores >= best.item(n_groups - n_best)).nonzero()[0]
    else:
        reached = scores.argpartition(-n_best)[-n_best:]
    return reached.take(scores.take(reached).argsort()[: -n_best - 1 : -1])
