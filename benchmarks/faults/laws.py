"""Knows what every answer must be, whatever was asked: rows that are there, numbers that are numbers.

It refuses to know what the right answer is.
"""

import math
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from google.rpc import code_pb2

from ilk.bundle import Bundle
from ilk.v1 import similarity_pb2 as pb

# The query's fault, or nobody's.
_OF_A_QUERY = {code_pb2.OK, code_pb2.INVALID_ARGUMENT, code_pb2.NOT_FOUND}
_DEFAULT_NEIGHBORS = 10
# Scores are cosines, or inner products of factors.
_MOST_SCORE = 1e4


class Laws:
    """What holds of every answer from one bundle.

    Parameters
    ----------
    bundle
        The one that is served.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def problems(self, request: Message, response: Message) -> Iterator[str]:
        """Yield what is wrong with an answer, given its question."""
        asked: Any = request
        told: Any = response
        if isinstance(told, pb.FindNeighborsResponse):
            yield from self._neighbors(asked, told)
        elif isinstance(told, pb.BatchFindNeighborsResponse):
            if len(told.outcomes) != len(asked.queries):
                yield f"{len(told.outcomes)} outcomes of {len(asked.queries)} queries"
            for query, outcome in zip(asked.queries, told.outcomes, strict=False):
                yield from self._outcome(query, outcome)
        elif isinstance(told, pb.StreamFindNeighborsResponse):
            yield from self._outcome(asked.query, told)
        elif isinstance(told, pb.PredictRatingsResponse):
            yield from self._predictions(asked, told)
        elif isinstance(told, pb.SearchTitlesResponse):
            yield from self._matches(asked, told)
        elif isinstance(told, pb.GetItemsResponse):
            if len(told.items) + len(told.unknown_ids) != len(asked.ids):
                yield "an id was lost"

    def _outcome(self, query: pb.FindNeighborsRequest, outcome: Any) -> Iterator[str]:
        kind = outcome.WhichOneof("outcome")
        if kind == "response":
            yield from self._neighbors(query, outcome.response)
        elif kind is None or outcome.error.code not in _OF_A_QUERY:
            yield f"a query came to {kind} {outcome}"

    def _neighbors(
        self, query: pb.FindNeighborsRequest, found: pb.FindNeighborsResponse
    ) -> Iterator[str]:
        of_users = query.target == pb.TARGET_USERS
        vocabulary = (self._bundle.users if of_users else self._bundle.items).vocabulary
        ids = [n.id for n in found.neighbors]
        scores = [n.score for n in found.neighbors]
        if strange := [i for i in ids if vocabulary.row_of(i) < 0]:
            yield f"{strange[:3]} are not in the bundle"
        if len(set(ids)) < len(ids):
            yield "a neighbor came twice"
        if set(ids) & _own_ids(query):
            yield "what was asked about is its own neighbor"
        if not all(math.isfinite(s) and abs(s) < _MOST_SCORE for s in scores):
            yield f"scores are {scores[:5]}"
        if not (query.diversity or query.popularity_penalty) and sorted(scores)[::-1] != scores:
            yield "scores do not fall"
        n_asked = query.neighbor_count or _DEFAULT_NEIGHBORS
        if len(ids) > n_asked or (len(ids) < n_asked) != found.HasField("shortfall"):
            yield f"{len(ids)} of {n_asked} came, shortfall {found.shortfall}"
        parts = [p for n in found.neighbors for p in (n.collaborative, n.content)]
        reasons = [
            c for n in found.neighbors for c in (*n.explanation.items, *n.explanation.genres)
        ]
        if not all(map(math.isfinite, [*parts, *(reason.contribution for reason in reasons)])):
            yield "a component is no number"

    def _predictions(
        self, asked: pb.PredictRatingsRequest, told: pb.PredictRatingsResponse
    ) -> Iterator[str]:
        if [p.item_id for p in told.predictions] != list(asked.item_ids):
            yield "other items were predicted than were asked for"
        least, most = self._bundle.preference.scale or (-math.inf, math.inf)
        if not all(least <= p.stars <= most and p.neighbor_count >= 0 for p in told.predictions):
            yield f"stars are outside {least} to {most}"

    def _matches(
        self, asked: pb.SearchTitlesRequest, told: pb.SearchTitlesResponse
    ) -> Iterator[str]:
        if len(told.matches) > (asked.match_count or _DEFAULT_NEIGHBORS):
            yield "more matches came than were asked for"
        if not all(0 <= m.score <= 1 and m.item.id for m in told.matches):
            yield "a match is none"


def _own_ids(query: pb.FindNeighborsRequest) -> set[str]:
    if query.target == pb.TARGET_USERS:
        return {query.user_id} - {""}
    return {query.item_id, *query.examples.positive_item_ids} - {""}
