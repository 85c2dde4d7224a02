"""Knows what is asked of one bundle, and what was answered: what is asked again is not looked for again.

It refuses to know how answers are found, and to remember what callers tell of people: only plain queries,
which name a user or an item of the bundle and how many neighbors they want, are met again and again.
"""

from collections.abc import Sequence
from typing import Final

from ilk.bundle import Bundle
from ilk.errors import IlkError, InvalidRequest, let_go
from ilk.query import answer, answer_alike, answer_many
from ilk.types import Examples, ItemId, Neighbors, Profile, Query, Text, UserId
from server.bundles.cost import Costs
from server.messages import requests
from server.messages.encoding import Encoder
from server.observability.metrics import Counts
from server.privacy.users import UserPrivacy

_KINDS: Final[dict[type, str]] = {
    ItemId: "item",
    UserId: "user",
    Profile: "profile",
    Examples: "examples",
    Text: "text",
}
# What a remembered question takes in memory: by itself, and for each neighbor of the answer.
_QUESTION_BYTES: Final = 1200
_NEIGHBOR_BYTES: Final = 112
# Longer requests hold what none of ours has: they are not kept.
_MOST_BYTES: Final = 512


class Question:
    """A query as it was asked and, once it is there, its answer.

    Attributes
    ----------
    data
        The bytes of the FindNeighborsRequest.
    asked, its_id
        The query; or one like it, and the id of the user or item that it is about.
    kind, cost
        What is asked about, as metrics have it; see :mod:`server.bundles.cost`.
    found, error
        The answer, or why there is none; both None as long as nobody has looked.
    written
        The answer's bytes on the wire, once somebody has written them.
    """

    __slots__ = ("asked", "cost", "data", "error", "found", "its_id", "kind", "written")

    def __init__(self, data: bytes, asked: Query, its_id: str | None, cost: int) -> None:
        self.data = data
        self.asked = asked
        self.its_id = its_id
        self.kind = _KINDS[type(asked.whom)]
        self.cost = cost
        self.found: Neighbors | None = None
        self.error: IlkError | None = None
        self.written: bytes | None = None

    @property
    def query(self) -> Query:
        """The query."""
        return self.asked if self.its_id is None else self.asked.about(self.its_id)

    @property
    def answer(self) -> Neighbors:
        """The answer, which must be there."""
        assert self.found is not None
        return self.found


class Answers:
    """The questions to a bundle, and their answers.

    Those remembered are in two generations. When the young one is full it becomes the old one, and what
    was old is forgotten; what is asked for again becomes young again. So what is asked for often stays.

    Parameters
    ----------
    bundle
        That they are from: answers depend on nothing else.
    encoder, costs
        What writes them, and what tells how much work they take.
    memory_bytes
        How much those that are remembered may take, about; 0 remembers none.
    counts
        Where it is counted how many were remembered.
    """

    def __init__(
        self,
        bundle: Bundle,
        encoder: Encoder,
        costs: Costs,
        memory_bytes: float,
        counts: Counts,
    ) -> None:
        self._bundle = bundle
        self._encoder = encoder
        self._costs = costs
        self._counts = counts
        self._generation_bytes = memory_bytes / 2
        self._young: dict[bytes, Question] = {}
        self._old: dict[bytes, Question] = {}
        self._young_bytes = 0

    def question(self, data: bytes, privacy: UserPrivacy | None = None) -> Question:
        """Return what the bytes of a FindNeighborsRequest ask, with its answer if that is remembered.

        Parameters
        ----------
        privacy
            What is kept from who asks: who has nothing kept from it shares what is remembered.

        Raises
        ------
        InvalidRequest
            If they ask nothing that can be answered.
        """
        if privacy is None and self._generation_bytes:
            known = self._remembered(data)
            if known is not None:
                return known
        asked, its_id = requests.parse_alike(data)
        if privacy is None:
            return Question(data, asked, its_id, self._costs.of(asked, its_id))
        meant = privacy.meant(asked if its_id is None else asked.about(its_id))
        return Question(data, asked, its_id, self._costs.of(meant))

    def questions(
        self, bodies: Sequence[bytes], privacy: UserPrivacy | None = None
    ) -> list[Question | InvalidRequest]:
        """Return each :meth:`question`, or what is wrong with it."""
        return [self._question_or_error(data, privacy) for data in bodies]

    def find(self, question: Question, privacy: UserPrivacy | None = None) -> None:
        """Answer a question.

        Raises
        ------
        NotFound, InvalidRequest
            As :func:`ilk.query.answer`.
        """
        if privacy is not None:
            question.found = privacy.answer(self._bundle, question.query)
            return
        question.found = answer(self._bundle, question.asked, question.its_id)
        if self._generation_bytes:
            self._keep(question)

    def find_many(self, questions: Sequence[Question], privacy: UserPrivacy | None = None) -> None:
        """Give each question its answer, or the error that it ends with."""
        if privacy is None:
            outcomes = self._outcomes(questions)
        else:
            outcomes = privacy.answer_many(self._bundle, [q.query for q in questions])
        for question, outcome in zip(questions, outcomes, strict=True):
            if isinstance(outcome, IlkError):
                question.error = outcome
            else:
                question.found = outcome
                if privacy is None and self._generation_bytes:
                    self._keep(question)

    def _outcomes(self, questions: Sequence[Question]) -> list[Neighbors | IlkError]:
        if len({id(question.asked) for question in questions}) == 1:
            asked = questions[0].asked
            if asked.shape is not None:
                ids = [q.its_id or asked.its_id for q in questions]
                return answer_alike(self._bundle, asked, ids)
        return answer_many(self._bundle, [question.query for question in questions])

    def written(self, question: Question) -> bytes:
        """Return the bytes of a FindNeighborsResponse to a question that was answered."""
        if question.written is None:
            question.written = self._encoder.response(question.answer)
        return question.written

    def _question_or_error(
        self, data: bytes, privacy: UserPrivacy | None
    ) -> Question | InvalidRequest:
        try:
            return self.question(data, privacy)
        except InvalidRequest as error:
            return let_go(error)

    def _remembered(self, data: bytes) -> Question | None:
        question = self._young.get(data)
        if question is None:
            question = self._old.get(data)
            if question is None:
                return None
            self._make_young(question)
        self._counts.remembered += 1
        return question

    def _keep(self, question: Question) -> None:
        if question.asked.shape is not None and len(question.data) <= _MOST_BYTES:
            self._make_young(question)

    def _make_young(self, question: Question) -> None:
        # Two threads may do so at once: at the worst, a generation is forgotten early.
        n_neighbors = len(question.answer.neighbors)
        n_bytes = _QUESTION_BYTES + len(question.data) + _NEIGHBOR_BYTES * n_neighbors
        if self._young_bytes + n_bytes > self._generation_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[question.data] = question
        self._young_bytes += n_bytes
