"""What bytes are read as: the law is that reading undoes writing, whoever wrote."""

import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ilk.client.wire.requests import query_request
from ilk.errors import InvalidRequest
from ilk.types import (
    EXACT,
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
)
from ilk.v1 import similarity_pb2 as pb
from server.messages.requests import (
    batch_bodies,
    parse_prediction,
    parse_query,
    parse_stream_message,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
INT32 = st.integers(-(2**31), 2**31 - 1)
SHARES = st.floats(0, 1)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
IDS = st.lists(WORDS, max_size=3).map(tuple)
# Whole microseconds, which is what the wire carries of a float.
MICROS_AS_S = st.integers(1, 10**15).map(lambda micros: micros / 1e6)

RATINGS = st.builds(
    Rating, WORDS, st.floats(allow_nan=False, allow_infinity=False), st.none() | st.integers(0, 9)
)
PROFILES = st.builds(
    Profile,
    ratings=st.lists(RATINGS, min_size=1, max_size=3).map(tuple),
    liked_item_ids=IDS,
    disliked_item_ids=IDS,
    favorite_genres=IDS,
    half_life_s=st.none() | MICROS_AS_S,
)
WHOMS = st.one_of(
    st.builds(ItemId, WORDS),
    st.builds(UserId, WORDS),
    PROFILES,
    st.builds(Examples, st.lists(WORDS, min_size=1, max_size=3).map(tuple), IDS),
    st.builds(Text, WORDS.filter(str.strip)),
)
YEARS = st.one_of(
    st.tuples(st.none(), st.none() | INT32),
    st.tuples(INT32, st.none()),
    st.lists(INT32, min_size=2, max_size=2).map(sorted).map(tuple),
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    min_year, max_year = draw(YEARS)
    count = draw(st.integers(1, 1000))
    return Query(
        draw(WHOMS),
        draw(st.sampled_from(Target)),
        content_weight=draw(st.none() | SHARES),
        filter=Filter(
            any_genres=draw(IDS),
            all_genres=draw(IDS),
            no_genres=draw(IDS),
            min_year=min_year,
            max_year=max_year,
            include_ids=draw(IDS),
            exclude_ids=draw(IDS),
            exclude_seen=draw(st.booleans()),
        ),
        neighbor_count=count,
        offset=draw(st.integers(0, 1000 - count)),
        accuracy=draw(st.sampled_from([None, EXACT, Accuracy.at_recall(0.95)])),
        diversity=draw(SHARES),
        popularity_penalty=draw(SHARES),
        include_components=draw(st.booleans()),
        include_explanation=draw(st.booleans()),
        ignore_unknown_ids=draw(st.booleans()),
    )


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def delimited(number: int, body: bytes) -> bytes:
    """Return a field that holds ``body``."""
    return varint(number << 3 | 2) + varint(len(body)) + body


# Fields that no version of the contract has: what a younger client might send.
UNKNOWN_FIELDS = {
    "a varint": varint(99 << 3) + b"\x05",
    "eight bytes": varint(99 << 3 | 1) + bytes(8),
    "text": delimited(99, b"new"),
    "a group": varint(99 << 3 | 3) + varint(99 << 3 | 4),
    "four bytes": varint(99 << 3 | 5) + bytes(4),
}
MEMBERS = {
    "item_id": pb.FindNeighborsRequest(item_id="alien"),
    "user_id": pb.FindNeighborsRequest(user_id="ada"),
    "profile": pb.FindNeighborsRequest(profile=pb.Profile(favorite_genres=["Comedy"])),
    "examples": pb.FindNeighborsRequest(examples=pb.Examples(positive_item_ids=["alien"])),
    "text": pb.FindNeighborsRequest(text="comedy"),
}
ALIEN, ADA = (MEMBERS[name].SerializeToString() for name in ("item_id", "user_id"))
TWO = ALIEN + ADA
unknown_fields = pytest.mark.parametrize("unknown", UNKNOWN_FIELDS.values(), ids=UNKNOWN_FIELDS)


def read_alone(query: bytes) -> Query | InvalidRequest:
    try:
        return parse_query(query)
    except InvalidRequest as error:
        return error


def read_in_batch(query: bytes) -> Query | InvalidRequest:
    before, read, after = batch_bodies(b"".join(delimited(1, q) for q in (ALIEN, query, ALIEN)), 9)
    assert before == after == ALIEN
    return read_alone(read)


def read_in_stream(query: bytes) -> Query | InvalidRequest:
    request_id, read = parse_stream_message(delimited(1, b"7") + delimited(2, query))
    assert request_id == "7"
    assert isinstance(read, bytes)
    return read_alone(read)


@pytest.fixture(params=[read_alone, read_in_batch, read_in_stream])
def read(request: pytest.FixtureRequest) -> Callable[[bytes], Query | InvalidRequest]:
    """Read a query wherever queries stand."""
    function: Callable[[bytes], Query | InvalidRequest] = request.param
    return function


@unhurried
@given(query=queries())
def test_a_query_is_read_as_it_was_written(query: Query) -> None:
    assert parse_query(query_request(query).SerializeToString()) == query


@unhurried
@given(asked=st.lists(queries(), min_size=1, max_size=3), request_id=WORDS)
def test_batches_and_streams_read_queries_as_they_were_written(
    asked: list[Query], request_id: str
) -> None:
    messages = [query_request(query) for query in asked]
    batch = pb.BatchFindNeighborsRequest(queries=messages)
    assert list(map(parse_query, batch_bodies(batch.SerializeToString(), 1000))) == asked
    for query, message in zip(asked, messages, strict=True):
        wrapped = pb.StreamFindNeighborsRequest(request_id=request_id, query=message)
        told, body = parse_stream_message(wrapped.SerializeToString())
        assert isinstance(body, bytes)
        assert (told, parse_query(body)) == (request_id, query)


@given(
    st.one_of(
        st.binary(max_size=12),
        st.builds(
            lambda *parts: b"".join(parts),
            st.sampled_from(
                [b"", b"\x08\x00", b"\x08\x01", b"\x08\x02", b"\x08\x7f", b"\x08\x81\x01"]
            ),
            st.sampled_from([b"\x12", b"\x1a", b"\x32", b"\x0a"]),
            st.integers(0, 140).map(varint),
            st.one_of(st.binary(max_size=8), st.text(max_size=4).map(str.encode)),
            st.sampled_from(
                [b"", b"\x48\x05", b"\x12\x01a", b"\x1a\x01a", b"\x08\x02", b"\x08\x7f"]
            ),
        ),
        WORDS.map(lambda word: pb.FindNeighborsRequest(user_id=word).SerializeToString()),
    )
)
def test_the_short_way_through_a_request_ends_where_the_long_one_does(data: bytes) -> None:
    def ended(read: Callable[[bytes], Query]) -> Query | str:
        try:
            return read(data)
        except InvalidRequest as error:
            return str(error)

    # The first of its like is read at length.
    ended(parse_query)
    short = ended(parse_query)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("server.messages.requests._IDS", ())
        assert short == ended(parse_query)


@unhurried
@given(query=queries(), whom=st.builds(ItemId, WORDS) | st.builds(UserId, WORDS))
def test_what_was_said_before_is_read_again_for_another(
    query: Query, whom: ItemId | UserId
) -> None:
    asked = [replace(query, whom=whom), replace(query, whom=type(whom)("another"))]
    for one in asked * 2:
        read = parse_query(query_request(one).SerializeToString())
        assert read == one
        assert read.shape == replace(read).shape


def test_no_more_is_remembered_than_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[bytes, Query] = {}
    monkeypatch.setattr("server.messages.requests._KNOWN", known)
    for count in range(1, 1000):
        for weight in (0.25, 0.5):
            query = Query(ItemId("alien"), content_weight=weight, neighbor_count=count)
            assert parse_query(query_request(query).SerializeToString()) == query
    assert 0 < len(known) <= 1024
    # Whom a query is about is forgotten, and so is what a filter names.
    known.clear()
    parse_query(query_request(Query(UserId("ada"), neighbor_count=3)).SerializeToString())
    filtered = Query(UserId("ada"), filter=Filter(exclude_ids=("alien",)))
    parse_query(query_request(filtered).SerializeToString())
    assert [query.whom for query in known.values()] == [UserId("anybody")]


def test_unseen_items_are_asked_for_in_a_shape_of_their_own() -> None:
    for whom in ("ada", "bert"):
        asked = Query(UserId(whom), filter=Filter(exclude_seen=True))
        read = parse_query(query_request(asked).SerializeToString())
        assert read == asked
        assert read.filter is UNSEEN
        assert read.shape == asked.shape != Query(UserId(whom)).shape


def test_unset_numbers_mean_their_defaults() -> None:
    assert parse_query(ALIEN) == Query(ItemId("alien"), Target.ITEMS, neighbor_count=10)


def test_a_default_that_was_written_out_is_read_like_one_left_out() -> None:
    zero_count, items = varint(9 << 3) + b"\x00", varint(1 << 3) + b"\x01"
    assert parse_query(items + ALIEN + zero_count) == Query(ItemId("alien"))


def test_times_are_read_as_the_numbers_they_were_written_from() -> None:
    for half_life_s in (1.845989, 0.1, 1e9 + 0.1):
        query = Query(Profile((Rating("alien", 4, half_life_s),), half_life_s=half_life_s))
        assert parse_query(query_request(query).SerializeToString()) == query


def test_times_keep_their_fractions() -> None:
    rating = pb.Rating(item_id="alien", stars=4, rated_at=Timestamp(seconds=-5, nanos=250_000_000))
    half_life = Duration(seconds=1, nanos=500_000_000)
    message = pb.FindNeighborsRequest(profile=pb.Profile(ratings=[rating], half_life=half_life))
    assert parse_query(message.SerializeToString()).whom == Profile(
        (Rating("alien", 4, -4.75),), half_life_s=1.5
    )


@unknown_fields
@pytest.mark.parametrize(
    "query", [ALIEN, ALIEN + varint(9 << 3) + b"\x00"], ids=["plain", "padded"]
)
def test_unknown_fields_are_passed_over(
    read: Callable[[bytes], Any], query: bytes, unknown: bytes
) -> None:
    assert read(unknown + query + unknown) == Query(ItemId("alien"))


@pytest.mark.parametrize("pair", list(permutations(MEMBERS, 2)), ids=" then ".join)
def test_two_to_whom_are_refused_and_named(
    read: Callable[[bytes], Any], pair: tuple[str, str]
) -> None:
    refusal = read(b"".join(MEMBERS[name].SerializeToString() for name in pair))
    assert isinstance(refusal, InvalidRequest)
    assert refusal.field == "whom"
    assert set(pair) == set(refusal.problem.split(": ")[1].split(", "))


# BUG: `_fields` stops at a group, so whatever follows one is not counted; `item_id` is dropped here
# without a word. It should skip the group's fields, or the bytes should be refused.
@unknown_fields
def test_unknown_fields_hide_no_second_to_whom(
    read: Callable[[bytes], Any], unknown: bytes
) -> None:
    refusal = read(unknown + TWO)
    assert isinstance(refusal, InvalidRequest)
    assert refusal.field == "whom"


# BUG: a negative int32 may be sent in five bytes (C++ and Java read it so) and is written back in ten,
# so the message read is not shorter than the one sent: the five bytes of `user_id` are not missed.
def test_a_short_negative_year_hides_no_second_to_whom(read: Callable[[bytes], Any]) -> None:
    lost = delimited(3, b"ada")
    minus_one = b"\xff\xff\xff\xff\x0f"
    assert len(lost) == 5
    refusal = read(lost + ALIEN + delimited(8, varint(4 << 3) + minus_one))
    assert isinstance(refusal, InvalidRequest)
    assert refusal.field == "whom"


# BUG: so may the nanoseconds of a rating; and what was like that request was kept as what others ask.
def test_a_short_negative_time_hides_no_second_to_whom(read: Callable[[bytes], Any]) -> None:
    stars = varint(2 << 3 | 1) + struct.pack("<d", 5.0)
    rated_at = delimited(3, varint(2 << 3) + b"\xff\xff\xff\xff\x0f")
    profile = delimited(4, delimited(1, delimited(1, b"alien") + stars + rated_at))
    for _ in range(2):
        refusal = read(delimited(2, b"ali") + profile)
        assert isinstance(refusal, InvalidRequest)
        assert refusal.field == "whom"


# BUG: the contract says "two in one message are refused, not overwritten"; members are counted by
# name only, so the second of two items overwrites the first.
def test_two_items_to_whom_are_refused(read: Callable[[bytes], Any]) -> None:
    refusal = read(ALIEN + delimited(2, b"brazil"))
    assert isinstance(refusal, InvalidRequest)
    assert refusal.field == "whom"


# BUG: `batch_bodies` pairs queries with top-level fields of number 1, whatever their wire type, and
# stops at groups; the two counts then differ and `zip(strict=True)` raises ValueError: INTERNAL.
@pytest.mark.parametrize(
    "stray", [UNKNOWN_FIELDS["a group"], varint(1 << 3) + b"\x00"], ids=["a group", "a varint"]
)
def test_a_stray_field_of_a_batch_fails_no_query(stray: bytes) -> None:
    assert batch_bodies(stray + delimited(1, ALIEN) + delimited(1, TWO), 9) == [ALIEN, TWO]


def test_a_streams_query_may_come_in_parts() -> None:
    count = pb.FindNeighborsRequest(neighbor_count=3).SerializeToString()
    message = delimited(2, ALIEN) + delimited(1, b"7") + delimited(2, count)
    request_id, body = parse_stream_message(message)
    assert request_id == "7"
    assert isinstance(body, bytes)
    assert parse_query(body) == Query(ItemId("alien"), neighbor_count=3)


def test_a_rater_is_read_as_it_was_written() -> None:
    by_id = pb.PredictRatingsRequest(user_id="ada", item_ids=["alien"])
    rater, message = parse_prediction(by_id.SerializeToString())
    assert (rater, message) == (UserId("ada"), by_id)
    by_profile = pb.PredictRatingsRequest(profile=pb.Profile(liked_item_ids=["alien"]))
    rater, _ = parse_prediction(by_profile.SerializeToString())
    assert rater == Profile(liked_item_ids=("alien",))


@pytest.mark.parametrize("stray", [b"\x78\x01", b"\x7b\x7c"], ids=["numbers", "groups"])
@pytest.mark.parametrize(
    "read",
    [
        lambda stray: parse_query(ALIEN + delimited(8, b"\x40\x01") + stray),
        lambda stray: batch_bodies(delimited(1, ALIEN) + stray, 9),
        lambda stray: parse_stream_message(delimited(2, ALIEN) + stray),
        lambda stray: parse_prediction(delimited(2, delimited(2, b"alien")) + stray),
    ],
    ids=["query", "batch", "stream", "prediction"],
)
def test_of_fields_that_nobody_knows_few_are_passed_over(
    read: Callable[[bytes], object], stray: bytes
) -> None:
    read(stray * 1000)
    with pytest.raises(InvalidRequest, match="more than"):
        read(stray * 20_000)


def test_a_target_of_two_bytes_hides_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second byte looks like the head of an id; what such a request asks is asked but once."""
    monkeypatch.setattr("server.messages.requests._KNOWN", {})
    for name in (b"A" * 16, b"B" * 16):
        body = b"\x08\x81\x12" + b"\x12" + bytes([16]) + name + b"\x08\x01"
        assert parse_query(body).whom == ItemId(name.decode())


def test_no_weight_is_no_weight_whatever_its_sign() -> None:
    assert str(Query(ItemId("a"), content_weight=-0.0).content_weight) == "0.0"


@pytest.mark.parametrize(
    "rated_at",
    [
        Timestamp(seconds=1_700_000_000_000),
        Timestamp(seconds=-(2**40)),
        Timestamp(nanos=-5),
        Timestamp(nanos=10**9),
    ],
    ids=str,
)
def test_a_time_that_is_none_is_refused(rated_at: Timestamp) -> None:
    rating = pb.Rating(item_id="alien", stars=4, rated_at=rated_at)
    request = pb.FindNeighborsRequest(profile=pb.Profile(ratings=[rating]))
    with pytest.raises(InvalidRequest, match="milliseconds") as caught:
        parse_query(request.SerializeToString())
    assert caught.value.field == "profile.ratings.rated_at"
