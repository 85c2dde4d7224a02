"""Knows how vectors become comparable: unit rows, concatenation, blending; pure functions only.

It refuses to know what the vectors stand for and where they are stored.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float32Matrix: TypeAlias = npt.NDArray[np.float32]
Float32Vector: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.int64]

# Positives at which a direction is trusted by half.
_SHRINKAGE = 5.0


def norms(rows: Float32Matrix) -> Float32Vector:
    """Return the Euclidean norm of each row; shape ``(n,)``, float32, summed in float64."""
    return _lengths(rows).astype(np.float32)


def _lengths(rows: Float32Matrix) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return np.sqrt(squares)


def unit_rows(rows: Float32Matrix) -> Float32Matrix:
    """Return the rows at length 1, shape ``(n, dim)``; a zero row stays zero (it is like nothing)."""
    # The smallest lengths would be rounded to half or double in float32.
    lengths = _lengths(rows)[:, None]
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def unit(vector: Float32Vector) -> Float32Vector:
    """Return the vector at length 1, shape ``(dim,)``; a zero vector stays zero."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length).astype(np.float32) if length > 0 else vector


def support(n_positives: npt.NDArray[np.int64] | int) -> npt.NDArray[np.float32]:
    """Return how far a row is trusted, in (0, 1), from the positives or ratings it was learnt from.

    A film that one person liked points exactly where that person does; its cosine with what else they
    liked is near 1 and means little. Shrinkage as Bell & Koren, "Scalable Collaborative Filtering with
    Jointly Derived Neighborhood Interpolation Weights", ICDM 2007, section 3.1, with one added so that
    factors inferred from content are not worth nothing.
    """
    evidence = np.asarray(n_positives, dtype=np.float32) + 1
    return (evidence / (evidence + _SHRINKAGE)).astype(np.float32)


def concatenate(collaborative: Float32Matrix, content: Float32Matrix) -> Float32Matrix:
    """Return rows ``[collaborative ‖ content]``, C-contiguous float32, as an index stores them."""
    return np.ascontiguousarray(np.hstack((collaborative, content)), dtype=np.float32)


def widened(vectors: Float32Matrix, width: int) -> Float32Matrix:
    """Return vectors of ``width`` columns, the last ones zero where they had fewer."""
    if vectors.shape[1] == width:
        return vectors
    wide = np.zeros((len(vectors), width), dtype=np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


def blend(
    collaborative: Float32Vector, content: Float32Vector, content_weight: float
) -> Float32Matrix:
    """Return the one query vector whose inner product with stored rows is the blended score.

    The weights are applied to the query only: ``<[(1-w)a ‖ wb], [x ‖ y]> = (1-w)<a,x> + w<b,y>``.

    Parameters
    ----------
    collaborative, content
        Shapes ``(dim_collaborative,)`` and ``(dim_content,)``, float32.
    content_weight
        ``w`` in [0, 1].

    Returns
    -------
    Float32Matrix
        Shape ``(1, dim_collaborative + dim_content)``, C-contiguous.
    """
    n_factors = len(collaborative)
    query = np.empty((1, n_factors + len(content)), dtype=np.float32)
    np.multiply(collaborative, np.float32(1.0 - content_weight), out=query[0, :n_factors])
    np.multiply(content, np.float32(content_weight), out=query[0, n_factors:])
    return query
