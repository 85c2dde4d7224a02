"""Knows the neighbors of an answer by row, and names them only when somebody looks.

It refuses to know how they were found. A server that writes an answer straight into bytes never makes
the values that are made here.
"""

from collections.abc import Iterator, Sequence
from typing import overload

from ilk.bundle.contents import Side
from ilk.types import Neighbor

# Scores this close to zero are rounding, not likeness.
NOTHING = 1e-6


class FoundNeighbors(Sequence[Neighbor]):
    """Neighbors that are rows of one side.

    Parameters
    ----------
    side
        Whose rows they are.
    rows, scores
        Of equal length, in the answer's order.
    """

    __slots__ = ("rows", "scores", "side")

    def __init__(self, side: Side, rows: list[int], scores: list[float]) -> None:
        self.side = side
        self.rows = rows
        self.scores = scores

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Neighbor: ...

    @overload
    def __getitem__(self, at: slice) -> "FoundNeighbors": ...

    def __getitem__(self, at: int | slice) -> "Neighbor | FoundNeighbors":
        if isinstance(at, slice):
            return FoundNeighbors(self.side, self.rows[at], self.scores[at])
        return self._named(self.rows[at], self.scores[at])

    def __iter__(self) -> Iterator[Neighbor]:
        return map(self._named, self.rows, self.scores)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def _named(self, row: int, score: float) -> Neighbor:
        side = self.side
        inferred = side.inferred.item(row)
        return Neighbor(side.vocabulary.id_of(row), score, None, None, score <= NOTHING, inferred)
