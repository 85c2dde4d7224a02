"""Knows how bytes from the wire become checked values, and says which field is at fault.

It refuses to know bundles. Ranges are the values' own business (`ilk.types`); here is what only the
wire can get wrong: malformed messages, two answers to "to whom", numbers that mean "default".
"""

from typing import Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from ilk.errors import InvalidRequest
from ilk.types import (
    DEFAULT_NEIGHBORS,
    EXACT,
    MAX_ID_BYTES,
    MAX_PROFILE_ENTRIES,
    NO_FILTER,
    UNSEEN,
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
    Whom,
)
from ilk.v1 import similarity_pb2 as pb
from server.messages.fields import bodies, short_bodies

MessageT = TypeVar("MessageT", bound=Message)

_WHOM_FIELDS = {2: "item_id", 3: "user_id", 4: "profile", 5: "examples", 6: "text"}
# Tags as they stand on the wire, of what nearly every request holds.
_TARGET: Final = b"\x08"
_IDS: Final = (b"\x12", b"\x1a")
# A query by what its request says beside the name of whom it is about; so many, and of so few bytes.
_KNOWN: Final[dict[bytes, Query]] = {}
_MOST_KNOWN: Final = 1024
_MOST_BESIDE: Final = 64
_NANOS_PER_S: Final = 1_000_000_000
# What a Timestamp can hold.
_FIRST_S: Final = -62_135_596_800
_LAST_S: Final = 253_402_300_799
_RATER_FIELDS = {1: "user_id", 2: "profile"}
_TARGETS: Final[dict[int, Target]] = {
    pb.TARGET_UNSPECIFIED: Target.ITEMS,
    pb.TARGET_ITEMS: Target.ITEMS,
    pb.TARGET_USERS: Target.USERS,
}


def parse(kind: type[MessageT], data: bytes) -> MessageT:
    """Return the message in ``data``; InvalidRequest if it is none."""
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidRequest("", f"not a {kind.DESCRIPTOR.full_name} message") from error
    return message


def parse_query(data: bytes) -> Query:
    """Return the query in the bytes of a FindNeighborsRequest."""
    query, its_id = parse_alike(data)
    return query if its_id is None else query.about(its_id)


def parse_alike(data: bytes) -> tuple[Query, str | None]:
    """Return the query in the bytes of a FindNeighborsRequest; or one like it, and whom that is about.

    Most requests name somebody first, after what is looked for, and say beside it what others said
    before: of those, nothing but the name is read.
    """
    at = 2 if data[:1] == _TARGET and data[1:2] < b"\x80" else 0
    n_bytes = len(data)
    size = data[at + 1] if n_bytes > at + 1 else 0
    end = at + 2 + size
    # Sizes from 128 on take another byte.
    if (
        data[at : at + 1] not in _IDS
        or not 0 < size < 0x80
        or not 0 <= n_bytes - end <= _MOST_BESIDE
    ):
        return _parsed_query(data), None
    beside = data[: at + 1] + data[end:]
    like = _KNOWN.get(beside)
    if like is not None:
        try:
            return like, data[at + 2 : end].decode()
        except UnicodeDecodeError:
            return _parsed_query(data), None
    query = _parsed_query(data)
    # Nothing is kept of whom a query is about, nor of what callers name in filters.
    if isinstance(query.whom, ItemId | UserId) and query.filter in (NO_FILTER, UNSEEN):
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[beside] = like = query.about("anybody")
        return like, query.its_id
    return query, None


def _parsed_query(data: bytes) -> Query:
    message = parse(pb.FindNeighborsRequest, data)
    if _may_have_lost(message, data, "filter", "profile"):
        _refuse_two("whom", _WHOM_FIELDS, data)
    return to_query(message)


def batch_bodies(data: bytes, most: int) -> list[bytes]:
    """Return the bytes of each query in those of a BatchFindNeighborsRequest.

    Raises
    ------
    InvalidRequest
        If there is none, or if there are more than ``most``: before any is looked at.
    """
    # Parsing checks the whole, and is quick as long as nobody looks at its parts.
    n_queries = len(parse(pb.BatchFindNeighborsRequest, data).queries)
    if not 1 <= n_queries <= most:
        raise InvalidRequest("queries", f"needs 1 to {most} queries, got {n_queries}")
    return short_bodies(data) or [body for number, body in bodies(data) if number == 1]


def parse_stream_message(data: bytes) -> tuple[str, bytes | InvalidRequest]:
    """Return the request id of one message of a stream, and the bytes of the query."""
    request_id = parse(pb.StreamFindNeighborsRequest, data).request_id
    if len(request_id.encode()) > MAX_ID_BYTES:
        return request_id[:64], InvalidRequest("request_id", f"is longer than {MAX_ID_BYTES} bytes")
    return request_id, b"".join(part for at, part in bodies(data) if at == 2)


