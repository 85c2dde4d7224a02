"""Knows how an index is built, searched, saved and mapped.

It refuses to know which kind is worth having, and what was missed.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ilk.ann.lent import vectors_of
from ilk.ann.spec import LISTS_OF_LISTS, MOST_COMPARED_LISTS, IndexKind, IndexSpec
from ilk.ann.training import learning_rows, ready, trained
from ilk.errors import BundleCorrupt
from ilk.index_file import LISTS_BY_QUERY, check_layout
from ilk.vectors import Float32Matrix, Rows

_WRITE_BYTES: Final = 1 << 20
# Rows are put in their places a part at a time: wide copies of all would not fit.
_CHUNK_ROWS: Final = 1 << 18
# So many times as many lists as are searched are compared with, of those that are found through lists.
_LOOKED_THROUGH: Final = 6


class RowNeighbors(NamedTuple):
    """Rows (int64) and scores (float32), both ``(n_queries, k)``, scores falling along axis 1.

    Unfilled places hold row ``-1`` and score ``-inf``.
    """

    rows: Rows
    scores: npt.NDArray[np.float32]


class Index:
    """A searchable set of rows.

    Parameters
    ----------
    kind
        What it is.
    inner
        The faiss index, of ``kind.width(dim)`` dimensions.
    dim
        Length of the vectors and queries.
    """

    __slots__ = ("_centroids", "_inner", "_n_above", "_plain", "dim", "kind", "n_rows", "width")

    def __init__(self, kind: IndexKind, inner: Any, dim: int) -> None:
        self.kind = kind
        self._inner = inner
        self.n_rows: int = inner.ntotal
        self.width: int = inner.d
        self.dim = dim
        self._centroids: Float32Matrix | None = None
        if kind is IndexKind.IVF_PQ:
            inner.implem = LISTS_BY_QUERY
            self._centroids = _centroids(inner)
        # What faiss is told of an effort: made once, for making it takes longer than reading it.
        self._plain: dict[int, Any] = {}
        above = faiss.downcast_index(inner.quantizer) if kind.has_lists else None
        self._n_above: int = above.nlist if isinstance(above, faiss.IndexIVF) else 0

    @classmethod
    def build(cls, vectors: Float32Matrix, spec: IndexSpec, seed: int) -> "Index":
        """Return an index over ``vectors``, shape ``(n_rows, dim)``, float32, C-contiguous.

        Notes
        -----
        Bit-identical for a seed. HNSW's links depend on the order in which threads insert, so it is
        built by one.
        """
        n_rows, dim = vectors.shape
        width = spec.kind.width(dim)
        learning = widened(learning_rows(vectors, spec, seed), width)
        # The small clusterings of PQ take many times as long where threads wait for each other.
        alone = spec.kind is IndexKind.HNSW or spec.kind.has_nibbles
        with one_thread() if alone else contextlib.nullcontext():
            inner = trained(learning, n_rows, spec, seed)
            for start in range(0, n_rows, _CHUNK_ROWS):
                inner.add(widened(vectors[start : start + _CHUNK_ROWS], width))
        return cls(spec.kind, ready(inner, spec, seed), dim)

    def save(self, path: Path) -> None:
        """Write the index to ``path`` and make it survive a power cut; OSError if the disk refuses.

        Notes
        -----
        faiss's own file writer only prints a word where the last block of a file cannot be written.
        """
        with path.open("wb") as file:
            writer = faiss.PyCallbackIOWriter(file.write, _WRITE_BYTES)
            try:
                faiss.write_index(self._inner, writer)
            except RuntimeError as error:
                raise OSError(f"cannot write {path.name}: {error}") from error
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def open(cls, path: Path, kind: IndexKind, n_rows: int, dim: int) -> "Index":
        """Map the index at ``path`` read-only; checksums must have been verified before.

        Raises
        ------
        BundleCorrupt
            If faiss cannot read it, or finds another kind or shape than the manifest says.
        """
        check_layout(path, kind.value, n_rows, kind.width(dim))
        inner = _read(path, kind)
        if not isinstance(inner, _FAISS_TYPES[kind]):
            raise BundleCorrupt(f"{path.name}: expected {kind.value}, found {type(inner).__name__}")
        if (inner.ntotal, inner.d) != (n_rows, kind.width(dim)):
            raise BundleCorrupt(
                f"{path.name}: holds {inner.ntotal} x {inner.d}, "
                f"the manifest says {n_rows} x {kind.width(dim)}"
            )
        if inner.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise BundleCorrupt(f"{path.name}: does not measure by inner product")
        return cls(kind, inner, dim)

    def nearest(
        self,
        queries: Float32Matrix,
        k: int,
        effort: int = 0,
        allowed: npt.NDArray[np.uint8] | None = None,
    ) -> RowNeighbors:
        """Return the ``k`` stored rows of highest inner product with each query.

        Parameters
        ----------
        queries
            Shape ``(n_queries, dim)``, float32, finite, C-contiguous. Read, never written. They may
            have ``width`` columns, the last ones zero: then no copy is made.
        k
            Neighbors wanted per query, ``1 <= k <= n_rows``.
        effort
            ``nprobe`` of inverted lists, ``ef_search`` of HNSW; no matter to Flat and PQ, whose effort is
            how many candidates are fetched: :meth:`ilk.ann.IndexKind.candidates`.
        allowed
            A bitmap over rows, lowest bit first (``np.packbits(mask, bitorder="little")``): only
            set rows may come back. None allows all. PQ and IVFPQ take none.

        Notes
        -----
        Releases the GIL. Equal scores keep no promised order. Scores of kinds with codes are only near
        the truth.
        """
        n_queries, dim = queries.shape
        if dim not in (self.dim, self.width) or not 1 <= k <= self.n_rows:
            raise ValueError(f"{dim} dimensions for {self.dim}, or {k} neighbors of {self.n_rows}")
        scores = np.empty((n_queries, k), dtype=np.float32)
        rows = np.empty((n_queries, k), dtype=np.int64)
        if allowed is not None and self.kind.has_nibbles:
            raise ValueError(f"{self.kind.value} takes no bitmap")
        if self.width != dim:
            queries = widened(queries, self.width)
        if allowed is None:
            if effort not in self._plain:
                self._plain[effort] = self._parameters(effort, None)
            parameters = self._plain[effort]
        else:
            parameters = self._parameters(effort, allowed)
        # faiss's own wrapper checks and copies what is known to be right here, at 8 us a call.
        asked, into = (n_queries, faiss.swig_ptr(queries), k), map(faiss.swig_ptr, (scores, rows))
        if self._centroids is None or n_queries > 1:
            self._inner.search_c(*asked, *into, parameters)
        else:
            lists, likeness = _lists_near(queries, self._centroids, max(effort, 1))
            near = faiss.swig_ptr(lists), faiss.swig_ptr(likeness)
            self._inner.search_preassigned_c(*asked, *near, *into, False, parameters)
        # Of one query, the last place tells whether any is unfilled.
        if n_queries > 1 or rows.item(-1) < 0:
            scores[rows < 0] = -np.inf
        return RowNeighbors(rows, scores)

    def _parameters(self, effort: int, allowed: npt.NDArray[np.uint8] | None) -> Any:
        if allowed is None and self.kind in _WITHOUT_EFFORT:
            return None
        options: dict[str, Any] = {}
        if allowed is not None:
            options["sel"] = faiss.IDSelectorBitmap(allowed)
        if self.kind.has_lists:
            if self._n_above:
                options["quantizer_params"] = faiss.SearchParametersIVF(nprobe=self._reach(effort))
            return faiss.SearchParametersIVF(nprobe=max(effort, 1), **options)
        if self.kind is IndexKind.HNSW:
            return faiss.SearchParametersHNSW(efSearch=max(effort, 1), **options)
        return faiss.SearchParameters(**options)

    def _reach(self, effort: int) -> int:
        """Return how many lists of lists to look into for the best ``effort`` lists."""
        lists_each = float(self._inner.nlist / self._n_above)
        reach = max(LISTS_OF_LISTS, math.ceil(_LOOKED_THROUGH * effort / lists_each))
        return int(min(reach, self._n_above))

    def n_listed(self, queries: Float32Matrix, effort: int) -> int:
        """Return how many rows stand in the lists that a search opens, those of all queries together.

        Where lists are found through lists, so do the centroids in those. Only for kinds that have lists.

        Notes
        -----
        faiss counts the same, but for the whole process: never while another thread searches.
        """
        queries = widened(queries, self.width)
        finding, n_lists = faiss.downcast_index(self._inner.quantizer), max(effort, 1)
        if not self._n_above:
            return _n_in_lists(self._inner, finding.search(queries, n_lists)[1])
        reach = self._reach(effort)
        options = faiss.SearchParametersIVF(nprobe=reach)
        lists = finding.search(queries, n_lists, params=options)[1]
        above = finding.quantizer.search(queries, reach)[1]
        return _n_in_lists(self._inner, lists) + _n_in_lists(finding, above)

    @property
    def vectors(self) -> Float32Matrix | None:
        """The vectors of the rows, shape ``(n_rows, width)``, read-only, where the index is no more."""
        return vectors_of(self._inner, self._inner) if self.kind is IndexKind.FLAT else None

    @property
    def exhaustive_effort(self) -> int | None:
        """The effort at which every row's true score is compared; None if no setting promises that."""
        if self.kind is IndexKind.FLAT:
            return 0
        if self.kind is not IndexKind.IVF or self._inner.quantizer.ntotal > MOST_COMPARED_LISTS:
            return None
        return int(self._inner.nlist)


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
    order = scores.argsort(axis=1)[:, : -n_best - 1 : -1]
    if len(order) > 1:
        order = order + np.arange(0, scores.size, scores.shape[1])[:, None]
    return RowNeighbors(rows.take(order), scores.take(order))


