"""What is refused: with which code, which field blamed, in words that say what to change."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2
from grpc_reflection.v1alpha.reflection_pb2 import FileDescriptorResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ilk.v1 import similarity_pb2 as pb

if TYPE_CHECKING:
    from tests.server.conftest import Ask, Stream

MATRIX = "the-matrix-1999"
LONG_ID = "x" * 257
NAN = math.nan
WHOM = {"item_id", "user_id", "profile", "examples", "text"}


@dataclass(frozen=True)
class Bad:
    """A request, the field to be blamed and what the message must say; NOT_FOUND blames no field."""

    data: bytes
    field: str
    says: tuple[str, ...]


def bad(message: Message | bytes, field: str, *says: str) -> Bad:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return Bad(data, field, says)


def query(**fields: Any) -> pb.FindNeighborsRequest:
    """Return a query that asks about The Matrix unless ``fields`` say to whom."""
    whom: dict[str, Any] = {} if WHOM & fields.keys() else {"item_id": MATRIX}
    return pb.FindNeighborsRequest(**whom, **fields)


def profile(**fields: Any) -> pb.FindNeighborsRequest:
    return query(profile=pb.Profile(**fields))


def rated(stars: float, item_id: str = MATRIX) -> pb.FindNeighborsRequest:
    return profile(ratings=[pb.Rating(item_id=item_id, stars=stars)])


def half_life(seconds: int, nanos: int = 0) -> pb.FindNeighborsRequest:
    return profile(liked_item_ids=[MATRIX], half_life=Duration(seconds=seconds, nanos=nanos))


def examples(*positive: str, negative: tuple[str, ...] = ()) -> pb.FindNeighborsRequest:
    return query(examples=pb.Examples(positive_item_ids=positive, negative_item_ids=negative))


def filtered(target: int = pb.TARGET_ITEMS, **fields: Any) -> pb.FindNeighborsRequest:
    return query(target=target, filter=pb.Filter(**fields))


def recall(value: float) -> pb.FindNeighborsRequest:
    return query(accuracy=pb.Accuracy(recall=value))


BAD_QUERIES = {
    "no whom": bad(b"", "whom", "missing", "item_id", "user_id", "profile", "examples", "text"),
    "two whoms": bad(
        query().SerializeToString() + query(text="comedy").SerializeToString(),
        "whom",
        "item_id, text",
    ),
    "unknown target": bad(query(target=7), "target", "7"),
    "count over the limit": bad(query(neighbor_count=1001), "neighbor_count", "1000", "1001"),
    "negative count": bad(query(neighbor_count=-1), "neighbor_count", "-1"),
    "negative offset": bad(query(offset=-1), "offset", "-1"),
    "count and offset": bad(query(neighbor_count=600, offset=401), "offset", "1000", "401"),
    "recall too low": bad(recall(0.5), "accuracy.recall", "[0.9, 0.999]", "0.5"),
    "recall too high": bad(recall(1.0), "accuracy.recall", "[0.9, 0.999]"),
    "recall NaN": bad(recall(NAN), "accuracy.recall", "nan"),
    "empty item id": bad(query(item_id=""), "item_id", "empty"),
    "empty user id": bad(query(user_id=""), "user_id", "empty"),
    "long item id": bad(query(item_id=LONG_ID), "item_id", "257", "256"),
    "id long in bytes": bad(query(user_id="é" * 129), "user_id", "258", "256"),
    "empty text": bad(query(text=""), "text", "empty"),
    "blank text": bad(query(text=" \t\n"), "text", "empty"),
    "long text": bad(query(text="x" * 1001), "text", "1001", "1000"),
    "text without a known word": bad(query(text="zxqv"), "text", "Comedy"),
    "empty profile": bad(profile(), "profile", "empty"),
    "large profile": bad(
        profile(liked_item_ids=[MATRIX] * 9_999, favorite_genres=["Drama"] * 2),
        "profile",
        "10001",
        "10000",
    ),
    "many ratings": bad(profile(ratings=[pb.Rating()] * 10_001), "profile", "10001", "10000"),
    "half-life zero": bad(half_life(0), "profile.half_life", "positive"),
    "half-life negative": bad(half_life(-1, -500_000_000), "profile.half_life", "-1.5"),
    "stars NaN": bad(rated(NAN), "profile.ratings.stars", "nan"),
    "stars infinite": bad(rated(math.inf), "profile.ratings.stars", "inf"),
    "stars over the scale": bad(rated(5.5), "profile.ratings.stars", "5.5", MATRIX, "[0.5, 5]"),
    "stars under the scale": bad(rated(0), "profile.ratings.stars", "[0.5, 5]"),
    "rating of no item": bad(rated(3, ""), "profile.ratings.item_id", "empty"),
    "rating of a long id": bad(rated(3, LONG_ID), "profile.ratings.item_id", "257"),
    "empty liked id": bad(profile(liked_item_ids=[""]), "profile.liked_item_ids", "empty"),
    "long disliked id": bad(profile(disliked_item_ids=[LONG_ID]), "profile.disliked_item_ids"),
    "unknown favorite": bad(
        profile(favorite_genres=["Drama", "Opera"]), "profile.favorite_genres", "'Opera'", "Musical"
    ),
    "no example": bad(examples(), "examples.positive_item_ids", "at least one"),
    "negative examples only": bad(examples(negative=(MATRIX,)), "examples.positive_item_ids"),
    "many examples": bad(examples(*[MATRIX] * 1000, negative=(MATRIX,)), "examples", "1001"),
    "long example": bad(examples(LONG_ID), "examples.positive_item_ids", "257"),
    "empty negative example": bad(examples(MATRIX, negative=("",)), "examples.negative_item_ids"),
    "years reversed": bad(
        filtered(min_year=2000, max_year=1999), "filter.min_year", "2000", "1999"
    ),
    "any unknown genre": bad(filtered(any_genres=["Opera"]), "filter.any_genres", "Opera"),
    "all unknown genres": bad(filtered(all_genres=["Opera"]), "filter.all_genres", "Opera"),
    "no unknown genre": bad(filtered(no_genres=["Opera"]), "filter.no_genres", "Opera"),
    "many genres": bad(
        filtered(any_genres=["Drama"] * 60, no_genres=["Drama"] * 41), "filter", "101", "100"
    ),
    "many ids": bad(
        filtered(include_ids=["a"] * 50_000, exclude_ids=["b"] * 50_001), "filter", "100001"
    ),
    "genres of users": bad(filtered(pb.TARGET_USERS, any_genres=["Drama"]), "filter", "USERS"),
    "years of users": bad(filtered(pb.TARGET_USERS, max_year=1999), "filter", "USERS"),
    "seen by an item": bad(filtered(exclude_seen=True), "filter.exclude_seen"),
    "reasons for an item": bad(query(include_explanation=True), "include_explanation"),
    "unknown item": bad(query(item_id="no-such-film"), "", "item 'no-such-film'"),
    "unknown user": bad(query(user_id="nobody"), "", "user 'nobody'"),
    "unknown item rated": bad(rated(3, "no-such-film"), "", "'no-such-film'"),
    "unknown item liked": bad(profile(liked_item_ids=[MATRIX, "x"]), "", "'x'"),
    "unknown examples": bad(examples(MATRIX, "x", negative=("y",)), "", "'x'"),
    "unknown examples only": bad(
        query(examples=pb.Examples(positive_item_ids=["x"]), ignore_unknown_ids=True), "", "'x'"
    ),
    **{
        f"{field} {value}": bad(query(**{field: value}), field, "[0, 1]", f"{value}")
        for field in ("content_weight", "diversity", "popularity_penalty")
        for value in (-0.25, 1.25, NAN, math.inf)
    },
}

USER = {"user_id": "nobody"}


def prediction(**fields: Any) -> pb.PredictRatingsRequest:
    return pb.PredictRatingsRequest(**{"item_ids": [MATRIX], **fields})


def predicted_for(**fields: Any) -> pb.PredictRatingsRequest:
    return prediction(profile=pb.Profile(**fields))


LIKING = {"profile": pb.Profile(liked_item_ids=[MATRIX])}
BAD_CALLS = {
    "batch of none": ("BatchFindNeighbors", bad(b"", "queries", "1 to 1000", "0")),
    "batch of 1,001": (
        "BatchFindNeighbors",
        bad(pb.BatchFindNeighborsRequest(queries=[query()] * 1001), "queries", "1000", "1001"),
    ),
    "no rater": ("PredictRatings", bad(prediction(), "rater", "user_id", "profile")),
    "two raters": (
        "PredictRatings",
        bad(
            prediction(**USER).SerializeToString() + prediction(**LIKING).SerializeToString(),
            "rater",
            "profile, user_id",
        ),
    ),
    "empty rater's id": ("PredictRatings", bad(prediction(user_id=""), "user_id", "empty")),
    "empty rater's profile": ("PredictRatings", bad(predicted_for(), "profile", "empty")),
    "rater's stars": (
        "PredictRatings",
        bad(
            predicted_for(ratings=[pb.Rating(item_id=MATRIX, stars=9)]),
            "profile.ratings.stars",
            "9.0",
        ),
    ),
    "rater's unknown genre": (
        "PredictRatings",
        bad(predicted_for(favorite_genres=["Opera"]), "profile.favorite_genres", "Opera"),
    ),
    "unknown rater": ("PredictRatings", bad(prediction(**USER), "", "user 'nobody'")),
    "no item": ("PredictRatings", bad(prediction(item_ids=[], **LIKING), "item_ids", "0")),
    "1,001 items": (
        "PredictRatings",
        bad(prediction(item_ids=[MATRIX] * 1001, **LIKING), "item_ids", "1001"),
    ),
    "unknown item": (
        "PredictRatings",
        bad(prediction(item_ids=[MATRIX, "no-such-film"], **LIKING), "", "'no-such-film'"),
    ),
    "long item id": (
        "PredictRatings",
        bad(prediction(item_ids=["x" * 20_000], **LIKING), "item_ids", "20000", "256"),
    ),
    "unknown method": ("PredictRatings", bad(prediction(method=9, **LIKING), "method", "9")),
    "no title": ("SearchTitles", bad(b"", "text", "1 to 256")),
    "blank title": ("SearchTitles", bad(pb.SearchTitlesRequest(text=" "), "text", "1 to 256")),
    "long title": ("SearchTitles", bad(pb.SearchTitlesRequest(text="x" * 257), "text", "1 to 256")),
    "negative match count": (
        "SearchTitles",
        bad(pb.SearchTitlesRequest(text="x", match_count=-1), "match_count", "-1", "100"),
    ),
    "101 matches": (
        "SearchTitles",
        bad(pb.SearchTitlesRequest(text="x", match_count=101), "match_count", "101", "100"),
    ),
    "no id": ("GetItems", bad(b"", "ids", "1 to 1000", "0")),
    "1,001 ids": ("GetItems", bad(pb.GetItemsRequest(ids=["x"] * 1001), "ids", "1001")),
}


GOOD = query().SerializeToString()
Refused = Callable[[bytes], tuple[str, str, str]]


def batch_of(*queries: bytes) -> bytes:
    """Return a batch whatever is in its queries: a message of repeated bytes has the same form."""
    return bytes(FileDescriptorResponse(file_descriptor_proto=queries).SerializeToString())


def message_of(request_id: str, asked: bytes) -> bytes:
    """Return a stream's message whatever is in its query: text and bytes have the same form."""
    return AnyMessage(type_url=request_id, value=asked).SerializeToString()


