"""Knows the rpcs: bytes in, the kernel asked, bytes out.

It refuses to know how a query is answered (`ilk.query`), what every call goes through (`guard`) and
how processes live (`app`).
"""

import functools
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import grpc

from ilk import catalogue
from ilk.errors import InvalidRequest
from ilk.predict import check_count, predict
from ilk.types import MAX_ID_BYTES, PredictionMethod, TitleMatch
from ilk.v1 import similarity_pb2 as pb
from server.bundles.answers import Question
from server.bundles.live import Live, Served
from server.bundles.shadow import Shadow
from server.calls import batches
from server.calls.call import Call
from server.calls.gathering import Gathering
from server.calls.guard import Guard, failing
from server.calls.streams import Streams
from server.load.admission import Lane
from server.load.work import SHORT, Work
from server.messages import requests, responses

SERVICE = pb.DESCRIPTOR.services_by_name["SimilarityService"]
MAX_IDS: Final = 1000
MAX_MATCHES: Final = 100
DEFAULT_MATCHES: Final = 10

_METHODS = {
    pb.PREDICTION_METHOD_UNSPECIFIED: PredictionMethod.BASELINE_KNN,
    pb.PREDICTION_METHOD_BASELINE_KNN: PredictionMethod.BASELINE_KNN,
    pb.PREDICTION_METHOD_COSINE_KNN: PredictionMethod.COSINE_KNN,
}


