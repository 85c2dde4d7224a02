"""Knows how candidates are re-ordered for diversity and against popularity.

It refuses to know where candidates come from. Scores are never changed, only the order.
"""

import numpy as np
import numpy.typing as npt

from ilk.vectors import Float32Matrix, Float32Vector


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
        In [0, 1]: how much of the relevance range the most popular candidate loses.

    Notes
    -----
    Relevance is the score brought to [0, 1] over the candidates, so that a setting means the same in
    every space. Carbonell & Goldstein, "The Use of MMR", SIGIR 1998; popularity as a linear penalty:
    Abdollahpouri et al., "Managing Popularity Bias with Personalized Re-ranking", FLAIRS 2019.
    """
    relevance = _unit_range(scores) - np.float32(popularity_penalty) * popularity
    if diversity == 0:
        return np.argsort(-relevance, kind="stable")[:n_chosen]
    chosen = np.empty(n_chosen, dtype=np.int64)
    relevance = np.float32(1 - diversity) * relevance
    nearest = np.zeros(len(scores), dtype=np.float32)
    for place in range(n_chosen):
        best = int(np.argmax(relevance - np.float32(diversity) * nearest))
        chosen[place] = best
        relevance[best] = -np.inf
        np.maximum(nearest, likeness @ likeness[best], out=nearest)
    return chosen


def _unit_range(scores: Float32Vector) -> Float32Vector:
    low, high = np.float32(scores.min()), np.float32(scores.max())
    if high <= low:
        return np.zeros_like(scores)
    stretched: Float32Vector = (scores - low) / (high - low)
    return stretched