def told(error: pb.QueryError) -> tuple[str, str, str]:
    return code_pb2.Code.Name(error.code), error.field, error.message


@pytest.fixture(params=["alone", "in a batch", "in a stream"])
def refused(request: pytest.FixtureRequest, ask: "Ask", stream: "Stream") -> Refused:
    """Ask a bad query, between two good ones where there is room; return code, field and message."""

    def alone(asked: bytes) -> tuple[str, str, str]:
        answer = ask("FindNeighbors", asked)
        return answer.code, answer.field, answer.message

    def in_batch(asked: bytes) -> tuple[str, str, str]:
        answer = ask("BatchFindNeighbors", batch_of(GOOD, asked, GOOD))
        outcomes = pb.BatchFindNeighborsResponse.FromString(answer.body).outcomes
        assert [outcome.WhichOneof("outcome") for outcome in outcomes] == BETWEEN_GOOD
        return told(outcomes[1].error)

    def in_stream(asked: bytes) -> tuple[str, str, str]:
        answers = stream([message_of(str(at), q) for at, q in enumerate((GOOD, asked, GOOD))])
        responses = [pb.StreamFindNeighborsResponse.FromString(answer.body) for answer in answers]
        assert [response.WhichOneof("outcome") for response in responses] == BETWEEN_GOOD
        assert [response.request_id for response in responses] == ["0", "1", "2"]
        return told(responses[1].error)

    ways = {"alone": alone, "in a batch": in_batch, "in a stream": in_stream}
    return ways[request.param]


