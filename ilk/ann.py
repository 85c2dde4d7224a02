"""Knows faiss, and is the only door to it: build, search, save, map.

It refuses to know what the rows stand for. Every index answers by inner product and keeps rows in
the order they were given.
"""

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from ilk.errors import BundleCorrupt, SettingsError
from ilk.index_file import check_layout
from ilk.vectors import Float32Matrix, Rows

_HNSW_LINKS: Final = 32
_HNSW_BUILD_EFFORT: Final = 200
_WRITE_BYTES: Final = 1 << 20


class IndexKind(str, enum.Enum):
    """The kinds of index a bundle may hold; a file of another kind is refused."""

    FLAT = "Flat"
    IVF = "IVF"
    HNSW = "HNSW"


class RowNeighbors(NamedTuple):
    """Rows (int64) and scores (float32), both ``(n_queries, k)``, scores falling along axis 1.

    Unfilled places hold row ``-1`` and score ``-inf``.
    """

    rows: Rows
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What to build. ``n_lists`` is for IVF only; 0 lets the number of rows decide."""

    kind: IndexKind = IndexKind.FLAT
    n_lists: int = 0

    def describe(self, n_rows: int) -> str:
        """Return the index's name in faiss's own shorthand, such as ``IVF256``."""
        if self.kind is IndexKind.IVF:
            return f"IVF{self.lists(n_rows)}"
        return f"HNSW{_HNSW_LINKS}" if self.kind is IndexKind.HNSW else "Flat"

    def lists(self, n_rows: int) -> int:
        """Return the number of inverted lists: ``4 √n``, as faiss's guidelines say, if not given."""
        return min(self.n_lists or max(1, int(4 * n_rows**0.5)), n_rows)

    def efforts(self, n_rows: int) -> tuple[int, ...]:
        """Return the search settings worth measuring, cheapest first; ``(0,)`` where none exist."""
        if self.kind is IndexKind.IVF:
            n_lists = self.lists(n_rows)
            doublings = [1 << p for p in range(n_lists.bit_length()) if 1 << p < n_lists]
            return (*doublings, n_lists)
        return (0,) if self.kind is IndexKind.FLAT else (16, 32, 64, 128, 256, 512, 1024)


