"""What can be asked is checked when it is made, and the error names the field."""

import math
from collections.abc import Callable

import pytest

from ilk.client.wire.requests import items_request, prediction_request
from ilk.errors import InvalidRequest
from ilk.types import (
    EXACT,
    MAX_EXAMPLES,
    MAX_FILTER_GENRES,
    MAX_FILTER_IDS,
    MAX_ID_BYTES,
    MAX_NEIGHBORS,
    MAX_PROFILE_ENTRIES,
    MAX_TEXT_CHARS,
    Accuracy,
    Examples,
    Filter,
    ItemId,
    Profile,
    Query,
    Rating,
    Text,
    UserId,
)

NAN, INF = math.nan, math.inf
WHOM = ItemId("a")
LONGEST = "é" * (MAX_ID_BYTES // 2)
TOO_LONG = "a" * (MAX_ID_BYTES + 1)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("content_weight", [-0.01, 1.01, NAN, INF, -INF]),
        ("diversity", [-0.01, 1.01, NAN, INF]),
        ("popularity_penalty", [-0.01, 1.01, NAN, -INF]),
        ("neighbor_count", [0, -1, MAX_NEIGHBORS + 1]),
        ("offset", [-1, MAX_NEIGHBORS]),
    ],
)
def test_a_query_refuses_what_is_out_of_range(field: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(InvalidRequest, match=f"^{field}: .*got {value}") as caught:
            Query(WHOM, **{field: value})  # type: ignore[arg-type]
        assert caught.value.field == field


def test_an_offset_and_a_count_share_one_limit() -> None:
    assert Query(WHOM, neighbor_count=400, offset=MAX_NEIGHBORS - 400).offset == 600
    with pytest.raises(InvalidRequest) as caught:
        Query(WHOM, neighbor_count=400, offset=MAX_NEIGHBORS - 399)
    assert caught.value.field == "offset"


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Profile(liked_item_ids="318"), "profile.liked_item_ids"),  # type: ignore[arg-type]
        (lambda: Profile(disliked_item_ids="318"), "profile.disliked_item_ids"),  # type: ignore[arg-type]
        (lambda: Profile(favorite_genres="War"), "profile.favorite_genres"),  # type: ignore[arg-type]
        (lambda: Examples("318"), "examples.positive_item_ids"),  # type: ignore[arg-type]
        (lambda: Examples(("1",), "318"), "examples.negative_item_ids"),  # type: ignore[arg-type]
        (lambda: Filter(include_ids="318"), "filter.include_ids"),  # type: ignore[arg-type]
        (lambda: Filter(exclude_ids="318"), "filter.exclude_ids"),  # type: ignore[arg-type]
        (lambda: Filter(any_genres="War"), "filter.any_genres"),  # type: ignore[arg-type]
        (lambda: items_request("318"), "ids"),
        (lambda: prediction_request("1", "318"), "item_ids"),
    ],
    ids=lambda told: told if isinstance(told, str) else "",
)
def test_one_text_is_not_taken_for_several(make: Callable[[], object], field: str) -> None:
    """Each of its characters may be an id, and another question would be answered."""
    with pytest.raises(InvalidRequest, match="got one") as caught:
        make()
    assert caught.value.field == field


def test_a_name_that_no_genre_has_is_not_looked_at_for_minutes() -> None:
    """To put marks above and below letters in order takes the square of their number."""
    endless = "\u0301" * 200 + "\u0323" * 200
    for make in (
        lambda: Filter(any_genres=(endless,)),
        lambda: Filter(no_genres=(endless,)),
        lambda: Profile(favorite_genres=(endless,)),
    ):
        with pytest.raises(InvalidRequest, match="400 characters"):
            make()


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_ends_of_a_range_belong_to_it(end: float) -> None:
    query = Query(WHOM, content_weight=end, diversity=end, popularity_penalty=end)
    assert (query.content_weight, query.diversity, query.popularity_penalty) == (end,) * 3
    assert Query(WHOM, neighbor_count=MAX_NEIGHBORS).neighbor_count == MAX_NEIGHBORS


