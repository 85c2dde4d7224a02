"""Knows how a plan finds its rows through the index, and when it finds them better without (`exact`).

It refuses to know ids and answers. Whatever way is taken, equal scores come in the order of rows.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ilk.ann import IndexKind, RowNeighbors
from ilk.query.exact import says_anything, tells_apart
from ilk.query.filters import Bitmap, within
from ilk.query.plan import Plan
from ilk.query.ties import ROUNDING, Found, settle
from ilk.space import Space
from ilk.types import Target
from ilk.vectors import Float32Vector, Rows, blend

# Candidate sets up to this size, or this share of the rows, are compared one by one.
_EXACT_CANDIDATES = 2048
_EXACT_SHARE = 0.05
# Through a filter, so many times as many rows are fetched as would do if it fell evenly; never more than
# the second, from where comparing with all that is allowed is as quick.
_FILTER_MARGIN = 3
_MAX_FETCHED = 4096
# Counts are rounded up to a multiple of this: queries that fetch alike share a search.
_FETCHED_TOGETHER = 8
# So many more rows than are looked at are kept: of most ties at the last place they show the end.
KEPT_BEYOND = 8
# Comparing with all rows takes as long as fetching one in so many by codes, with true scores (ADR 9).
_FETCHED_AS_ALL = 6
# A tie that reaches the end of what was found is looked for again, so many times as far, where comparing
# with all rows would take longer.
_WIDER = 16
_WIDER_FROM_ROWS = 50_000


def through_index(plan: Plan) -> bool:
    """Whether the index answers best: not for small sets, nor where everything ties."""
    if plan.effort is None or not plan.n_wanted:
        return False
    if not index_pays(plan) or not tells_apart(plan):
        return False
    if plan.needs_bitmap:
        few = max(_EXACT_CANDIDATES, _EXACT_SHARE * len(plan.space))
        if plan.allowed.n_allowed <= few or fetch_count(plan) > _MAX_FETCHED:
            return False
    if plan.query.target is Target.USERS and len(plan.space) >= _WIDER_FROM_ROWS:
        return True
    return plan.content_weight < 1 and says_anything(plan.seeker.collaborative)


def index_pays(plan: Plan) -> bool:
    """Whether true scores of what the index finds cost less than an exact answer does."""
    return pays(plan.space, plan.content_weight, fetch_count(plan))


def pays(space: Space, content_weight: float, n_fetched: int) -> bool:
    """Whether true scores of so many rows cost less than an exact answer does."""
    if not space.index.kind.has_codes:
        return True
    return n_fetched * _FETCHED_AS_ALL < space.exact_share(content_weight) * len(space)


def search_index(space: Space, plans: Sequence[Plan], wider: int = 1) -> list[Found | None]:
    """Search the index once for plans of one effort and fetch count (one plan if it has a bitmap).

    None stands for a plan that the index could not answer as promised: see :func:`_keep_allowed`.
    ``wider`` multiplies how many rows are fetched.
    """
    first = plans[0]
    queries = [blend(p.seeker.collaborative, p.seeker.content, p.content_weight) for p in plans]
    asked = queries[0] if len(queries) == 1 else np.concatenate(queries)
    n_fetched = min(wider * fetch_count(first), len(space))
    effort = first.effort or 0
    # Flat alone looks through a bitmap at the price of looking at all.
    if first.needs_bitmap and space.index.kind is IndexKind.FLAT:
        bitmap = first.allowed.with_bitmap(len(space))
        return _kept(space.index.nearest(asked, n_fetched, effort, bitmap), plans)
    # Putting all that was fetched in order may take longer than finding it.
    n_kept = n_fetched
    if not first.needs_bitmap and wider == 1:
        n_kept = min(max(map(n_looked_at, plans)) + KEPT_BEYOND, n_fetched)
    outcomes = _kept(space.best(asked, n_fetched, n_kept, effort), plans)
    open_ended = [at for at, outcome in enumerate(outcomes) if outcome is None]
    if open_ended and n_kept < n_fetched:
        every = space.best(np.ascontiguousarray(asked[open_ended]), n_fetched, n_fetched, effort)
        for at, outcome in zip(
            open_ended, _kept(every, [plans[at] for at in open_ended]), strict=True
        ):
            outcomes[at] = outcome
    for at, (plan, outcome) in enumerate(zip(plans, outcomes, strict=True)):
        if outcome is None and _may_be_more(plan):
            (outcomes[at],) = search_index(space, [replace(plan, passes_all=True)], wider)
    return outcomes


def n_looked_at(plan: Plan) -> int:
    """Return how many of the best rows are looked at: one more than wanted shows a tie at the end."""
    return plan.n_wanted + plan.n_passed + 1


def _kept(found: RowNeighbors, plans: Sequence[Plan]) -> list[Found | None]:
    return [
        _keep_allowed(rows, scores, plan)
        for rows, scores, plan in zip(found.rows, found.scores, plans, strict=True)
    ]


def search_wider(plan: Plan) -> Found | None:
    """Search again for a plan that :func:`search_index` had no answer to, where that is worth it."""
    if len(plan.space) < _WIDER_FROM_ROWS:
        return None
    return search_index(plan.space, [plan], _WIDER)[0]


def fetch_count(plan: Plan) -> int:
    """Return how many rows a plan takes from the index; equal ones can share a search."""
    space, allowed = plan.space, plan.allowed
    n_wanted = plan.n_wanted
    if allowed.bitmap is not None and space.index.kind is not IndexKind.FLAT:
        n_wanted = math.ceil(_FILTER_MARGIN * n_wanted * len(space) / max(allowed.n_allowed, 1))
    # One more than wanted shows whether the last place is a tie.
    n_fetched = space.index.candidates(n_wanted, plan.effort or 0) + 1
    if not (plan.needs_bitmap and space.index.kind is IndexKind.FLAT):
        n_fetched += plan.n_passed
    return min(-(-n_fetched // _FETCHED_TOGETHER) * _FETCHED_TOGETHER, len(space))


def _keep_allowed(rows: Rows, scores: Float32Vector, plan: Plan) -> Found | None:
    """Drop what is not allowed and padding, and put equal scores in the order of rows.

    None if fewer are left than are wanted, or if a tie at the last place may go on beyond what was
    found: the index keeps whichever of equal rows it met, where the lower row is promised.
    """
    allowed, n_wanted = plan.allowed, plan.n_wanted
    if allowed.bitmap is not None:
        rows, scores = _within(allowed.bitmap, rows, scores)
    looked_at = slice(n_looked_at(plan))
    some_rows, some_scores = rows[looked_at].tolist(), scores[looked_at].tolist()
    if some_rows[-1:] == [-1] or not allowed.excluded.isdisjoint(some_rows):
        kept = [p for p, r in enumerate(some_rows) if r >= 0 and r not in allowed.excluded]
        some_rows, some_scores = [some_rows[p] for p in kept], [some_scores[p] for p in kept]
    # Just what is wanted shows no tie at its end, unless that is all there is.
    if len(some_rows) < n_wanted or len(some_rows) == n_wanted < allowed.n_allowed:
        return None
    if len(some_rows) > n_wanted and some_scores[n_wanted - 1] - some_scores[n_wanted] < ROUNDING:
        return _settle_tie(plan, rows, scores, some_scores[n_wanted - 1])
    some_rows, some_scores = some_rows[:n_wanted], some_scores[:n_wanted]
    if any(above - below < ROUNDING for above, below in pairwise(some_scores)):
        return settle(plan, np.array(some_rows, dtype=np.int64))
    return some_rows, some_scores


def _may_be_more(plan: Plan) -> bool:
    """Whether what was found may end with what is excluded, and not with all there is."""
    return not plan.needs_bitmap and plan.n_passed < len(plan.allowed.excluded)


def _within(bitmap: Bitmap, rows: Rows, scores: Float32Vector) -> tuple[Rows, Float32Vector]:
    rows = rows[rows >= 0]
    inside = within(bitmap, rows)
    return rows[inside], scores[: len(rows)][inside]


def _settle_tie(plan: Plan, rows: Rows, scores: Float32Vector, last: float) -> Found | None:
    """Return the best of all that reaches the last place; None if more may than was found."""
    reached = reaching(rows, scores, last, plan.allowed.excluded)
    return None if reached is None else settle(plan, reached)


def reaching(
    rows: Rows, scores: Float32Vector, last: float, excluded: Collection[int]
) -> Rows | None:
    """Return the rows that may score like the ``last`` place or more, but for those excluded.

    Both have the shape ``(n,)``, and scores fall. None if more rows than these may score so.
    """
    # Scores that fall by rounding from place to place drift apart: a margin of many roundings.
    reach = scores > last - 16 * ROUNDING
    if reach[-1]:
        return None
    return np.array([row for row in rows[reach].tolist() if row not in excluded], dtype=np.int64)
