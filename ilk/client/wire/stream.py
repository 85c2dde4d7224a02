"""Knows the order of a stream: which answer belongs to which query.

It refuses to know how requests travel; a client of either kind drives it.
"""

from ilk.client.wire.requests import query_request
from ilk.client.wire.responses import outcome_from
from ilk.errors import IlkError, ServiceError
from ilk.types import Neighbors, Query
from ilk.v1 import similarity_pb2 as pb


class StreamOrder:
    """Numbers one stream's queries, and checks that each answer is the next query's.

    A failure of the caller's own iterable is kept while gRPC pulls it (in another thread or task)
    and raised where the caller can see it: gRPC would log it and report a cancelled call.
    """

    def __init__(self) -> None:
        self._n_asked = 0
        self._n_answered = 0
        self._failure: BaseException | None = None

    def ask(self, query: Query) -> pb.StreamFindNeighborsRequest:
        """Return the request for ``query``, under the next id."""
        request = query_request(query)
        self._n_asked += 1
        return pb.StreamFindNeighborsRequest(request_id=str(self._n_asked), query=request)

    def fail(self, failure: BaseException) -> None:
        """Keep what the caller's iterable raised until the answers so far have been read."""
        self._failure = failure

    def answer(self, response: pb.StreamFindNeighborsResponse) -> Neighbors | IlkError:
        """Return the outcome of the next query.

        Raises
        ------
        ServiceError
            If the response is another query's, or nobody's.
        """
        expected = str(self._n_answered + 1)
        if self._n_answered >= self._n_asked or response.request_id != expected:
            raise ServiceError(
                f"the answer to query {response.request_id!r} of the stream came where that to "
                f"{expected!r} was due"
            )
        self._n_answered += 1
        return outcome_from(response)

    def finish(self) -> None:
        """Check that nothing is missing once the server has ended the stream."""
        if self._failure is not None:
            raise self._failure
        if self._n_answered < self._n_asked:
            raise ServiceError(
                f"the stream ended after {self._n_answered} answers to {self._n_asked} queries"
            )
