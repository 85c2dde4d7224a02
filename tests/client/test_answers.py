"""What the clients make of answers."""

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict

from ilk.types import (
    BundleInfo,
    Contribution,
    Explanation,
    Item,
    ItemId,
    MeasuredRecall,
    Neighbor,
    Neighbors,
    PredictionMethod,
    Profile,
    Query,
    RatingPrediction,
    RefusedBundle,
    Shortfall,
    ShortfallReason,
    TitleMatch,
    UserId,
)
from ilk.v1 import similarity_pb2 as pb

if TYPE_CHECKING:
    from tests.client.conftest import Ask, ScriptedService

ALIEN = Query(ItemId("alien"))


def test_neighbors_come_back_with_what_was_set_and_none_for_the_rest(
    ask: "Ask", service: "ScriptedService"
) -> None:
    because = pb.Explanation(
        items=[pb.Contribution(name="9", contribution=0.5)],
        genres=[pb.Contribution(name="Drama", contribution=0.25)],
    )
    service.replies["FindNeighbors"] = pb.FindNeighborsResponse(
        neighbors=[
            pb.Neighbor(id="1", score=0.75, collaborative=0.0, content=0.5, explanation=because),
            pb.Neighbor(id="2", score=-0.5, unrelated=True, inferred=True),
        ],
        bundle_version="v1",
        shortfall=pb.Shortfall(
            requested=10, returned=2, reason=pb.SHORTFALL_REASON_FILTERED, message="two pass"
        ),
        content_weight=0.5,
        ignored_ids=["x"],
    )
    explanation = Explanation((Contribution("9", 0.5),), (Contribution("Drama", 0.25),))
    assert ask(lambda client: client.find_neighbors(ALIEN)) == Neighbors(
        neighbors=(
            Neighbor("1", 0.75, collaborative=0.0, content=0.5, explanation=explanation),
            Neighbor("2", -0.5, unrelated=True, inferred=True),
        ),
        bundle_version="v1",
        content_weight=0.5,
        shortfall=Shortfall(10, 2, ShortfallReason.FILTERED, "two pass"),
        ignored_ids=("x",),
    )


def test_an_exhausted_bundle_is_told_from_a_filter(ask: "Ask", service: "ScriptedService") -> None:
    exhausted = pb.Shortfall(reason=pb.SHORTFALL_REASON_BUNDLE_EXHAUSTED)
    service.replies["FindNeighbors"] = pb.FindNeighborsResponse(shortfall=exhausted)
    shortfall = ask(lambda client: client.find_neighbors(ALIEN)).shortfall
    assert shortfall.reason is ShortfallReason.BUNDLE_EXHAUSTED


@pytest.mark.parametrize(
    ("rater", "sent"),
    [
        ("7", {"user_id": "7"}),
        (UserId("7"), {"user_id": "7"}),
        (Profile(liked_item_ids=("1",)), {"profile": {"liked_item_ids": ["1"]}}),
    ],
)
def test_predictions_are_asked_for_users_and_profiles(
    ask: "Ask", service: "ScriptedService", rater: Any, sent: dict[str, Any]
) -> None:
    told = pb.RatingPrediction(item_id="a", stars=3.5, neighbor_count=12)
    service.replies["PredictRatings"] = pb.PredictRatingsResponse(predictions=[told])
    method = PredictionMethod.COSINE_KNN
    answer = ask(lambda client: client.predict_ratings(rater, ["a"], method))
    assert answer == [RatingPrediction("a", 3.5, 12)]
    assert MessageToDict(service.requests[0], preserving_proto_field_name=True) == {
        **sent,
        "item_ids": ["a"],
        "method": "PREDICTION_METHOD_COSINE_KNN",
    }


def test_titles_are_searched_with_text_and_count(ask: "Ask", service: "ScriptedService") -> None:
    item = pb.Item(id="1", title="Toy Story", year=1995, genres=["Animation"], rating_count=5)
    service.replies["SearchTitles"] = pb.SearchTitlesResponse(
        matches=[pb.TitleMatch(item=item, score=0.5)]
    )
    answer = ask(lambda client: client.search_titles("toy stroy", 3))
    assert answer == [TitleMatch(Item("1", "Toy Story", 1995, ("Animation",), 5, None), 0.5)]
    assert service.requests == [pb.SearchTitlesRequest(text="toy stroy", match_count=3)]


def test_unknown_items_are_absent_not_errors(ask: "Ask", service: "ScriptedService") -> None:
    known = pb.Item(id="2", title="Jumanji", mean_rating=3.5)
    service.replies["GetItems"] = pb.GetItemsResponse(items=[known], unknown_ids=["1"])
    answer = ask(lambda client: client.get_items(iter(["1", "2"])))
    assert answer == {"2": Item("2", "Jumanji", mean_rating=3.5)}
    assert service.requests == [pb.GetItemsRequest(ids=["1", "2"])]


def test_no_ids_are_no_items_and_no_call(ask: "Ask", service: "ScriptedService") -> None:
    assert ask(lambda client: client.get_items([])) == {}
    assert service.requests == []


def test_a_bundle_is_told_in_full(ask: "Ask", service: "ScriptedService") -> None:
    response = pb.GetBundleResponse(
        bundle_version="v1",
        format_version=2,
        user_count=3,
        item_count=4,
        rating_count=5,
        genres=["Drama"],
        rating_scale=pb.RatingScale(min=0.5, max=5.0),
        default_content_weight=0.25,
        default_recall=0.95,
        recall=[pb.MeasuredRecall(space="items.affinity", index="Flat", recall_at_10=1.0)],
        quality={"ndcg@10": 0.5},
        source="made up",
        simulated=True,
        settings={"seed": "1"},
    )
    response.created_at.FromSeconds(1_700_000_000)
    response.live_since.FromSeconds(1_700_000_100)
    response.refused.add(bundle_version="v0", reason="spoiled").refused_at.FromSeconds(
        1_700_000_200
    )
    service.replies["GetBundle"] = response
    assert ask(lambda client: client.get_bundle()) == BundleInfo(
        version="v1",
        format_version=2,
        created_at_s=1_700_000_000.0,
        user_count=3,
        item_count=4,
        rating_count=5,
        genres=("Drama",),
        rating_scale=(0.5, 5.0),
        default_content_weight=0.25,
        default_recall=0.95,
        recall=(MeasuredRecall("items.affinity", "Flat", 0, 0.0, 1.0, 0.0),),
        quality={"ndcg@10": 0.5},
        source="made up",
        simulated=True,
        settings={"seed": "1"},
        live_since_s=1_700_000_100.0,
        refused=(RefusedBundle("v0", 1_700_000_200.0, "spoiled"),),
    )


def test_a_bundle_of_clicks_has_no_scale(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["GetBundle"] = pb.GetBundleResponse(bundle_version="v1")
    told = ask(lambda client: client.get_bundle())
    assert (told.rating_scale, told.live_since_s, told.refused) == (None, None, ())
