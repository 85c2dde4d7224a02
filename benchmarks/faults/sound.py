"""Knows sound requests of every rpc, about films of the embedded sample; together they use every field.

It refuses to know what is wrong with any other.
"""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ilk.v1 import similarity_pb2 as pb

ITEM, OTHERS = "the-matrix-1999", ("alien-1979", "titanic-1997", "toy-story-1995")


def sound_requests(user_id: str) -> dict[str, tuple[bytes, ...]]:
    """Return requests by rpc, as bytes; ``user_id`` must be in the bundle."""
    queries = _queries(user_id)
    profile = queries[2].profile
    messages: dict[str, tuple[Message, ...]] = {
        "FindNeighbors": queries,
        "BatchFindNeighbors": (
            pb.BatchFindNeighborsRequest(queries=queries),
            pb.BatchFindNeighborsRequest(queries=queries[:1]),
        ),
        "StreamFindNeighbors": tuple(
            pb.StreamFindNeighborsRequest(request_id=f"order-{at}", query=query)
            for at, query in enumerate(queries)
        ),
        "PredictRatings": (
            pb.PredictRatingsRequest(user_id=user_id, item_ids=OTHERS),
            pb.PredictRatingsRequest(
                profile=profile, item_ids=[ITEM], method=pb.PREDICTION_METHOD_COSINE_KNN
            ),
        ),
        "SearchTitles": (pb.SearchTitlesRequest(text="toy stroy", match_count=3),),
        "GetItems": (pb.GetItemsRequest(ids=[ITEM, *OTHERS, "no-such-film"]),),
        "GetBundle": (pb.GetBundleRequest(),),
    }
    return {rpc: tuple(m.SerializeToString() for m in of) for rpc, of in messages.items()}


def _queries(user_id: str) -> tuple[pb.FindNeighborsRequest, ...]:
    profile = pb.Profile(
        ratings=[pb.Rating(item_id=ITEM, stars=5, rated_at=Timestamp(seconds=1_000_000_000))],
        liked_item_ids=OTHERS[:1],
        disliked_item_ids=OTHERS[1:2],
        favorite_genres=["Sci-Fi"],
        half_life=Duration(seconds=86_400),
    )
    return (
        pb.FindNeighborsRequest(item_id=ITEM, content_weight=0.5, include_components=True),
        pb.FindNeighborsRequest(
            user_id=user_id,
            filter=pb.Filter(any_genres=["Drama", "Sci-Fi"], min_year=1950, exclude_seen=True),
            include_explanation=True,
            neighbor_count=5,
        ),
        pb.FindNeighborsRequest(profile=profile, diversity=0.3, ignore_unknown_ids=True),
        pb.FindNeighborsRequest(
            examples=pb.Examples(positive_item_ids=OTHERS, negative_item_ids=[ITEM]),
            accuracy=pb.Accuracy(recall=0.95),
            popularity_penalty=0.5,
            offset=2,
        ),
        pb.FindNeighborsRequest(
            text="comedy",
            accuracy=pb.Accuracy(exact=True),
            filter=pb.Filter(
                all_genres=["Comedy"],
                no_genres=["Horror"],
                max_year=2020,
                include_ids=OTHERS,
                exclude_ids=[ITEM],
            ),
        ),
        pb.FindNeighborsRequest(user_id=user_id, target=pb.TARGET_USERS),
    )
