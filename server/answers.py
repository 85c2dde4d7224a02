"""Knows the answers that were given from one bundle: what is asked again is not looked for again.

It refuses to know how answers are found, and to remember what callers tell of people: only plain queries,
which name a user or an item of the bundle and how many neighbors they want, are met again and again.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from ilk.bundle import Bundle
from ilk.errors import IlkError
from ilk.query import answer, answer_many
from ilk.types import Neighbors, Query, Shape, Whom
from server.encoding import Encoder
from server.metrics import Counts
from server.privacy.users import UserPrivacy

# What a remembered answer takes in memory: by itself, and for each neighbor.
_ANSWER_BYTES: Final = 1024
_NEIGHBOR_BYTES: Final = 112

_Key: TypeAlias = tuple[Shape | None, Whom]


class Answered:
    """An answer and, once somebody has written it, its bytes on the wire."""

    __slots__ = ("found", "written")

    def __init__(self, found: Neighbors) -> None:
        self.found = found
        self.written: bytes | None = None


class Answers:
    """The answers of a bundle.

    Those remembered are in two generations. When the young one is full it becomes the old one, and what
    was old is forgotten; what is asked for again becomes young again. So what is asked for often stays.

    Parameters
    ----------
    bundle
        That they are from: answers depend on nothing else.
    encoder
        What writes them.
    memory_bytes
        How much those that are remembered may take, about; 0 remembers none.
    counts
        Where it is counted how many were remembered.
    """

    def __init__(
        self, bundle: Bundle, encoder: Encoder, memory_bytes: float, counts: Counts
    ) -> None:
        self._bundle = bundle
        self._encoder = encoder
        self._counts = counts
        self._generation_bytes = memory_bytes / 2
        self._young: dict[_Key, Answered] = {}
        self._old: dict[_Key, Answered] = {}
        self._young_bytes = 0

    def has(self, query: Query) -> bool:
        """Whether the answer to a query is remembered, for whoever has nothing kept from it."""
        if query.shape is None:
            return False
        key = query.shape, query.whom
        return key in self._young or key in self._old

    def to(self, query: Query, privacy: UserPrivacy | None = None) -> Answered:
        """Return the answer to a query.

        Parameters
        ----------
        privacy
            What is kept from who asks.

        Raises
        ------
        NotFound, InvalidRequest
            As :func:`ilk.query.answer`.
        """
        if privacy is not None:
            return Answered(privacy.answer(self._bundle, query))
        return self._remembered(query) or self._keep(query, answer(self._bundle, query))

    def to_many(
        self, queries: Sequence[Query], privacy: UserPrivacy | None = None
    ) -> list[Answered | IlkError]:
        """Return the answer to each query, or its error."""
        if privacy is not None:
            found = privacy.answer_many(self._bundle, queries)
            return [o if isinstance(o, IlkError) else Answered(o) for o in found]
        outcomes: list[Answered | IlkError | None] = list(map(self._remembered, queries))
        new = [at for at, outcome in enumerate(outcomes) if outcome is None]
        if new:
            found = answer_many(self._bundle, [queries[at] for at in new])
            for at, outcome in zip(new, found, strict=True):
                if isinstance(outcome, Neighbors):
                    outcomes[at] = self._keep(queries[at], outcome)
                else:
                    outcomes[at] = outcome
        return outcomes  # type: ignore[return-value]

    def written(self, answered: Answered) -> bytes:
        """Return the bytes of a FindNeighborsResponse."""
        if answered.written is None:
            answered.written = self._encoder.response(answered.found)
        return answered.written

    def _remembered(self, query: Query) -> Answered | None:
        if query.shape is None:
            return None
        key = query.shape, query.whom
        answered = self._young.get(key)
        if answered is None:
            answered = self._old.get(key)
            if answered is None:
                return None
            self._make_young(key, answered)
        self._counts.remembered += 1
        return answered

    def _keep(self, query: Query, found: Neighbors) -> Answered:
        answered = Answered(found)
        if query.shape is not None and self._generation_bytes:
            self._make_young((query.shape, query.whom), answered)
        return answered

    def _make_young(self, key: _Key, answered: Answered) -> None:
        # Two threads may do so at once: at the worst, a generation is forgotten early.
        n_bytes = _ANSWER_BYTES + _NEIGHBOR_BYTES * len(answered.found.neighbors)
        if self._young_bytes + n_bytes > self._generation_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = answered
        self._young_bytes += n_bytes
