"""Knows how an index and the vectors of its rows answer together: best rows by true scores, in few calls.

It refuses to know where the vectors come from, and holds no more of them than a process can spare.
"""

from typing import Any, Final

import faiss
import numpy as np

from ilk.ann.index import Index, RowNeighbors
from ilk.ann.lent import vectors_of
from ilk.ann.scores import best_of, inner_products
from ilk.ann.spec import IndexKind
from ilk.errors import BundleCorrupt
from ilk.vectors import Float32Matrix, widened

# What faiss is told of a search is kept for so many numbers of neighbors.
_MOST_OPTIONS: Final = 1024


class Refined:
    """An index whose candidates get their true scores where they are found.

    Parameters
    ----------
    index
        What finds candidates.
    vectors
        Of its rows, shape ``(len(index), dim)`` or wider by zeros; copied by PQ and IVFPQ.

    Attributes
    ----------
    vectors
        The same, shape ``(len(index), index.width)``.

    Raises
    ------
    BundleCorrupt
        If lists hold rows that are not there.
    """

    __slots__ = ("_index", "_inner", "_options", "vectors")

    def __init__(self, index: Index, vectors: Float32Matrix) -> None:
        self._index = index
        self._inner: Any = None
        self._options: dict[tuple[int, int, int], tuple[Any, Any]] = {}
        self.vectors = widened(vectors, index.width)
        if index.kind in (IndexKind.PQ, IndexKind.IVF_PQ):
            index.check_rows()
            self._inner = faiss.IndexRefineFlat(index._inner, faiss.swig_ptr(self.vectors))
            self.vectors = vectors_of(faiss.downcast_index(self._inner.refine_index), self._inner)

    def nearest(
        self, queries: Float32Matrix, n_fetched: int, n_best: int, effort: int
    ) -> RowNeighbors:
        """Return the best ``n_best`` rows by true scores among ``n_fetched`` candidates of each query.

        Parameters
        ----------
        queries, effort
            As :meth:`ilk.ann.Index.nearest` takes them.
        n_best
            At most ``n_fetched``, which is at most the number of rows.
        """
        queries = widened(queries, self._index.width)
        # The lists of many queries are found by one product, which is quicker by far than faiss.
        by_product = self._index.kind.has_lists and len(queries) > 1
        if self._inner is None or by_product:
            rows = self._index.nearest(queries, n_fetched, effort).rows
            if rows.item(rows.argmax()) >= len(self.vectors):
                raise BundleCorrupt("the index found rows that are not there; build again")
            return best_of(rows, inner_products(self.vectors, queries, rows), n_best)
        n_queries = len(queries)
        scores = np.empty((n_queries, n_best), dtype=np.float32)
        rows = np.empty((n_queries, n_best), dtype=np.int64)
        point_to, options = faiss.swig_ptr, self._fetching(n_fetched, n_best, effort)
        asked = n_queries, point_to(queries), n_best
        self._inner.search_c(*asked, point_to(scores), point_to(rows), options)
        if n_queries > 1 or rows.item(-1) < 0:
            scores[rows < 0] = -np.inf
        return RowNeighbors(rows, scores)

    def _fetching(self, n_fetched: int, n_best: int, effort: int) -> Any:
        made = self._options.get((n_fetched, n_best, effort))
        if made is None:
            # faiss multiplies in float32 and rounds down.
            factor, of_lists = (n_fetched + 0.5) / n_best, self._index.parameters(effort)
            options = faiss.IndexRefineSearchParameters(k_factor=factor)
            options.base_index_params = of_lists
            if len(self._options) >= _MOST_OPTIONS:
                self._options.clear()
            # faiss keeps the address of those of lists alone.
            made = self._options[n_fetched, n_best, effort] = options, of_lists
        return made[0]
