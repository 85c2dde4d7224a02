"""Knows what the content of a few liked items lets expect of what else their user likes.

It refuses to know fold-in and blending. One rating says little through factors; films that are like it in
content have been liked by many, and their factors say more.
"""

import numpy as np

from ilk.bundle import Bundle
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# From so many rated items on, factors speak for themselves.
_ENOUGH_RATED = 10
# Strength at a content weight of 1, against the length of the user's own factors.
_STRENGTH = 5.0


def is_needed(n_rated: int, content_weight: float) -> bool:
    """Return whether a user of so many rated items is helped at this blend; pure ones never are."""
    return 0 < n_rated < _ENOUGH_RATED and 0 < content_weight < 1


def expected_factors(
    bundle: Bundle,
    rows: Rows,
    confidences: Float32Vector,
    own: Float32Vector,
    content_weight: float,
) -> Float32Matrix:
    """Return what the content of each rated item adds to its user's factors.

    Parameters
    ----------
    rows, confidences
        Shape ``(n,)``: what they rated, and the confidence of each in the fold-in.
    own
        Shape ``(n_factors,)``: their factors, folded in.
    content_weight
        The share of the blend that is content; what is added grows with it.

    Returns
    -------
    Float32Matrix
        Shape ``(n, n_factors)``, zero for what is not liked. The sum has the length
        ``5 * content_weight * (1 / n - 1 / 10)`` times that of ``own``.

    Notes
    -----
    Item factors are inferred from content by ridge regression, as those of items that nobody has liked;
    ADR 8 has the figures.
    """
    liked = np.maximum(confidences, 0)[:, None]
    model = bundle.content_model
    inferred = bundle.items.content[rows] @ model.to_factors[:-1] + model.to_factors[-1]
    towards: Float32Matrix = liked * inferred
    length = float(np.linalg.norm(towards.sum(axis=0)))
    if not length:
        return np.zeros_like(towards)
    thinness = 1 / len(rows) - 1 / _ENOUGH_RATED
    wanted = _STRENGTH * content_weight * thinness * float(np.linalg.norm(own))
    return (towards * (wanted / length)).astype(np.float32)
