"""Knows simple rankers that any recommender should be compared with, learned from one matrix.

It refuses to know splits, figures and bundles: they take and give matrices of rows. Matrices are
``(n_users, n_items)`` CSR, usually ones; they are read, never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from ilk.errors import SettingsError
from indexer.evaluation.ranking import (
    BLOCK_NUMBERS,
    CsrMatrix,
    Ranked,
    Scores,
    best_columns,
    checked,
    rank_by,
)

MAX_EASE_ITEMS = 20_000


class Ranker(Protocol):
    """What every baseline can do, once made by its ``fit``."""

    def rank(self, fold_in: CsrMatrix, k: int, *, seen: CsrMatrix | None = None) -> Ranked:
        """Return each user's ``k`` best items.

        Parameters
        ----------
        fold_in
            Shape ``(n_users, n_items)``: what is known of the users at query time. They need not
            be users trained on.
        k
            Places wanted, ``k >= 1``.
        seen
            Items never to be returned, same shape; ``None`` means those folded in.

        Returns
        -------
        Ranked
            Shape ``(n_users, k)``, int64 item rows, best first; of equal scores the lower row
            first. Unfilled places hold ``-1``.

        Raises
        ------
        SettingsError
            If ``k < 1``.
        DataError
            If shapes disagree with each other or with training, or a value is not finite.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """Ranks by how many users have an item, the same for everyone; ``counts`` is ``(n_items,)``."""

    counts: npt.NDArray[np.int64]

    @classmethod
    def fit(cls, train: CsrMatrix) -> Popularity:
        """Count the stored places of each column."""
        return cls(np.bincount(train.indices, minlength=train.shape[1]).astype(np.int64))

    def rank(self, fold_in: CsrMatrix, k: int, *, seen: CsrMatrix | None = None) -> Ranked:
        """See :meth:`Ranker.rank`."""
        scores = self.counts.astype(np.float64)
        return rank_by(
            lambda users: np.tile(scores, (users.shape[0], 1)), len(scores), fold_in, k, seen
        )


@dataclass(frozen=True, slots=True)
class RandomRanking:
    """Ranks at random, for the floor of every figure; equal calls give equal lists."""

    n_items: int
    seed: int

    @classmethod
    def fit(cls, train: CsrMatrix, *, seed: int) -> RandomRanking:
        """Take nothing but the number of items."""
        return cls(int(train.shape[1]), seed)

    def rank(self, fold_in: CsrMatrix, k: int, *, seen: CsrMatrix | None = None) -> Ranked:
        """See :meth:`Ranker.rank`."""
        rng = np.random.default_rng(self.seed)
        return rank_by(lambda users: rng.random(users.shape), self.n_items, fold_in, k, seen)


@dataclass(frozen=True, slots=True, eq=False)
class ItemKNN:
    """Scores an item by the likeness of its nearest items to what the user has.

    ``weights`` is ``(n_items, n_items)`` CSR; row ``i`` holds the cosines of the neighbors of
    ``i``. Items that nothing the user has speaks for are not ranked.
    """

    weights: CsrMatrix

    @classmethod
    def fit(cls, train: CsrMatrix, *, n_neighbors: int = 100, shrinkage: float = 10.0) -> ItemKNN:
        """Keep each item's ``n_neighbors`` largest positive ``x_i.x_j / (|x_i||x_j| + shrinkage)``.

        Sarwar et al., WWW 2001; shrinkage and neighborhood as in Ferrari Dacrema et al., RecSys
        2019. Raises :class:`SettingsError` if a parameter is out of range.
        """
        if n_neighbors < 1 or not 0.0 <= shrinkage < np.inf:
            raise SettingsError(
                f"n_neighbors must be at least 1 and shrinkage finite and not negative, "
                f"got {n_neighbors} and {shrinkage}"
            )
        columns = checked("train", train)
        n_items = columns.shape[1]
        norms = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())
        parts = []
        for start, products in _gram_blocks(columns):
            block = np.arange(start, start + len(products))
            divisors = norms[block, None] * norms + shrinkage
            cosines = np.divide(products, divisors, out=np.zeros_like(products), where=divisors > 0)
            cosines[np.arange(len(block)), block] = 0.0
            cosines[cosines <= 0.0] = -np.inf
            neighbors = best_columns(cosines, n_neighbors)
            rows, places = np.nonzero(neighbors >= 0)
            found = neighbors[rows, places]
            shape = (len(block), n_items)
            parts.append(sparse.csr_matrix((cosines[rows, found], (rows, found)), shape=shape))
        return cls(sparse.vstack(parts, format="csr"))

    def rank(self, fold_in: CsrMatrix, k: int, *, seen: CsrMatrix | None = None) -> Ranked:
        """See :meth:`Ranker.rank`."""
        by_source = self.weights.T.tocsr()

        def score(users: CsrMatrix) -> Scores:
            scores: Scores = (users @ by_source).toarray()
            return np.where(scores == 0.0, -np.inf, scores)

        return rank_by(score, self.weights.shape[0], fold_in, k, seen)


