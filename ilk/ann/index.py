"""Knows how an index is searched, saved and mapped.

It refuses to know how it is trained, which kind is worth having, and what was missed.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from ilk.ann.effort import partition, searched
from ilk.ann.lent import vectors_of
from ilk.ann.packed import map_packed, write_faiss, write_packed
from ilk.ann.part import Part
from ilk.ann.spec import MOST_COMPARED_LISTS, IndexKind, IndexSpec
from ilk.ann.training import built
from ilk.errors import BundleCorrupt
from ilk.index_file import CODES_TOGETHER, check_layout
from ilk.vectors import Float32Matrix, Rows, widened

# Queries of a batch that codes of PQ are compared with at once. faiss takes four by default, whose sums
# need more registers than there are: each then takes a sixth longer than it does alone.
_QUERIES_TOGETHER: Final = 1


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
    parts
        Faiss indices of ``kind.width(dim)`` dimensions, each over all rows: one, but for IVFPQ2.
    dim
        Length of the vectors and queries.
    """

    __slots__ = ("_parts", "dim", "kind", "n_rows", "width")

    def __init__(self, kind: IndexKind, parts: Sequence[Part], dim: int) -> None:
        self.kind = kind
        self._parts = tuple(parts)
        self.n_rows: int = self._inner.ntotal
        self.width: int = self._inner.d
        self.dim = dim

    @property
    def _inner(self) -> Any:
        """The faiss index, or the first of them."""
        return self._parts[0].inner

    @classmethod
    def build(cls, vectors: Float32Matrix, spec: IndexSpec, seed: int) -> "Index":
        """Return an index over ``vectors``, shape ``(n_rows, dim)``, float32, C-contiguous.

        Notes
        -----
        Bit-identical for a seed. HNSW's links depend on the order in which threads insert, so it is
        built by one.
        """
        dim = vectors.shape[1]
        parts = []
        for emphasis in spec.emphases:
            scales = None if emphasis is None else spec.scales(emphasis, spec.kind.width(dim))
            parts.append(Part(spec.kind, built(vectors, spec, scales, seed), scales))
        return cls(spec.kind, parts, dim)

    def save(self, path: Path) -> None:
        """Write the index to ``path`` and make it survive a power cut; OSError if the disk refuses.

        Notes
        -----
        faiss's own file writer only prints a word where the last block of a file cannot be written.
        """
        with path.open("wb") as file:
            try:
                for part in self._parts:
                    if part.scales is None:
                        write_faiss(part.inner, file)
                    else:
                        write_packed(part.inner, part.scales, file)
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
        packed = check_layout(path, kind.value, n_rows, kind.width(dim))
        _limit_faiss(path, kind)
        try:
            if packed:
                parts = [Part(kind, map_packed(path, part), part.scales.copy()) for part in packed]
            else:
                parts = [Part(kind, _mapped(path, kind))]
        except RuntimeError as error:
            raise BundleCorrupt(f"{path.name}: faiss cannot read it; build again") from error
        for part in parts:
            _check(path, kind, part.inner, (n_rows, kind.width(dim)))
        return cls(kind, parts, dim)

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
            ``nprobe`` of inverted lists and in which partition (:func:`ilk.ann.effort.partition`),
            ``ef_search`` of HNSW; no matter to Flat and PQ, whose effort is
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
        part = self._parts[partition(effort, len(self._parts))]
        part.search(queries, searched(effort), allowed, (scores, rows))
        # Of one query, the last place tells whether any is unfilled.
        if n_queries > 1 or rows.item(-1) < 0:
            scores[rows < 0] = -np.inf
        return RowNeighbors(rows, scores)

    def n_listed(self, queries: Float32Matrix, efforts: Sequence[int]) -> list[int]:
        """Return how many rows stand in the lists that a search opens, those of all queries together.

        Where lists are found through lists, so do the centroids in those. Only for kinds that have lists.

        Parameters
        ----------
        queries
            As :meth:`nearest` takes them.
        efforts
            At least one, all of one partition; each is told of.

        Notes
        -----
        faiss counts the same, but for the whole process: never while another thread searches.
        """
        part = self._parts[partition(efforts[0], len(self._parts))]
        return part.n_listed(widened(queries, self.width), [searched(effort) for effort in efforts])

    def candidates(self, n_wanted: int, effort: int) -> int:
        """Return how many rows to fetch so that the best ``n_wanted`` are among them; at most all."""
        n_lists = self._inner.nlist if self.kind.has_lists else 1
        return min(self.kind.candidates(n_wanted, effort, self.n_rows / n_lists), self.n_rows)

    def parameters(self, effort: int) -> Any:
        """Return what faiss is told of an effort, of the first part."""
        return self._parts[0].parameters(searched(effort))

    def check_rows(self) -> None:
        """Look for rows in lists that are not there: BundleCorrupt. What faiss is given it believes."""
        for part in self._parts:
            if part.highest_row() >= self.n_rows:
                raise BundleCorrupt("the index holds rows that are not there; build again")

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


def _limit_faiss(path: Path, kind: IndexKind) -> None:
    # faiss trusts the sizes that a file declares; nothing in it can be larger than the file, but for a
    # table that it weighs, and does not make: 16 numbers where a list's centroid has one.
    table = 17 if kind.has_lists and kind.has_nibbles else 1
    faiss.set_deserialization_vector_byte_limit(table * path.stat().st_size)
    faiss.set_deserialization_loop_limit(path.stat().st_size)


def _mapped(path: Path, kind: IndexKind) -> Any:
    inner = faiss.read_index(
        str(path), faiss.IO_FLAG_MMAP if kind.has_lists else faiss.IO_FLAG_MMAP_IFC
    )
    if kind.has_lists and not kind.has_nibbles:
        # Mapped lists are fetched ahead by 32 threads, which every search would start anew.
        faiss.downcast_InvertedLists(inner.invlists).prefetch_nthread = 0
    if kind is IndexKind.PQ and inner.bbs == CODES_TOGETHER:
        inner.qbs = _QUERIES_TOGETHER
    return inner


def _check(path: Path, kind: IndexKind, inner: Any, shape: tuple[int, int]) -> None:
    if not isinstance(inner, _FAISS_TYPES[kind]):
        raise BundleCorrupt(f"{path.name}: expected {kind.value}, found {type(inner).__name__}")
    if (inner.ntotal, inner.d) != shape:
        raise BundleCorrupt(
            f"{path.name}: holds {inner.ntotal} x {inner.d}, "
            f"the manifest says {shape[0]} x {shape[1]}"
        )
    if inner.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BundleCorrupt(f"{path.name}: does not measure by inner product")


_FAISS_TYPES: Final[dict[IndexKind, Any]] = {
    IndexKind.FLAT: faiss.IndexFlat,
    IndexKind.PQ: faiss.IndexPQFastScan,
    IndexKind.IVF: faiss.IndexIVFFlat,
    IndexKind.IVF_SQ: faiss.IndexIVFScalarQuantizer,
    IndexKind.IVF_PQ: faiss.IndexIVFPQFastScan,
    IndexKind.IVF_PQ_2: faiss.IndexIVFPQFastScan,
    IndexKind.HNSW: faiss.IndexHNSWFlat,
}
