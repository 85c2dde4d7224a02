"""Knows how to ask an Ilk server from asyncio: the client of `sync`, its methods as coroutines.

It refuses to know anything that both clients share: how connections are set
up is in `channel`, how questions are phrased in `questions`, how they look on the wire in `wire`.
"""

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

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
from ilk.errors import DeadlineExceeded, IlkError, Unavailable
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


class AsyncSimilarityClient(Questions[Coroutine[Any, Any, Neighbors]]):
    """Asks an Ilk server from one event loop; make it inside the loop that will use it.

    Parameters, errors and methods are those of :class:`ilk.client.SimilarityClient`; ``channel`` is
    a ``grpc.aio`` one.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        channel: grpc.aio.Channel | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        metadata: GivenMetadata = (),
        throttled: bool = True,
    ) -> None:
        check_settings(timeout_s, channel, credentials)
        self._metadata = call_metadata(token, metadata)
        self._opened: grpc.aio.Channel | None = None
        if channel is None:
            options = (*CHANNEL_OPTIONS, *past_proxies(target))
            channel = self._opened = (
                grpc.aio.insecure_channel(target, options=options)
                if credentials is None
                else grpc.aio.secure_channel(target, credentials, options=options)
            )
        self._stub = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        self._timeout_s = timeout_s
        self._throttle = Throttle() if throttled else Unthrottled()
        self._closed = False

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and end the calls that still run on it."""
        if self._opened is not None:
            self._closed = True
            await self._opened.close()

    async def find_neighbors(self, query: Query) -> Neighbors:
        """Return what is nearest to whom, as ``query`` says."""
        request = requests.query_request(query)
        return responses.neighbors_from(await self._call(self._stub.FindNeighbors, request))

    async def batch_find_neighbors(self, queries: Iterable[Query]) -> list[Neighbors | IlkError]:
        """Return the outcomes of up to 1,000 queries, in their order and from one bundle.

        A query that fails leaves its error, not raised, in its place; the others are answered.
        """
        request = requests.batch_request(queries)
        response = await self._call(self._stub.BatchFindNeighbors, request)
        return responses.outcomes_from(response, len(request.queries))

    async def stream_find_neighbors(
        self,
        queries: Iterable[Query] | AsyncIterable[Query],
        *,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Neighbors | IlkError]:
        """Yield the outcomes of ``queries`` in their order while they are still being asked.

        Parameters
        ----------
        queries
            Pulled in a task of this loop, as fast as the server takes them. What it raises is
            raised here, after the answers to the queries before.
        timeout_s
            Deadline of the stream as a whole, in seconds; ``None`` lets it run.
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
                    async for response in call:
                        turn.end(grpc.StatusCode.OK)
                        yield order.answer(response)
                except grpc.aio.AioRpcError as error:
                    # What grpc.aio says where it was writing when the time ran out.
                    if error.code() is grpc.StatusCode.INTERNAL and call.time_remaining() == 0:
                        raise DeadlineExceeded("the stream's time is over") from error
                    raise
                finally:
                    call.cancel()
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        except asyncio.CancelledError:
            self._tell_if_closed()
            raise
        order.finish()

    async def predict_ratings(
        self,
        rater: UserId | Profile | str,
        item_ids: Iterable[str],
        method: PredictionMethod = PredictionMethod.BASELINE_KNN,
    ) -> list[RatingPrediction]:
        """Return the stars a user (by id) or a profile would give to each of up to 1,000 items."""
        request = requests.prediction_request(rater, item_ids, method)
        return responses.predictions_from(await self._call(self._stub.PredictRatings, request))

    async def search_titles(self, text: str, match_count: int = 10) -> list[TitleMatch]:
        """Return up to ``match_count`` items whose titles are like ``text``, best match first."""
        request = requests.titles_request(text, match_count)
        return responses.matches_from(await self._call(self._stub.SearchTitles, request))

    async def get_items(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return what is known of up to 1,000 items, by id; unknown ids are absent, not errors."""
        request = requests.items_request(ids)
        if not request.ids:
            return {}
        return responses.items_from(await self._call(self._stub.GetItems, request))

    async def get_bundle(self) -> BundleInfo:
        """Return what the server serves: version, counts, measured recall, provenance."""
        response = await self._call(self._stub.GetBundle, pb.GetBundleRequest())
        return responses.bundle_from(response)

    def _begin(self, *, is_stream: bool = False) -> Turn:
        return begin_call(self._throttle, is_stream=is_stream, closed=self._closed)

    async def _call(self, method: Callable[..., Awaitable[Any]], request: object) -> Any:
        try:
            with self._begin():
                return await method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        except asyncio.CancelledError:
            self._tell_if_closed()
            raise

    def _tell_if_closed(self) -> None:
        """Raise Unavailable for a call that ended with its client, while nobody has cancelled its task.

        Python 3.10 does not tell whether somebody has, and leaves it at the cancellation.
        """
        cancelling: Callable[[], int] | None = getattr(asyncio.current_task(), "cancelling", None)
        if self._closed and cancelling is not None and not cancelling():
            raise Unavailable("this client was closed while it was waiting") from None


async def _ask_in_order(
    queries: Iterable[Query] | AsyncIterable[Query], order: StreamOrder
) -> AsyncIterator[pb.StreamFindNeighborsRequest]:
    try:
        if isinstance(queries, AsyncIterable):
            async for query in queries:
                yield order.ask(query)
        else:
            for query in queries:
                yield order.ask(query)
    except Exception as failure:  # noqa: BLE001 - kept, and raised to the caller by finish()
        order.fail(failure)