BETWEEN_GOOD = ["response", "error", "response"]


def check(refusal: tuple[str, str, str], expected: Bad) -> None:
    code, field, message = refusal
    assert (code, field) == (
        "INVALID_ARGUMENT" if expected.field else "NOT_FOUND",
        expected.field,
    ), message
    assert all(words in message for words in (expected.field, *expected.says)), message


@pytest.mark.parametrize("expected", BAD_QUERIES.values(), ids=BAD_QUERIES)
def test_a_bad_query_fails_alone_and_names_its_field(refused: Refused, expected: Bad) -> None:
    check(refused(expected.data), expected)


@pytest.mark.parametrize(("rpc", "expected"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_bad_call_names_its_field(ask: "Ask", rpc: str, expected: Bad) -> None:
    answer = ask(rpc, expected.data)
    check((answer.code, answer.field, answer.message), expected)


RPCS = ("FindNeighbors", "BatchFindNeighbors", "PredictRatings", "SearchTitles", "GetItems")
# Each reads field 1 as a message, a text or texts, so these fit none of them.
MALFORMED = {
    "no tag": b"\xff\xff",
    "cut short": b"\x0a\x7f",
    "field 0": b"\x00\x00",
    "endless number": b"\x08" + b"\xff" * 11,
    "end of no group": b"\x0c",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("rpc", [*RPCS, "GetBundle"])
def test_malformed_bytes_are_the_callers_fault(ask: "Ask", rpc: str, data: bytes) -> None:
    answer = ask(rpc, data)
    assert answer.code == "INVALID_ARGUMENT"
    assert f"ilk.v1.{rpc}Request" in answer.message


@pytest.mark.parametrize(
    ("rpc", "number"),
    [("FindNeighbors", 2), ("PredictRatings", 3), ("SearchTitles", 1), ("GetItems", 1)],
)
def test_text_that_is_not_utf_8_is_the_callers_fault(ask: "Ask", rpc: str, number: int) -> None:
    answer = ask(rpc, bytes([number << 3 | 2, 2]) + b"\xc3\x28")
    assert answer.code == "INVALID_ARGUMENT"
    assert f"ilk.v1.{rpc}Request" in answer.message


def test_a_malformed_message_of_a_stream_fails_alone(stream: "Stream") -> None:
    answers = stream([message_of("1", GOOD), b"\xff", message_of("3", GOOD)])
    first, malformed, third = (pb.StreamFindNeighborsResponse.FromString(a.body) for a in answers)
    assert (first.request_id, first.HasField("response")) == ("1", True)
    assert (third.request_id, third.HasField("response")) == ("3", True)
    assert malformed.request_id == ""
    assert told(malformed.error)[:2] == ("INVALID_ARGUMENT", "")
    assert "ilk.v1.StreamFindNeighborsRequest" in malformed.error.message


def test_a_long_request_id_fails_alone(stream: "Stream") -> None:
    answers = stream([message_of(name, GOOD) for name in ("x" * 256, "é" * 129, "3")])
    kept, long, after = (pb.StreamFindNeighborsResponse.FromString(a.body) for a in answers)
    assert (kept.request_id, kept.HasField("response")) == ("x" * 256, True)
    assert (after.request_id, after.HasField("response")) == ("3", True)
    assert told(long.error)[:2] == ("INVALID_ARGUMENT", "request_id")
    assert "256 bytes" in long.error.message


def test_a_message_over_4_mib_is_resource_exhausted(ask: "Ask") -> None:
    answer = ask("FindNeighbors", query(text="x" * (4 << 20)).SerializeToString())
    assert answer.code == "RESOURCE_EXHAUSTED"
    assert "4194304" in answer.message


def test_unknown_ids_that_may_be_ignored_are_listed(ask: "Ask") -> None:
    whom = pb.Profile(liked_item_ids=[MATRIX, "x"], disliked_item_ids=["y"])
    asked = query(profile=whom, ignore_unknown_ids=True)
    answer = ask("FindNeighbors", asked.SerializeToString())
    assert pb.FindNeighborsResponse.FromString(answer.body).ignored_ids == ["x", "y"]


VALID = {
    "FindNeighbors": [
        GOOD,
        rated(4).SerializeToString(),
        half_life(60).SerializeToString(),
        examples(MATRIX, negative=("alien-1979",)).SerializeToString(),
        query(text="comedy", diversity=0.5, neighbor_count=3).SerializeToString(),
        filtered(any_genres=["Drama"], min_year=1990, max_year=2000).SerializeToString(),
    ],
    "BatchFindNeighbors": [batch_of(GOOD, GOOD)],
    "StreamFindNeighbors": [message_of("1", GOOD)],
    "PredictRatings": [prediction(**LIKING).SerializeToString()],
    "SearchTitles": [pb.SearchTitlesRequest(text="matrix", match_count=2).SerializeToString()],
    "GetItems": [pb.GetItemsRequest(ids=[MATRIX, "x"]).SerializeToString()],
}
# Groups, numbers in more bytes than they need, strays of a known field, NaN: what generators write.
PIECES = (b"\x0b\x0c", b"\x9b\x06\x9c\x06", b"\x80\x00", b"\x08\x00", b"\x12\x01x", b"\x1a\x01x")
EDITS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 3),
        st.sampled_from(PIECES) | st.sampled_from([GOOD, b"\xff" * 8]) | st.binary(max_size=5),
    ),
    max_size=4,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return an rpc and the bytes of a valid request of it after a few edits."""
    rpc = draw(st.sampled_from(list(VALID)))
    data = draw(st.sampled_from(VALID[rpc]))
    for place, n_dropped, inserted in draw(EDITS):
        at = place % (len(data) + 1)
        data = data[:at] + inserted + data[at + n_dropped :]
    return rpc, data


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(call=mutated())
def test_no_bytes_lead_to_an_undocumented_end(
    ask: "Ask", stream: "Stream", call: tuple[str, bytes]
) -> None:
    rpc, data = call
    (answer,) = stream([data]) if rpc == "StreamFindNeighbors" else [ask(rpc, data)]
    assert answer.code in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}, answer.message