def _may_have_lost(message: Message, data: bytes, *signed: str) -> bool:
    """Whether reading dropped bytes, as it does when a second member of a oneof overwrites the first.

    Equal lengths prove that nothing was lost, but where a field of the ``signed`` is: the negative year
    of a filter, or time of a profile, may have been sent in fewer bytes than it is written back in, which
    hides a loss.
    """
    return message.ByteSize() != len(data) or any(map(message.HasField, signed))


def parse_prediction(data: bytes) -> tuple[UserId | Profile, pb.PredictRatingsRequest]:
    """Return the rater and the message in the bytes of a PredictRatingsRequest."""
    message = parse(pb.PredictRatingsRequest, data)
    if _may_have_lost(message, data, "profile"):
        _refuse_two("rater", _RATER_FIELDS, data)
    rater = message.WhichOneof("rater")
    if rater is None:
        raise InvalidRequest("rater", "is missing; give user_id or profile")
    if rater == "user_id":
        return UserId(message.user_id), message
    return _profile(message.profile), message


def to_query(message: pb.FindNeighborsRequest) -> Query:
    """Return the message as a checked query; errors name the field."""
    target = _TARGETS.get(message.target)
    if target is None:
        raise InvalidRequest("target", f"unknown target {message.target}")
    return Query(
        whom=_whom(message),
        target=target,
        content_weight=message.content_weight if message.HasField("content_weight") else None,
        filter=_filter(message.filter) if message.HasField("filter") else NO_FILTER,
        neighbor_count=message.neighbor_count or DEFAULT_NEIGHBORS,
        offset=message.offset,
        accuracy=_accuracy(message.accuracy) if message.HasField("accuracy") else None,
        diversity=message.diversity,
        popularity_penalty=message.popularity_penalty,
        include_components=message.include_components,
        include_explanation=message.include_explanation,
        ignore_unknown_ids=message.ignore_unknown_ids,
    )


def _whom(message: pb.FindNeighborsRequest) -> Whom:
    which = message.WhichOneof("whom")
    if which == "item_id":
        return ItemId(message.item_id)
    if which == "user_id":
        return UserId(message.user_id)
    if which == "profile":
        return _profile(message.profile)
    if which == "examples":
        examples = message.examples
        return Examples(tuple(examples.positive_item_ids), tuple(examples.negative_item_ids))
    if which == "text":
        return Text(message.text)
    raise InvalidRequest("whom", f"is missing; give one of {', '.join(_WHOM_FIELDS.values())}")


def _profile(message: pb.Profile) -> Profile:
    if len(message.ratings) > MAX_PROFILE_ENTRIES:
        raise InvalidRequest(
            "profile", f"has {len(message.ratings)} ratings; at most {MAX_PROFILE_ENTRIES} entries"
        )
    half_life = message.half_life
    return Profile(
        ratings=tuple(_rating(r) for r in message.ratings),
        liked_item_ids=tuple(message.liked_item_ids),
        disliked_item_ids=tuple(message.disliked_item_ids),
        favorite_genres=tuple(message.favorite_genres),
        half_life_s=_seconds(half_life) if message.HasField("half_life") else None,
    )


def _rating(message: pb.Rating) -> Rating:
    if not message.HasField("rated_at"):
        return Rating(message.item_id, message.stars)
    rated_at = message.rated_at
    # Of other clients, whose messages do not see to it: milliseconds would make all else as nothing.
    if not (_FIRST_S <= rated_at.seconds <= _LAST_S and 0 <= rated_at.nanos < _NANOS_PER_S):
        raise InvalidRequest(
            "profile.ratings.rated_at",
            f"must be of the years 1 to 9999, in seconds, got {rated_at.seconds} s and "
            f"{rated_at.nanos} ns; are they milliseconds?",
        )
    return Rating(message.item_id, message.stars, _seconds(rated_at))


def _seconds(time: Duration | Timestamp) -> float:
    # Whole numbers divided are rounded once: what was written from a float is that float again.
    return (time.seconds * _NANOS_PER_S + time.nanos) / _NANOS_PER_S


def _filter(message: pb.Filter) -> Filter:
    told = Filter(
        any_genres=tuple(message.any_genres),
        all_genres=tuple(message.all_genres),
        no_genres=tuple(message.no_genres),
        min_year=message.min_year if message.HasField("min_year") else None,
        max_year=message.max_year if message.HasField("max_year") else None,
        include_ids=tuple(message.include_ids),
        exclude_ids=tuple(message.exclude_ids),
        exclude_seen=message.exclude_seen,
    )
    return UNSEEN if told == UNSEEN else told


def _accuracy(message: pb.Accuracy) -> Accuracy | None:
    which = message.WhichOneof("level")
    if which == "recall":
        return Accuracy.at_recall(message.recall)
    return EXACT if message.exact else None


def _refuse_two(oneof: str, members: dict[int, str], data: bytes) -> None:
    present = sorted(members[number] for number, _ in bodies(data) if number in members)
    if len(present) > 1:
        raise InvalidRequest(oneof, f"give one, not {len(present)}: {', '.join(present)}")
