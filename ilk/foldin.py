"""Knows how ratings become a user's factors when the items' factors are fixed.

It refuses to know ids, stars and bundles: it is given item factors and confidences.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from ilk.vectors import Float32Matrix, Float32Vector

_PENALTY_STEP: Final = 1.2
# Who has so many positives is taken half for themselves and half for everybody.
_HALF_OWN: Final = 10


@dataclass(frozen=True, slots=True)
class FoldIn:
    """The user half-step of ALS, solved exactly.

    Attributes
    ----------
    gram
        Shape ``(n_factors, n_factors)``, float64: ``YᵀY`` over the items that were trained.
    regularization
        λ for a user with ``n`` positives is ``regularization * (n + unseen_weight) ** exponent``, the
        power rounded as in :func:`frequency_penalty`.
    unseen_weight
        What the items never met add to that count: ``n_items / alpha``.
    exponent
        0: one λ for all; 1: λ grows with the number of positives.
    common
        Shape ``(n_factors,)``, float32: what :func:`common_taste` gives; None in bundles of before
        1 December 2026.

    Notes
    -----
    Hu, Koren & Volinsky 2008, equation 4, with the frequency-scaled regularization of Rendle et al.,
    "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022, section 4.
    """

    gram: npt.NDArray[np.float64]
    regularization: float
    unseen_weight: float
    exponent: float
    common: Float32Vector | None = None

    def penalty(self, n_positives: int) -> float:
        """Return λ for a user with that many positives."""
        return frequency_penalty(
            n_positives, self.regularization, self.unseen_weight, self.exponent
        )

    def system(
        self, factors: Float32Matrix, confidences: Float32Vector
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return ``A`` and ``b`` of the normal equations ``A x = b`` of one user.

        Parameters
        ----------
        factors
            Shape ``(n, n_factors)``: the rated items' factors.
        confidences
            Shape ``(n,)``: ``c`` of each; negative says *disliked* with confidence ``-c``, that is
            preference 0; 0 says nothing.
        """
        rated = factors.astype(np.float64)
        strengths = np.abs(confidences, dtype=np.float64)
        # Confidence 0 marks a rating that is no evidence: it must weigh like an item never met.
        surplus = np.where(strengths > 0, strengths - 1, 0.0)
        n_positives = int(np.count_nonzero(confidences > 0))
        a = self.gram + (rated.T * surplus) @ rated
        a.flat[:: len(a) + 1] += self.penalty(n_positives)
        return a, rated.T @ np.maximum(confidences, 0)

    def solve(self, factors: Float32Matrix, confidences: Float32Vector) -> Float32Vector:
        """Return the user's factors, shape ``(n_factors,)``; zero if nothing speaks for anything."""
        if not np.any(confidences > 0):
            return np.zeros(factors.shape[1], dtype=np.float32)
        a, b = self.system(factors, confidences)
        return cho_solve(cho_factor(a, check_finite=False), b, check_finite=False).astype(
            np.float32
        )

    def in_common(self, n_positives: npt.NDArray[np.int64] | int) -> npt.NDArray[np.float32]:
        """Return what is added to a user's own factors when they are recommended to (ADR 36).

        Parameters
        ----------
        n_positives
            Shape ``(...)``.

        Returns
        -------
        ndarray
            Shape ``(..., n_factors)``: the common taste, the less of it the more positives tell of the
            user's own; zero for who has none.
        """
        counts = np.asarray(n_positives)[..., None]
        if self.common is None:
            return np.zeros((*counts.shape[:-1], len(self.gram)), dtype=np.float32)
        shares = np.where(counts > 0, _HALF_OWN / (_HALF_OWN + counts), 0).astype(np.float32)
        return shares * self.common


def common_taste(
    gram: npt.NDArray[np.float64], users: Float32Matrix, penalty: float
) -> Float32Vector:
    """Return where a user would be who is shrunk towards the mean of users, and not towards nothing.

    Parameters
    ----------
    gram
        As of :class:`FoldIn`.
    users
        Shape ``(n_users, n_factors)``, float32: all who were trained.
    penalty
        λ of who has one positive.

    Notes
    -----
    ALS is the mode of a model in which users' factors have the mean 0. With the mean ``m``, the right
    side of the normal equations is greater by ``λ m``; before anything is known of somebody, that is all.
    Salakhutdinov & Mnih, "Bayesian Probabilistic Matrix Factorization using Markov Chain Monte Carlo",
    ICML 2008, section 3.1, has such a mean.
    """
    a = gram.copy()
    a.flat[:: len(a) + 1] += penalty
    mean = users.mean(axis=0, dtype=np.float64)
    return cho_solve(cho_factor(a), penalty * mean).astype(np.float32)


def frequency_penalty(
    n_positives: int, regularization: float, unseen_weight: float, exponent: float
) -> float:
    """Return λ of a row with that many positives, rounded to a geometric scale: at most 10% off.

    Training solves rows of one λ together; fold-in must round alike.
    """
    frequency = max(n_positives, 1) + unseen_weight
    steps = round(exponent * math.log(frequency) / math.log(_PENALTY_STEP))
    return float(regularization * _PENALTY_STEP**steps)
