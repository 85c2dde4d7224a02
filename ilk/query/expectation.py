"""Knows what the content of a few liked items lets expect of what else their user likes.

It refuses to know fold-in and blending. One rating says little through factors; films that are like it in
content have been liked by many, and their factors say more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle
from ilk.content import ContentModel
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# From so many rated items on, factors speak for themselves.
_ENOUGH_RATED = 10
# Strength at a content weight of 1, against the length of the user's own factors.
_STRENGTH = 5.0
_CHUNK_ROWS = 1 << 20


def is_needed(n_rated: int, content_weight: float) -> bool:
    """Return whether a user of so many rated items is helped at this blend; pure ones never are."""
    return 0 < n_rated < _ENOUGH_RATED and 0 < content_weight < 1


def needing_help(n_rated: npt.NDArray[np.int64]) -> Rows:
    """Return the rows of the users who are helped at some blend, of users who rated so many items."""
    return np.flatnonzero((n_rated > 0) & (n_rated < _ENOUGH_RATED))


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
    towards: Float32Matrix = liked * _inferred(bundle.items.content[rows], bundle.content_model)
    length = float(np.linalg.norm(towards.sum(axis=0)))
    if not length:
        return np.zeros_like(towards)
    thinness = 1 / len(rows) - 1 / _ENOUGH_RATED
    wanted = _STRENGTH * content_weight * thinness * float(np.linalg.norm(own))
    return (towards * (wanted / length)).astype(np.float32)


def expected_of_users(
    confidences: Any,
    n_rated: npt.NDArray[np.int64],
    own: Float32Matrix,
    content: Float32Matrix,
    model: ContentModel,
) -> Float32Matrix:
    """Return the sum of :func:`expected_factors` at a content weight of 1 for every user of a bundle.

    Parameters
    ----------
    confidences
        Of users' positives, a ``scipy.sparse.csr_matrix`` of shape ``(n_users, n_items)``.
    n_rated
        Shape ``(n_users,)``.
    own
        Shape ``(n_users, n_factors)``: users' factors.
    content, model
        Of the items: their content, shape ``(n_items, dim_content)``, and what it says of factors.

    Returns
    -------
    Float32Matrix
        Shape ``(n_users, n_factors)``, zero for who needs no help; ``(0, n_factors)`` if nobody does.
    """
    helped = needing_help(n_rated)
    expected = np.zeros((len(own) if len(helped) else 0, own.shape[1]), dtype=np.float32)
    inferred = _inferred(content, model)
    for start in range(0, len(helped), _CHUNK_ROWS):
        rows = helped[start : start + _CHUNK_ROWS]
        towards = np.asarray(confidences[rows] @ inferred, dtype=np.float32)
        lengths, thinness = np.linalg.norm(towards, axis=1), 1 / n_rated[rows] - 1 / _ENOUGH_RATED
        wanted = _STRENGTH * thinness * np.linalg.norm(own[rows], axis=1)
        longer = np.divide(wanted, lengths, out=np.zeros_like(wanted), where=lengths > 0)
        expected[rows] = towards * longer[:, None]
    return expected


def _inferred(content: Float32Matrix, model: ContentModel) -> Float32Matrix:
    inferred: Float32Matrix = content @ model.to_factors[:-1] + model.to_factors[-1]
    return inferred
