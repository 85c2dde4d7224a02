"""Knows in what order rows come that score nearly alike: by scores in float64, equal ones by row.

It refuses to know how the rows were found.
"""

from typing import Final, TypeAlias

import numpy as np

from ilk.query.plan import Plan
from ilk.space import Space
from ilk.vectors import Float32Vector, Rows

# Sums of float32 products that differ by less may be equal.
ROUNDING: Final = 4e-6

# Rows and scores, best first.
Found: TypeAlias = tuple[list[int], list[float]]


def settle(plan: Plan, rows: Rows) -> Found:
    """Return what a plan wants of ``rows``, as :func:`settled` does."""
    seeker = plan.seeker
    parts = seeker.collaborative, seeker.content
    return settled(plan.space, rows, *parts, plan.content_weight, plan.n_wanted)


def settled(
    space: Space,
    rows: Rows | list[int],
    collaborative: Float32Vector,
    content: Float32Vector,
    content_weight: float,
    n_wanted: int,
) -> Found:
    """Return the best ``n_wanted`` of ``rows`` by scores summed in float64, equal ones by row.

    Sums in float32 depend on the order of additions, which depends on what else is in the search;
    sums in float64 round to the same float32, so that every page sees the same ties.
    """
    rows = np.asarray(rows, dtype=np.int64)
    parts = collaborative.astype(np.float64), content.astype(np.float64)
    scores = space.scores(rows, *parts, content_weight)
    order = np.lexsort((rows, -scores))[:n_wanted]
    return rows[order].tolist(), scores[order].tolist()