BAD_VALUES: list[tuple[Callable[[], object], str]] = [
    (lambda: ItemId(""), "item_id"),
    (lambda: ItemId(TOO_LONG), "item_id"),
    (lambda: ItemId(LONGEST + "a"), "item_id"),
    (lambda: UserId(""), "user_id"),
    (lambda: UserId(TOO_LONG), "user_id"),
    (lambda: Rating("", 1.0), "profile.ratings.item_id"),
    (lambda: Rating(TOO_LONG, 1.0), "profile.ratings.item_id"),
    (lambda: Rating("a", NAN), "profile.ratings.stars"),
    (lambda: Rating("a", INF), "profile.ratings.stars"),
    (lambda: Rating("a", -INF), "profile.ratings.stars"),
    (lambda: Profile(), "profile"),
    (lambda: Profile(half_life_s=1.0), "profile"),
    (lambda: Rating("a", "4"), "profile.ratings.stars"),  # type: ignore[arg-type]
    (lambda: Rating("a", 4.0, "now"), "profile.ratings.rated_at"),  # type: ignore[arg-type]
    (lambda: Query(ItemId("a"), neighbor_count=2.0), "neighbor_count"),  # type: ignore[arg-type]
    (lambda: Query(ItemId("a"), offset=2.5), "offset"),  # type: ignore[arg-type]
    (lambda: Filter(min_year="1990"), "filter.min_year"),  # type: ignore[arg-type]
    (lambda: Filter(max_year=1990.5), "filter.max_year"),  # type: ignore[arg-type]
    (lambda: Filter(any_genres=(5,)), "filter.any_genres"),  # type: ignore[arg-type]
    (lambda: Text(5), "text"),  # type: ignore[arg-type]
    (lambda: Profile(liked_item_ids=("a",) * (MAX_PROFILE_ENTRIES + 1)), "profile"),
    (
        lambda: Profile((), ("a",) * MAX_PROFILE_ENTRIES, (), ("Horror",)),
        "profile",
    ),
    (lambda: Profile(liked_item_ids=("a", "")), "profile.liked_item_ids"),
    (lambda: Profile(disliked_item_ids=(TOO_LONG,)), "profile.disliked_item_ids"),
    (lambda: Profile(liked_item_ids=("a",), half_life_s=0.0), "profile.half_life"),
    (lambda: Profile(liked_item_ids=("a",), half_life_s=-1.0), "profile.half_life"),
    (lambda: Profile(liked_item_ids=("a",), half_life_s=NAN), "profile.half_life"),
    (lambda: Profile(liked_item_ids=("a",), half_life_s=INF), "profile.half_life"),
    (lambda: Examples(()), "examples.positive_item_ids"),
    (lambda: Examples((), ("a",)), "examples.positive_item_ids"),
    (lambda: Examples(("",)), "examples.positive_item_ids"),
    (lambda: Examples(("a",), (TOO_LONG,)), "examples.negative_item_ids"),
    (lambda: Examples(("a",), ("b",) * MAX_EXAMPLES), "examples"),
    (lambda: Text(""), "text"),
    (lambda: Text(" \t\n"), "text"),
    (lambda: Text("a" * (MAX_TEXT_CHARS + 1)), "text"),
    (lambda: Filter(include_ids=("a",) * (MAX_FILTER_IDS + 1)), "filter"),
    (lambda: Filter(include_ids=("a",) * MAX_FILTER_IDS, exclude_ids=("b",)), "filter"),
    (lambda: Filter(any_genres=("a",) * (MAX_FILTER_GENRES + 1)), "filter"),
    (lambda: Filter(all_genres=("a",) * 50, no_genres=("a",) * 51), "filter"),
    (lambda: Filter(min_year=2000, max_year=1999), "filter.min_year"),
    (lambda: Accuracy.at_recall(0.8999), "accuracy.recall"),
    (lambda: Accuracy.at_recall(1.0), "accuracy.recall"),
    (lambda: Accuracy.at_recall(NAN), "accuracy.recall"),
    (lambda: Accuracy(0.95), "accuracy.recall"),
    (lambda: Accuracy(0.5, exact=False), "accuracy.recall"),
]


@pytest.mark.parametrize(("make", "field"), BAD_VALUES)
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    make: Callable[[], object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make()
    assert caught.value.field == field
    assert str(caught.value) == f"{field}: {caught.value.problem}"


def test_a_rating_s_time_must_be_a_number_if_it_is_given() -> None:
    # An infinite one would make ages of NaN.
    for time_s in (NAN, INF, -INF):
        with pytest.raises(InvalidRequest) as caught:
            Rating("a", 1.0, time_s)
        assert caught.value.field == "profile.ratings.rated_at"


def test_limits_are_counted_in_bytes_for_ids_and_in_characters_for_texts() -> None:
    assert ItemId(LONGEST).item_id == LONGEST
    assert UserId("a" * MAX_ID_BYTES)
    assert Text("é" * MAX_TEXT_CHARS)


def test_the_largest_allowed_are_allowed() -> None:
    assert Profile(liked_item_ids=("a",) * MAX_PROFILE_ENTRIES)
    assert Examples(("a",) * (MAX_EXAMPLES - 1), ("b",))
    assert Filter(include_ids=("a",) * MAX_FILTER_IDS, no_genres=("b",) * MAX_FILTER_GENRES)
    assert Filter(min_year=1999, max_year=1999)
    assert [Accuracy.at_recall(r).recall for r in (0.9, 0.999)] == [0.9, 0.999]


@pytest.mark.parametrize(
    ("wanted", "on_content"),
    [
        (Filter(), False),
        (Filter(include_ids=("a",), exclude_ids=("b",), exclude_seen=True), False),
        (Filter(any_genres=("a",)), True),
        (Filter(all_genres=("a",)), True),
        (Filter(no_genres=("a",)), True),
        (Filter(min_year=0), True),
        (Filter(max_year=0), True),
    ],
)
def test_a_filter_knows_whether_it_asks_for_genres_or_years(
    wanted: Filter, on_content: bool
) -> None:
    assert wanted.on_content is on_content


def test_exact_is_no_promise_of_recall_but_a_comparison_with_everything() -> None:
    assert EXACT.exact
    assert not Accuracy.at_recall(0.95).exact
