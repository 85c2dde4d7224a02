"""Knows the rpcs: bytes in, the kernel asked, bytes out.

It refuses to know how a query is answered (`ilk.query`) and how processes live (`app`).
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from google.rpc import code_pb2

from ilk import catalogue
from ilk.bundle import Bundle
from ilk.errors import DeadlineExceeded, IlkError, InvalidRequest
from ilk.predict import predict
from ilk.query import answer, answer_many
from ilk.types import (
    MAX_ID_BYTES,
    Neighbors,
    PredictionMethod,
    Query,
    Target,
    TitleMatch,
)
from ilk.v1 import similarity_pb2 as pb
from server import requests, responses, status
from server.live import Live, Served

log = logging.getLogger("ilk.server")

SERVICE = pb.DESCRIPTOR.services_by_name["SimilarityService"]
MAX_BATCH = 1000
MAX_IDS = 1000
MAX_MATCHES = 100
DEFAULT_MATCHES = 10
# A search of more multiplications than this would hold up the event loop: to the executor.
_LONG_SEARCH = 20_000_000

_METHODS = {
    pb.PREDICTION_METHOD_UNSPECIFIED: PredictionMethod.BASELINE_KNN,
    pb.PREDICTION_METHOD_BASELINE_KNN: PredictionMethod.BASELINE_KNN,
    pb.PREDICTION_METHOD_COSINE_KNN: PredictionMethod.COSINE_KNN,
}

T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class SimilarityService:
    """The handlers of ``ilk.v1.SimilarityService``.

    Parameters
    ----------
    live
        The bundle being served.
    executor
        Runs what would hold up the event loop.
    """

    def __init__(self, live: Live, executor: Executor) -> None:
        self._live = live
        self._executor = executor

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return what a server registers. Handlers take and give bytes: parsing is theirs to time."""
        unary = {
            "FindNeighbors": self.find_neighbors,
            "BatchFindNeighbors": self.batch_find_neighbors,
            "PredictRatings": self.predict_ratings,
            "SearchTitles": self.search_titles,
            "GetItems": self.get_items,
            "GetBundle": self.get_bundle,
        }
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(_guarded(handler))
            for name, handler in unary.items()
        }
        methods["StreamFindNeighbors"] = grpc.stream_stream_rpc_method_handler(
            self.stream_find_neighbors
        )
        return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)

    async def find_neighbors(self, data: bytes) -> bytes:
        """Answer one query."""
        query = requests.parse_query(data)
        bundle = self._live.get().bundle
        if _cost(bundle, query) > _LONG_SEARCH:
            found = await self._away(lambda: answer(bundle, query))
        else:
            found = answer(bundle, query)
        return responses.neighbors_message(found).SerializeToString()

    async def batch_find_neighbors(self, data: bytes) -> bytes:
        """Answer many queries; each fails alone."""
        queries = requests.parse_batch(data)
        if not 1 <= len(queries) <= MAX_BATCH:
            raise InvalidRequest("queries", f"needs 1 to {MAX_BATCH} queries, got {len(queries)}")
        bundle = self._live.get().bundle
        cost = sum(_cost(bundle, q) for q in queries if isinstance(q, Query))
        if cost > _LONG_SEARCH:
            return await self._away(lambda: _answer_batch(bundle, queries))
        return _answer_batch(bundle, queries)

    async def stream_find_neighbors(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer queries as they come."""
        try:
            async for data in messages:
                request_id, query = requests.parse_stream_message(data)
                response = pb.StreamFindNeighborsResponse(request_id=request_id)
                _set_outcome(response, await self._outcome(query))
                yield response.SerializeToString()
        except IlkError as error:
            await _refuse(context, error)
        except Exception as error:  # noqa: BLE001 - the last door: nothing passes it unlogged
            await _fail(context, error)

    async def predict_ratings(self, data: bytes) -> bytes:
        """Predict stars."""
        rater, message = requests.parse_prediction(data)
        method = _METHODS.get(message.method)
        if method is None:
            raise InvalidRequest("method", f"unknown method {message.method}")
        bundle = self._live.get().bundle
        predictions = await self._away(
            lambda: predict(bundle, rater, list(message.item_ids), method)
        )
        return pb.PredictRatingsResponse(
            predictions=map(responses.prediction_message, predictions),
            bundle_version=bundle.version,
        ).SerializeToString()

    async def search_titles(self, data: bytes) -> bytes:
        """Find items by what people type."""
        message = requests.parse(pb.SearchTitlesRequest, data)
        if not message.text.strip() or len(message.text) > MAX_ID_BYTES:
            raise InvalidRequest("text", f"needs 1 to {MAX_ID_BYTES} characters")
        n_matches = message.match_count or DEFAULT_MATCHES
        if not 1 <= n_matches <= MAX_MATCHES:
            raise InvalidRequest("match_count", f"must be in [0, {MAX_MATCHES}], got {n_matches}")
        served = self._live.get()
        found = await self._away(lambda: _search(served, message.text, n_matches))
        return pb.SearchTitlesResponse(
            matches=map(responses.title_match_message, found),
            bundle_version=served.bundle.version,
        ).SerializeToString()

    async def get_items(self, data: bytes) -> bytes:
        """Tell titles, years and genres."""
        ids = requests.parse(pb.GetItemsRequest, data).ids
        if not 1 <= len(ids) <= MAX_IDS:
            raise InvalidRequest("ids", f"needs 1 to {MAX_IDS} ids, got {len(ids)}")
        bundle = self._live.get().bundle
        found, unknown = catalogue.find_items(bundle, ids)
        return pb.GetItemsResponse(
            items=map(responses.item_message, found),
            unknown_ids=unknown,
            bundle_version=bundle.version,
        ).SerializeToString()

    async def get_bundle(self, data: bytes) -> bytes:
        """Tell what is served."""
        requests.parse(pb.GetBundleRequest, data)
        info = catalogue.describe(self._live.get().bundle)
        return responses.bundle_message(info).SerializeToString()

    async def _outcome(self, query: Query | InvalidRequest) -> Neighbors | IlkError:
        if isinstance(query, InvalidRequest):
            return query
        bundle = self._live.get().bundle
        if _cost(bundle, query) > _LONG_SEARCH:
            (outcome,) = await self._away(lambda: answer_many(bundle, [query]))
        else:
            (outcome,) = answer_many(bundle, [query])
        return outcome

    async def _away(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _guarded(
    handler: Callable[[bytes], Awaitable[bytes]],
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    """Return a handler that ends every call with a documented status."""

    async def guarded(data: bytes, context: Context) -> bytes:
        try:
            left_s = context.time_remaining()
            if left_s is not None and left_s <= 0:
                raise DeadlineExceeded("the deadline passed before the work began")
            return await handler(data)
        except IlkError as error:
            await _refuse(context, error)
        except Exception as error:  # noqa: BLE001 - the last door: nothing passes it unlogged
            await _fail(context, error)

    return guarded


async def _refuse(context: Context, error: IlkError) -> NoReturn:
    if status.is_ours(error):
        await _fail(context, error)
    await context.abort_with_status(status.to_status(error))
    raise AssertionError  # abort_with_status raises


async def _fail(context: Context, error: Exception) -> NoReturn:
    request_id = uuid.uuid4().hex[:16]
    log.error("request %s failed", request_id, exc_info=error)
    await context.abort(
        grpc.StatusCode.INTERNAL, f"internal error; the server's log has it as request {request_id}"
    )


def _cost(bundle: Bundle, query: Query) -> int:
    """Return a bound of the multiplications a search takes."""
    manifest = bundle.manifest
    n_rows = manifest.n_items if query.target is Target.ITEMS else manifest.n_users
    return n_rows * (manifest.n_factors + manifest.dim_content)


def _answer_batch(bundle: Bundle, queries: list[Query | InvalidRequest]) -> bytes:
    answers = iter(answer_many(bundle, [q for q in queries if isinstance(q, Query)]))
    response = pb.BatchFindNeighborsResponse(bundle_version=bundle.version)
    for query in queries:
        outcome = next(answers) if isinstance(query, Query) else query
        _set_outcome(response.outcomes.add(), outcome)
    return response.SerializeToString()


def _set_outcome(message: Any, outcome: Neighbors | IlkError) -> None:
    if isinstance(outcome, IlkError):
        if status.code_of(outcome) == code_pb2.INTERNAL:
            log.error("a query failed", exc_info=outcome)
        message.error.CopyFrom(status.to_query_error(outcome))
    else:
        # The empty answer too must be told from none.
        message.response.SetInParent()
        responses.write_neighbors(outcome, message.response)


def _search(served: Served, text: str, n_matches: int) -> list[TitleMatch]:
    return [
        TitleMatch(catalogue.item_at(served.bundle, row), score)
        for row, score in served.titles.search(text, n_matches)
    ]
