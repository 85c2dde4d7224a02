"""What every rpc answers over a real connection: the kernel's answers, whole and in order."""

import asyncio
import dataclasses
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ilk import AsyncSimilarityClient, SimilarityClient, catalogue
from ilk.bundle import Bundle
from ilk.errors import DeadlineExceeded, InvalidRequest, NotFound
from ilk.predict import predict
from ilk.query import answer
from ilk.types import (
    EXACT,
    Accuracy,
    Examples,
    Filter,
    Item,
    ItemId,
    Neighbors,
    PredictionMethod,
    Profile,
    Query,
    Rating,
    ShortfallReason,
    Target,
    Text,
    UserId,
    Whom,
)
from ilk.v1 import similarity_pb2 as pb
from ilk.v1.similarity_pb2_grpc import SimilarityServiceStub
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import Ask, Serve

SERVICE = "ilk.v1.SimilarityService"
MATRIX, TOY_STORY, ALIEN = "the-matrix-1999", "toy-story-1995", "alien-1979"
FILMS = (MATRIX, TOY_STORY, ALIEN)
LIKED = Profile((Rating(MATRIX, 5), Rating(TOY_STORY, 1)), liked_item_ids=(ALIEN,))
# The user is known only once the sample is built.
KNOWN_USER = "known user"
WHOMS: dict[str, Whom | None] = {
    "item": ItemId(MATRIX),
    KNOWN_USER: None,
    "ratings": LIKED,
    "favorite genres": Profile(favorite_genres=("comedy", "SCI-FI")),
    "examples": Examples((MATRIX, ALIEN), (TOY_STORY,)),
    "text": Text("animation for children"),
}


@pytest.fixture(params=WHOMS)
def whom(request: pytest.FixtureRequest, user_id: str) -> Whom:
    return WHOMS[request.param] or UserId(user_id)


def assert_same(told: object, expected: Neighbors) -> None:
    """Check that ``told`` is ``expected``, scores being rounded to the wire's float32."""
    assert isinstance(told, Neighbors)
    assert [n.id for n in told.neighbors] == [n.id for n in expected.neighbors]
    scores = [(n.score, n.collaborative, n.content) for n in expected.neighbors]
    for neighbor, wanted in zip(told.neighbors, scores, strict=True):
        found = (neighbor.score, neighbor.collaborative, neighbor.content)
        assert found == pytest.approx(wanted, abs=1e-6)
    flags = [(n.unrelated, n.inferred) for n in expected.neighbors]
    assert [(n.unrelated, n.inferred) for n in told.neighbors] == flags
    assert told.bundle_version == expected.bundle_version
    assert told.content_weight == expected.content_weight
    assert told.shortfall == expected.shortfall
    assert told.ignored_ids == expected.ignored_ids


