"""Knows how rows of one side are answered that ask alike: many in a few steps.

It refuses to know ids and how the way was chosen (`known`), and answers that tie too often or fall short.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from operator import sub
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.ann import RowNeighbors
from ilk.bundle.contents import Ratings, Side
from ilk.found import FoundNeighbors
from ilk.plan import room_for
from ilk.search import KEPT_BEYOND, pays, reaching
from ilk.settle import ROUNDING, Found, settled
from ilk.space import Space
from ilk.types import Neighbors
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# Rows and scores of one query, each shape ``(n_kept,)``.
_Kept: TypeAlias = tuple[Rows, Float32Vector]
# Of each query: rows, scores, and by how much those fall at the least.
_Near: TypeAlias = tuple[list[list[int]], list[list[float]], list[float]]


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How queries of one shape are answered, of some of those who may ask.

    Attributes
    ----------
    version
        Of the bundle.
    factors, content
        The vectors of those who may ask, by row.
    expected
        What is added to their factors (:mod:`ilk.expectation`), where this is the way of those who rated
        few; times the content weight.
    vectors
        Factors and content side by side, if they are anywhere, as wide as what is searched.
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
    n_spare
        How many of the rows taken are more than are needed: so many may be passed over.
    page
        Of what is wanted, what is answered.
    seen
        What those who ask have rated, which is passed over; None: nothing is. Who has seen more of what
        is looked at than leaves what is wanted has to be planned.
    """

    version: str
    factors: Float32Matrix
    content: Float32Matrix
    expected: Float32Matrix | None
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
    n_spare: int
    page: slice
    seen: Ratings | None = None

    def passing_over(self, seen: Ratings, n_more: int) -> "Way | None":
        """Return the way that passes over up to ``n_spare + n_more`` items; None if that does not pay."""
        n_fetched = min(self.n_fetched + n_more, self.n_rows)
        if not pays(self.space, self.content_weight, n_fetched):
            return None
        n_looked_at = min(self.n_wanted + self.n_spare + n_more + 1, n_fetched)
        n_kept = min(n_looked_at + KEPT_BEYOND, n_fetched)
        return replace(self, n_fetched=n_fetched, n_kept=n_kept, n_looked_at=n_looked_at, seen=seen)

    def answers(self, rows: list[int]) -> list[Neighbors | None]:
        """Return the answer to each who stands in ``rows``; None for who has to be planned."""
        asked = self._vectors(rows)
        # Who has no factors, and so none in the first place, may be equally like many.
        firsts = asked[:, 0].tolist()
        if not any(firsts):
            return [None] * len(rows)
        kept = self.space.best(asked, self.n_fetched, self.n_kept, self.effort)
        found = self._looked_at(kept) if self.seen is None else self._unseen(rows, kept, self.seen)
        # Reductions of numpy's take four times as long to begin as this does.
        if found is None or kept.rows.item(kept.rows.argmax()) >= self.n_rows:
            return [None] * len(rows)
        near = zip(rows, firsts, *found, strict=True)
        answers: list[Neighbors | None] = []
        for at, (row, first, its_rows, its_scores, step) in enumerate(near):
            tied = (kept.rows[at], kept.scores[at]) if step < ROUNDING else None
            answers.append(self._answer(row, its_rows, its_scores, tied) if first else None)
        return answers

    def _looked_at(self, kept: RowNeighbors) -> _Near | None:
        """Return what is looked at; None if there is less."""
        rows, scores = kept.rows[:, : self.n_looked_at], kept.scores[:, : self.n_looked_at]
        if rows.item(rows.argmin()) < 0:
            return None
        return rows.tolist(), scores.tolist(), _least_steps(scores)

    def _unseen(self, rows: list[int], kept: RowNeighbors, seen: Ratings) -> _Near:
        """Return what each of those who stand in ``rows`` has not seen: one more than wanted.

        Or nothing, if more of what they have seen stands before that than there is room for.
        """
        n_most = self.n_wanted + 1
        of_each = []
        for row, its_rows, its_scores in zip(rows, *kept, strict=True):
            of_it = seen.others_of(row)
            looked_at = slice(n_most + room_for(len(of_it)))
            of_each.append(_without(of_it, its_rows[looked_at], its_scores, n_most))
        steps = [min(map(sub, scores, scores[1:]), default=1.0) for _, scores in of_each]
        return [its_rows for its_rows, _ in of_each], [scores for _, scores in of_each], steps

    def _vectors(self, rows: list[int]) -> Float32Matrix:
        """Return the query vectors of ``rows``, as :func:`ilk.vectors.blend` makes them."""
        # One vector is made in two thirds of the time that a matrix of one row takes.
        at: int | list[int] = rows[0] if len(rows) == 1 else rows
        if self.vectors is not None:
            return (self.vectors[at] * self.weights).reshape(len(rows), -1)
        n_factors, index = self.factors.shape[1], self.space.index
        asked = np.zeros((len(rows), index.width), dtype=np.float32)
        into = asked[0] if len(rows) == 1 else asked
        into[..., :n_factors] = self._factors(at)
        into[..., n_factors : index.dim] = self.content[at]
        into *= self.weights
        return asked

    def _factors(self, at: int | list[int]) -> npt.NDArray[np.float32]:
        if self.expected is None:
            return self.factors[at]
        helped: npt.NDArray[np.float32] = np.float32(self.content_weight) * self.expected[at]
        helped += self.factors[at]
        return helped

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

    def _excluded(self, row: int) -> Collection[int]:
        if self.seen is not None:
            return set(self.seen.others_of(row).tolist())
        return (row,) if self.alike else ()

    def _in_order(
        self, row: int, rows: list[int], scores: list[float], kept: _Kept
    ) -> Found | None:
        """Return what is wanted for ``row``, equal scores by row; None if too many are equal."""
        n_wanted = self.n_wanted
        among: Rows | list[int] = rows[:n_wanted]
        last = scores[n_wanted - 1]
        if len(rows) > n_wanted and last - scores[n_wanted] < ROUNDING:
            excluded = self._excluded(row)
            reached = reaching(*kept, last, excluded)
            if reached is None:
                asked = self._vectors([row])
                every = self.space.best(asked, self.n_fetched, self.n_fetched, self.effort)
                reached = reaching(every.rows[0], every.scores[0], last, excluded)
            if reached is None:
                return None
            among = reached
        parts = self._factors(row), self.content[row], self.content_weight
        return settled(self.space, among, *parts, n_wanted)


def _without(seen: npt.NDArray[np.int32], rows: Rows, scores: Float32Vector, n: int) -> Found:
    """Return the first ``n`` that are there and not ``seen``, which rise; nothing if there are fewer."""
    new = rows >= 0
    if len(seen):
        new &= seen.take(seen.searchsorted(rows), mode="clip") != rows
    places = new.nonzero()[0][:n]
    if len(places) < n:
        return [], []
    return rows.take(places).tolist(), scores.take(places).tolist()


def _least_steps(scores: Float32Matrix) -> list[float]:
    """Return by how much the scores of each row, which fall, fall at the least from place to place."""
    if scores.shape[1] < 2:
        return [1.0] * len(scores)
    if len(scores) == 1:
        of_one = scores[0].tolist()
        return [min(map(sub, of_one, of_one[1:]))]
    steps: list[float] = (scores[:, :-1] - scores[:, 1:]).min(axis=1).tolist()
    return steps
