"""Knows how what is asked looks on the wire: a ``Query`` and the other questions as requests.

It refuses to know answers, errors and channels. Ranges are not checked here: the types did so when
they were made, and the server does so again.
"""

import functools
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from google.protobuf.message import Message

from ilk.errors import InvalidRequest
from ilk.types import (
    NO_FILTER,
    Accuracy,
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
    Whom,
    check_many,
)
from ilk.v1 import similarity_pb2 as pb

P = ParamSpec("P")
Request = TypeVar("Request", bound=Message)

_MICROS_PER_S = 1e6
# Servers read no longer messages: gRPC's own limit.
_MOST_BYTES = 4_194_304
_TARGETS = {Target.ITEMS: pb.TARGET_ITEMS, Target.USERS: pb.TARGET_USERS}
_METHODS = {
    PredictionMethod.BASELINE_KNN: pb.PREDICTION_METHOD_BASELINE_KNN,
    PredictionMethod.COSINE_KNN: pb.PREDICTION_METHOD_COSINE_KNN,
}


def _refusing_the_unsendable(build: Callable[P, Request]) -> Callable[P, Request]:
    """Turn what cannot be sent into a refusal.

    That is what protobuf will not encode (lone surrogates, years over 32 bits), and what is too long for
    a server to read, whose refusal would be taken for that of one with too much to do.
    """

    @functools.wraps(build)
    def build_or_refuse(*args: P.args, **kwargs: P.kwargs) -> Request:
        try:
            request = build(*args, **kwargs)
        except (ValueError, OverflowError) as error:
            raise InvalidRequest("", f"a value of the request cannot be sent: {error}") from error
        n_bytes = request.ByteSize()
        if n_bytes > _MOST_BYTES:
            raise InvalidRequest(
                "", f"the request has {n_bytes:,} bytes, of which a server reads {_MOST_BYTES:,}"
            )
        return request

    return build_or_refuse


@_refusing_the_unsendable
def query_request(query: Query) -> pb.FindNeighborsRequest:
    """Return the request that asks ``query``; what is ``None`` in it stays unset.

    Raises
    ------
    InvalidRequest
        If a value has no encoding, such as a lone surrogate in an id.
    """
    if not isinstance(query, Query):
        raise InvalidRequest("query", f"must be a Query, got {query!r}")
    request = pb.FindNeighborsRequest(
        target=_TARGETS[Target(query.target)],
        content_weight=query.content_weight,
        filter=None if query.filter == NO_FILTER else _filter_message(query.filter),
        neighbor_count=query.neighbor_count,
        offset=query.offset,
        accuracy=None if query.accuracy is None else _accuracy_message(query.accuracy),
        diversity=query.diversity,
        popularity_penalty=query.popularity_penalty,
        include_components=query.include_components,
        include_explanation=query.include_explanation,
        ignore_unknown_ids=query.ignore_unknown_ids,
    )
    _set_whom(request, query.whom)
    return request


@_refusing_the_unsendable
def batch_request(queries: Iterable[Query]) -> pb.BatchFindNeighborsRequest:
    """Return the request that asks all ``queries`` in one call."""
    return pb.BatchFindNeighborsRequest(queries=[query_request(query) for query in queries])


@_refusing_the_unsendable
def prediction_request(
    rater: UserId | Profile | str,
    item_ids: Iterable[str],
    method: PredictionMethod = PredictionMethod.BASELINE_KNN,
) -> pb.PredictRatingsRequest:
    """Return the request for ``rater``'s stars; a bare string is a user's id."""
    chosen = _METHODS[PredictionMethod(method)]
    request = pb.PredictRatingsRequest(item_ids=_ids("item_ids", item_ids), method=chosen)
    if isinstance(rater, Profile):
        request.profile.CopyFrom(_profile_message(rater))
    else:
        request.user_id = rater.user_id if isinstance(rater, UserId) else UserId(rater).user_id
    return request


@_refusing_the_unsendable
def titles_request(text: str, match_count: int) -> pb.SearchTitlesRequest:
    """Return the request for the ``match_count`` titles most like ``text``."""
    # On the wire 0 is as many as there are by default.
    if match_count < 1:
        raise InvalidRequest("match_count", f"must be at least 1, got {match_count}")
    return pb.SearchTitlesRequest(text=text, match_count=match_count)


@_refusing_the_unsendable
def items_request(ids: Iterable[str]) -> pb.GetItemsRequest:
    """Return the request for what is known of the items ``ids``."""
    return pb.GetItemsRequest(ids=_ids("ids", ids))


def _ids(name: str, ids: Iterable[str]) -> list[str]:
    check_many(name, ids)
    several = list(ids)
    _check_texts(name, several)
    return several


def _set_whom(request: pb.FindNeighborsRequest, whom: Whom) -> None:
    if isinstance(whom, ItemId):
        request.item_id = whom.item_id
    elif isinstance(whom, UserId):
        request.user_id = whom.user_id
    elif isinstance(whom, Profile):
        request.profile.CopyFrom(_profile_message(whom))
    elif isinstance(whom, Examples):
        request.examples.positive_item_ids.extend(whom.positive_item_ids)
        request.examples.negative_item_ids.extend(whom.negative_item_ids)
    elif isinstance(whom, Text):
        request.text = whom.text
    else:
        raise TypeError(f"whom must be one of {Whom}, got {whom!r}")


def _profile_message(profile: Profile) -> pb.Profile:
    message = pb.Profile(
        ratings=map(_rating_message, profile.ratings),
        liked_item_ids=profile.liked_item_ids,
        disliked_item_ids=profile.disliked_item_ids,
        favorite_genres=profile.favorite_genres,
    )
    if profile.half_life_s is not None:
        message.half_life.FromMicroseconds(round(profile.half_life_s * _MICROS_PER_S))
    return message


def _check_texts(name: str, values: Iterable[object]) -> None:
    """Refuse what is no text by its field's name, which protobuf's own errors do not tell."""
    for value in values:
        if not isinstance(value, str):
            raise InvalidRequest(name, f"must be texts, got {value!r}")


def _rating_message(rating: Rating) -> pb.Rating:
    if not isinstance(rating, Rating):
        raise InvalidRequest("profile.ratings", f"must be Rating objects, got {rating!r}")
    message = pb.Rating(item_id=rating.item_id, stars=rating.stars)
    if rating.rated_at_s is not None:
        message.rated_at.FromMicroseconds(round(rating.rated_at_s * _MICROS_PER_S))
    return message


def _filter_message(wanted: Filter) -> pb.Filter:
    for name in ("include_ids", "exclude_ids"):
        _check_texts(f"filter.{name}", getattr(wanted, name))
    return pb.Filter(
        any_genres=wanted.any_genres,
        all_genres=wanted.all_genres,
        no_genres=wanted.no_genres,
        min_year=wanted.min_year,
        max_year=wanted.max_year,
        include_ids=wanted.include_ids,
        exclude_ids=wanted.exclude_ids,
        exclude_seen=wanted.exclude_seen,
    )


def _accuracy_message(accuracy: Accuracy) -> pb.Accuracy:
    return pb.Accuracy(exact=True) if accuracy.exact else pb.Accuracy(recall=accuracy.recall)
