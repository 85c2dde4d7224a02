"""Knows how the best rows are found for certain: by comparing with all that are allowed and can be.

It refuses to know the index. Equal scores come in the order of rows.
"""

from typing import Final

import numpy as np

from ilk.bundle import Bundle
from ilk.bundle.contents import ContentGroups
from ilk.query.plan import Plan
from ilk.query.pruning import Pruning
from ilk.query.ties import ROUNDING, Found, settle
from ilk.types import Target
from ilk.vectors import Float32Vector, Rows

# Comparing with all rows, as they lie in memory, takes as long as with a quarter of them here and there.
_COMPARED_AS_THEY_LIE: Final = 4
# Of fewer than this, compare with all that are allowed.
_FEW_ALLOWED: Final = 4096


def search_exactly(bundle: Bundle, plan: Plan) -> Found:
    """Return the best allowed rows and their scores."""
    if not plan.n_wanted:
        return [], []
    if not tells_apart(plan):
        first = plan.allowed.first_rows(plan.n_wanted, len(plan.space))
        return first, [0.0] * len(first)
    if plan.query.target is Target.ITEMS:
        if plan.content_weight == 1 or not plan.seeker.collaborative.any():
            if plan.allowed.bitmap is None:
                return _search_groups(bundle.content_groups, plan)
        elif plan.allowed.n_allowed > _FEW_ALLOWED and plan.space.few_contend(plan.content_weight):
            contenders = Pruning(bundle, plan).contenders()
            if contenders is not None:
                return _best(plan, *contenders)
    return _best(plan, *_compared(plan))


def tells_apart(plan: Plan) -> bool:
    """Whether any two rows may score differently."""
    by_factors = plan.content_weight < 1 and says_anything(plan.seeker.collaborative)
    return by_factors or (plan.content_weight > 0 and bool(plan.seeker.content.any()))


def says_anything(factors: Float32Vector) -> bool:
    """Whether a vector of factors is not zero."""
    # The first factor of a vector that is not zero is hardly ever zero: cheaper than asking all.
    return bool(factors.item(0) or factors.any())


def _best(plan: Plan, rows: Rows | None, scores: Float32Vector) -> Found:
    """Return the best of rows by near scores, of which none is too low by more than rounding."""
    floor = np.partition(scores, -plan.n_wanted)[-plan.n_wanted] - ROUNDING
    reached = np.flatnonzero(scores >= floor)
    return settle(plan, reached if rows is None else rows[reached])


def _compared(plan: Plan) -> tuple[Rows | None, Float32Vector]:
    """Return the allowed rows and their scores; no rows stand for all, the excluded scored lowest."""
    seeker, allowed, n_rows = plan.seeker, plan.allowed, len(plan.space)
    rows = None if allowed.bitmap is None else allowed.rows(n_rows)
    many = rows is None or _COMPARED_AS_THEY_LIE * len(rows) > n_rows
    parts = seeker.collaborative, seeker.content, plan.content_weight
    scores = plan.space.scores(None if many else rows, *parts)
    if rows is None:
        scores[list(allowed.excluded)] = -np.inf
    elif many:
        scores = scores[rows]
    return rows, scores


def _search_groups(groups: ContentGroups, plan: Plan) -> Found:
    """Compare with each distinct content vector once, then open the best groups, ties together."""
    asked = plan.content_weight * plan.seeker.content.astype(np.float64)
    scores = groups.vectors @ asked.astype(np.float32)
    n_needed = plan.n_wanted + len(plan.allowed.excluded)
    # Every group has a member, so the groups that reach the n-th best score are enough; most have more.
    n_best = min(n_needed, len(scores))
    best = scores.argpartition(-n_best)[-n_best:]
    best = best[scores[best].argsort()[::-1]]
    n_members = np.cumsum(groups.indptr[best + 1] - groups.indptr[best])
    last = best[min(int(np.searchsorted(n_members, n_needed)), n_best - 1)]
    reached = np.flatnonzero(scores >= scores[last] - ROUNDING)
    # Groups may tie by other genres: as `settle` has it, sums in float64 tell.
    of_groups = (groups.vectors[reached] @ asked).astype(np.float32)
    # They rise within a group: of equal ones the first are wanted.
    starts = groups.indptr[reached]
    sizes = np.minimum(groups.indptr[reached + 1] - starts, n_needed)
    rows = np.concatenate(
        [groups.members[a : a + n] for a, n in zip(starts.tolist(), sizes.tolist(), strict=True)]
    )
    by_row = np.repeat(of_groups, sizes)
    order = np.lexsort((rows, -by_row))
    if plan.allowed.excluded:
        order = order[~np.isin(rows[order], list(plan.allowed.excluded))]
    order = order[: plan.n_wanted]
    return rows[order].tolist(), by_row[order].tolist()
