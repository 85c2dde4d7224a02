"""Batches and streams: outcomes in their places, and streams that go wrong."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from ilk import AsyncSimilarityClient, SimilarityClient, errors
from ilk.types import (
    ItemId,
    Neighbors,
    Query,
)
from ilk.v1 import similarity_pb2 as pb

if TYPE_CHECKING:
    from tests.client.conftest import Ask, ScriptedService

ALIEN = Query(ItemId("alien"))


def answer_of(query: pb.FindNeighborsRequest) -> dict[str, Any]:
    if query.item_id == "unknown":
        return {"error": pb.QueryError(code=5, message="unknown item 'unknown'")}
    if query.item_id == "wrong":
        return {"error": pb.QueryError(code=3, message="diversity: is off", field="diversity")}
    return {"response": pb.FindNeighborsResponse(bundle_version=query.item_id)}


def answer_batch(request: pb.BatchFindNeighborsRequest, _: Any) -> pb.BatchFindNeighborsResponse:
    outcomes = [pb.QueryOutcome(**answer_of(query)) for query in request.queries]
    return pb.BatchFindNeighborsResponse(outcomes=outcomes, bundle_version="v1")


def answer_stream(requests: Any, _: Any) -> Iterator[pb.StreamFindNeighborsResponse]:
    for request in requests:
        yield pb.StreamFindNeighborsResponse(
            request_id=request.request_id, **answer_of(request.query)
        )


def queries(*item_ids: str) -> list[Query]:
    return [Query(ItemId(item_id)) for item_id in item_ids]


def assert_three_outcomes(outcomes: list[Any]) -> None:
    good, unknown, wrong = outcomes
    assert good.bundle_version == "good"
    assert isinstance(unknown, errors.NotFound)
    assert unknown.ids == ("unknown",)
    assert isinstance(wrong, errors.InvalidRequest)
    assert (wrong.field, wrong.problem) == ("diversity", "is off")


def test_one_bad_query_leaves_its_error_in_its_place(
    ask: "Ask", service: "ScriptedService"
) -> None:
    service.replies["BatchFindNeighbors"] = answer_batch
    asked = queries("good", "unknown", "wrong")
    assert_three_outcomes(ask(lambda client: client.batch_find_neighbors(asked)))


def test_a_batch_may_come_from_a_generator(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["BatchFindNeighbors"] = answer_batch
    asked = queries("good", "unknown", "wrong")
    assert_three_outcomes(ask(lambda client: client.batch_find_neighbors(q for q in asked)))


def test_a_batch_with_outcomes_missing_is_refused(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["BatchFindNeighbors"] = pb.BatchFindNeighborsResponse()
    with pytest.raises(errors.ServiceError, match="0 outcomes came for 1 queries"):
        ask(lambda client: client.batch_find_neighbors([ALIEN]))


def test_an_outcome_without_content_is_an_error_in_place(
    ask: "Ask", service: "ScriptedService"
) -> None:
    empty = pb.BatchFindNeighborsResponse(outcomes=[pb.QueryOutcome()])
    service.replies["BatchFindNeighbors"] = empty
    (outcome,) = ask(lambda client: client.batch_find_neighbors([ALIEN]))
    assert isinstance(outcome, errors.ServiceError)


def test_a_stream_answers_in_order_with_errors_in_place(
    ask: "Ask", service: "ScriptedService"
) -> None:
    service.replies["StreamFindNeighbors"] = answer_stream
    asked = queries("good", "unknown", "wrong")
    assert_three_outcomes(ask(lambda client: client.stream_find_neighbors(iter(asked))))


def test_a_stream_has_only_the_deadline_it_is_given(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["StreamFindNeighbors"] = answer_stream
    ask(lambda client: client.stream_find_neighbors([ALIEN]))
    unlimited = service.time_remaining_s
    ask(lambda client: client.stream_find_neighbors([ALIEN], timeout_s=9.0))
    assert unlimited is None or unlimited > 1e6
    assert service.time_remaining_s is not None
    assert 1.0 < service.time_remaining_s < 9.5  # the wire rounds up


def test_an_endless_stream_ends_with_its_deadline(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["StreamFindNeighbors"] = answer_stream
    # Half the time grpc.aio is writing as the time runs out, and takes that for a fault.
    for _ in range(8):
        with pytest.raises(errors.DeadlineExceeded):
            ask(lambda client: client.stream_find_neighbors(repeat(ALIEN), timeout_s=0.1))


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.inf, math.nan, 1e10])
def test_a_stream_takes_no_deadline_that_is_none(
    ask: "Ask", service: "ScriptedService", timeout_s: float
) -> None:
    with pytest.raises(errors.SettingsError, match="positive number of seconds"):
        ask(lambda client: client.stream_find_neighbors([ALIEN], timeout_s=timeout_s))
    assert service.requests == []


@pytest.mark.parametrize("request_id", ["2", "", "someone else's"])
def test_an_answer_to_another_query_is_refused(
    ask: "Ask", service: "ScriptedService", request_id: str
) -> None:
    def misplaced(requests: Any, _: Any) -> Iterator[pb.StreamFindNeighborsResponse]:
        for request in requests:
            yield pb.StreamFindNeighborsResponse(
                request_id=request_id, response=answer_of(request.query)["response"]
            )

    service.replies["StreamFindNeighbors"] = misplaced
    with pytest.raises(errors.ServiceError, match="where that to '1' was due"):
        ask(lambda client: client.stream_find_neighbors([ALIEN]))


def test_a_stream_that_ends_early_is_an_error(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["StreamFindNeighbors"] = lambda requests, _: iter(list(requests)[:0])
    with pytest.raises(errors.ServiceError, match="0 answers to 2 queries"):
        ask(lambda client: client.stream_find_neighbors(queries("a", "b")))


def test_a_stream_that_the_server_aborts_raises(ask: "Ask", service: "ScriptedService") -> None:
    def refuse(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too busy")
        yield

    service.replies["StreamFindNeighbors"] = refuse
    with pytest.raises(errors.Overloaded, match="too busy"):
        ask(lambda client: client.stream_find_neighbors([ALIEN]))


def test_a_failure_of_the_callers_iterable_is_raised_after_the_answers_before_it(
    target: str, service: "ScriptedService"
) -> None:
    def asked() -> Iterator[Query]:
        yield ALIEN
        raise LookupError("the caller's own")

    service.replies["StreamFindNeighbors"] = answer_stream
    with SimilarityClient(target) as client:
        outcomes = client.stream_find_neighbors(asked())
        assert isinstance(next(outcomes), Neighbors)
        with pytest.raises(LookupError, match="the caller's own"):
            next(outcomes)


async def test_a_failure_of_the_callers_async_iterable_is_raised_after_the_answers_before_it(
    target: str, service: "ScriptedService"
) -> None:
    async def asked() -> AsyncIterator[Query]:
        yield ALIEN
        raise LookupError("the caller's own")

    service.replies["StreamFindNeighbors"] = answer_stream
    async with AsyncSimilarityClient(target) as client:
        outcomes = client.stream_find_neighbors(asked())
        assert isinstance(await anext(outcomes), Neighbors)
        with pytest.raises(LookupError, match="the caller's own"):
            await anext(outcomes)


def test_the_next_query_may_depend_on_the_last_answer(
    target: str, service: "ScriptedService"
) -> None:
    answered = threading.Semaphore(1)

    def asked() -> Iterator[Query]:
        for name in ("a", "b", "c"):
            assert answered.acquire(timeout=10)
            yield Query(ItemId(name))

    service.replies["StreamFindNeighbors"] = answer_stream
    versions = []
    with SimilarityClient(target) as client:
        for outcome in client.stream_find_neighbors(asked()):
            assert isinstance(outcome, Neighbors)
            versions.append(outcome.bundle_version)
            answered.release()
    assert versions == ["a", "b", "c"]


def test_a_stream_left_early_is_cancelled(target: str, service: "ScriptedService") -> None:
    ended = threading.Event()

    def endless(requests: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        return answer_stream(requests, context)

    def asked() -> Iterator[Query]:
        yield ALIEN
        ended.wait(timeout=10)

    service.replies["StreamFindNeighbors"] = endless
    with SimilarityClient(target) as client:
        outcomes = client.stream_find_neighbors(asked())
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
        assert ended.wait(timeout=10)


async def test_an_async_stream_left_early_is_cancelled(
    target: str, service: "ScriptedService"
) -> None:
    ended = threading.Event()

    def endless(requests: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        return answer_stream(requests, context)

    async def asked() -> AsyncIterator[Query]:
        yield ALIEN
        await asyncio.sleep(10)

    service.replies["StreamFindNeighbors"] = endless
    async with AsyncSimilarityClient(target) as client:
        outcomes = client.stream_find_neighbors(asked())
        await anext(outcomes)
        await outcomes.aclose()  # type: ignore[attr-defined]
        assert await asyncio.to_thread(ended.wait, 5)


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_whatever_ends_the_callers_iterable_ends_the_stream(
    target: str, service: "ScriptedService", kind: type[BaseException]
) -> None:
    def queries() -> Iterator[Query]:
        yield Query(ItemId("a"))
        raise kind

    service.replies["StreamFindNeighbors"] = answer_stream
    with SimilarityClient(target) as client, pytest.raises(kind):
        list(client.stream_find_neighbors(queries(), timeout_s=20))
