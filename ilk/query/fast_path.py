"""Knows how rows of one side are answered that ask alike: many in a few steps.

It refuses to know ids and how the path was chosen (`known`), and answers that tie too often or fall
short.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from operator import sub
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.ann import RowNeighbors
from ilk.bundle.contents import Ratings, Side
from ilk.query.found import NOTHING, FoundNeighbors
from ilk.query.plan import room_for
from ilk.query.search import KEPT_BEYOND, pays, reaching
from ilk.query.ties import ROUNDING, Found, settled
from ilk.space import Space
from ilk.types import Neighbors
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# Rows and scores of one query, each shape ``(n_kept,)``.
_Kept: TypeAlias = tuple[Rows, Float32Vector]


@dataclass(frozen=True, slots=True, eq=False)
class FastPath:
    """How queries of one shape are answered, of some of those who may ask.

    Attributes
    ----------
    version
        Of the bundle.
    factors, content
        The vectors of those who may ask, by row.
    expected
        What is added to their factors (:mod:`ilk.query.expectation`), where this is the path of
        those who rated few; times the content weight.
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

    def passing_over(self, seen: Ratings, n_more: int) -> "FastPath | None":
        """Return the path that passes over up to ``n_spare + n_more`` items; None if it does not pay."""
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
        if not all(firsts):
            some = [row for row, first in zip(rows, firsts, strict=True) if first]
            told = iter(self.answers(some) if some else ())
            return [next(told) if first else None for first in firsts]
        kept = self.space.best(asked, self.n_fetched, self.n_kept, self.effort)
        # Reductions of numpy's take four times as long to begin as this does.
        if kept.rows.item(kept.rows.argmax()) >= self.n_rows:
            return [None] * len(rows)
        if len(rows) == 1:
            return [self._one(rows[0], kept.rows[0], kept.scores[0])]
        if self.seen is None:
            return self._together(rows, kept)
        return [self._one(*of_it) for of_it in zip(rows, *kept, strict=True)]

    def _together(self, own: list[int], kept: RowNeighbors) -> list[Neighbors | None]:
        """Return the answers to several who want what they have seen too."""
        looked_at = slice(self.n_looked_at)
        rows, scores = kept.rows[:, looked_at], kept.scores[:, looked_at]
        if self.alike:
            rows, scores = _without_own(own, rows, scores)
        if rows.shape[1] < self.n_wanted or rows.item(rows.argmin()) < 0:
            return [None] * len(own)
        ties = [at for at, step in enumerate(_least_steps(scores)) if step < ROUNDING]
        rows, scores = rows[:, self.page], scores[:, self.page]
        n_bytes, packed = 4 * rows.shape[1], scores.astype("<f4").tobytes()
        answers: list[Neighbors | None] = []
        for at, (its_rows, last) in enumerate(
            zip(rows.tolist(), scores[:, -1].tolist(), strict=True)
        ):
            its_scores = packed[at * n_bytes : (at + 1) * n_bytes]
            near = FoundNeighbors(self.side, its_rows, its_scores, all_related=last > NOTHING)
            answers.append(Neighbors(near, self.version, self.content_weight))
        for at in ties:
            answers[at] = self._one(own[at], kept.rows[at], kept.scores[at])
        return answers

    def _one(self, own: int, kept_rows: Rows, kept_scores: Float32Vector) -> Neighbors | None:
        """Return the answer to who stands in row ``own``; None where it has to be planned."""
        rows, scores = self._looked_at(own, kept_rows, kept_scores)
        if len(rows) < self.n_wanted:
            return None
        if min(map(sub, scores, scores[1:]), default=1.0) < ROUNDING:
            in_order = self._in_order(own, rows, scores, (kept_rows, kept_scores))
            if in_order is None:
                return None
            rows, scores = in_order
        near = FoundNeighbors.of(self.side, rows[self.page], scores[self.page])
        return Neighbors(near, self.version, self.content_weight)

    def _looked_at(self, own: int, rows: Rows, scores: Float32Vector) -> Found:
        """Return what may be told to who stands in row ``own``, one more than is wanted.

        Or nothing, if there is less, or more of what was seen stands before that than there is room for.
        """
        if self.seen is not None:
            seen = self.seen.others_of(own)
            n_most = self.n_wanted + 1
            return _without(seen, rows[: n_most + room_for(len(seen))], scores, n_most)
        n = self.n_looked_at
        near, of_each = rows[:n].tolist(), scores[:n].tolist()
        if min(near) < 0:
            return [], []
        if self.alike and own in near:
            at = near.index(own)
            del near[at], of_each[at]
        return near, of_each

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
            # Another search may open other lists, of those equally near.
            if reached is None or len(reached) < n_wanted:
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


def _without_own(own: list[int], rows: Rows, scores: Float32Matrix) -> tuple[Rows, Float32Matrix]:
    """Return all but each one's ``own`` row; where that is not there, all but the last."""
    past = np.logical_or.accumulate(rows == np.array(own)[:, None], axis=1)[:, :-1]
    others, of_others = (np.where(past, of[:, 1:], of[:, :-1]) for of in (rows, scores))
    return others, of_others


def _least_steps(scores: Float32Matrix) -> list[float]:
    """Return by how much the scores of each row, which fall, fall at the least from place to place."""
    if scores.shape[1] < 2:
        return [1.0] * len(scores)
    steps: list[float] = (scores[:, :-1] - scores[:, 1:]).min(axis=1).tolist()
    return steps
