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

    Notes
    -----
    Hu, Koren & Volinsky 2008, equation 4, with the frequency-scaled regularization of Rendle et al.,
    "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022, section 4.
    """

    gram: npt.NDArray[np.float64]
    regularization: float
    unseen_weight: float
    exponent: float

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


def frequency_penalty(
    n_positives: int, regularization: float, unseen_weight: float, exponent: float
) -> float:
    """Return λ of a row with that many positives, rounded to a geometric scale: at most 10% off.

    Training solves rows of one λ together; fold-in must round alike.
    """
    frequency = max(n_positives, 1) + unseen_weight
    steps = round(exponent * math.log(frequency) / math.log(_PENALTY_STEP))
    return float(regularization * _PENALTY_STEP**steps)
