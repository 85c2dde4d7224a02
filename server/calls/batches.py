"""Knows how a batch is answered in parts, so that other calls get their turns between them.

It refuses to know single queries and streams. All parts are answered from the one bundle that the
batch began with.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Final

from google.rpc import code_pb2

from ilk.errors import IlkError, PermissionDenied
from ilk.v1 import similarity_pb2 as pb
from server import status
from server.access.terms import Terms
from server.bundles.answers import Question
from server.bundles.live import Served
from server.bundles.shadow import Shadow
from server.calls.call import Call, log_failure
from server.load.work import Work
from server.messages import requests
from server.messages.encoding import varint
from server.observability.metrics import NO_KIND

MAX_BATCH: Final = 1000
# Faiss is at its best from here on, and the event loop is held up for a millisecond or three.
_PART: Final = 64
# Of so many bytes the event loop can read queries without a pause; one alone may have more.
_READ_BYTES: Final = 16_384
_OUTCOME: Final = b"\x0a"
# Lengths of answers whose heads are remembered.
_MOST_HEADS: Final = 4096


class Heads:
    """What stands before the bytes of an outcome: remembered by how many these are.

    Parameters
    ----------
    around
        The field of the message that an outcome is; empty where it is the message itself.
    response, error
        The two fields that an outcome is one of.
    """

    def __init__(self, response: bytes, error: bytes, around: bytes = b"") -> None:
        self.response, self.error = (_heads_of(tag, around) for tag in (response, error))


def _heads_of(tag: bytes, around: bytes) -> Callable[[int], bytes]:
    @functools.lru_cache(_MOST_HEADS)
    def head(n_bytes: int) -> bytes:
        inner = tag + varint(n_bytes)
        return around + varint(len(inner) + n_bytes) + inner if around else inner

    return head


_HEADS: Final = Heads(b"\x0a", b"\x12", _OUTCOME)


async def answer_batch(
    served: Served, work: Work, shadow: Shadow, call: Call, data: bytes
) -> bytes:
    """Return the bytes of a BatchFindNeighborsResponse to those of a BatchFindNeighborsRequest."""
    bodies = requests.batch_bodies(data, MAX_BATCH)
    try:
        asked = await _read(served, work, call, bodies)
    except IlkError as error:
        count_refused(call, [error] * len(bodies))
        raise
    parts: list[bytes] = []
    try:
        await _answer_in_parts(served, work, shadow, call, asked, parts)
    except IlkError as error:
        count_refused(call, asked[len(parts) * _PART :], error)
        raise
    head = pb.BatchFindNeighborsResponse(bundle_version=served.bundle.version).SerializeToString()
    # Messages written one after the other are one message.
    return b"".join((head, *parts))


async def _read(
    served: Served, work: Work, call: Call, bodies: Sequence[bytes]
) -> Sequence[Question | IlkError]:
    """Return what each query asks; where there is much to read, others have the event loop between."""
    n_bytes = sum(map(len, bodies))
    if n_bytes <= _READ_BYTES:
        return served.answers.questions(bodies, call.privacy)
    asked: list[Question | IlkError] = []
    async with work.turns.admitted(call.patience(), "read", n_bytes) as place:
        for group in _groups(bodies):
            read = functools.partial(served.answers.questions, group, call.privacy)
            asked += await place.run(sum(map(len, group)), read)
    return asked


def _groups(bodies: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yield the bodies, in order, as many together as are few bytes."""
    group, n_bytes = list[bytes](), 0
    for body in bodies:
        if group and n_bytes + len(body) > _READ_BYTES:
            yield group
            group, n_bytes = [], 0
        group.append(body)
        n_bytes += len(body)
    yield group


async def _answer_in_parts(
    served: Served,
    work: Work,
    shadow: Shadow,
    call: Call,
    asked: Sequence[Question | IlkError],
    parts: list[bytes],
) -> None:
    """Append the bytes of the answers to ``parts``, for so many queries at a time."""
    if call.terms is not None:
        # What may not be asked costs nothing: else its cost would tell of whom it names.
        asked = screened(asked, call.terms)
    cost = cost_of(asked)
    work.check("queries", cost)
    if call.terms is not None:
        call.terms.charge(cost)
    lane = work.lane_of_many(cost, len(asked))
    async with lane.admitted(call.patience(), "batch", cost) as place:
        for at in range(0, len(asked), _PART):
            part = asked[at : at + _PART]
            answer = functools.partial(_answer, served, shadow, call, part)
            parts.append(await place.run(cost_of(part), answer))


def cost_of(asked: Sequence[Question | IlkError]) -> int:
    """Return about how many multiplications the questions take."""
    return sum([question.cost for question in asked if isinstance(question, Question)])


def screened(asked: Sequence[Question | IlkError], terms: Terms) -> list[Question | IlkError]:
    """Return what was asked, but an error in the place of each question that may not be."""
    return [
        refused(q, PermissionDenied(why))
        if isinstance(q, Question) and (why := terms.refusal(q.query))
        else q
        for q in asked
    ]


def refused(question: Question, error: IlkError) -> Question:
    """Return the same question, of which no work comes; the one that was asked may be remembered."""
    refused = Question(question.data, question.asked, question.its_id, cost=0)
    refused.error = error
    return refused


def _answer(
    served: Served, shadow: Shadow, call: Call, asked: Sequence[Question | IlkError]
) -> bytes:
    find_all(served, shadow, call, asked)
    parts: list[bytes] = []
    for question in asked:
        parts += outcome_field(served, call, question, _HEADS)
    return b"".join(parts)


def find_all(
    served: Served, shadow: Shadow, call: Call, asked: Sequence[Question | IlkError]
) -> None:
    """Answer the questions that have not ended; what all of them end with is counted as the call's."""
    new = [q for q in asked if isinstance(q, Question) and q.found is None and q.error is None]
    if new:
        started_s = perf_counter()
        served.answers.find_many(new, call.privacy)
        call.search_s += perf_counter() - started_s
    questions = [q for q in asked if isinstance(q, Question) and q.error is None]
    if len(questions) < len(asked):
        count_refused(call, [q for q in asked if not isinstance(q, Question) or q.error])
    for kind, n in Counter([question.kind for question in questions]).items():
        call.by_kind[kind].queries["OK"] += n
    call.requested += sum([question.asked.neighbor_count for question in questions])
    call.returned += sum([len(question.answer.neighbors) for question in questions])
    if call.privacy is None:
        shadow.look_at_all(served, questions)


def count_refused(
    call: Call, asked: Sequence[Question | IlkError], end: IlkError | None = None
) -> None:
    """Count queries that ended with an error: their own, or ``end``, with which the whole call ends.

    Those that could not be read are of no kind.
    """
    for question in asked:
        its_own = question.error if isinstance(question, Question) else question
        kind = question.kind if isinstance(question, Question) else NO_KIND
        error = end or its_own
        assert error is not None
        call.by_kind[kind].queries[status.name_of(error)] += 1


def outcome_field(
    served: Served, call: Call, asked: Question | IlkError, heads: Heads
) -> tuple[bytes, bytes]:
    """Return what one question ends with, as a field in two parts; what is our fault goes to the log."""
    if isinstance(asked, Question) and asked.error is None:
        written = asked.written or served.answers.written(asked)
        return heads.response(len(written)), written
    error = asked.error if isinstance(asked, Question) else asked
    assert error is not None
    if status.code_of(error) == code_pb2.INTERNAL:
        log_failure(call.request_id, error)
    body = status.to_query_error(error, call.request_id).SerializeToString()
    return heads.error(len(body)), body
