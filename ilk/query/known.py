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
from ilk.query.expectation import is_needed
from ilk.query.fast_path import FastPath
from ilk.query.plan import MAX_OVERFETCH, Plan, make_plan, room_for
from ilk.query.search import KEPT_BEYOND, fetch_count, index_pays, n_looked_at
from ilk.space import SpaceKey, n_well_known
from ilk.types import NO_FILTER, ItemId, Neighbors, Query, Target, UserId
from ilk.vectors import Float32Vector

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
    known, shape = bundle.fast_paths, query.shape
    paths: _FastPaths | None
    try:
        paths = known[shape]
    except KeyError:
        if len(known) >= _MOST_SHAPES:
            known.clear()
        known[shape] = paths = _fast_paths_of(bundle, query)
    return [None] * len(ids) if paths is None else paths.answers(ids)


@dataclass(frozen=True, slots=True, eq=False)
class _FastPaths:
    """How queries of one shape are answered, whoever asks.

    Attributes
    ----------
    row_of
        From an id to its row; -1 for an unknown id.
    well_known, others
        Of the first ``n_well_known`` rows and of those beyond; one path where they take the same effort.
    helped
        Of those who are helped out by content (:mod:`ilk.query.expectation`); None: they are planned.
    rated
        What they rated, which tells who is; None: nobody.
    seen
        What they rated, where that is not wanted; None: all may be.
    passing
        Those paths where what was seen is passed over, by how many rows more are fetched.
    """

    row_of: Callable[[str], int]
    n_well_known: int
    well_known: FastPath
    others: FastPath
    helped: FastPath | None
    rated: Ratings | None
    seen: Ratings | None
    passing: dict[tuple[FastPath, int], FastPath | None] = field(default_factory=dict)

    def answers(self, ids: Sequence[str]) -> list[Neighbors | None]:
        """Return what :func:`answer_known` does."""
        rows = list(map(self.row_of, ids))
        if len(rows) == 1:
            path = self._path(rows[0])
            return [None] if path is None else path.answers(rows)
        if self.all_alike and min(rows) >= 0:
            return self.others.answers(rows)
        by_path: dict[FastPath | None, list[int]] = defaultdict(list)
        for at, row in enumerate(rows):
            by_path[self._path(row)].append(at)
        answers: list[Neighbors | None] = [None] * len(rows)
        for path, places in by_path.items():
            if path is not None:
                found = path.answers([rows[at] for at in places])
                for at, answer in zip(places, found, strict=True):
                    answers[at] = answer
        return answers

    @property
    def all_alike(self) -> bool:
        """Whether all who are known take one path."""
        return self.well_known is self.others and self.rated is None and self.seen is None

    def _path(self, row: int) -> FastPath | None:
        if row < 0:
            return None
        path: FastPath | None = self.well_known if row < self.n_well_known else self.others
        if self.rated is not None:
            if is_needed(self.rated.count(row), self.others.content_weight):
                path = self.helped
        if path is None or self.seen is None:
            return path
        return self._passing(path, self.seen, self.seen.count(row))

    def _passing(self, path: FastPath, seen: Ratings, n_seen: int) -> FastPath | None:
        n_passed = room_for(n_seen)
        if n_passed > MAX_OVERFETCH:
            return None
        n_more = -(-max(n_passed - path.n_spare, 0) // _SEEN_TOGETHER) * _SEEN_TOGETHER
        passing = self.passing.get((path, n_more), path)
        if passing is path:
            self.passing[path, n_more] = passing = path.passing_over(seen, n_more)
        return passing


def _fast_paths_of(bundle: Bundle, query: Query) -> _FastPaths | None:
    """Return the paths of a query's shape, or None if it has none.

    None where the index does not answer such queries, or there are fewer rows than they ask for.
    """
    is_item = isinstance(query.whom, ItemId)
    asking, rated = bundle.items if is_item else bundle.users, bundle.ratings_by_user
    n_first = n_well_known(len(asking))
    others = _fast_path_as(bundle, query, well_known=False)
    first = _fast_path_as(bundle, query, well_known=True) if n_first else others
    if first is None or others is None:
        return None
    if (first.effort, first.n_fetched) == (others.effort, others.n_fetched):
        first = others
    helped = None
    some_are = not is_item and query.target is Target.ITEMS and 0 < others.content_weight < 1
    if bundle.expected is not None:
        some_are = some_are and len(bundle.expected) > 0
        helped = _fast_path_as(bundle, query, well_known=None) if some_are else None
    return _FastPaths(
        row_of=asking.vocabulary.row_of,
        n_well_known=n_first,
        well_known=first,
        others=others,
        helped=helped,
        rated=rated if some_are else None,
        seen=rated if query.filter.exclude_seen else None,
    )


def _fast_path_as(bundle: Bundle, query: Query, *, well_known: bool | None) -> FastPath | None:
    """Return the path of those who are ``well_known``, or not; None: of those whom content helps out."""
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
    return FastPath(
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
    """Return what the plans of all who ask have in common, as :func:`_fast_path_as` has it.

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