class Index:
    """A searchable set of rows.

    Parameters
    ----------
    kind
        What it is.
    inner
        The faiss index.
    """

    __slots__ = ("_inner", "dim", "kind", "n_rows")

    def __init__(self, kind: IndexKind, inner: Any) -> None:
        self.kind = kind
        self._inner = inner
        self.n_rows: int = inner.ntotal
        self.dim: int = inner.d

    @classmethod
    def build(cls, vectors: Float32Matrix, spec: IndexSpec, seed: int) -> "Index":
        """Return an index over ``vectors``, shape ``(n_rows, dim)``, float32, C-contiguous.

        Notes
        -----
        Flat and IVF are bit-identical for a seed. HNSW's links depend on the order in which threads
        insert, so it is built by one.
        """
        if not len(vectors):
            raise SettingsError("an index needs at least one row")
        inner = _empty(vectors, spec, seed)
        n_threads = faiss.omp_get_max_threads()
        if spec.kind is IndexKind.HNSW:
            faiss.omp_set_num_threads(1)
        inner.add(vectors)
        faiss.omp_set_num_threads(n_threads)
        return cls(spec.kind, inner)

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
        check_layout(path, kind.value, n_rows, dim)
        inner = _read(path, kind)
        if not isinstance(inner, _FAISS_TYPES[kind]):
            raise BundleCorrupt(f"{path.name}: expected {kind.value}, found {type(inner).__name__}")
        if (inner.ntotal, inner.d) != (n_rows, dim):
            raise BundleCorrupt(
                f"{path.name}: holds {inner.ntotal} x {inner.d}, the manifest says {n_rows} x {dim}"
            )
        if inner.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise BundleCorrupt(f"{path.name}: does not measure by inner product")
        return cls(kind, inner)

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
            Shape ``(n_queries, dim)``, float32, finite, C-contiguous. Read, never written.
        k
            Neighbors wanted per query, ``1 <= k <= n_rows``.
        effort
            ``nprobe`` of IVF, ``ef_search`` of HNSW; no matter to Flat.
        allowed
            A bitmap over rows, lowest bit first (``np.packbits(mask, bitorder="little")``): only
            set rows may come back. None allows all.

        Notes
        -----
        Releases the GIL. Equal scores keep no promised order.
        """
        n_queries, dim = queries.shape
        if dim != self.dim or not 1 <= k <= self.n_rows:
            raise ValueError(f"{dim} dimensions for {self.dim}, or {k} neighbors of {self.n_rows}")
        scores = np.empty((n_queries, k), dtype=np.float32)
        rows = np.empty((n_queries, k), dtype=np.int64)
        plain = allowed is None and self.kind is IndexKind.FLAT
        parameters = None if plain else self._parameters(effort, allowed)
        # faiss's own wrapper checks and copies what is known to be right here, at 8 us a call.
        self._inner.search_c(
            n_queries,
            faiss.swig_ptr(queries),
            k,
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            parameters,
        )
        if not plain:
            scores[rows < 0] = -np.inf
        return RowNeighbors(rows, scores)

    def _parameters(self, effort: int, allowed: npt.NDArray[np.uint8] | None) -> Any:
        options: dict[str, Any] = {}
        if allowed is not None:
            options["sel"] = faiss.IDSelectorBitmap(allowed)
        if self.kind is IndexKind.IVF:
            return faiss.SearchParametersIVF(nprobe=max(effort, 1), **options)
        if self.kind is IndexKind.HNSW:
            return faiss.SearchParametersHNSW(efSearch=max(effort, 1), **options)
        return faiss.SearchParameters(**options)

    @property
    def exhaustive_effort(self) -> int | None:
        """The effort at which every row is compared, or None if no setting promises that."""
        if self.kind is IndexKind.FLAT:
            return 0
        return int(self._inner.nlist) if self.kind is IndexKind.IVF else None


def use_threads(n_threads: int) -> None:
    """Let each search of this process use that many threads; a server uses one."""
    faiss.omp_set_num_threads(n_threads)


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
    hits = total = 0
    for got, true in zip(found, truth, strict=True):
        thresholds = true.scores[:, k - 1 : k]
        slack = 1e-5 * np.maximum(np.abs(thresholds), 1e-3)
        hits += int(np.count_nonzero(got.scores[:, :k] >= thresholds - slack))
        total += thresholds.size * k
    return hits / total


def _empty(vectors: Float32Matrix, spec: IndexSpec, seed: int) -> Any:
    """Return a faiss index without rows, trained on ``vectors`` where its kind is trained."""
    n_rows, dim = vectors.shape
    if spec.kind is IndexKind.FLAT:
        return faiss.IndexFlatIP(dim)
    if spec.kind is IndexKind.HNSW:
        hnsw = faiss.IndexHNSWFlat(dim, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        hnsw.hnsw.efConstruction = _HNSW_BUILD_EFFORT
        return hnsw
    ivf = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dim), dim, spec.lists(n_rows), faiss.METRIC_INNER_PRODUCT
    )
    ivf.cp.seed = seed
    ivf.cp.min_points_per_centroid = 1
    ivf.train(vectors)
    return ivf


def _read(path: Path, kind: IndexKind) -> Any:
    # faiss trusts the sizes that a file declares; nothing in it can be larger than the file.
    faiss.set_deserialization_vector_byte_limit(path.stat().st_size)
    faiss.set_deserialization_loop_limit(path.stat().st_size)
    flag = faiss.IO_FLAG_MMAP if kind is IndexKind.IVF else faiss.IO_FLAG_MMAP_IFC
    try:
        inner = faiss.read_index(str(path), flag)
    except RuntimeError as error:
        raise BundleCorrupt(f"{path.name}: faiss cannot read it; build again") from error
    if kind is IndexKind.IVF:
        # Mapped lists are fetched ahead by 32 threads, which every search would start anew.
        faiss.downcast_InvertedLists(inner.invlists).prefetch_nthread = 0
    return inner


_FAISS_TYPES: Final[dict[IndexKind, Any]] = {
    IndexKind.FLAT: faiss.IndexFlat,
    IndexKind.IVF: faiss.IndexIVFFlat,
    IndexKind.HNSW: faiss.IndexHNSWFlat,
}
