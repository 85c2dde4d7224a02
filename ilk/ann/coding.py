"""Knows which codes of four bits a row gets: those that err across it, where hardly a query looks.

It refuses to know how the values that codes stand for are learnt, and how codes are searched. A query
that finds a row looks much the same way as the row does: what codes take from the row's length is missing
from its score, and what turns it aside is not (Guo et al., "Accelerating Large-Scale Inference with
Anisotropic Vector Quantization", arXiv:1908.10396).
"""

from typing import Any, Final, TypeAlias

import faiss
import numpy as np
import numpy.typing as npt

from ilk.vectors import Float32Matrix, Float32Vector, unit_rows

Codes: TypeAlias = npt.NDArray[np.uint8]
# So many times as much as across the row do codes' errors count along it: of factors, of content.
_ALONG: Final = (4.0, 16.0)
# How often each code is chosen, for what the others err. More rounds find next to nothing.
_ROUNDS: Final = 2
# Of so many rows, all that is looked at stays in the processor's cache.
_ROWS_TOGETHER: Final = 1 << 14


def add_coded(inner: Any, vectors: Float32Matrix, n_factors: int) -> None:
    """Add rows, shape ``(n_rows, width)``, to a trained faiss index, coded by :func:`codes_of`."""
    values = faiss.vector_to_array(inner.pq.centroids).reshape(inner.pq.M, inner.pq.ksub, -1)
    if not isinstance(inner, faiss.IndexIVF):
        inner.add_sa_codes(_packed(codes_of(vectors, vectors, values, n_factors)))
        return
    lists, residuals = inner.quantizer.search(vectors, 1)[1], np.empty_like(vectors)
    of_rows = map(faiss.swig_ptr, (vectors, residuals, lists))
    inner.quantizer.compute_residual_n(len(vectors), *of_rows)
    codes = _packed(codes_of(residuals, vectors, values, n_factors))
    numbers = lists.astype("<i8").view(np.uint8)[:, : inner.coarse_code_size()]
    inner.add_sa_codes(np.concatenate((numbers, codes), axis=1))


def _packed(codes: Codes) -> Codes:
    """Return codes as faiss keeps them, shape ``(n_rows, n_bytes)``: two in a byte, the first one low."""
    even = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    packed: Codes = even[:, ::2] | even[:, 1::2] << np.uint8(4)
    return packed


def codes_of(
    residuals: Float32Matrix, rows: Float32Matrix, values: Float32Matrix, n_factors: int
) -> Codes:
    """Return the codes of each row, shape ``(n_rows, n_codes)``, each below 16.

    Parameters
    ----------
    residuals
        What is coded, shape ``(n_rows, width)``: the rows, or what tells them from their lists.
    rows
        The rows, shape ``(n_rows, width)``.
    values
        What the codes stand for, shape ``(n_codes, 16, width // n_codes)``.
    n_factors
        Where content begins. Queries weigh it against factors, so codes err across either.
    """
    n_codes, _, dims = values.shape
    content = min(-(-n_factors // dims), n_codes)
    codes = np.empty((len(rows), n_codes), dtype=np.uint8)
    for start in range(0, len(rows), _ROWS_TOGETHER):
        these = slice(start, start + _ROWS_TOGETHER)
        for first, last, along in zip((0, content), (content, n_codes), _ALONG, strict=True):
            of = slice(first * dims, last * dims)
            towards = unit_rows(rows[these, of]) * np.float32(np.sqrt(along - 1))
            chosen = _chosen(residuals[these, of], towards, values[first:last])
            codes[these, first:last] = chosen.T
    return codes


def _chosen(residuals: Float32Matrix, towards: Float32Matrix, values: Float32Matrix) -> Codes:
    """Return the codes that err least, shape ``(n_codes, n_rows)``, by coordinate descent.

    ``towards`` are the rows' directions, as long as to be turned by it counts for.
    """
    shape = len(residuals), len(values), values.shape[2]
    wanted = np.ascontiguousarray(residuals.reshape(shape).transpose(1, 0, 2))
    along = np.ascontiguousarray(towards.reshape(shape).transpose(1, 0, 2))
    reach = 1 + np.einsum("cnd,cnd->cn", along, along)
    codes = np.empty(wanted.shape[:2], dtype=np.uint8)
    errors, error_along = np.zeros_like(wanted), np.zeros(len(residuals), dtype=np.float32)
    for _ in range(_ROUNDS):
        for at, its_values in enumerate(values):
            error_along -= _products(errors[at], along[at])
            # What makes up for what the others err (Sherman and Morrison 1950).
            balancing = along[at] * (error_along / reach[at])[:, None]
            codes[at] = _nearest(wanted[at] + balancing, along[at], its_values)
            np.subtract(wanted[at], its_values.take(codes[at], axis=0), out=errors[at])
            error_along += _products(errors[at], along[at])
    return codes


def _products(one: Float32Matrix, other: Float32Matrix) -> Float32Vector:
    products: Float32Vector = np.einsum("nd,nd->n", one, other)
    return products


def _nearest(points: Float32Matrix, along: Float32Matrix, values: Float32Matrix) -> Codes:
    """Return the values nearest to each point where ``along`` counts for more, shape ``(n_points,)``."""
    if points.shape[1] == 1:
        return _nearest_numbers(points[:, 0], values[:, 0])
    # Of |p - v|^2 + (a(p - v))^2, what depends on the value.
    distances = np.square(along @ values.T)
    distances -= (points + along * _products(along, points)[:, None]) @ (2 * values.T)
    distances += np.square(values).sum(axis=1)
    nearest: Codes = distances.argmin(axis=1).astype(np.uint8)
    return nearest


def _nearest_numbers(points: Float32Vector, values: Float32Vector) -> Codes:
    order = values.argsort(kind="stable").astype(np.uint8)
    ordered = values[order]
    places = np.zeros(len(points), dtype=np.uint8)
    # A binary search takes four times as long as to count those below.
    for middle in (ordered[1:] + ordered[:-1]) / 2:
        places += points > middle
    codes: Codes = order[places]
    return codes
