"""Knows how rows of one side are answered that ask alike: many in a few steps.

It refuses to know ids and how the way was chosen (`known`), and answers that tie too often or fall short.
"""

from dataclasses import dataclass
from operator import sub
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.bundle.contents import Side
from ilk.found import FoundNeighbors
from ilk.search import reaching
from ilk.settle import ROUNDING, Found, settled
from ilk.space import Space
from ilk.types import Neighbors
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# Rows and scores of one query, each shape ``(n_kept,)``.
_Kept: TypeAlias = tuple[Rows, Float32Vector]


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
    page
        Of what is wanted, what is answered.
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
    page: slice

    def answers(self, rows: list[int]) -> list[Neighbors | None]:
        """Return the answer to each who stands in ``rows``; None for who has to be planned."""
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
        parts = self._factors(row), self.content[row], self.content_weight
        return settled(self.space, among, *parts, n_wanted)


def _least_steps(scores: Float32Matrix) -> list[float]:
    """Return by how much the scores of each row, which fall, fall at the least from place to place."""
    if scores.shape[1] < 2:
        return [1.0] * len(scores)
    if len(scores) == 1:
        of_one = scores[0].tolist()
        return [min(map(sub, of_one, of_one[1:]))]
    steps: list[float] = (scores[:, :-1] - scores[:, 1:]).min(axis=1).tolist()
    return steps
