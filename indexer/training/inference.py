"""Knows what items' content and years say of factors that nobody's likes have taught.

It refuses to know how factors are trained and how content becomes vectors.
"""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge
from sklearn.preprocessing import SplineTransformer

from ilk.vectors import Float32Matrix, concatenate

_RIDGE_PENALTY = 1.0
# Eras end where as many of the years lie before as after, and so on.
_N_ERAS = 10


def factors_from_content(
    content: Float32Matrix, factors: Float32Matrix, trained: npt.NDArray[np.bool_]
) -> Float32Matrix:
    """Return the ridge regression of item factors on content.

    Parameters
    ----------
    content, factors
        Shapes ``(n_items, dim)`` and ``(n_items, n_factors)``.
    trained
        Shape ``(n_items,)``: items whose factors were learnt.

    Returns
    -------
    Float32Matrix
        Shape ``(dim + 1, n_factors)``; the last row is the intercept.
    """
    known = trained & content.any(axis=1)
    if not known.any():
        return np.zeros((content.shape[1] + 1, factors.shape[1]), dtype=np.float32)
    ridge = Ridge(alpha=_RIDGE_PENALTY).fit(content[known], factors[known])
    coefficients = np.atleast_2d(ridge.coef_).T
    return np.vstack((coefficients, np.atleast_1d(ridge.intercept_))).astype(np.float32)


def factors_of_untrained(
    content: Float32Matrix,
    years: npt.NDArray[np.int16],
    factors: Float32Matrix,
    trained: npt.NDArray[np.bool_],
) -> tuple[Float32Matrix, npt.NDArray[np.bool_]]:
    """Return factors inferred from content and year for items that were not trained, and for which.

    Parameters
    ----------
    content, factors, trained
        As for :func:`factors_from_content`.
    years
        Shape ``(n_items,)``; 0 where unknown.

    Returns
    -------
    tuple
        Factors, shape ``(n_items, n_factors)``, those of trained items as they were, and which are
        inferred, shape ``(n_items,)``: those with content.
    """
    inferred: npt.NDArray[np.bool_] = ~trained & content.any(axis=1)
    known = concatenate(content, _eras(years, trained))
    regression = factors_from_content(known, factors, trained & content.any(axis=1))
    completed = factors.copy()
    completed[inferred] = known[inferred] @ regression[:-1] + regression[-1]
    return completed, inferred


def _eras(years: npt.NDArray[np.int16], trained: npt.NDArray[np.bool_]) -> Float32Matrix:
    """Return how far each year lies in each era, piecewise linear; zero where it is unknown."""
    told = years != 0
    of_trained = years[told & trained]
    if len(np.unique(of_trained)) < 2:
        return np.zeros((len(years), 0), dtype=np.float32)
    ends = np.unique(np.quantile(of_trained, np.linspace(0, 1, _N_ERAS)))
    spline = SplineTransformer(degree=1, knots=ends[:, None]).fit(ends[:, None])
    eras: Float32Matrix = spline.transform(years[:, None].astype(np.float64)) * told[:, None]
    return eras.astype(np.float32)
