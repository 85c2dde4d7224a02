"""Knows how to ask an Ilk server from ordinary code; `aio` is the same for asyncio.

It refuses to know how a server is reached (`channel`), and messages and statuses (`wire`).
"""

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from ilk.client.channel import (
    CHANNEL_OPTIONS,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_S,
    GivenMetadata,
    begin_call,
    call_metadata,
    check_settings,
    check_timeout,
    past_proxies,
)
from ilk.client.questions import Questions
from ilk.client.throttle import Throttle, Turn, Unthrottled
from ilk.client.wire import requests, responses
from ilk.client.wire.refusals import error_from_rpc
from ilk.client.wire.stream import StreamOrder
from ilk.errors import IlkError, Unavailable
from ilk.types import (
    BundleInfo,
    Item,
    Neighbors,
    PredictionMethod,
    Profile,
    Query,
    RatingPrediction,
    TitleMatch,
    UserId,
)
from ilk.v1 import similarity_pb2 as pb
from ilk.v1.similarity_pb2_grpc import SimilarityServiceStub

if TYPE_CHECKING:
    from typing_extensions import Self


class SimilarityClient(Questions[Neighbors]):
    """Asks an Ilk server; safe to share between threads, and to be kept for a program's life.

    Parameters
    ----------
    target
        ``host:port``, or any other target that gRPC resolves.
    timeout_s
        Deadline of each call in seconds, repeats included. Streams have their own.
    channel
        A channel to use instead of opening one; it stays the caller's to close.
    credentials
        Makes the connection TLS; `ilk.client.credentials` reads them from files. Without them it
        is plaintext, meant for loopback.
    token
        Sent with each call as ``authorization: Bearer``. Plaintext shows it to the network.
    metadata
        Further pairs sent with each call; bytes go with keys that end in ``-bin``.
    throttled
        While the server turns calls away, send no more at a time than it takes, and raise
        :class:`ilk.errors.Overloaded` for the rest at once; :mod:`ilk.client.throttle` says how.

    Raises
    ------
    SettingsError
        If ``timeout_s`` is not positive, both ``channel`` and ``credentials`` are given, or ``token`` or
        ``metadata`` cannot be sent.

    Notes
    -----
    Every method raises :class:`ilk.errors.InvalidRequest` or :class:`ilk.errors.NotFound` where
    the question is at fault, and a :class:`ilk.errors.ServiceError` where the call is.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        channel: grpc.Channel | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        metadata: GivenMetadata = (),
        throttled: bool = True,
    ) -> None:
        check_settings(timeout_s, channel, credentials)
        self._metadata = call_metadata(token, metadata)
        self._opened: grpc.Channel | None = None
        if channel is None:
            options = (*CHANNEL_OPTIONS, *past_proxies(target))
            channel = self._opened = (
                grpc.insecure_channel(target, options=options)
                if credentials is None
                else grpc.secure_channel(target, credentials, options=options)
            )
        self._stub = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        self._timeout_s = timeout_s
        self._throttle = Throttle() if throttled else Unthrottled()
        self._closed = False

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the calls that still run on it."""
        if self._opened is not None:
            self._closed = True
            self._opened.close()

    def find_neighbors(self, query: Query) -> Neighbors:
        """Return what is nearest to whom, as ``query`` says."""
        request = requests.query_request(query)
        return responses.neighbors_from(self._call(self._stub.FindNeighbors, request))

    def batch_find_neighbors(self, queries: Iterable[Query]) -> list[Neighbors | IlkError]:
        """Return the outcomes of up to 1,000 queries, in their order and from one bundle.

        A query that fails leaves its error, not raised, in its place; the others are answered.
        """
        request = requests.batch_request(queries)
        response = self._call(self._stub.BatchFindNeighbors, request)
        return responses.outcomes_from(response, len(request.queries))

    def stream_find_neighbors(
        self, queries: Iterable[Query], *, timeout_s: float | None = None
    ) -> Iterator[Neighbors | IlkError]:
        """Yield the outcomes of ``queries`` in their order while they are still being asked.

        Parameters
        ----------
        queries
            Pulled in another thread, as fast as the server takes them. What it raises is raised
            here, after the answers to the queries before.
        timeout_s
            Deadline of the stream as a whole, in seconds; ``None`` lets it run.

        Notes
        -----
        The call begins with the first ``next()`` and is cancelled when the iterator is closed. It
        is not repeated once the first answer has come.
        """
        if timeout_s is not None:
            check_timeout(timeout_s)
        order = StreamOrder()
        try:
            with self._begin(is_stream=True) as turn:
                call = self._stub.StreamFindNeighbors(
                    _ask_in_order(queries, order), timeout=timeout_s, metadata=self._metadata
                )
                try:
                    for response in call:
                        turn.end(grpc.StatusCode.OK)
                        yield order.answer(response)
                finally:
                    call.cancel()
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        except ValueError as error:
            _tell_if_closed(error)
            raise
        order.finish()

    def predict_ratings(
        self,
        rater: UserId | Profile | str,
        item_ids: Iterable[str],
        method: PredictionMethod = PredictionMethod.BASELINE_KNN,
    ) -> list[RatingPrediction]:
        """Return the stars a user (by id) or a profile would give to each of up to 1,000 items."""
        request = requests.prediction_request(rater, item_ids, method)
        return responses.predictions_from(self._call(self._stub.PredictRatings, request))

    def search_titles(self, text: str, match_count: int = 10) -> list[TitleMatch]:
        """Return up to ``match_count`` items whose titles are like ``text``, best match first."""
        request = requests.titles_request(text, match_count)
        return responses.matches_from(self._call(self._stub.SearchTitles, request))

    def get_items(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return what is known of up to 1,000 items, by id; unknown ids are absent, not errors."""
        request = requests.items_request(ids)
        # No id is a fault on the wire; here it is what an answer without neighbors leads to.
        return responses.items_from(self._call(self._stub.GetItems, request)) if request.ids else {}

    def get_bundle(self) -> BundleInfo:
        """Return what the server serves: version, counts, measured recall, provenance."""
        return responses.bundle_from(self._call(self._stub.GetBundle, pb.GetBundleRequest()))

    def _begin(self, *, is_stream: bool = False) -> Turn:
        return begin_call(self._throttle, is_stream=is_stream, closed=self._closed)

    def _call(self, method: Callable[..., Any], request: object) -> Any:
        try:
            with self._begin():
                return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        except ValueError as error:
            _tell_if_closed(error)
            raise


def _tell_if_closed(error: ValueError) -> None:
    """Raise Unavailable where gRPC says so that a channel was closed, which another thread may do."""
    if "closed" in str(error).lower():
        raise Unavailable("the connection was closed") from error


def _ask_in_order(
    queries: Iterable[Query], order: StreamOrder
) -> Iterator[pb.StreamFindNeighborsRequest]:
    try:
        for query in queries:
            yield order.ask(query)
    except GeneratorExit:
        raise
    except BaseException as failure:  # noqa: BLE001 - kept, and raised to the caller by finish()
        order.fail(failure)
