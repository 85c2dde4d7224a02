"""Knows how a query is answered from an open bundle: the path that is served and evaluated.

It refuses to know the wire. A query becomes a plan; plans that search alike share one faiss call;
what was found becomes an answer.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ilk.bundle import Bundle
from ilk.bundle.contents import ContentGroups
from ilk.errors import IlkError, InvalidRequest
from ilk.explain import explain
from ilk.filters import Allowed, allowed_rows
from ilk.rerank import rerank
from ilk.space import Space, SpaceKey, likeness_vectors
from ilk.types import MAX_NEIGHBORS, Neighbor, Neighbors, Query, Shortfall, ShortfallReason, Target
from ilk.vectors import Rows, blend
from ilk.whom import Seeker, seek

# Scores this close to zero are rounding, not likeness.
_NOTHING = 1e-6
# Sums of float32 products that differ by less may be equal.
_ROUNDING = 4e-6
# More exclusions than this are cheaper as a bitmap than as over-fetched neighbors.
_MAX_OVERFETCH = 512
# Candidate sets up to this size, or this share of the rows, are compared one by one.
_EXACT_CANDIDATES = 2048
_EXACT_SHARE = 0.05
# Re-ranking chooses from this many: from more, diversity would choose what is like nothing.
_POOL = 200


# Rows and scores, best first.
Found: TypeAlias = tuple[list[int], list[float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """One query, resolved: where it stands, where it looks, what may come back.

    Attributes
    ----------
    n_wanted
        Neighbors to find before paging: fewer than asked for if fewer may come back.
    effort
        The index's search setting; None: compare with every row.
    """

    query: Query
    space: Space
    seeker: Seeker
    content_weight: float
    allowed: Allowed
    n_wanted: int
    effort: int | None

    @property
    def needs_bitmap(self) -> bool:
        """Whether exclusions cannot be met by fetching a few rows more and dropping them."""
        return self.allowed.bitmap is not None or len(self.allowed.excluded) > _MAX_OVERFETCH


def answer(bundle: Bundle, query: Query) -> Neighbors:
    """Return the answer to one query.

    Raises
    ------
    NotFound
        If an id it names is unknown.
    InvalidRequest
        If it does not fit the bundle.
    """
    plan = make_plan(bundle, query)
    found = _search(plan.space, [plan])[0] if _through_index(plan) else None
    return _finish(bundle, plan, *(found or _search_exactly(bundle, plan)))


def answer_many(bundle: Bundle, queries: Sequence[Query]) -> list[Neighbors | IlkError]:
    """Return the answer to each query, in order; an error stands in the place of a bad one.

    Queries that look in the same space at the same effort share one search.
    """
    outcomes: list[Neighbors | IlkError | None] = [None] * len(queries)
    groups: dict[tuple[SpaceKey, int | None, int], list[tuple[int, Plan]]] = defaultdict(list)
    for at, query in enumerate(queries):
        try:
            plan = make_plan(bundle, query)
            if _through_index(plan) and not plan.needs_bitmap:
                groups[plan.space.key, plan.effort, _fetch_count(plan)].append((at, plan))
            else:
                outcomes[at] = answer(bundle, query)
        except IlkError as error:
            outcomes[at] = error
    for members in groups.values():
        plans = [plan for _, plan in members]
        for (at, plan), found in zip(members, _search(plans[0].space, plans), strict=True):
            outcomes[at] = _finish(bundle, plan, *(found or _search_exactly(bundle, plan)))
    return outcomes  # type: ignore[return-value]


def make_plan(bundle: Bundle, query: Query) -> Plan:
    """Return how the query will be answered; errors as :func:`answer`."""
    seeker = seek(bundle, query)
    space = bundle.spaces[SpaceKey(query.target, seeker.kind is query.target)]
    if query.include_explanation and (
        seeker.kind is not Target.USERS or query.target is not Target.ITEMS
    ):
        raise InvalidRequest("include_explanation", "only recommendations to users have reasons")
    weight = query.content_weight
    if weight is None:
        weight = bundle.manifest.default_content_weight
    allowed = allowed_rows(bundle, seeker, query.target, query.filter)
    accuracy = query.accuracy
    if accuracy is not None and accuracy.exact:
        effort = space.index.exhaustive_effort
    else:
        recall = bundle.manifest.default_recall if accuracy is None else accuracy.recall
        effort = space.effort(weight, recall)
    wanted = query.offset + query.neighbor_count
    if query.diversity or query.popularity_penalty:
        # One pool for all pages within it, or they would overlap.
        wanted = _POOL if wanted <= _POOL else MAX_NEIGHBORS
    return Plan(
        query,
        space,
        seeker,
        weight,
        allowed,
        min(wanted, allowed.n_allowed),
        effort,
    )


def _through_index(plan: Plan) -> bool:
    """Whether the index answers best: not for tiny sets, nor where everything ties."""
    if plan.effort is None or not plan.n_wanted:
        return False
    if plan.needs_bitmap:
        few = max(_EXACT_CANDIDATES, _EXACT_SHARE * len(plan.space))
        if plan.allowed.n_allowed <= few or plan.space.index.exhaustive_effort != plan.effort:
            return False
    return plan.content_weight < 1 and bool(plan.seeker.collaborative.any())


def _search(space: Space, plans: Sequence[Plan]) -> list[Found | None]:
    """Search the index once for plans of one effort and fetch count (one plan if it has a bitmap).

    None stands for a plan that the index could not answer as promised: see :func:`_keep_allowed`.
    """
    first = plans[0]
    queries = [blend(p.seeker.collaborative, p.seeker.content, p.content_weight) for p in plans]
    bitmap = None
    n_fetched = _fetch_count(first)
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


def _fetch_count(plan: Plan) -> int:
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


def _search_exactly(bundle: Bundle, plan: Plan) -> Found:
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


def _finish(bundle: Bundle, plan: Plan, rows: list[int], scores: list[float]) -> Neighbors:
    query = plan.query
    if (query.diversity or query.popularity_penalty) and rows:
        rows, scores = _rerank(bundle, plan, rows, scores)
    page = slice(query.offset, query.offset + query.neighbor_count)
    neighbors = _neighbors(bundle, plan, rows[page], scores[page])
    n_missing = query.neighbor_count - len(neighbors)
    return Neighbors(
        neighbors,
        bundle.version,
        plan.content_weight,
        _shortfall(plan, len(neighbors)) if n_missing else None,
        plan.seeker.ignored_ids,
    )


def _rerank(bundle: Bundle, plan: Plan, rows: list[int], scores: list[float]) -> Found:
    query, side = plan.query, bundle.side(plan.query.target)
    chosen = rerank(
        np.array(scores, dtype=np.float32),
        side.popularity[rows],
        likeness_vectors(side.factors[rows], side.content[rows], plan.content_weight),
        min(query.offset + query.neighbor_count, len(rows)),
        diversity=query.diversity,
        popularity_penalty=query.popularity_penalty,
    ).tolist()
    return [rows[at] for at in chosen], [scores[at] for at in chosen]


def _neighbors(bundle: Bundle, plan: Plan, rows: list[int], scores: list[float]) -> list[Neighbor]:
    side = bundle.side(plan.query.target)
    id_of, inferred = side.vocabulary.ids.__getitem__, side.inferred.item
    plain = [
        Neighbor(id_of(row), score, None, None, score <= _NOTHING, inferred(row))
        for row, score in zip(rows, scores, strict=True)
    ]
    query = plan.query
    if not rows or not (query.include_components or query.include_explanation):
        return plain
    at = np.array(rows, dtype=np.int64)
    parts = plan.space.components(at, plan.seeker.collaborative, plan.seeker.content)
    reasons = explain(bundle, plan.seeker, at) if query.include_explanation else [None] * len(rows)
    return [
        n._replace(collaborative=by_factors, content=by_content, explanation=reason)
        for n, by_factors, by_content, reason in zip(
            plain, *(part.tolist() for part in parts), reasons, strict=True
        )
    ]


def _shortfall(plan: Plan, n_returned: int) -> Shortfall:
    n_asked = plan.query.neighbor_count
    own = set(plan.seeker.own_rows) if plan.seeker.kind is plan.query.target else ()
    filtered = plan.allowed.n_allowed < len(plan.space) - len(own)
    what = plan.query.target.value
    if filtered:
        reason, why = ShortfallReason.FILTERED, f"the filter lets {plan.allowed.n_allowed} pass"
    else:
        reason, why = ShortfallReason.BUNDLE_EXHAUSTED, f"the bundle holds {len(plan.space)} {what}"
    after = f", {plan.query.offset} passed over" if plan.query.offset else ""
    return Shortfall(n_asked, n_returned, reason, f"{n_returned} of {n_asked}: {why}{after}")
