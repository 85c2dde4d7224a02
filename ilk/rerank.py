"""Knows how candidates are re-ordered for diversity and against popularity.

It refuses to know where candidates come from. Scores are never changed, only the order.
"""

import numpy as np
import numpy.typing as npt

from ilk.vectors import Float32Matrix, Float32Vector

# The place, counted from 0, from which on popularity counts in full; and how late it sets in.
_FULL_PENALTY_AT = 9
_PENALTY_GROWTH = 4


def rerank(
    scores: Float32Vector,
    popularity: Float32Vector,
    likeness: Float32Matrix,
    n_chosen: int,
    *,
    diversity: float,
    popularity_penalty: float,
) -> npt.NDArray[np.int64]:
    """Return the positions of the ``n_chosen`` candidates to show, in the order to show them.

    Parameters
    ----------
    scores
        Shape ``(n,)``: the candidates' scores, falling.
    popularity
        Shape ``(n,)``, in [0, 1].
    likeness
        Shape ``(n, dim)``: inner products of its rows are the candidates' likeness to each other.
    n_chosen
        ``<= n``.
    diversity
        λ of maximal marginal relevance, in [0, 1]: 0 keeps the order by relevance.
    popularity_penalty
        In [0, 1]: how much of the relevance range the most popular candidate loses in the end.

    Notes
    -----
    Relevance is the score brought to [0, 1] over the candidates, so that a setting means the same in
    every space. Carbonell & Goldstein, "The Use of MMR", SIGIR 1998; popularity as a linear penalty:
    Abdollahpouri et al., "Managing Popularity Bias with Personalized Re-ranking", FLAIRS 2019. The
    penalty grows from nothing at the first place, by the fourth power, to its full size at the tenth:
    what is at the top costs most if it is wrong (ADR 7).
    """
    relevance = np.float32(1 - diversity) * _unit_range(scores)
    penalty = np.float32((1 - diversity) * popularity_penalty) * popularity
    chosen: list[int] = []
    nearest = np.zeros(len(scores), dtype=np.float32)
    for place in range(n_chosen):
        if place <= _FULL_PENALTY_AT:
            share = (place / _FULL_PENALTY_AT) ** _PENALTY_GROWTH
            worth = relevance - np.float32(share) * penalty
            worth[chosen] = -np.inf
        if place == _FULL_PENALTY_AT and not diversity:
            # From here on nothing that is chosen changes what the others are worth.
            rest = np.argsort(-worth, kind="stable")[: n_chosen - place]
            return np.array(chosen + rest.tolist(), dtype=np.int64)
        chosen.append(_best(worth, likeness, nearest, diversity))
        worth[chosen[-1]] = -np.inf
    return np.array(chosen, dtype=np.int64)


def _best(
    worth: Float32Vector, likeness: Float32Matrix, nearest: Float32Vector, diversity: float
) -> int:
    """Return the best candidate, and take note in ``nearest`` of who is like it."""
    best = int((worth - np.float32(diversity) * nearest).argmax())
    if diversity:
        np.maximum(nearest, likeness @ likeness[best], out=nearest)
    return best


def _unit_range(scores: Float32Vector) -> Float32Vector:
    low, high = np.float32(scores.min()), np.float32(scores.max())
    if high <= low:
        return np.zeros_like(scores)
    stretched: Float32Vector = (scores - low) / (high - low)
    return stretched
