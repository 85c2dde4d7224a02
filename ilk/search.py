"""Knows how a plan finds its rows: through the index, or by comparing with what is allowed.

It refuses to know ids and answers. Whatever way is taken, equal scores come in the order of rows.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ilk.bundle import Bundle
from ilk.bundle.contents import ContentGroups
from ilk.plan import Plan
from ilk.space import Space
from ilk.types import Target
from ilk.vectors import Rows, blend

# Sums of float32 products that differ by less may be equal.
_ROUNDING = 4e-6
# Candidate sets up to this size, or this share of the rows, are compared one by one.
_EXACT_CANDIDATES = 2048
_EXACT_SHARE = 0.05

# Rows and scores, best first.
Found: TypeAlias = tuple[list[int], list[float]]


def through_index(plan: Plan) -> bool:
    """Whether the index answers best: not for small sets, nor where everything ties."""
    if plan.effort is None or not plan.n_wanted:
        return False
    if plan.needs_bitmap:
        few = max(_EXACT_CANDIDATES, _EXACT_SHARE * len(plan.space))
        if plan.allowed.n_allowed <= few or plan.space.index.exhaustive_effort != plan.effort:
            return False
    # The first factor of a vector that is not zero is hardly ever zero: cheaper than asking all.
    collaborative = plan.seeker.collaborative
    return plan.content_weight < 1 and bool(collaborative.item(0) or collaborative.any())


def search_index(space: Space, plans: Sequence[Plan]) -> list[Found | None]:
    """Search the index once for plans of one effort and fetch count (one plan if it has a bitmap).

    None stands for a plan that the index could not answer as promised: see :func:`_keep_allowed`.
    """
    first = plans[0]
    queries = [blend(p.seeker.collaborative, p.seeker.content, p.content_weight) for p in plans]
    bitmap = None
    n_fetched = fetch_count(first)
    if first.needs_bitmap:
        bitmap = first.allowed.with_bitmap(len(space))
        n_fetched = min(first.n_wanted + 1, len(space))
    found = space.index.nearest(
        queries[0] if len(queries) == 1 else np.concatenate(queries),
        n_fetched,
        first.effort or 0,
        bitmap,
    )
    return [
        _keep_allowed(rows, scores, plan)
        for rows, scores, plan in zip(
            found.rows.tolist(), found.scores.tolist(), plans, strict=True
        )
    ]


def fetch_count(plan: Plan) -> int:
    """Return how many rows a plan without a bitmap takes from the index; equal ones can share."""
    # One more than wanted shows whether the last place is a tie.
    return min(plan.n_wanted + len(plan.allowed.excluded) + 1, len(plan.space))


def _keep_allowed(rows: list[int], scores: list[float], plan: Plan) -> Found | None:
    """Drop excluded rows and padding, and put equal scores in the order of rows.

    None if fewer are left than are wanted, or if the last place is a tie: the index keeps whichever
    of equal rows it met, where the lower row is promised.
    """
    excluded = plan.allowed.excluded
    if -1 in rows or not excluded.isdisjoint(rows):
        kept = [p for p, row in enumerate(rows) if row >= 0 and row not in excluded]
        rows, scores = [rows[p] for p in kept], [scores[p] for p in kept]
    n_wanted = plan.n_wanted
    if len(rows) < n_wanted:
        return None
    if len(rows) > n_wanted and scores[n_wanted - 1] - scores[n_wanted] < _ROUNDING:
        return None
    rows, scores = rows[:n_wanted], scores[:n_wanted]
    if any(above - below < _ROUNDING for above, below in pairwise(scores)):
        return _settle(plan, np.array(rows, dtype=np.int64))
    return rows, scores


def _settle(plan: Plan, rows: Rows) -> Found:
    """Return the best of ``rows`` by scores summed in float64, equal ones by row.

    Sums in float32 depend on the order of additions, which depends on what else is in the search;
    sums in float64 round to the same float32, so that every page sees the same ties.
    """
    seeker = plan.seeker
    scores = plan.space.scores(
        rows,
        seeker.collaborative.astype(np.float64),
        seeker.content.astype(np.float64),
        plan.content_weight,
    )
    order = np.lexsort((rows, -scores))[: plan.n_wanted]
    return rows[order].tolist(), scores[order].tolist()


def search_exactly(bundle: Bundle, plan: Plan) -> Found:
    """Compare with every allowed row; equal scores come in the order of rows."""
    if not plan.n_wanted:
        return [], []
    pure_content = plan.content_weight == 1 or not plan.seeker.collaborative.any()
    on_items = plan.query.target is Target.ITEMS
    if pure_content and on_items and plan.allowed.bitmap is None:
        return _search_groups(bundle.content_groups, plan)
    rows = plan.allowed.rows(len(plan.space))
    scores = plan.space.scores(
        rows, plan.seeker.collaborative, plan.seeker.content, plan.content_weight
    )
    if plan.n_wanted < len(rows):
        floor = np.partition(scores, -plan.n_wanted)[-plan.n_wanted] - _ROUNDING
        rows = rows[scores >= floor]
    return _settle(plan, rows)


def _search_groups(groups: ContentGroups, plan: Plan) -> Found:
    """Compare with each distinct content vector once, then open the best groups, ties together."""
    scores = np.float32(plan.content_weight) * (groups.vectors @ plan.seeker.content)
    n_needed = plan.n_wanted + len(plan.allowed.excluded)
    # Every group has a member, so the groups that reach the n-th best score are enough.
    floor = np.partition(scores, -n_needed)[-n_needed] if n_needed < len(scores) else -np.inf
    reached = np.flatnonzero(scores >= floor)
    sizes = groups.indptr[reached + 1] - groups.indptr[reached]
    rows = np.concatenate(
        [groups.members[groups.indptr[g] : groups.indptr[g + 1]] for g in reached]
    )
    by_row = np.repeat(scores[reached], sizes)
    order = np.lexsort((rows, -by_row))
    if plan.allowed.excluded:
        order = order[~np.isin(rows[order], list(plan.allowed.excluded))]
    best = order[: plan.n_wanted]
    return rows[best].tolist(), by_row[best].tolist()