@pytest.mark.parametrize("weight", [None, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("target_side", Target)
def test_both_clients_are_told_what_the_kernel_answers(
    client: SimilarityClient,
    target: str,
    bundle: Bundle,
    whom: Whom,
    target_side: Target,
    weight: float | None,
) -> None:
    query = Query(whom, target_side, content_weight=weight, include_components=True)
    expected = answer(bundle, query)

    async def ask_in_loop() -> Neighbors:
        async with AsyncSimilarityClient(target) as loop_client:
            return await loop_client.find_neighbors(query)

    assert len(expected.neighbors) == 10
    assert_same(client.find_neighbors(query), expected)
    assert_same(asyncio.run(ask_in_loop()), expected)


@pytest.mark.parametrize("target_side", Target)
def test_neighbors_are_distinct_of_the_kind_asked_for_and_best_first(
    client: SimilarityClient, bundle: Bundle, whom: Whom, target_side: Target
) -> None:
    neighbors = client.find_neighbors(Query(whom, target_side)).neighbors
    scores = [n.score for n in neighbors]
    assert scores == sorted(scores, reverse=True)
    ids = {n.id for n in neighbors}
    assert len(ids) == 10
    assert (bundle.side(target_side).vocabulary.rows_of(ids) >= 0).all()
    own = {getattr(whom, "item_id", ""), getattr(whom, "user_id", "")}
    own |= set(getattr(whom, "positive_item_ids", ()) + getattr(whom, "negative_item_ids", ()))
    assert not ids & own


@pytest.mark.parametrize(
    "options",
    [
        {"diversity": 0.7},
        {"popularity_penalty": 0.7},
        {"accuracy": EXACT},
        {"accuracy": Accuracy.at_recall(0.9)},
        {"filter": Filter(exclude_seen=True, no_genres=("drama",))},
        {"filter": Filter(any_genres=("Drama",), min_year=1990, max_year=1999)},
        {"filter": Filter(include_ids=FILMS, exclude_ids=(ALIEN, "nobody's"))},
        {"include_explanation": True},
    ],
    ids=str,
)
def test_every_option_reaches_the_kernel(
    client: SimilarityClient, bundle: Bundle, options: dict[str, Any]
) -> None:
    query = Query(LIKED, **options)
    expected = answer(bundle, query)
    told = client.find_neighbors(query)
    assert_same(told, expected)
    reasons = [n.explanation for n in expected.neighbors]
    assert [n.explanation is None for n in told.neighbors] == [r is None for r in reasons]
    for neighbor, reason in zip(told.neighbors, reasons, strict=True):
        if reason is not None and neighbor.explanation is not None:
            assert [c.name for c in neighbor.explanation.items] == [c.name for c in reason.items]
            assert [c.name for c in neighbor.explanation.genres] == [c.name for c in reason.genres]


def test_what_is_left_unset_is_ten_items_at_the_bundles_weight(
    ask: "Ask", client: SimilarityClient
) -> None:
    data = pb.FindNeighborsRequest(item_id=MATRIX, neighbor_count=0).SerializeToString()
    response = pb.FindNeighborsResponse.FromString(ask("FindNeighbors", data).body)
    info = client.get_bundle()
    assert len(response.neighbors) == 10
    assert len(client.get_items(n.id for n in response.neighbors)) == 10
    assert (response.bundle_version, response.content_weight) == (
        info.version,
        info.default_content_weight,
    )
    assert not response.HasField("shortfall")
    assert not any(
        n.HasField("collaborative") or n.HasField("explanation") for n in response.neighbors
    )


def test_pages_are_slices_of_the_whole(client: SimilarityClient) -> None:
    whole = client.similar_items(MATRIX, 30).neighbors
    pages = [client.similar_items(MATRIX, 10, offset=offset).neighbors for offset in (0, 10, 20)]
    assert [n.id for page in pages for n in page] == [n.id for n in whole]


SHORT = {
    "whole bundle": (Query(ItemId(MATRIX), neighbor_count=1000), "BUNDLE_EXHAUSTED"),
    "past the end": (Query(ItemId(MATRIX), offset=900), "BUNDLE_EXHAUSTED"),
    "few users": (Query(ItemId(MATRIX), Target.USERS, neighbor_count=1000), "BUNDLE_EXHAUSTED"),
    "two included": (Query(ItemId(MATRIX), filter=Filter(include_ids=FILMS)), "FILTERED"),
    "no such year": (Query(Text("comedy"), filter=Filter(min_year=2**31 - 1)), "FILTERED"),
    "unseen": (Query(LIKED, filter=Filter(exclude_seen=True), neighbor_count=1000), "FILTERED"),
}


@pytest.mark.parametrize(("query", "reason"), SHORT.values(), ids=SHORT)
def test_fewer_than_asked_for_says_so_and_why(
    client: SimilarityClient, query: Query, reason: str
) -> None:
    found = client.find_neighbors(query)
    shortfall = found.shortfall
    assert shortfall is not None
    assert shortfall.requested == query.neighbor_count
    assert shortfall.returned == len(found.neighbors) < query.neighbor_count
    assert shortfall.reason is ShortfallReason[reason]
    assert f"{shortfall.returned} of {shortfall.requested}" in shortfall.message


def test_as_many_as_asked_for_is_no_shortfall(client: SimilarityClient) -> None:
    two = Filter(include_ids=(TOY_STORY, ALIEN))
    assert client.similar_items(MATRIX, 2, filter=two).shortfall is None


QUERIES = [
    Query(ItemId(MATRIX), neighbor_count=3),
    Query(ItemId("no-such-film")),
    Query(ItemId(ALIEN), Target.USERS, content_weight=1.0),
    Query(ItemId(MATRIX), filter=Filter(exclude_seen=True)),
    Query(LIKED, filter=Filter(exclude_seen=True), diversity=0.2),
    Query(UserId("nobody")),
    Query(ItemId(TOY_STORY), neighbor_count=3),
]
FAILURES = {1: NotFound, 3: InvalidRequest, 5: NotFound}


def check_outcomes(outcomes: list[Any], bundle: Bundle) -> None:
    """Check that each of ``QUERIES`` ended as it does alone."""
    assert len(outcomes) == len(QUERIES)
    for at, (query, outcome) in enumerate(zip(QUERIES, outcomes, strict=True)):
        if at in FAILURES:
            assert type(outcome) is FAILURES[at]
        else:
            assert_same(outcome, answer(bundle, query))
    assert outcomes[1].ids == ("no-such-film",)
    assert (outcomes[5].kind, outcomes[5].ids) == ("user", ("nobody",))


def test_outcomes_of_a_batch_keep_the_order_of_its_queries(
    client: SimilarityClient, target: str, bundle: Bundle
) -> None:
    async def ask_in_loop() -> list[Any]:
        async with AsyncSimilarityClient(target) as loop_client:
            return list(await loop_client.batch_find_neighbors(QUERIES))

    check_outcomes(client.batch_find_neighbors(QUERIES), bundle)
    check_outcomes(asyncio.run(ask_in_loop()), bundle)


def test_answers_of_a_stream_keep_the_order_of_its_queries(
    client: SimilarityClient, target: str, bundle: Bundle
) -> None:
    async def ask_in_loop() -> list[Any]:
        async with AsyncSimilarityClient(target) as loop_client:
            return [outcome async for outcome in loop_client.stream_find_neighbors(QUERIES)]

    check_outcomes(list(client.stream_find_neighbors(QUERIES)), bundle)
    check_outcomes(asyncio.run(ask_in_loop()), bundle)


def test_a_batch_of_a_thousand_names_one_bundle(client: SimilarityClient, channel: Any) -> None:
    query = pb.FindNeighborsRequest(item_id=MATRIX, neighbor_count=1)
    stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
    response = stub.BatchFindNeighbors(pb.BatchFindNeighborsRequest(queries=[query] * 1000))
    versions = {outcome.response.bundle_version for outcome in response.outcomes}
    assert len(response.outcomes) == 1000
    assert versions == {response.bundle_version} == {client.get_bundle().version}


def test_a_stream_answers_each_query_before_the_next_is_sent(channel: Any) -> None:
    asked: queue.Queue[Any] = queue.Queue()
    stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
    answers = stub.StreamFindNeighbors(iter(asked.get, None), timeout=30)
    for request_id in ("", "é", "x" * 256):
        query = pb.FindNeighborsRequest(item_id=MATRIX)
        asked.put(pb.StreamFindNeighborsRequest(request_id=request_id, query=query))
        told = next(answers)
        assert (told.request_id, len(told.response.neighbors)) == (request_id, 10)
    asked.put(None)
    assert list(answers) == []


def test_a_stream_of_nothing_ends_with_nothing(client: SimilarityClient) -> None:
    assert list(client.stream_find_neighbors([])) == []


@pytest.mark.parametrize("method", PredictionMethod)
@pytest.mark.parametrize("who", ["user", "profile"])
def test_stars_are_those_that_the_kernel_predicts(
    client: SimilarityClient,
    bundle: Bundle,
    user_id: str,
    who: str,
    method: PredictionMethod,
) -> None:
    rater = UserId(user_id) if who == "user" else LIKED
    told = client.predict_ratings(rater, FILMS, method)
    expected = predict(bundle, rater, FILMS, method)
    assert [p.item_id for p in told] == list(FILMS)
    assert [p.stars for p in told] == pytest.approx([p.stars for p in expected])
    assert [p.neighbor_count for p in told] == [p.neighbor_count for p in expected]
    assert all(0.5 <= p.stars <= 5 for p in told)
    assert any(p.neighbor_count for p in told)


def test_methods_of_prediction_differ_and_the_first_is_the_default(
    client: SimilarityClient, channel: Any, user_id: str
) -> None:
    by_method = [
        [p.stars for p in client.predict_ratings(user_id, FILMS, m)] for m in PredictionMethod
    ]
    assert by_method[0] != by_method[1]
    stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
    unset = stub.PredictRatings(pb.PredictRatingsRequest(user_id=user_id, item_ids=FILMS))
    assert [p.stars for p in unset.predictions] == by_method[0]
    assert unset.bundle_version == client.get_bundle().version


@pytest.mark.parametrize("method", PredictionMethod)
def test_stars_without_any_evidence_say_that_there_is_none(
    client: SimilarityClient, method: PredictionMethod
) -> None:
    (prediction,) = client.predict_ratings(Profile(favorite_genres=("Comedy",)), [MATRIX], method)
    assert prediction.neighbor_count == 0
    assert 0.5 <= prediction.stars <= 5


def test_items_come_in_the_order_asked_for_and_unknown_ids_are_listed(
    ask: "Ask", client: SimilarityClient, bundle: Bundle
) -> None:
    data = pb.GetItemsRequest(ids=["x", *reversed(FILMS), "y"]).SerializeToString()
    response = pb.GetItemsResponse.FromString(ask("GetItems", data).body)
    assert [item.id for item in response.items] == [ALIEN, TOY_STORY, MATRIX]
    assert response.unknown_ids == ["x", "y"]
    assert response.bundle_version == bundle.version
    toy_story = client.get_items([TOY_STORY])[TOY_STORY]
    assert (toy_story.title, toy_story.year) == ("Toy Story", 1995)
    assert "Animation" in toy_story.genres
    expected, _ = catalogue.find_items(bundle, [TOY_STORY])
    assert toy_story.rating_count == expected[0].rating_count > 0
    assert toy_story.mean_rating == pytest.approx(expected[0].mean_rating)


def test_the_bundle_describes_itself(client: SimilarityClient, bundle: Bundle) -> None:
    told, expected = client.get_bundle(), catalogue.describe(bundle)
    assert told.live_since_s is not None
    assert told.created_at_s <= told.live_since_s <= time.time()
    assert dataclasses.replace(told, live_since_s=None) == expected
    assert (told.item_count, told.user_count) == (len(bundle.items), len(bundle.users))
    assert told.simulated
    assert {row.space for row in told.recall} == {key.name for key in bundle.spaces}


def test_work_whose_deadline_has_passed_is_not_begun(
    monkeypatch: pytest.MonkeyPatch, client: SimilarityClient, channel: grpc.Channel
) -> None:
    begun, release = queue.SimpleQueue[None](), threading.Event()

    def hold_up_the_loop(*_: object) -> tuple[list[Item], list[str]]:
        begun.put(None)
        release.wait(30)
        return [], []

    monkeypatch.setattr("server.calls.service.catalogue.find_items", hold_up_the_loop)
    patient = threading.Thread(target=client.get_items, args=([MATRIX],))
    patient.start()
    begun.get(timeout=30)
    with pytest.raises(DeadlineExceeded):
        SimilarityClient(channel=channel, timeout_s=0.1).get_items([MATRIX])
    release.set()
    patient.join()
    client.get_bundle()
    assert begun.empty()


def test_an_unknown_rpc_is_unimplemented(ask: "Ask") -> None:
    assert ask("FindEnemies", b"").code == "UNIMPLEMENTED"


@pytest.mark.parametrize("name", ["", SERVICE])
def test_health_is_serving(channel: Any, name: str) -> None:
    check = health_pb2_grpc.HealthStub(channel).Check
    told = check(health_pb2.HealthCheckRequest(service=name))
    assert told.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_another_service_is_not_found(channel: Any) -> None:
    check = health_pb2_grpc.HealthStub(channel).Check
    with pytest.raises(grpc.RpcError) as refusal:
        check(health_pb2.HealthCheckRequest(service="ilk.v1.Enemies"))
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


def services_of(channel: grpc.Channel) -> set[str]:
    ask_about = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    (told,) = ask_about(
        iter([reflection_pb2.ServerReflectionRequest(list_services="*")]), timeout=30
    )
    return {service.name for service in told.list_services_response.service}


def test_reflection_lists_what_is_served(channel: grpc.Channel) -> None:
    assert {SERVICE, "grpc.health.v1.Health"} <= services_of(channel)


def test_reflection_is_off_unless_asked_for(serve: "Serve", sample_store: Any) -> None:
    with (
        serve(ServerSettings(sample_store, port=0)) as address,
        grpc.insecure_channel(address) as quiet,
        pytest.raises(grpc.RpcError) as refusal,
    ):
        services_of(quiet)
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