class SimilarityService:
    """The handlers of ``ilk.v1.SimilarityService``.

    Parameters
    ----------
    live
        The bundle being served.
    work
        Where and when work is done.
    shadow
        What examines answers.
    guard
        What every call goes through.
    """

    def __init__(self, live: Live, work: Work, shadow: Shadow, guard: Guard) -> None:
        self._live = live
        self._work = work
        self._shadow = shadow
        self._guard = guard
        self._streams = Streams(live, work, shadow)
        self._gathering = Gathering(guard.counts)

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
            name: grpc.unary_unary_rpc_method_handler(self._guard.unary(name, handler))
            for name, handler in unary.items()
        }
        methods["StreamFindNeighbors"] = grpc.stream_stream_rpc_method_handler(
            self._guard.stream("StreamFindNeighbors", self._streams.converse)
        )
        return _Handlers(methods, self._live, self._work, self._guard)

    def stop(self) -> None:
        """Let streams end once what they were asked is answered; other calls end by themselves."""
        self._streams.stop()

    async def find_neighbors(self, data: bytes, call: Call) -> bytes:
        """Answer one query."""
        # Nearly every call: what it goes through is counted in fractions of a microsecond.
        served, privacy = self._live.get(), call.privacy
        question = served.answers.question(data, privacy)
        call.kind = question.kind
        terms = call.terms
        if terms is not None:
            terms.allow(question.query)
        if question.found is None and question.cost > SHORT:
            blamed = "accuracy" if question.asked.accuracy else "neighbor_count"
            self._work.check(blamed, question.cost)
        if terms is not None:
            terms.charge(question.cost)
        if question.found is None:
            await self._find(served, question, call)
        call.requested = question.asked.neighbor_count
        call.returned = len(question.answer.neighbors)
        if privacy is None:
            self._shadow.look(served, question)
        return question.written or served.answers.written(question)

    async def _find(self, served: Served, question: Question, call: Call) -> None:
        cost = question.cost
        if cost > SHORT:
            lane = self._work.lane(cost)
            work = functools.partial(_find, served, question, call)
            await lane.do("search", cost, call.patience(), work)
        elif self._gathering.takes(question, call):
            await self._gathering.find(served, question, call)
        else:
            _find(served, question, call)

    async def batch_find_neighbors(self, data: bytes, call: Call) -> bytes:
        """Answer many queries; each fails alone."""
        return await batches.answer_batch(self._live.get(), self._work, self._shadow, call, data)

    async def predict_ratings(self, data: bytes, call: Call) -> bytes:
        """Predict stars."""
        rater, message = requests.parse_prediction(data)
        method = _METHODS.get(message.method)
        if method is None:
            raise InvalidRequest("method", f"unknown method {message.method}")
        check_count(len(message.item_ids))
        served = self._live.get()
        bundle, item_ids = served.bundle, list(message.item_ids)
        if call.terms is not None:
            rater = call.terms.rater(bundle, rater)
        cost = served.costs.of_predictions(rater, len(item_ids), method)
        self._work.check("item_ids", cost)
        if call.terms is not None:
            call.terms.charge(cost)
        predictions = await self._work.threads.do(
            "predict",
            cost,
            call.patience(),
            lambda: predict(bundle, rater, item_ids, method),
        )
        return pb.PredictRatingsResponse(
            predictions=map(responses.prediction_message, predictions),
            bundle_version=bundle.version,
        ).SerializeToString()

    async def search_titles(self, data: bytes, call: Call) -> bytes:
        """Find items by what people type."""
        message = requests.parse(pb.SearchTitlesRequest, data)
        if not message.text.strip() or len(message.text) > MAX_ID_BYTES:
            raise InvalidRequest(
                "text",
                f"needs 1 to {MAX_ID_BYTES} characters, not all blank; got {len(message.text)}",
            )
        n_matches = message.match_count or DEFAULT_MATCHES
        if not 1 <= n_matches <= MAX_MATCHES:
            raise InvalidRequest("match_count", f"must be in [0, {MAX_MATCHES}], got {n_matches}")
        served = self._live.get()
        self._work.check("text", served.costs.of_titles)
        if call.terms is not None:
            call.terms.charge(served.costs.of_titles)
        found = await self._work.threads.do(
            "titles", 1, call.patience(), lambda: _search(served, message.text, n_matches)
        )
        return pb.SearchTitlesResponse(
            matches=map(responses.title_match_message, found),
            bundle_version=served.bundle.version,
        ).SerializeToString()

    async def get_items(self, data: bytes, call: Call) -> bytes:
        """Tell titles, years and genres."""
        ids = requests.parse(pb.GetItemsRequest, data).ids
        if not 1 <= len(ids) <= MAX_IDS:
            raise InvalidRequest("ids", f"needs 1 to {MAX_IDS} ids, got {len(ids)}")
        served = self._live.get()
        cost = served.costs.of_items(len(ids))
        if call.terms is not None:
            call.terms.charge(cost)
        tell = functools.partial(_tell, served, ids)
        if cost <= SHORT:
            return tell()
        return await self._work.lane(cost).do("items", cost, call.patience(), tell)

    async def get_bundle(self, data: bytes, call: Call) -> bytes:
        """Tell what is served."""
        requests.parse(pb.GetBundleRequest, data)
        served = self._live.get()
        info = catalogue.describe(served.bundle)
        message = responses.bundle_message(info, served.since_s, self._live.refused)
        return message.SerializeToString()


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of an rpc: where its work would have to wait too long, one that says so."""

    def __init__(
        self,
        methods: dict[str, "grpc.RpcMethodHandler[Any, Any]"],
        live: Live,
        work: Work,
        guard: Guard,
    ) -> None:
        self._methods = {f"/{SERVICE.full_name}/{name}": of for name, of in methods.items()}
        self._live = live
        self._work = work
        self._guard = guard

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        # What is raised here gRPC would tell the caller, word by word.
        try:
            return self._find(details)
        except Exception as error:  # noqa: BLE001 - a fault of ours, told by its id alone
            return failing(error)

    def _find(self, details: Any) -> "grpc.RpcMethodHandler[Any, Any] | None":
        name = details.method
        method = self._methods.get(name)
        if method is None:
            return None
        served = self._live.get()
        lanes = served.lanes
        if not lanes:
            lanes.update(self._lanes_of(served))
        # grpc.aio tells nothing of a call before it is begun.
        waited = getattr(details, "call", None)
        refusal = self._guard.refusal(lanes.get(name), waited)
        if refusal is None and waited is not None and not method.request_streaming:
            refusal = self._guard.turned_away(name.rpartition("/")[2], waited)
        return refusal or method

    def _lanes_of(self, served: Served) -> dict[str, Lane | None]:
        """Return where each rpc's usual work waits."""
        cost = served.costs.usual
        of = {
            "FindNeighbors": None if cost <= SHORT else self._work.lane(cost),
            "BatchFindNeighbors": self._work.lane_of_many(cost, 1),
            "PredictRatings": self._work.threads,
            "SearchTitles": self._work.threads,
        }
        return {f"/{SERVICE.full_name}/{name}": lane for name, lane in of.items()}


def _find(served: Served, question: Question, call: Call) -> None:
    started_s = perf_counter()
    served.answers.find(question, call.privacy)
    call.search_s = perf_counter() - started_s


def _tell(served: Served, ids: Sequence[str]) -> bytes:
    found, unknown = catalogue.find_items(served.bundle, ids)
    return pb.GetItemsResponse(
        items=map(responses.item_message, found),
        unknown_ids=unknown,
        bundle_version=served.bundle.version,
    ).SerializeToString()


def _search(served: Served, text: str, n_matches: int) -> list[TitleMatch]:
    return [
        TitleMatch(catalogue.item_at(served.bundle, row), score)
        for row, score in served.titles.search(text, n_matches)
    ]
