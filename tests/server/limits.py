"""Every limit of the contract: its words there, requests at it and over it, and the field to blame."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from ilk.v1 import similarity_pb2 as pb

MATRIX = "the-matrix-1999"
ID, LONG_ID = "é" * 128, "é" * 128 + "x"


@dataclass(frozen=True)
class Limit:
    """A limit by its words, where they stand, what is at it and over it, and the field to blame.

    ``taken`` is how a request at the limit may end: ids of the full length are known to nobody.
    """

    where: str
    words: str
    rpc: str
    at: tuple[Message, ...]
    over: tuple[Message, ...]
    field: str
    taken: str = "OK"


def query(**fields: Any) -> pb.FindNeighborsRequest:
    """Return a query, about The Matrix unless ``fields`` say to whom."""
    about = {"item_id", "user_id", "profile", "examples", "text"} & fields.keys()
    whom: dict[str, Any] = {} if about else {"item_id": MATRIX}
    return pb.FindNeighborsRequest(**whom, **fields)


def profile(**fields: Any) -> pb.FindNeighborsRequest:
    return query(profile=pb.Profile(**fields))


def rated(item_id: str, stars: float) -> pb.FindNeighborsRequest:
    return profile(ratings=[pb.Rating(item_id=item_id, stars=stars)])


def half_life(nanos: int) -> pb.FindNeighborsRequest:
    return profile(liked_item_ids=[MATRIX], half_life=Duration(nanos=nanos))


def examples(n_positive: int, n_negative: int, item_id: str = MATRIX) -> pb.FindNeighborsRequest:
    positive, negative = [item_id] * n_positive, [item_id] * n_negative
    return query(examples=pb.Examples(positive_item_ids=positive, negative_item_ids=negative))


def filtered(**fields: Any) -> pb.FindNeighborsRequest:
    return query(filter=pb.Filter(**fields))


def recall(value: float) -> pb.FindNeighborsRequest:
    return query(accuracy=pb.Accuracy(recall=value))


def batch(n: int) -> pb.BatchFindNeighborsRequest:
    return pb.BatchFindNeighborsRequest(queries=[query()] * n)


def predict(*item_ids: str, **rater: Any) -> pb.PredictRatingsRequest:
    rater = rater or {"profile": pb.Profile(liked_item_ids=[MATRIX])}
    return pb.PredictRatingsRequest(item_ids=item_ids, **rater)


def titles(text: str, count: int = 0) -> pb.SearchTitlesRequest:
    return pb.SearchTitlesRequest(text=text, match_count=count)


def items(n: int) -> pb.GetItemsRequest:
    return pb.GetItemsRequest(ids=[MATRIX] * n)


def unit(name: str) -> tuple[tuple[Message, ...], tuple[Message, ...], str]:
    at = tuple(query(**{name: value}) for value in (0.0, 1.0))
    return at, tuple(query(**{name: value}) for value in (-1e-9, 1 + 1e-9)), name


Q, P, B, IDS = "FindNeighborsRequest", "Profile", "BatchFindNeighbors", "1 to 256 bytes"
LIMITS = (
    Limit(
        f"{Q}.item_id",
        IDS,
        "FindNeighbors",
        (query(item_id=ID),),
        (query(item_id=LONG_ID), query(item_id="")),
        "item_id",
        "NOT_FOUND",
    ),
    Limit(
        f"{Q}.user_id",
        IDS,
        "FindNeighbors",
        (query(user_id=ID),),
        (query(user_id=LONG_ID), query(user_id="")),
        "user_id",
        "NOT_FOUND",
    ),
    Limit(
        f"{Q}.text",
        "1 to 1,000 characters",
        "FindNeighbors",
        (query(text=f"comedy {'é' * 993}"),),
        (query(text=f"comedy {'é' * 994}"), query(text="")),
        "text",
    ),
    Limit(
        f"{Q}.text",
        "not all of them blank",
        "FindNeighbors",
        (query(text=" comedy "),),
        (query(text=" \t"),),
        "text",
    ),
    *(
        Limit(f"{Q}.{name}", "in [0, 1]", "FindNeighbors", *unit(name))
        for name in ("content_weight", "diversity", "popularity_penalty")
    ),
    Limit(
        f"{Q}.neighbor_count",
        "up to 1,000",
        "FindNeighbors",
        (query(neighbor_count=1000), query(neighbor_count=999, offset=1)),
        (query(neighbor_count=1001), query(neighbor_count=-1)),
        "neighbor_count",
    ),
    Limit(
        f"{Q}.neighbor_count",
        "up to 1,000",
        "FindNeighbors",
        (query(neighbor_count=1, offset=999),),
        (query(neighbor_count=1, offset=1000), query(offset=-1)),
        "offset",
    ),
    Limit(
        "Accuracy.recall",
        "in [0.9, 0.999]",
        "FindNeighbors",
        (recall(0.9), recall(0.999)),
        (recall(0.9 - 1e-9), recall(0.999 + 1e-9)),
        "accuracy.recall",
    ),
    Limit(
        P,
        "Up to 10,000",
        "FindNeighbors",
        (profile(liked_item_ids=[MATRIX] * 9999, favorite_genres=["Drama"]),),
        (
            profile(liked_item_ids=[MATRIX] * 9999, favorite_genres=["Drama"] * 2),
            profile(ratings=[pb.Rating()] * 10_001),
        ),
        "profile",
    ),
    Limit(
        P,
        "not empty",
        "FindNeighbors",
        (profile(favorite_genres=["Drama"]),),
        (profile(),),
        "profile",
    ),
    Limit(
        f"{P}.liked_item_ids",
        IDS,
        "FindNeighbors",
        (profile(liked_item_ids=[ID]),),
        (profile(liked_item_ids=[LONG_ID]), profile(liked_item_ids=[""])),
        "profile.liked_item_ids",
        "NOT_FOUND",
    ),
    Limit(
        f"{P}.disliked_item_ids",
        IDS,
        "FindNeighbors",
        (profile(disliked_item_ids=[ID]),),
        (profile(disliked_item_ids=[LONG_ID]), profile(disliked_item_ids=[""])),
        "profile.disliked_item_ids",
        "NOT_FOUND",
    ),
    Limit(
        f"{P}.half_life",
        "above 0",
        "FindNeighbors",
        (half_life(1),),
        (half_life(0), half_life(-1)),
        "profile.half_life",
    ),
    Limit(
        "Rating.item_id",
        IDS,
        "FindNeighbors",
        (rated(ID, 3),),
        (rated(LONG_ID, 3), rated("", 3)),
        "profile.ratings.item_id",
        "NOT_FOUND",
    ),
    Limit(
        "Rating.stars",
        "On the bundle's scale",
        "FindNeighbors",
        (rated(MATRIX, 0.5), rated(MATRIX, 5)),
        (rated(MATRIX, 0.49), rated(MATRIX, 5.01)),
        "profile.ratings.stars",
    ),
    Limit(
        "Examples",
        "At least one",
        "FindNeighbors",
        (examples(1, 1),),
        (examples(0, 1),),
        "examples.positive_item_ids",
    ),
    Limit(
        "Examples",
        "up to 1,000",
        "FindNeighbors",
        (examples(500, 500),),
        (examples(500, 501),),
        "examples",
    ),
    Limit(
        "Examples",
        IDS,
        "FindNeighbors",
        (examples(1, 0, ID),),
        (examples(1, 0, LONG_ID), examples(1, 0, "")),
        "examples.positive_item_ids",
        "NOT_FOUND",
    ),
    Limit(
        "Filter",
        "Up to 100,000 ids",
        "FindNeighbors",
        (filtered(include_ids=["a"] * 50_000, exclude_ids=["b"] * 50_000),),
        (filtered(include_ids=["a"] * 50_000, exclude_ids=["b"] * 50_001),),
        "filter",
    ),
    Limit(
        "Filter",
        "100 genres",
        "FindNeighbors",
        (filtered(any_genres=["Drama"] * 50, no_genres=["Comedy"] * 50),),
        (filtered(any_genres=["Drama"] * 50, no_genres=["Comedy"] * 51),),
        "filter",
    ),
    *(
        Limit(where, words, B, (batch(1), batch(1000)), (batch(0), batch(1001)), "queries")
        for where, words in (
            (B, "more than 1,000"),
            ("BatchFindNeighborsRequest.queries", "1 to 1,000"),
        )
    ),
    Limit(
        "PredictRatingsRequest.user_id",
        IDS,
        "PredictRatings",
        (predict(MATRIX, user_id=ID),),
        (predict(MATRIX, user_id=LONG_ID), predict(MATRIX, user_id="")),
        "user_id",
        "NOT_FOUND",
    ),
    Limit(
        "PredictRatingsRequest.item_ids",
        "1 to 1,000",
        "PredictRatings",
        (predict(MATRIX), predict(*[MATRIX] * 1000)),
        (predict(), predict(*[MATRIX] * 1001)),
        "item_ids",
    ),
    Limit(
        "PredictRatingsRequest.item_ids",
        IDS,
        "PredictRatings",
        (predict(ID),),
        (predict(LONG_ID), predict("")),
        "item_ids",
        "NOT_FOUND",
    ),
    Limit(
        "SearchTitlesRequest.text",
        "1 to 256 characters",
        "SearchTitles",
        (titles("é" * 256),),
        (titles("é" * 257), titles("")),
        "text",
    ),
    Limit(
        "SearchTitlesRequest.text",
        "not all of them blank",
        "SearchTitles",
        (titles(" x "),),
        (titles(" \t"),),
        "text",
    ),
    Limit(
        "SearchTitlesRequest.match_count",
        "up to 100",
        "SearchTitles",
        (titles("x", 100), titles("x", 1)),
        (titles("x", 101), titles("x", -1)),
        "match_count",
    ),
    *(
        Limit(where, words, "GetItems", (items(1), items(1000)), (items(0), items(1001)), "ids")
        for where, words in (("GetItems", "more than 1,000"), ("GetItemsRequest.ids", "1 to 1,000"))
    ),
)
