"""Knows the kinds of index: what they cost, how hard they may search, and how they are trained.

It refuses to know how they are searched and stored.
"""

import enum
from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np

from ilk.errors import SettingsError
from ilk.vectors import Float32Matrix

_HNSW_LINKS: Final = 32
_HNSW_BUILD_EFFORT: Final = 200
# Dimensions for each 4-bit code: fewer lose precision on the way from floats, more on the way back.
_DIMS_PER_CODE: Final = 2
_TRAINING_ROWS_PER_CODE: Final = 1024
# Lists are found by comparing with all of their centroids, in training and by every row and query.
_MOST_LISTS: Final = 4096
_TRAINING_ROWS_PER_LIST: Final = 64
_TRAINING_ROUNDS: Final = 10
# faiss's scalar quantizer is a tenth as quick where this does not divide the dimensions.
_SCALAR_LANES: Final = 16
_ROW_ID_BYTES: Final = 8


class IndexKind(str, enum.Enum):
    """The kinds of index a bundle may hold; a file of another kind is refused.

    ``PQ`` compares with every row by codes of four bits for two dimensions; ``IVFSQ`` compares with the
    rows of some lists by codes of one byte for each dimension. Both only find candidates, whose exact
    scores the caller computes from the vectors themselves.
    """

    FLAT = "Flat"
    PQ = "PQ"
    IVF = "IVF"
    IVF_SQ = "IVFSQ"
    HNSW = "HNSW"

    @property
    def has_lists(self) -> bool:
        """Whether rows are parted into inverted lists."""
        return self in (IndexKind.IVF, IndexKind.IVF_SQ)

    @property
    def has_codes(self) -> bool:
        """Whether scores come from codes and are only near the truth."""
        return self in (IndexKind.PQ, IndexKind.IVF_SQ)

    def width(self, dim: int) -> int:
        """Return the dimensions that the index stores, the last ones zero: ``dim`` or a few more."""
        lanes = {IndexKind.PQ: _DIMS_PER_CODE, IndexKind.IVF_SQ: _SCALAR_LANES}.get(self, 1)
        return -(-dim // lanes) * lanes

    def candidates(self, n_wanted: int, effort: int) -> int:
        """Return how many rows to fetch so that the best ``n_wanted`` are among them."""
        if self is IndexKind.PQ:
            return max(effort * n_wanted, 4 * effort)
        return max(2 * n_wanted, 32) if self is IndexKind.IVF_SQ else n_wanted


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What to build. ``n_lists`` is for inverted lists only; 0 lets the number of rows decide."""

    kind: IndexKind = IndexKind.FLAT
    n_lists: int = 0

    def describe(self, n_rows: int, dim: int) -> str:
        """Return the index's name in faiss's own shorthand, such as ``IVF256,Flat``."""
        lists = f"IVF{self.lists(n_rows)}" if self.kind.has_lists else ""
        return {
            IndexKind.FLAT: "Flat",
            IndexKind.PQ: f"PQ{self.kind.width(dim) // _DIMS_PER_CODE}x4fs",
            IndexKind.IVF: f"{lists},Flat",
            IndexKind.IVF_SQ: f"{lists},SQ8",
            IndexKind.HNSW: f"HNSW{_HNSW_LINKS}",
        }[self.kind]

    def lists(self, n_rows: int) -> int:
        """Return the number of inverted lists: ``4 √n``, as faiss's guidelines say, if not given."""
        return min(self.n_lists or max(1, min(int(4 * n_rows**0.5), _MOST_LISTS)), n_rows)

    def efforts(self, n_rows: int) -> tuple[int, ...]:
        """Return the search settings worth measuring, cheapest first; ``(0,)`` where none exist."""
        if self.kind.has_lists:
            n_lists = self.lists(n_rows)
            doublings = [1 << p for p in range(n_lists.bit_length()) if 1 << p < n_lists]
            return (*doublings, n_lists)
        return {
            IndexKind.FLAT: (0,),
            IndexKind.PQ: (4, 6, 8, 12, 16, 24, 32, 64),
            IndexKind.HNSW: (16, 32, 64, 128, 256, 512),
        }[self.kind]

    def bytes_per_row(self, dim: int) -> int:
        """Return about how much memory a row takes."""
        width = self.kind.width(dim)
        return {
            IndexKind.FLAT: 4 * width,
            IndexKind.PQ: width // (2 * _DIMS_PER_CODE),
            IndexKind.IVF: 4 * width + _ROW_ID_BYTES,
            IndexKind.IVF_SQ: width + _ROW_ID_BYTES,
            # Links of the lowest level are twice as many as those of the others.
            IndexKind.HNSW: 4 * width + 4 * 2 * _HNSW_LINKS,
        }[self.kind]


def trained(vectors: Float32Matrix, spec: IndexSpec, seed: int) -> Any:
    """Return a faiss index without rows, trained on ``vectors`` where its kind is trained.

    ``vectors`` has the shape ``(n_rows, spec.kind.width(dim))``. Equal seeds give equal indices.
    """
    n_rows, dim = vectors.shape
    if not n_rows:
        raise SettingsError("an index needs at least one row")
    if spec.kind is IndexKind.FLAT:
        return faiss.IndexFlatIP(dim)
    if spec.kind is IndexKind.HNSW:
        hnsw = faiss.IndexHNSWFlat(dim, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        hnsw.hnsw.efConstruction = _HNSW_BUILD_EFFORT
        return hnsw
    inner = _with_codes(dim) if spec.kind is IndexKind.PQ else _with_lists(dim, n_rows, spec)
    clustering = inner.pq.cp if spec.kind is IndexKind.PQ else inner.cp
    clustering.seed = seed
    clustering.min_points_per_centroid = 1
    if spec.kind is IndexKind.PQ:
        clustering.max_points_per_centroid = _TRAINING_ROWS_PER_CODE
    else:
        clustering.max_points_per_centroid = _TRAINING_ROWS_PER_LIST
        clustering.niter = _TRAINING_ROUNDS
    inner.train(_enough(vectors) if spec.kind is IndexKind.PQ else vectors)
    return inner


def _with_codes(dim: int) -> Any:
    n_codes = dim // _DIMS_PER_CODE
    return faiss.IndexPQFastScan(dim, n_codes, 4, faiss.METRIC_INNER_PRODUCT)


def _with_lists(dim: int, n_rows: int, spec: IndexSpec) -> Any:
    n_lists, coarse = spec.lists(n_rows), faiss.IndexFlatIP(dim)
    if spec.kind is IndexKind.IVF:
        return faiss.IndexIVFFlat(coarse, dim, n_lists, faiss.METRIC_INNER_PRODUCT)
    return faiss.IndexIVFScalarQuantizer(
        coarse,
        dim,
        n_lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
        # Codes of residuals would have to be shifted by the centroid for each list that is searched.
        False,
    )


def _enough(vectors: Float32Matrix) -> Float32Matrix:
    """Return at least as many rows as a code has values: few are repeated."""
    return np.resize(vectors, (16, vectors.shape[1])) if len(vectors) < 16 else vectors