def use_threads(n_threads: int) -> None:
    """Let each search and matrix product of this process use that many threads; a server uses one."""
    faiss.omp_set_num_threads(n_threads)
    threadpool_limits(n_threads)


def _n_in_lists(inner: Any, lists: Rows) -> int:
    found, times = np.unique(lists[lists >= 0], return_counts=True)
    sizes = [inner.invlists.list_size(at) for at in found.tolist()]
    return int(times @ np.array(sizes, dtype=np.int64))


def _centroids(inner: Any) -> Float32Matrix | None:
    """Return the centroids, shape ``(width, n_lists)``; None where lists are found through lists."""
    finding = faiss.downcast_index(inner.quantizer)
    if not isinstance(finding, faiss.IndexFlat):
        return None
    return np.ascontiguousarray(finding.reconstruct_n(0, finding.ntotal).T)


def _lists_near(
    query: Float32Matrix, centroids: Float32Matrix, n_lists: int
) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Return the ``n_lists`` nearest lists and their scores, best first, each shape ``(1, n_lists)``.

    One product with all centroids and one sort take half as long as faiss, which goes row by row.
    """
    scores = query @ centroids
    lists = np.ascontiguousarray(scores.argsort(axis=1)[:, : -n_lists - 1 : -1])
    return lists, scores.take(lists)


def n_threads() -> int:
    """Return how many threads a search or a clustering may use."""
    return int(faiss.omp_get_max_threads())


@contextlib.contextmanager
def threads(n_used: int) -> Iterator[None]:
    """Let so many threads work meanwhile for each call of the calling thread; others keep theirs."""
    before = n_threads()
    faiss.omp_set_num_threads(n_used)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Let one thread search meanwhile, as a server does: others would wait for each other, at work."""
    return threads(1)


