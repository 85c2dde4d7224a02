"""Knows how a batch is answered in parts, so that other calls get their turns between them.

It refuses to know single queries and streams. All parts are answered from the one bundle that the
batch began with.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from time import perf_counter
from typing import Final, NamedTuple

from google.rpc import code_pb2

from ilk.errors import IlkError
from ilk.types import Query
from ilk.v1 import similarity_pb2 as pb
from server import requests, status
from server.answers import Answered
from server.encoding import delimited
from server.guard import KINDS, Call, log_failure
from server.live import Served
from server.shadow import Shadow
from server.work import Work

MAX_BATCH: Final = 1000
# Faiss is at its best from here on, and the event loop is held up for a millisecond or three.
_PART: Final = 64
_OUTCOME: Final = b"\x0a"


class Tags(NamedTuple):
    """The two fields that an outcome is one of, in the message around it."""

    response: bytes
    error: bytes


_TAGS: Final = Tags(b"\x0a", b"\x12")


async def answer_batch(
    served: Served, work: Work, shadow: Shadow, call: Call, data: bytes
) -> bytes:
    """Return the bytes of a BatchFindNeighborsResponse to those of a BatchFindNeighborsRequest."""
    queries: Sequence[Query | IlkError] = requests.parse_batch(data, MAX_BATCH)
    cost = served.costs.of_many(queries)
    work.check("queries", cost)
    if call.terms is not None:
        queries = call.terms.screen(queries)
        call.terms.charge(cost)
    parts = [
        pb.BatchFindNeighborsResponse(bundle_version=served.bundle.version).SerializeToString()
    ]
    lane = work.lane_of_many(cost, len(queries))
    async with lane.admitted(call.patience(), "batch", cost) as place:
        for at in range(0, len(queries), _PART):
            part = queries[at : at + _PART]
            answer = functools.partial(_answer, served, shadow, call, part)
            parts.append(await place.run(served.costs.of_many(part), answer))
    # Messages written one after the other are one message.
    return b"".join(parts)


def _answer(
    served: Served, shadow: Shadow, call: Call, queries: Sequence[Query | IlkError]
) -> bytes:
    asked = [query for query in queries if isinstance(query, Query)]
    answers = iter(answers_to(served, shadow, call, asked))
    outcomes = (next(answers) if isinstance(query, Query) else query for query in queries)
    return b"".join(
        [delimited(_OUTCOME, outcome_field(served, call, outcome, _TAGS)) for outcome in outcomes]
    )


def answers_to(
    served: Served, shadow: Shadow, call: Call, queries: Sequence[Query]
) -> list[Answered | IlkError]:
    """Return the outcome of each query, counted as the call's."""
    started_s = perf_counter()
    outcomes = served.answers.to_many(queries, call.privacy)
    call.search_s += perf_counter() - started_s
    kinds = [KINDS[type(query.whom)] for query in queries]
    codes = [status.name_of(o) if isinstance(o, IlkError) else "OK" for o in outcomes]
    for (kind, code), n in Counter(zip(kinds, codes, strict=True)).items():
        call.by_kind[kind].queries[code] += n
    for query, outcome in zip(queries, outcomes, strict=True):
        if isinstance(outcome, Answered):
            call.requested += query.neighbor_count
            call.returned += len(outcome.found.neighbors)
    if call.privacy is None:
        shadow.look_at_all(served, queries, outcomes)
    return outcomes


def outcome_field(served: Served, call: Call, outcome: Answered | IlkError, tags: Tags) -> bytes:
    """Return one query's outcome as a field; what is our fault goes to the log."""
    if not isinstance(outcome, IlkError):
        return delimited(tags.response, served.answers.written(outcome))
    if status.code_of(outcome) == code_pb2.INTERNAL:
        log_failure(call.request_id, outcome)
    return delimited(
        tags.error, status.to_query_error(outcome, call.request_id).SerializeToString()
    )