@dataclass(frozen=True, slots=True, eq=False)
class EASE:
    """A linear autoencoder without self-likeness, in closed form; ``weights`` has a zero diagonal.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
    """

    weights: Scores

    @classmethod
    def fit(
        cls, train: CsrMatrix, *, regularization: float = 500.0, dtype: npt.DTypeLike = np.float32
    ) -> EASE:
        """Minimise ``|X - XB|^2 + regularization * |B|^2`` under ``diag(B) = 0``.

        Parameters
        ----------
        train
            Shape ``(n_users, n_items)``, at most ``MAX_EASE_ITEMS`` items.
        regularization
            Positive; the larger, the less rare items weigh. The paper takes 500 for MovieLens 20M.
        dtype
            float32, or float64 where the least weight matters.

        Raises
        ------
        SettingsError
            If there are too many items, or a parameter is out of range, or ``regularization`` is
            too small for ``dtype``.
        DataError
            If a value is not finite.
        """
        number = np.dtype(dtype)
        n_items = train.shape[1]
        if number not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise SettingsError(f"dtype: must be float32 or float64, got {number}")
        if not 0.0 < regularization < np.inf:
            raise SettingsError(f"regularization: must be positive, got {regularization}")
        if n_items > MAX_EASE_ITEMS:
            size_gb = n_items**2 * number.itemsize / 1e9
            raise SettingsError(
                f"EASE inverts a dense matrix of items by items: {n_items} need {size_gb:.1f} GB, "
                f"at most {MAX_EASE_ITEMS} items are taken; keep the most rated or use ItemKNN"
            )
        gram = np.empty((n_items, n_items), dtype=number, order="F")
        for start, products in _gram_blocks(checked("train", train)):
            gram[:, start : start + len(products)] = products.T
        gram[np.diag_indices(n_items)] += regularization
        try:
            factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError as error:
            raise SettingsError(
                f"regularization: {regularization} is too small for {number}; raise it, or take "
                f"float64"
            ) from error
        identity = np.eye(n_items, dtype=number, order="F")
        inverse = linalg.cho_solve(factor, identity, overwrite_b=True, check_finite=False)
        weights = np.asarray(inverse / -np.diag(inverse), dtype=number)
        np.fill_diagonal(weights, 0.0)
        return cls(weights)

    def rank(self, fold_in: CsrMatrix, k: int, *, seen: CsrMatrix | None = None) -> Ranked:
        """See :meth:`Ranker.rank`."""

        def score(users: CsrMatrix) -> Scores:
            return np.asarray(users.astype(self.weights.dtype) @ self.weights)

        return rank_by(score, len(self.weights), fold_in, k, seen)


def _gram_blocks(columns: CsrMatrix) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Yield ``(first item, rows of X^T X)``; the whole product can outgrow memory when sparse."""
    n_items = columns.shape[1]
    transposed = columns.T.tocsr()
    step = max(1, BLOCK_NUMBERS // n_items)
    for start in range(0, n_items, step):
        yield start, (transposed[start : start + step] @ columns).toarray()