def widened(vectors: Float32Matrix, width: int) -> Float32Matrix:
    """Return vectors of ``width`` columns, the last ones zero where they had fewer."""
    if vectors.shape[1] == width:
        return vectors
    wide = np.zeros((len(vectors), width), dtype=np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


def _read(path: Path, kind: IndexKind) -> Any:
    # faiss trusts the sizes that a file declares; nothing in it can be larger than the file, but for a
    # table that it weighs, and does not make: 16 numbers where a list's centroid has one.
    table = 17 if kind is IndexKind.IVF_PQ else 1
    faiss.set_deserialization_vector_byte_limit(table * path.stat().st_size)
    faiss.set_deserialization_loop_limit(path.stat().st_size)
    flag = faiss.IO_FLAG_MMAP if kind.has_lists else faiss.IO_FLAG_MMAP_IFC
    try:
        inner = faiss.read_index(str(path), flag)
    except RuntimeError as error:
        raise BundleCorrupt(f"{path.name}: faiss cannot read it; build again") from error
    if kind.has_lists and not kind.has_nibbles:
        # Mapped lists are fetched ahead by 32 threads, which every search would start anew.
        faiss.downcast_InvertedLists(inner.invlists).prefetch_nthread = 0
    return inner


_WITHOUT_EFFORT: Final = frozenset({IndexKind.FLAT, IndexKind.PQ})
_FAISS_TYPES: Final[dict[IndexKind, Any]] = {
    IndexKind.FLAT: faiss.IndexFlat,
    IndexKind.PQ: faiss.IndexPQFastScan,
    IndexKind.IVF: faiss.IndexIVFFlat,
    IndexKind.IVF_SQ: faiss.IndexIVFScalarQuantizer,
    IndexKind.IVF_PQ: faiss.IndexIVFPQFastScan,
    IndexKind.HNSW: faiss.IndexHNSWFlat,
}
