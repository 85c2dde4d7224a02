"""Knows the figures of predicted stars, and how to part rating entries into folds.

It refuses to know who predicted them: it takes arrays aligned by entry.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.errors import DataError, SettingsError

Stars: TypeAlias = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One fold: ``train`` and ``test`` are rising int64 entry positions that share none."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StarFigures:
    """Errors of predictions in stars, and the share of them told by means alone, of no neighbors."""

    rmse: float
    mae: float
    fall_backs: float


def folds(n_entries: int, seed: int, *, n_folds: int = 5) -> Iterator[Fold]:
    """Yield ``n_folds`` folds; each entry is tested in one; sizes differ by at most one.

    Raises
    ------
    SettingsError
        If ``n_folds`` is not in ``[2, n_entries]``; at the first step of the iteration.
    """
    if not 2 <= n_folds <= n_entries:
        raise SettingsError(f"n_folds: must be in [2, {n_entries}], got {n_folds}")
    fold_of = np.random.default_rng(seed).permutation(np.arange(n_entries) % n_folds)
    for fold in range(n_folds):
        yield Fold(train=np.flatnonzero(fold_of != fold), test=np.flatnonzero(fold_of == fold))


def star_figures(
    actual: Stars, predicted: Stars, neighbor_counts: npt.NDArray[np.integer]
) -> StarFigures:
    """Return all figures of predictions; the arrays are aligned, shape ``(n,)``, ``n >= 1``.

    Fall-backs count in the errors, so that no method gains by predicting less. Herlocker et al.,
    "Evaluating Collaborative Filtering Recommender Systems", ACM TOIS 22(1), 2004.

    Raises
    ------
    DataError
        If shapes disagree, nothing is given, or a value is not finite.
    """
    if neighbor_counts.shape != actual.shape:
        raise DataError(
            "neighbor_counts", f"have shape {neighbor_counts.shape}, not {actual.shape}"
        )
    if actual.ndim != 1 or actual.shape != predicted.shape or not len(actual):
        raise DataError(
            "predicted",
            f"must align with one or more actual stars, got {predicted.shape} for {actual.shape}",
        )
    errors = actual.astype(np.float64) - predicted.astype(np.float64)
    if not np.isfinite(errors).all():
        raise DataError("predicted", "holds stars that are not finite")
    return StarFigures(
        rmse=float(np.sqrt(np.square(errors).mean())),
        mae=float(np.abs(errors).mean()),
        fall_backs=float((neighbor_counts == 0).mean()),
    )
