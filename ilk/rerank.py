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
    relevance = _unit_range(scores)
    penalty = np.float32(popularity_penalty) * popularity
    chosen = np.empty(n_chosen, dtype=np.int64)
    nearest, taken = np.zeros((2, len(scores)), dtype=np.float32)
    for place in range(n_chosen):
        share = min(place / _FULL_PENALTY_AT, 1.0) ** _PENALTY_GROWTH
        worth = relevance - np.float32(share) * penalty
        margin = np.float32(1 - diversity) * worth - np.float32(diversity) * nearest
        best = int(np.argmax(margin + taken))
        chosen[place] = best
        taken[best] = -np.inf
        if diversity:
            np.maximum(nearest, likeness @ likeness[best], out=nearest)
    return chosen


def _unit_range(scores: Float32Vector) -> Float32Vector:
    low, high = np.float32(scores.min()), np.float32(scores.max())
    if high <= low:
        return np.zeros_like(scores)
    stretched: Float32Vector = (scores - low) / (high - low)
    return stretched
