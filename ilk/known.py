"""Knows how users and items of the bundle are answered that ask for nothing special: many in a few steps.

It refuses to know every other query, and answers that tie or fall short: those are planned one by one
(`plan`, `search`). What queries of one shape have in common is worked out once; what is left for each is
a row, and a pass over what one faiss call found for all.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from ilk.bundle import Bundle
from ilk.bundle.contents import Ratings
from ilk.expectation import is_needed
from ilk.plan import MAX_OVERFETCH, Plan, make_plan, room_for
from ilk.search import KEPT_BEYOND, fetch_count, index_pays, n_looked_at
from ilk.space import SpaceKey, n_well_known
from ilk.types import NO_FILTER, ItemId, Neighbors, Query, Target, UserId
from ilk.vectors import Float32Vector
from ilk.way import Way

# Shapes are the callers' to choose: so many are remembered.
_MOST_SHAPES: Final = 1024
# Who has seen about as much shares a search.
_SEEN_TOGETHER: Final = 32


def answer_known(bundle: Bundle, query: Query, ids: Sequence[str]) -> list[Neighbors | None]:
    """Return the answers to a query about each of ``ids``; None for each that has to be planned.

    Parameters
    ----------
    query
        With a :attr:`ilk.types.Query.shape`; whom it names itself does not matter.
    ids
        At least one.
    """
    known, shape = bundle.ways, query.shape
    ways: _Ways | None
    try:
        ways = known[shape]
    except KeyError:
        if len(known) >= _MOST_SHAPES:
            known.clear()
        known[shape] = ways = _ways_of(bundle, query)
    return [None] * len(ids) if ways is None else ways.answers(ids)


@dataclass(frozen=True, slots=True, eq=False)
class _Ways:
    """How queries of one shape are answered, whoever asks.

    Attributes
    ----------
    row_of
        From an id to its row; -1 for an unknown id.
    well_known, others
        Of the first ``n_well_known`` rows and of those beyond; one way where they take the same effort.
    helped
        Of those who are helped out by content (:mod:`ilk.expectation`); None: they are planned.
    rated
        What they rated, which tells who is; None: nobody.
    seen
        What they rated, where that is not wanted; None: all may be.
    passing
        Those ways where what was seen is passed over, by how many rows more are fetched.
    """

    row_of: Callable[[str], int]
    n_well_known: int
    well_known: Way
    others: Way
    helped: Way | None
    rated: Ratings | None
    seen: Ratings | None
    passing: dict[tuple[Way, int], Way | None] = field(default_factory=dict)

    def answers(self, ids: Sequence[str]) -> list[Neighbors | None]:
        """Return what :func:`answer_known` does."""
        rows = list(map(self.row_of, ids))
        if len(rows) == 1:
            way = self._way(rows[0])
            return [None] if way is None else way.answers(rows)
        if self.all_alike and min(rows) >= 0:
            return self.others.answers(rows)
        by_way: dict[Way | None, list[int]] = defaultdict(list)
        for at, row in enumerate(rows):
            by_way[self._way(row)].append(at)
        answers: list[Neighbors | None] = [None] * len(rows)
        for way, places in by_way.items():
            if way is not None:
                found = way.answers([rows[at] for at in places])
                for at, answer in zip(places, found, strict=True):
                    answers[at] = answer
        return answers

    @property
    def all_alike(self) -> bool:
        """Whether all who are known take one way."""
        return self.well_known is self.others and self.rated is None and self.seen is None

    def _way(self, row: int) -> Way | None:
        if row < 0:
            return None
        way: Way | None = self.well_known if row < self.n_well_known else self.others
        if self.rated is not None:
            if is_needed(self.rated.count(row), self.others.content_weight):
                way = self.helped
        if way is None or self.seen is None:
            return way
        return self._passing(way, self.seen, self.seen.count(row))

    def _passing(self, way: Way, seen: Ratings, n_seen: int) -> Way | None:
        n_passed = room_for(n_seen)
        if n_passed > MAX_OVERFETCH:
            return None
        n_more = -(-max(n_passed - way.n_spare, 0) // _SEEN_TOGETHER) * _SEEN_TOGETHER
        passing = self.passing.get((way, n_more), way)
        if passing is way:
            self.passing[way, n_more] = passing = way.passing_over(seen, n_more)
        return passing


def _ways_of(bundle: Bundle, query: Query) -> _Ways | None:
    """Return the ways of a query's shape, or None if it has none.

    None where the index does not answer such queries, or there are fewer rows than they ask for.
    """
    is_item = isinstance(query.whom, ItemId)
    asking, rated = bundle.items if is_item else bundle.users, bundle.ratings_by_user
    n_first = n_well_known(len(asking))
    others = _way_as(bundle, query, well_known=False)
    first = _way_as(bundle, query, well_known=True) if n_first else others
    if first is None or others is None:
        return None
    if (first.effort, first.n_fetched) == (others.effort, others.n_fetched):
        first = others
    helped = None
    some_are = not is_item and query.target is Target.ITEMS and 0 < others.content_weight < 1
    if bundle.expected is not None:
        some_are = some_are and len(bundle.expected) > 0
        helped = _way_as(bundle, query, well_known=None) if some_are else None
    return _Ways(
        row_of=asking.vocabulary.row_of,
        n_well_known=n_first,
        well_known=first,
        others=others,
        helped=helped,
        rated=rated if some_are else None,
        seen=rated if query.filter.exclude_seen else None,
    )


def _way_as(bundle: Bundle, query: Query, *, well_known: bool | None) -> Way | None:
    """Return the way of those who are ``well_known``, or not; None: of those whom content helps out."""
    plan = _plan_as(bundle, query, well_known=well_known)
    if plan is None or plan.effort is None or not index_pays(plan):
        return None
    is_item, helped = isinstance(query.whom, ItemId), well_known is None
    asking, side = bundle.items if is_item else bundle.users, bundle.side(query.target)
    n_fetched, key = fetch_count(plan), plan.space.key
    asking_space = bundle.spaces[
        SpaceKey(Target.ITEMS if is_item else Target.USERS, key.by_likeness)
    ]
    vectors, index = asking_space.vectors, plan.space.index
    beside = not helped and vectors is not None and vectors.shape[1] == index.width
    return Way(
        version=bundle.version,
        factors=asking.directions if key.by_likeness else asking.factors,
        content=asking.content,
        expected=bundle.expected if helped else None,
        vectors=vectors if beside else None,
        content_weight=plan.content_weight,
        weights=_weights(plan),
        space=plan.space,
        n_rows=len(plan.space),
        side=side,
        alike=asking is side,
        effort=plan.effort,
        n_fetched=n_fetched,
        n_wanted=plan.n_wanted,
        n_kept=min(n_looked_at(plan) + KEPT_BEYOND, n_fetched),
        n_looked_at=min(n_looked_at(plan), n_fetched),
        n_spare=max(n_fetched - index.candidates(plan.n_wanted, plan.effort) - 1, 0),
        page=slice(query.offset, query.offset + query.neighbor_count),
    )


def _plan_as(bundle: Bundle, query: Query, *, well_known: bool | None) -> Plan | None:
    """Return what the plans of all who ask have in common, as :func:`_way_as` has it.

    None where the index does not answer them. What the helped take must do for the well known and others.
    """
    is_item = isinstance(query.whom, ItemId)
    its_id = (bundle.items if is_item else bundle.users).vocabulary.id_of(0)
    whom = ItemId(its_id) if is_item else UserId(its_id)
    plan = make_plan(bundle, replace(query, whom=whom, filter=NO_FILTER))
    if plan.effort is None or plan.content_weight == 1:
        return None
    if plan.n_wanted < query.offset + query.neighbor_count:
        return None
    if query.accuracy is not None and query.accuracy.exact:
        return plan
    recall = query.accuracy.recall if query.accuracy else bundle.manifest.default_recall
    n_wanted = len(plan.space) if query.filter.exclude_seen else plan.n_wanted
    asked = plan.content_weight, recall, n_wanted
    return replace(plan, effort=plan.space.effort(*asked, well_known=well_known))


def _weights(plan: Plan) -> Float32Vector:
    weights = np.full(plan.space.index.width, plan.content_weight, dtype=np.float32)
    weights[: plan.space.factors.shape[1]] = 1.0 - plan.content_weight
    return weights
