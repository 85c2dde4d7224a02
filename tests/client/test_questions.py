"""What the clients send."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ilk import errors
from ilk.client.questions import QueryOptions
from ilk.types import (
    EXACT,
    Accuracy,
    Examples,
    Filter,
    ItemId,
    Profile,
    Query,
    Rating,
    Target,
    Text,
    UserId,
)
from ilk.v1 import similarity_pb2 as pb

if TYPE_CHECKING:
    from tests.client.conftest import Ask, ScriptedService

# Of these, two fit a request, and three do not; nor does the other alone.
LONG, TOO_LONG = (
    Query(ItemId("1"), filter=Filter(exclude_ids=tuple(f"{at:0250}" for at in range(n))))
    for n in (6_000, 17_000)
)


def test_a_plain_query_sends_its_count_and_leaves_the_rest_unset(
    ask: "Ask", service: "ScriptedService"
) -> None:
    service.replies["FindNeighbors"] = pb.FindNeighborsResponse()
    ask(lambda client: client.find_neighbors(Query(UserId("7"))))
    assert service.requests == [
        pb.FindNeighborsRequest(target=pb.TARGET_ITEMS, user_id="7", neighbor_count=10)
    ]
    assert not service.requests[0].HasField("content_weight")
    assert not service.requests[0].HasField("filter")
    assert not service.requests[0].HasField("accuracy")


def test_every_field_of_a_query_reaches_the_server(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["FindNeighbors"] = pb.FindNeighborsResponse()
    query = Query(
        Profile(
            ratings=(Rating("1", 4.5, rated_at_s=1_700_000_000.25), Rating("2", 1.0)),
            liked_item_ids=("3",),
            disliked_item_ids=("4",),
            favorite_genres=("Drama",),
            half_life_s=86_400.5,
        ),
        target=Target.USERS,
        content_weight=0.0,
        filter=Filter(("A",), ("B",), ("C",), 0, 1999, ("i",), ("e",), exclude_seen=True),
        neighbor_count=5,
        offset=3,
        accuracy=Accuracy.at_recall(0.95),
        diversity=0.25,
        popularity_penalty=0.5,
        include_components=True,
        include_explanation=True,
        ignore_unknown_ids=True,
    )
    ask(lambda client: client.find_neighbors(query))
    assert MessageToDict(service.requests[0], preserving_proto_field_name=True) == {
        "target": "TARGET_USERS",
        "profile": {
            "ratings": [
                {"item_id": "1", "stars": 4.5, "rated_at": "2023-11-14T22:13:20.250Z"},
                {"item_id": "2", "stars": 1.0},
            ],
            "liked_item_ids": ["3"],
            "disliked_item_ids": ["4"],
            "favorite_genres": ["Drama"],
            "half_life": "86400.500s",
        },
        "content_weight": 0.0,
        "filter": {
            "any_genres": ["A"],
            "all_genres": ["B"],
            "no_genres": ["C"],
            "min_year": 0,
            "max_year": 1999,
            "include_ids": ["i"],
            "exclude_ids": ["e"],
            "exclude_seen": True,
        },
        "neighbor_count": 5,
        "offset": 3,
        "accuracy": {"recall": 0.95},
        "diversity": 0.25,
        "popularity_penalty": 0.5,
        "include_components": True,
        "include_explanation": True,
        "ignore_unknown_ids": True,
    }


@pytest.mark.parametrize(
    ("whom", "sent"),
    [
        (ItemId("1"), {"item_id": "1"}),
        (UserId("1"), {"user_id": "1"}),
        (Text("animated comedy"), {"text": "animated comedy"}),
        (
            Examples(("1",), ("2",)),
            {"examples": {"positive_item_ids": ["1"], "negative_item_ids": ["2"]}},
        ),
    ],
)
def test_each_kind_of_whom_has_its_place(
    ask: "Ask", service: "ScriptedService", whom: Any, sent: dict[str, Any]
) -> None:
    service.replies["FindNeighbors"] = pb.FindNeighborsResponse()
    ask(lambda client: client.find_neighbors(Query(whom, accuracy=EXACT)))
    told = MessageToDict(service.requests[0], preserving_proto_field_name=True)
    common = {"target": "TARGET_ITEMS", "neighbor_count": 10, "accuracy": {"exact": True}}
    assert told == common | sent


def test_usual_questions_are_phrased_as_queries(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["FindNeighbors"] = pb.FindNeighborsResponse()
    ask(lambda client: client.similar_items("1", 3, content_weight=0.5))
    ask(lambda client: client.similar_users("2", diversity=0.5))
    ask(lambda client: client.audience("3", offset=4))
    ask(lambda client: client.recommend("4", filter=Filter(min_year=1990)))
    ask(lambda client: client.recommend(Profile(liked_item_ids=("5",)), exclude_seen=False))
    told = [MessageToDict(r, preserving_proto_field_name=True) for r in service.requests]
    items, users = {"target": "TARGET_ITEMS"}, {"target": "TARGET_USERS"}
    unseen = {"min_year": 1990, "exclude_seen": True}
    assert told == [
        items | {"item_id": "1", "neighbor_count": 3, "content_weight": 0.5},
        users | {"user_id": "2", "neighbor_count": 10, "diversity": 0.5},
        users | {"item_id": "3", "neighbor_count": 10, "offset": 4},
        items | {"user_id": "4", "neighbor_count": 10, "filter": unseen},
        items | {"profile": {"liked_item_ids": ["5"]}, "neighbor_count": 10},
    ]


def test_convenient_options_are_the_fields_of_a_query() -> None:
    fields = {field.name for field in dataclasses.fields(Query) if field.init}
    assert set(QueryOptions.__annotations__) == fields - {"whom", "target", "neighbor_count"}


@pytest.mark.parametrize(
    "query",
    [
        Query(ItemId("\ud800")),
        Query(ItemId("1"), filter=Filter(min_year=2**40)),
        Query(Profile(ratings=(Rating("1", 1.0, rated_at_s=1e15),))),
    ],
)
def test_what_the_wire_cannot_carry_is_an_invalid_request(
    ask: "Ask", service: "ScriptedService", query: Query
) -> None:
    with pytest.raises(errors.InvalidRequest, match="cannot be sent"):
        ask(lambda client: client.find_neighbors(query))
    assert service.requests == []


@pytest.mark.parametrize(
    ("question", "field"),
    [
        (lambda client: client.similar_items(1), "item_id"),
        (lambda client: client.similar_items(0), "item_id"),
        (lambda client: client.recommend(None), "user_id"),
        (lambda client: client.recommend(Profile((Rating(1, 5.0),))), "profile.ratings.item_id"),  # type: ignore[arg-type]
        (lambda client: client.predict_ratings(7, ["1"]), "user_id"),
    ],
)
def test_an_id_that_is_no_text_is_named(
    ask: "Ask", service: "ScriptedService", question: Callable[[Any], Any], field: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match=f"{field}: must be text, got "):
        ask(question)
    assert service.requests == []


# As who checks no types makes them.
AnyFilter: Any = Filter
AnyProfile: Any = Profile


@pytest.mark.parametrize(
    ("field", "question"),
    [
        ("ids", lambda client: client.get_items([1])),
        ("item_ids", lambda client: client.predict_ratings("7", ["1", None])),
        ("match_count", lambda client: client.search_titles("toy", 0)),
        ("filter", lambda client: client.recommend("7", filter=None)),
        ("accuracy", lambda client: client.similar_users("7", accuracy=0.95)),
        (
            "filter.include_ids",
            lambda client: client.similar_items("1", filter=AnyFilter(include_ids=(1, 2))),
        ),
        (
            "filter.no_genres",
            lambda client: client.similar_items("1", filter=AnyFilter(no_genres=[b"War"])),
        ),
        (
            "profile.favorite_genres",
            lambda client: client.recommend(AnyProfile(favorite_genres=(["War"],))),
        ),
        ("profile.ratings", lambda client: client.recommend(AnyProfile((("1", 5.0),)))),
    ],
)
def test_what_is_of_another_type_is_told_by_its_field(
    ask: "Ask", service: "ScriptedService", field: str, question: Callable[[Any], Any]
) -> None:
    with pytest.raises(errors.InvalidRequest, match=f"^{field}: must be .*, got "):
        ask(question)
    assert service.requests == []


@pytest.mark.parametrize(
    "question",
    [
        lambda client: client.find_neighbors(TOO_LONG),
        lambda client: client.batch_find_neighbors([LONG] * 3),
        lambda client: client.stream_find_neighbors(iter([TOO_LONG])),
    ],
    ids=["query", "batch", "stream"],
)
def test_what_no_server_reads_is_not_sent(
    ask: "Ask", service: "ScriptedService", question: Callable[[Any], Any]
) -> None:
    # A server's refusal would look like one of a server that has too much to do.
    service.replies["StreamFindNeighbors"] = lambda asked, _: iter(asked)
    with pytest.raises(errors.InvalidRequest, match="bytes, of which a server reads 4,194,304"):
        ask(question)
    assert all(not isinstance(request, Message) for request in service.requests)


def test_token_metadata_and_deadline_go_with_every_call(
    ask: "Ask", service: "ScriptedService"
) -> None:
    service.replies["GetBundle"] = pb.GetBundleResponse()
    settings = {"token": "secret", "metadata": [("x-trace", "t1")], "timeout_s": 3.0}
    ask(lambda client: client.get_bundle(), **settings)
    assert service.metadata["authorization"] == "Bearer secret"
    assert service.metadata["x-trace"] == "t1"
    assert service.time_remaining_s is not None
    assert 1.0 < service.time_remaining_s < 3.5  # the wire rounds up
