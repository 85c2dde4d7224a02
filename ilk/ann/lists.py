"""Knows which inverted lists are nearest to a query: of all, or of a grid of them.

It refuses to know what is in them. A grid's lists are pairs: a cluster of the first dimensions of the
vectors, and a cluster of the others. A pair's likeness to a query is the sum of both, so that clusters
are compared, and not pairs, and what a blend weighs little parts no rows. With lists made of whole
vectors 132,000 of a million items had to be compared for what 40,000 in a grid held (ADR 9).
"""

from typing import Any, Final, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from ilk.vectors import Float32Matrix, Rows

# So many queries have their likeness to all lists in memory.
_QUERIES_TOGETHER: Final = 64


class Grid(NamedTuple):
    """Lists by pairs; list ``i * len(across) + j`` belongs to cluster ``i`` and cluster ``j``.

    Attributes
    ----------
    along
        Centroids of the first dimensions, shape ``(n, split)``, float32.
    across
        Centroids of the others, shape ``(m, width - split)``, float32.
    """

    along: Float32Matrix
    across: Float32Matrix

    @property
    def centroids(self) -> Float32Matrix:
        """Of the lists, shape ``(n * m, width)``."""
        n, m = len(self.along), len(self.across)
        pairs = np.repeat(self.along, m, axis=0), np.tile(self.across, (n, 1))
        return np.ascontiguousarray(np.concatenate(pairs, axis=1))

    def quantizer(self, metric: int) -> Any:
        """Return what faiss finds lists by: first by the cluster of the first dimensions."""
        centroids, width = self.centroids, self.along.shape[1] + self.across.shape[1]
        clusters = faiss.IndexFlat(width, metric)
        padded = np.zeros((len(self.along), width), dtype=np.float32)
        padded[:, : self.along.shape[1]] = self.along
        clusters.add(padded)
        pairs = faiss.IndexIVFFlat(clusters, width, len(self.along), metric)
        # Kept with the pairs: faiss keeps the address alone.
        pairs.referenced_objects = [clusters]
        pairs.is_trained = True
        cluster_of = np.repeat(np.arange(len(self.along)), len(self.across))
        pairs.add_core(len(centroids), faiss.swig_ptr(centroids), None, faiss.swig_ptr(cluster_of))
        return pairs


class Lists:
    """Finds lists; made of the quantizer of a faiss index."""

    __slots__ = ("_across", "_along", "_n_lists", "_split")

    def __init__(self, along: Float32Matrix, across: Float32Matrix | None = None) -> None:
        self._along = np.ascontiguousarray(along.T)
        self._across = None if across is None else np.ascontiguousarray(across.T)
        self._split = along.shape[1]
        self._n_lists = len(along) * (1 if across is None else len(across))

    @classmethod
    def of(cls, quantizer: Any) -> "Lists | None":
        """Return what finds the lists of a quantizer; None if lists of lists are no grid."""
        quantizer = faiss.downcast_index(quantizer)
        if isinstance(quantizer, faiss.IndexFlat):
            return cls(quantizer.reconstruct_n(0, quantizer.ntotal))
        grid = grid_of(quantizer)
        return None if grid is None else cls(*grid)

    @property
    def are_a_grid(self) -> bool:
        """Whether they are pairs."""
        return self._across is not None

    def nearest(self, queries: Float32Matrix, n_lists: int) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Return the nearest lists and their scores, best first, each ``(n_queries, n_lists)``.

        One product with all centroids and one sort take half as long as faiss, which goes row by row.
        """
        if len(queries) <= _QUERIES_TOGETHER:
            return self._nearest(queries, n_lists)
        parts = [
            self._nearest(queries[start : start + _QUERIES_TOGETHER], n_lists)
            for start in range(0, len(queries), _QUERIES_TOGETHER)
        ]
        lists, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        return lists, scores

    def _nearest(
        self, queries: Float32Matrix, n_lists: int
    ) -> tuple[Rows, npt.NDArray[np.float32]]:
        if self._across is None:
            scores = queries @ self._along
        else:
            along = queries[:, : self._split] @ self._along
            pairs = along[:, :, None] + (queries[:, self._split :] @ self._across)[:, None, :]
            scores = pairs.reshape(len(queries), -1)
        if 4 * n_lists < self._n_lists:
            few = scores.argpartition(-n_lists, axis=1)[:, -n_lists:]
            found = np.take_along_axis(scores, few, axis=1)
            order = found.argsort(axis=1)[:, ::-1]
            lists = np.ascontiguousarray(np.take_along_axis(few, order, axis=1))
        else:
            lists = np.ascontiguousarray(scores.argsort(axis=1)[:, : -n_lists - 1 : -1])
        return lists, np.take_along_axis(scores, lists, axis=1)


def grid_of(quantizer: Any) -> Grid | None:
    """Return the grid that lists of lists are; None if they are none."""
    clusters = faiss.downcast_index(quantizer.quantizer)
    padded = clusters.reconstruct_n(0, clusters.ntotal)
    used = np.flatnonzero(padded.any(axis=0))
    n_across, left = divmod(quantizer.ntotal, clusters.ntotal)
    if left or not len(used) or used[-1] == quantizer.d - 1:
        return None
    split = int(used[-1]) + 1
    lists = quantizer.invlists
    across = None
    for at in range(clusters.ntotal):
        if lists.list_size(at) != n_across:
            return None
        ids = faiss.rev_swig_ptr(lists.get_ids(at), n_across)
        codes = faiss.rev_swig_ptr(lists.get_codes(at), 4 * n_across * quantizer.d)
        pairs = codes.view(np.float32).reshape(n_across, quantizer.d)
        if across is None:
            across = pairs[:, split:].copy()
        is_pair = np.array_equal(pairs[:, split:], across)
        is_pair = is_pair and np.array_equal(ids, at * n_across + np.arange(n_across))
        if not is_pair or (pairs[:, :split] != padded[at, :split]).any():
            return None
    return None if across is None else Grid(np.ascontiguousarray(padded[:, :split]), across)
