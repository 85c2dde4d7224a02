"""Knows how users and items of the bundle are answered that ask for nothing special: many in a few steps.

It refuses to know every other query, and answers that tie or fall short: those are planned one by one
(`plan`, `search`). What queries of one shape have in common is worked out once; what is left for each is
a row, and a pass over what one faiss call found for all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, sub
from typing import Any, Final, TypeAlias

import numpy as np

from ilk.bundle import Bundle
from ilk.bundle.contents import Ratings, Side
from ilk.expectation import is_needed
from ilk.found import FoundNeighbors
from ilk.plan import Plan, make_plan
from ilk.search import KEPT_BEYOND, fetch_count, index_pays, n_looked_at, reaching
from ilk.settle import ROUNDING, Found, settled
from ilk.space import Space, SpaceKey, n_well_known
from ilk.types import ItemId, Neighbors, Query, Target, UserId
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# Rows and scores of one query, each shape ``(n_kept,)``.
_Kept: TypeAlias = tuple[Rows, Float32Vector]

# Shapes are the callers' to choose: so many are remembered.
_MOST_SHAPES: Final = 1024


def answer_known(bundle: Bundle, queries: Sequence[Query]) -> list[Neighbors | None]:
    """Return the answers to queries of one shape; None for each that has to be planned by itself.

    Parameters
    ----------
    queries
        At least one, all of one :attr:`ilk.types.Query.shape`, which is not None.
    """
    ways, shape = bundle.ways, queries[0].shape
    way: _Way | _TwoWays | None
    try:
        way = ways[shape]
    except KeyError:
        if len(ways) >= _MOST_SHAPES:
            ways.clear()
        ways[shape] = way = _way_of(bundle, queries[0])
    return [None] * len(queries) if way is None else way.answers(way.rows(queries))


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """How queries of one shape are answered.

    Attributes
    ----------
    version
        Of the bundle.
    id_of, row_of
        From a query's whom to its id, and on to its row; -1 for an unknown id.
    factors, content
        The vectors of those who may ask, by row.
    vectors
        Both side by side, if they are anywhere, as wide as what is searched.
    weights
        Of the columns of the index in the score.
    space, n_rows, side
        Where is looked, among how many, and whose rows it is.
    alike
        Whether those who ask are rows of ``side`` too, and no neighbors of themselves.
    n_fetched, n_kept, n_looked_at
        Rows to take from the index, how many of the best to keep, and how many of those to look at:
        those wanted, who asks, and one more to show a tie at the last place. What is kept beyond shows
        where most such ties end.
    page
        Of what is wanted, what is answered.
    ratings
        Of those who ask, if those who rated few are helped out by content (:mod:`ilk.expectation`).
    """

    version: str
    id_of: Callable[[Any], str]
    row_of: Callable[[str], int]
    factors: Float32Matrix
    content: Float32Matrix
    vectors: Float32Matrix | None
    content_weight: float
    weights: Float32Vector
    space: Space
    n_rows: int
    side: Side
    alike: bool
    effort: int
    n_fetched: int
    n_kept: int
    n_wanted: int
    n_looked_at: int
    page: slice
    ratings: Ratings | None

    def rows(self, queries: Sequence[Query]) -> list[int]:
        """Return the rows of those who ask; -1 for an unknown id, and for who is helped out."""
        rows = [self.row_of(self.id_of(query.whom)) for query in queries]
        ratings, weight = self.ratings, self.content_weight
        if ratings is None:
            return rows
        # An unknown id's count is any number.
        return [-1 if is_needed(ratings.count(row), weight) else row for row in rows]

    def answers(self, rows: list[int]) -> list[Neighbors | None]:
        """Return the answer to each who stands in ``rows``, as :func:`answer_known` does."""
        if min(rows) < 0:
            known = [row for row in rows if row >= 0]
            found = iter(self.answers(known) if known else ())
            return [next(found) if row >= 0 else None for row in rows]
        asked = self._vectors(rows)
        # Who has no factors, and so none in the first place, may be equally like many.
        firsts = asked[:, 0].tolist()
        if not any(firsts):
            return [None] * len(rows)
        kept = self.space.best(asked, self.n_fetched, self.n_kept, self.effort)
        best_rows = kept.rows[:, : self.n_looked_at]
        best_scores = kept.scores[:, : self.n_looked_at]
        # Reductions of numpy's take four times as long to begin as these do.
        least, most = best_rows.item(best_rows.argmin()), kept.rows.item(kept.rows.argmax())
        if least < 0 or most >= self.n_rows:
            return [None] * len(rows)
        steps = _least_steps(best_scores)
        near = zip(rows, firsts, best_rows.tolist(), best_scores.tolist(), steps, strict=True)
        answers: list[Neighbors | None] = []
        for at, (row, first, its_rows, its_scores, step) in enumerate(near):
            tied = (kept.rows[at], kept.scores[at]) if step < ROUNDING else None
            answers.append(self._answer(row, its_rows, its_scores, tied) if first else None)
        return answers

    def _vectors(self, rows: list[int]) -> Float32Matrix:
        """Return the query vectors of ``rows``, as :func:`ilk.vectors.blend` makes them."""
        # One vector is made in two thirds of the time that a matrix of one row takes.
        at: int | list[int] = rows[0] if len(rows) == 1 else rows
        if self.vectors is not None:
            return (self.vectors[at] * self.weights).reshape(len(rows), -1)
        n_factors, index = self.factors.shape[1], self.space.index
        asked = np.zeros((len(rows), index.width), dtype=np.float32)
        into = asked[0] if len(rows) == 1 else asked
        into[..., :n_factors] = self.factors[at]
        into[..., n_factors : index.dim] = self.content[at]
        into *= self.weights
        return asked

    def _answer(
        self, row: int, rows: list[int], scores: list[float], tied: _Kept | None
    ) -> Neighbors | None:
        """Return the answer for who stands in ``row``; None where it has to be planned.

        ``tied`` is all that was kept, where some of it is equal.
        """
        if self.alike and row in rows:
            at = rows.index(row)
            del rows[at], scores[at]
        if len(rows) < self.n_wanted:
            return None
        if tied is not None:
            in_order = self._in_order(row, rows, scores, tied)
            if in_order is None:
                return None
            rows, scores = in_order
        near = FoundNeighbors(self.side, rows[self.page], scores[self.page])
        return Neighbors(near, self.version, self.content_weight)

    def _in_order(
        self, row: int, rows: list[int], scores: list[float], kept: _Kept
    ) -> Found | None:
        """Return what is wanted for ``row``, equal scores by row; None if too many are equal."""
        n_wanted = self.n_wanted
        among: Rows | list[int] = rows[:n_wanted]
        last = scores[n_wanted - 1]
        if len(rows) > n_wanted and last - scores[n_wanted] < ROUNDING:
            excluded = (row,) if self.alike else ()
            reached = reaching(*kept, last, excluded)
            if reached is None:
                asked = self._vectors([row])
                every = self.space.best(asked, self.n_fetched, self.n_fetched, self.effort)
                reached = reaching(every.rows[0], every.scores[0], last, excluded)
            if reached is None:
                return None
            among = reached
        parts = self.factors[row], self.content[row], self.content_weight
        return settled(self.space, among, *parts, n_wanted)


@dataclass(frozen=True, slots=True, eq=False)
class _TwoWays:
    """The ways of the first ``n_well_known`` rows and of the others, where they take another effort."""

    n_well_known: int
    well_known: _Way
    others: _Way

    def rows(self, queries: Sequence[Query]) -> list[int]:
        return self.others.rows(queries)

    def answers(self, rows: list[int]) -> list[Neighbors | None]:
        ours = [0 <= row < self.n_well_known for row in rows]
        if all(ours):
            return self.well_known.answers(rows)
        if not any(ours):
            return self.others.answers(rows)
        first = iter(
            self.well_known.answers([row for row, its in zip(rows, ours, strict=True) if its])
        )
        rest = iter(
            self.others.answers([row for row, its in zip(rows, ours, strict=True) if not its])
        )
        return [next(first if its else rest) for its in ours]


def _least_steps(scores: Float32Matrix) -> list[float]:
    """Return by how much the scores of each row, which fall, fall at the least from place to place."""
    if scores.shape[1] < 2:
        return [1.0] * len(scores)
    if len(scores) == 1:
        of_one = scores[0].tolist()
        return [min(map(sub, of_one, of_one[1:]))]
    steps: list[float] = (scores[:, :-1] - scores[:, 1:]).min(axis=1).tolist()
    return steps


def _way_of(bundle: Bundle, query: Query) -> _Way | _TwoWays | None:
    """Return the way of a query's shape, or None if it has none.

    None where the index does not answer such queries, or there are fewer rows than they ask for.
    """
    asking = bundle.items if isinstance(query.whom, ItemId) else bundle.users
    first = _way_as(bundle, query, 0)
    n_first = n_well_known(len(asking))
    others = _way_as(bundle, query, n_first) if n_first else first
    if first is None or others is None:
        return None
    alike = (first.effort, first.n_fetched) == (others.effort, others.n_fetched)
    return others if alike else _TwoWays(n_first, first, others)


def _way_as(bundle: Bundle, query: Query, row: int) -> _Way | None:
    """Return the way of a query's shape: the plan of who stands in a row."""
    is_item = isinstance(query.whom, ItemId)
    asking, side = bundle.items if is_item else bundle.users, bundle.side(query.target)
    its_id = asking.vocabulary.id_of(row)
    plan = make_plan(bundle, replace(query, whom=ItemId(its_id) if is_item else UserId(its_id)))
    page = slice(query.offset, query.offset + query.neighbor_count)
    if plan.effort is None or plan.content_weight == 1 or plan.n_wanted < page.stop:
        return None
    if not index_pays(plan):
        return None
    n_fetched, key = fetch_count(plan), plan.space.key
    asking_space = bundle.spaces[
        SpaceKey(Target.ITEMS if is_item else Target.USERS, key.by_likeness)
    ]
    vectors, width = asking_space.vectors, plan.space.index.width
    return _Way(
        version=bundle.version,
        id_of=attrgetter("item_id" if is_item else "user_id"),
        row_of=asking.vocabulary.row_of,
        factors=asking.directions if key.by_likeness else asking.factors,
        content=asking.content,
        vectors=vectors if vectors is not None and vectors.shape[1] == width else None,
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
        page=page,
        ratings=None if is_item or query.target is Target.USERS else bundle.ratings_by_user,
    )


def _weights(plan: Plan) -> Float32Vector:
    weights = np.full(plan.space.index.width, plan.content_weight, dtype=np.float32)
    weights[: plan.space.factors.shape[1]] = 1.0 - plan.content_weight
    return weights
