"""Knows the neighbors of an answer by row, and names them only when somebody looks.

It refuses to know how they were found. A server that writes an answer straight into bytes never makes
the values that are made here.
"""

import functools
import struct
from collections.abc import Iterator, Sequence
from typing import overload

from ilk.bundle.contents import Side
from ilk.types import Neighbor

# Scores this close to zero are rounding, not likeness.
NOTHING = 1e-6


@functools.lru_cache(None)  # of as many as may be asked for
def _scores(n: int) -> struct.Struct:
    return struct.Struct(f"<{n}f")


class FoundNeighbors(Sequence[Neighbor]):
    """Neighbors that are rows of one side.

    Parameters
    ----------
    side
        Whose rows they are.
    rows
        In the answer's order.
    packed
        Their scores as the wire has them: of each its float32, little-endian.
    all_related
        Whether every score is more than :data:`NOTHING`.
    """

    __slots__ = ("all_related", "packed", "rows", "side")

    def __init__(self, side: Side, rows: list[int], packed: bytes, *, all_related: bool) -> None:
        self.side = side
        self.rows = rows
        self.packed = packed
        self.all_related = all_related

    @classmethod
    def of(cls, side: Side, rows: list[int], scores: list[float]) -> "FoundNeighbors":
        """Return the neighbors that are ``rows`` and have ``scores``."""
        packed = _scores(len(scores)).pack(*scores)
        return cls(side, rows, packed, all_related=min(scores, default=1.0) > NOTHING)

    @property
    def scores(self) -> Sequence[float]:
        """Of each its score."""
        return _scores(len(self.rows)).unpack(self.packed)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Neighbor: ...

    @overload
    def __getitem__(self, at: slice) -> "FoundNeighbors": ...

    def __getitem__(self, at: int | slice) -> "Neighbor | FoundNeighbors":
        if isinstance(at, slice):
            return FoundNeighbors.of(self.side, self.rows[at], list(self.scores[at]))
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
