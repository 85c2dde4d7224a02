"""Knows how a query is answered from an open bundle: the path that is served and evaluated.

It refuses to know the wire. A query becomes a plan; plans that search alike share one faiss call;
what was found becomes an answer.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ilk.bundle import Bundle
from ilk.errors import BundleCorrupt, IlkError, let_go
from ilk.query.exact import search_exactly
from ilk.query.explain import explain
from ilk.query.found import NOTHING, FoundNeighbors
from ilk.query.known import answer_known
from ilk.query.plan import Plan, make_plan
from ilk.query.search import fetch_count, search_index, search_wider, through_index
from ilk.query.ties import Found
from ilk.rerank import rerank
from ilk.space import SpaceKey, likeness_vectors
from ilk.types import Neighbor, Neighbors, Query, Shape, Shortfall, ShortfallReason


def answer(bundle: Bundle, query: Query, its_id: str | None = None) -> Neighbors:
    """Return the answer to one query, or to one like it about the user or item ``its_id``.

    Raises
    ------
    NotFound
        If an id it names is unknown.
    InvalidRequest
        If it does not fit the bundle.
    """
    if query.shape is not None:
        known = answer_known(bundle, query, (its_id or query.its_id,))[0]
        if known is not None:
            return known
    asked = query if its_id is None else query.about(its_id)
    return _answer_alone(bundle, make_plan(bundle, asked))


def answer_many(bundle: Bundle, queries: Sequence[Query]) -> list[Neighbors | IlkError]:
    """Return the answer to each query, in order; an error stands in the place of a bad one.

    Queries that look in the same space at the same effort share one search.
    """
    outcomes: list[Neighbors | IlkError | None] = [None] * len(queries)
    shapes: dict[Shape | None, list[int]] = defaultdict(list)
    for at, query in enumerate(queries):
        shapes[query.shape].append(at)
    for shape, places in shapes.items():
        alike = [queries[at] for at in places]
        if shape is None:
            told = _answer_planned(bundle, alike)
        else:
            told = answer_alike(bundle, alike[0], [query.its_id for query in alike])
        for at, outcome in zip(places, told, strict=True):
            outcomes[at] = outcome
    return outcomes  # type: ignore[return-value]


def answer_alike(bundle: Bundle, query: Query, ids: Sequence[str]) -> list[Neighbors | IlkError]:
    """Return the answer to a query about each user, or item, of ``ids``; an error where there is none.

    Parameters
    ----------
    query
        With a :attr:`ilk.types.Query.shape`; whom it names itself does not matter.
    """
    try:
        outcomes: list[Any] = answer_known(bundle, query, ids)
    except IlkError as error:
        return [let_go(error)] * len(ids)
    if not all(outcomes):
        rest = [at for at, outcome in enumerate(outcomes) if outcome is None]
        planned = _answer_planned(bundle, [query.about(ids[at]) for at in rest])
        for at, outcome in zip(rest, planned, strict=True):
            outcomes[at] = outcome
    return outcomes


def _answer_alone(bundle: Bundle, plan: Plan) -> Neighbors:
    found = None
    if through_index(plan):
        found = search_index(plan.space, [plan])[0] or search_wider(plan)
    return _finish(bundle, plan, *(found or search_exactly(bundle, plan)))


def _answer_planned(bundle: Bundle, queries: Sequence[Query]) -> list[Neighbors | IlkError]:
    outcomes: list[Neighbors | IlkError | None] = [None] * len(queries)
    groups: dict[tuple[SpaceKey, int | None, int], list[tuple[int, Plan]]] = defaultdict(list)
    for at, query in enumerate(queries):
        try:
            plan = make_plan(bundle, query)
            if through_index(plan) and not plan.needs_bitmap:
                groups[plan.space.key, plan.effort, fetch_count(plan)].append((at, plan))
            else:
                outcomes[at] = _answer_alone(bundle, plan)
        except IlkError as error:
            outcomes[at] = let_go(error)
    for members in groups.values():
        plans = [plan for _, plan in members]
        for (at, plan), found in zip(members, search_index(plans[0].space, plans), strict=True):
            found = found or search_wider(plan) or search_exactly(bundle, plan)
            outcomes[at] = _finish(bundle, plan, *found)
    return outcomes  # type: ignore[return-value]


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
    n_chosen = min(query.offset + query.neighbor_count, len(rows))
    # What is unrelated only fills the count, however unlike the others it is.
    n_related = sum(score > NOTHING for score in scores)
    related, chosen = rows[:n_related], list[int]()
    if related:
        chosen = rerank(
            np.array(scores[:n_related], dtype=np.float32),
            side.popularity[related],
            likeness_vectors(side.factors[related], side.content[related], plan.content_weight),
            min(n_chosen, n_related),
            diversity=query.diversity,
            popularity_penalty=query.popularity_penalty,
        ).tolist()
    chosen += range(n_related, n_chosen)
    return [rows[at] for at in chosen], [scores[at] for at in chosen]


def _neighbors(
    bundle: Bundle, plan: Plan, rows: list[int], scores: list[float]
) -> Sequence[Neighbor]:
    side = bundle.side(plan.query.target)
    if rows and not 0 <= min(rows) <= max(rows) < len(plan.space):
        raise BundleCorrupt(f"{plan.space.key.name}: the index found rows that are not there")
    plain = FoundNeighbors.of(side, rows, scores)
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
