"""Knows how one faiss index over all rows is searched: what faiss is told.

It refuses to know how it was made and stored, how near lists are found, and whether another index stands
beside it.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from ilk.ann.lent import vectors_of
from ilk.ann.lists import Lists
from ilk.ann.spec import LISTS_OF_LISTS, IndexKind
from ilk.index_file import LISTS_BY_QUERY
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# So many times as many lists as are searched are compared with, of those that are found through lists.
_LOOKED_THROUGH: Final = 6
# Of one query, faiss finds so few of so few lists as quickly by itself.
_FEW_SEARCHED: Final = 48
_FEW_LISTS: Final = 1500
_WITHOUT_EFFORT: Final = frozenset({IndexKind.FLAT, IndexKind.PQ})


class Part:
    """A faiss index over all rows.

    Parameters
    ----------
    inner
        The faiss index.
    scales
        What each of its dimensions was multiplied by, shape ``(width,)``; None: by nothing.
    """

    __slots__ = ("_kind", "_lists", "_n_above", "_n_lists", "_plain", "inner", "scales")

    def __init__(self, kind: IndexKind, inner: Any, scales: Float32Vector | None = None) -> None:
        self._kind, self.inner, self.scales = kind, inner, scales
        self._lists: Lists | None = None
        self._n_lists: int = inner.nlist if kind.has_lists else 0
        if kind.has_lists and kind.has_nibbles:
            inner.implem = LISTS_BY_QUERY
            self._lists = _lists(inner)
        # What faiss is told of an effort: made once, for making it takes longer than reading it.
        self._plain: dict[int, Any] = {}
        above = faiss.downcast_index(inner.quantizer) if kind.has_lists else None
        self._n_above: int = above.nlist if isinstance(above, faiss.IndexIVF) else 0

    def search(
        self,
        queries: Float32Matrix,
        effort: int,
        allowed: npt.NDArray[np.uint8] | None,
        into: tuple[npt.NDArray[np.float32], Rows],
    ) -> None:
        """Put what is found into ``into``: scores and rows, each shape ``(n_queries, k)``.

        The rest is as :meth:`ilk.ann.Index.nearest` takes it; ``queries`` are as wide as the index.
        """
        if self.scales is not None:
            queries = queries / self.scales
        effort = self._within(effort)
        parameters = self.parameters(effort, allowed)
        n_queries, k = into[0].shape
        # faiss's own wrapper checks and copies what is known to be right here, at 8 us a call.
        asked, found = (n_queries, faiss.swig_ptr(queries), k), map(faiss.swig_ptr, into)
        few = n_queries == 1 and effort < _FEW_SEARCHED and self._n_lists <= _FEW_LISTS
        if few or self._lists is None:
            self.inner.search_c(*asked, *found, parameters)
        else:
            lists, likeness = self._lists.near(queries, max(effort, 1))
            near = faiss.swig_ptr(lists), faiss.swig_ptr(likeness)
            self.inner.search_preassigned_c(*asked, *near, *found, False, parameters)

    def n_listed(self, queries: Float32Matrix, efforts: Sequence[int]) -> list[int]:
        """Return what :meth:`ilk.ann.Index.n_listed` does; ``queries`` are as wide as the index."""
        if self.scales is not None:
            queries = queries / self.scales
        if self._n_above:
            return [self._n_listed_through_lists(queries, max(effort, 1)) for effort in efforts]
        most = min(max(efforts), self._n_lists)
        if self._lists is not None:
            lists, _ = self._lists.near(queries, max(most, 1))
        else:
            lists = faiss.downcast_index(self.inner.quantizer).search(queries, max(most, 1))[1]
        up_to = np.cumsum(_list_sizes(self.inner)[lists].sum(axis=0))
        return [int(up_to[min(max(effort, 1), len(up_to)) - 1]) for effort in efforts]

    def _n_listed_through_lists(self, queries: Float32Matrix, n_lists: int) -> int:
        finding, reach = faiss.downcast_index(self.inner.quantizer), self._reach(n_lists)
        options = faiss.SearchParametersIVF(nprobe=reach)
        lists = finding.search(queries, n_lists, params=options)[1]
        above = finding.quantizer.search(queries, reach)[1]
        # What is not found is -1.
        sizes = np.append(_list_sizes(self.inner), 0)
        return int(sizes[lists].sum() + _list_sizes(finding)[above].sum())

    def highest_row(self) -> int:
        """Return the highest row that a list holds; -1 where there are no lists."""
        sizes, lists = _list_sizes(self.inner) if self._n_lists else np.empty(0), self.inner
        return max(
            (
                int(faiss.rev_swig_ptr(lists.invlists.get_ids(at), int(sizes[at])).max())
                for at in sizes.nonzero()[0].tolist()
            ),
            default=-1,
        )

    def parameters(self, effort: int, allowed: npt.NDArray[np.uint8] | None = None) -> Any:
        """Return what faiss is told of an effort and of the rows that are allowed."""
        effort = self._within(effort)
        if allowed is not None:
            return self._made(effort, {"sel": faiss.IDSelectorBitmap(allowed)})
        if effort not in self._plain:
            plain = None if self._kind in _WITHOUT_EFFORT else self._made(effort, {})
            self._plain[effort] = plain
        return self._plain[effort]

    def _within(self, effort: int) -> int:
        """Return the effort, or all lists: of small codes faiss finds little in more than there are."""
        return effort if self._lists is None else min(effort, self._n_lists)

    def _made(self, effort: int, options: dict[str, Any]) -> Any:
        if self._kind.has_lists:
            if self._n_above:
                options["quantizer_params"] = faiss.SearchParametersIVF(nprobe=self._reach(effort))
            return faiss.SearchParametersIVF(nprobe=max(effort, 1), **options)
        if self._kind is IndexKind.HNSW:
            return faiss.SearchParametersHNSW(efSearch=max(effort, 1), **options)
        return faiss.SearchParameters(**options)

    def _reach(self, n_lists: int) -> int:
        """Return how many lists of lists to look into for the best ``n_lists`` lists."""
        lists_each = float(self.inner.nlist / self._n_above)
        reach = max(LISTS_OF_LISTS, math.ceil(_LOOKED_THROUGH * n_lists / lists_each))
        return int(min(reach, self._n_above))


def _list_sizes(inner: Any) -> Rows:
    return np.array([inner.invlists.list_size(at) for at in range(inner.nlist)], dtype=np.int64)


def _lists(inner: Any) -> Lists | None:
    """Return the lists of an index; None where they are found through lists."""
    finding = faiss.downcast_index(inner.quantizer)
    if not isinstance(finding, faiss.IndexFlat):
        return None
    return Lists(vectors_of(finding, inner))
