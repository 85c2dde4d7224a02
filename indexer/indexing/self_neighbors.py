"""Knows whether the rows of an index are found where they stand.

It refuses to know how the index was made, and how many rows must be.
"""

import numpy as np

from ilk.space import Space
from ilk.vectors import concatenate

_ROWS_ASKED = 64
_NEIGHBORS_ASKED = 10
_EVEN_BLEND = 0.5
_SLACK = 1e-4
# Rows are compared with in parts of so many numbers, so that a large space costs little memory.
_CHUNK = 1 << 22


def self_neighbors(space: Space, recall: float, seed: int) -> float:
    """Return the share of rows that are found where they stand, asked through the index.

    Each of a sample of stored rows asks at the effort that is to reach ``recall``. The row that comes
    first must be as near, by the vectors of the bundle, as the nearest there is; that is the asking row
    itself unless another is trusted more (see :func:`ilk.vectors.support`), and a tie is no miss. An
    index over other vectors, or over these in another order, fails.
    """
    rng = np.random.default_rng(seed)
    asking = rng.choice(len(space), min(_ROWS_ASKED, len(space)), replace=False)
    queries = concatenate(space.factors[asking], space.content[asking])
    effort = space.effort(_EVEN_BLEND, recall)
    if effort is None:
        effort = max((row.effort for row in space.recall), default=0)
    found = space.nearest(queries, min(_NEIGHBORS_ASKED, len(space)), effort).rows[:, 0]
    best = np.full(len(asking), -np.inf)
    step = max(1, _CHUNK // max(queries.shape[1], 1))
    for start in range(0, len(space), step):
        part = slice(start, start + step)
        scores = queries @ concatenate(space.factors[part], space.content[part]).T
        best = np.maximum(best, scores.max(axis=1))
    nearest = concatenate(space.factors[found], space.content[found])
    reached = np.einsum("ij,ij->i", queries, nearest)
    reached[found < 0] = -np.inf
    return float(np.mean(reached >= best - _SLACK * np.maximum(1, np.abs(best))))
