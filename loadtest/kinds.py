"""Knows the kinds of call: for each its rpc, what it needs of a world, and how a body is made.

It refuses to know when calls are sent and how often each kind is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ilk.client.wire import requests
from ilk.types import (
    Examples,
    Filter,
    ItemId,
    PredictionMethod,
    Profile,
    Query,
    Rating,
    Target,
    Text,
    UserId,
)
from ilk.v1 import similarity_pb2 as pb
from loadtest.draw import Draw
from loadtest.world import World

UNARY, BATCH, STREAM = "FindNeighbors", "BatchFindNeighbors", "StreamFindNeighbors"
_HYBRID_WEIGHT = 0.3
_PREDICTED_ITEMS = 10
_LOOKED_UP_ITEMS = 10
# How many things a newcomer tells: a few at sign-up, tens after a while.
_TOLD = (3, 30)
_YEARS = (1980, 2010)


@dataclass(frozen=True, slots=True)
class Size:
    """How much each call asks for."""

    neighbor_count: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of call.

    Attributes
    ----------
    rpc
        The method of ``ilk.v1.SimilarityService``.
    body
        Makes the bytes of one call; of one message where the rpc streams.
    possible
        Whether a world holds what the kind needs.
    """

    rpc: str
    body: Callable[[Draw, Size], bytes]
    possible: Callable[[World], bool] = lambda world: True


def _query(draw: Draw, size: Size, ask: Callable[[Draw, int], Query]) -> bytes:
    return requests.query_request(ask(draw, size.neighbor_count)).SerializeToString()


def _unary(ask: Callable[[Draw, int], Query]) -> Callable[[Draw, Size], bytes]:
    return lambda draw, size: _query(draw, size, ask)


def _item(draw: Draw, n: int) -> Query:
    return Query(ItemId(draw.item()), neighbor_count=n)


def _hybrid(draw: Draw, n: int) -> Query:
    return Query(
        ItemId(draw.item()),
        neighbor_count=n,
        content_weight=_HYBRID_WEIGHT,
        include_components=True,
    )


def _user(draw: Draw, n: int) -> Query:
    return Query(UserId(draw.user()), neighbor_count=n, filter=Filter(exclude_seen=True))


def _audience(draw: Draw, n: int) -> Query:
    return Query(ItemId(draw.item()), Target.USERS, neighbor_count=n)


def _peers(draw: Draw, n: int) -> Query:
    return Query(UserId(draw.user()), Target.USERS, neighbor_count=n)


def _newcomer(draw: Draw) -> Profile:
    told = draw.items(int(draw.rng.integers(*_TOLD)))
    genres = (draw.genre(),) if draw.world.genres and draw.rng.random() < 0.5 else ()
    ratings = tuple(Rating(item_id, draw.stars()) for item_id in told)
    return Profile(ratings=ratings, favorite_genres=genres)


def _profile(draw: Draw, n: int) -> Query:
    return Query(_newcomer(draw), neighbor_count=n, filter=Filter(exclude_seen=True))


def _examples(draw: Draw, n: int) -> Query:
    positive = tuple(draw.items(int(draw.rng.integers(1, 4))))
    negative = tuple(i for i in draw.items(2) if i not in positive)
    return Query(Examples(positive, negative), neighbor_count=n)


def _text(draw: Draw, n: int) -> Query:
    return Query(Text(draw.genre()), neighbor_count=n)


def _filtered(draw: Draw, n: int) -> Query:
    """Return a query with a filter: by year, by genre, or by ids to leave out."""
    by = int(draw.rng.integers(3))
    if by == 0:
        kept = Filter(min_year=int(draw.rng.integers(*_YEARS)))
    elif by == 1 and draw.world.genres:
        kept = Filter(any_genres=(draw.genre(),))
    else:
        kept = Filter(exclude_ids=tuple(draw.items(20)))
    return Query(ItemId(draw.item()), neighbor_count=n, filter=kept)


def _mixed(draw: Draw, n: int) -> Query:
    return _user(draw, n) if draw.world.users and draw.rng.random() < 0.5 else _item(draw, n)


def _batch(draw: Draw, size: Size) -> bytes:
    queries = [_mixed(draw, size.neighbor_count) for _ in range(size.batch_size)]
    return requests.batch_request(queries).SerializeToString()


def _stream(draw: Draw, size: Size) -> bytes:
    query = requests.query_request(_mixed(draw, size.neighbor_count))
    return pb.StreamFindNeighborsRequest(query=query).SerializeToString()


def _predict(draw: Draw, size: Size) -> bytes:
    items = draw.items(_PREDICTED_ITEMS)
    method = PredictionMethod.BASELINE_KNN
    return requests.prediction_request(UserId(draw.user()), items, method).SerializeToString()


def _titles(draw: Draw, size: Size) -> bytes:
    """Return a search for the first words of an id, which is what people half remember."""
    typed = draw.item().replace("-", " ")[:24]
    return requests.titles_request(typed.strip() or "a", 10).SerializeToString()


def _items(draw: Draw, size: Size) -> bytes:
    return requests.items_request(draw.items(_LOOKED_UP_ITEMS)).SerializeToString()


def _has_users(world: World) -> bool:
    return bool(world.users)


def _has_genres(world: World) -> bool:
    return bool(world.genres)


KINDS: dict[str, Kind] = {
    "item": Kind(UNARY, _unary(_item)),
    "hybrid": Kind(UNARY, _unary(_hybrid)),
    "user": Kind(UNARY, _unary(_user), _has_users),
    "audience": Kind(UNARY, _unary(_audience), _has_users),
    "peers": Kind(UNARY, _unary(_peers), _has_users),
    "profile": Kind(UNARY, _unary(_profile)),
    "examples": Kind(UNARY, _unary(_examples)),
    "text": Kind(UNARY, _unary(_text), _has_genres),
    "filtered": Kind(UNARY, _unary(_filtered)),
    "batch": Kind(BATCH, _batch),
    "stream": Kind(STREAM, _stream),
    "predict": Kind(
        "PredictRatings",
        _predict,
        lambda world: bool(world.users) and world.scale is not None,
    ),
    "titles": Kind("SearchTitles", _titles),
    "items": Kind("GetItems", _items),
}


def bodies(kind: Kind, draw: Draw, size: Size, n: int) -> Sequence[bytes]:
    """Return the bytes of ``n`` calls."""
    return [kind.body(draw, size) for _ in range(n)]
