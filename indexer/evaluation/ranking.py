"""Knows how scores become ranked lists, a block of users at a time.

It refuses to know where scores come from. Matrices are ``(n_users, n_items)`` CSR; they are read, never
written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ilk.errors import DataError, SettingsError

Ranked: TypeAlias = npt.NDArray[np.int64]
Scores: TypeAlias = npt.NDArray[np.floating[Any]]
CsrMatrix: TypeAlias = "sparse.csr_matrix[Any]"

# Dense numbers held at once while scoring or multiplying: 128 MiB of float64.
BLOCK_NUMBERS = 1 << 24


def rank_by(
    score: Callable[[CsrMatrix], Scores],
    n_items: int,
    fold_in: CsrMatrix,
    k: int,
    seen: CsrMatrix | None,
) -> Ranked:
    """Return each user's ``k`` best items by their scores, as :meth:`baselines.Ranker.rank` says.

    Parameters
    ----------
    score
        Returns the scores of a few users, shape ``(n_users, n_items)``, which are written into.
    n_items
        Of training.
    fold_in, k, seen
        As for the ranker.
    """
    if k < 1:
        raise SettingsError(f"k: must be at least 1, got {k}")
    if fold_in.shape[1] != n_items:
        raise DataError("fold_in", f"has {fold_in.shape[1]} items; training had {n_items}")
    if seen is not None and seen.shape != fold_in.shape:
        raise DataError("seen", f"has shape {seen.shape}; fold_in has {fold_in.shape}")
    users = checked("fold_in", fold_in)
    hidden = users if seen is None else seen.tocsr()
    ranked = np.full((users.shape[0], k), -1, dtype=np.int64)
    step = max(1, BLOCK_NUMBERS // n_items)
    for start in range(0, len(ranked), step):
        scores = score(users[start : start + step])
        chunk = hidden[start : start + step]
        rows = np.repeat(np.arange(len(scores)), np.diff(chunk.indptr))
        scores[rows, chunk.indices] = -np.inf
        best = best_columns(scores, k)
        ranked[start : start + step, : best.shape[1]] = best
    return ranked


def best_columns(scores: Scores, k: int) -> Ranked:
    """Return each row's best columns, at most ``k``; ties by column, ``-1`` where ``-inf``."""
    n, width = scores.shape
    k = min(k, width)
    least = np.partition(scores, width - k, axis=1)[:, width - k, None]
    above, level = scores > least, scores == least
    # A partition alone would choose among ties as its memory layout pleases.
    room = k - above.sum(axis=1, keepdims=True)
    taken = above | (level & (level.cumsum(axis=1) <= room))
    columns = np.nonzero(taken)[1].reshape(n, k)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    columns = np.take_along_axis(columns, order, axis=1)
    ranked_values = np.take_along_axis(values, order, axis=1)
    return np.where(ranked_values == -np.inf, -1, columns).astype(np.int64)


def checked(name: str, matrix: CsrMatrix) -> CsrMatrix:
    """Return a matrix in float64; DataError if a value is not finite."""
    numbers: CsrMatrix = matrix.tocsr().astype(np.float64)
    if not np.isfinite(numbers.data).all():
        raise DataError(name, "holds values that are not finite")
    return numbers
