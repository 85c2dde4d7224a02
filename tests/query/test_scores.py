"""Every score and every rank equals a recomputation in float64, whatever is asked of whom."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk.query import answer
from ilk.types import (
    EXACT,
    NO_FILTER,
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
from indexer.settings import BuildSettings

if TYPE_CHECKING:
    from tests.query.conftest import World
    from tests.query.oracle import Oracle

WORLDS = (
    "sample-Flat",
    "sample-PQ",
    "sample-IVF",
    "sample-IVFSQ",
    "sample-HNSW",
    "crowd-Flat",
    "crowd-PQ",
    "crowd-IVF",
)
FILTERED_WORLDS = (
    "sample-HNSW",
    "crowd-Flat",
    "crowd-PQ",
    "crowd-IVF",
    "crowd-IVFSQ",
    "crowd-IVFPQ",
    "crowd-IVFPQ2",
)
WEIGHTS = (0.0, 0.1, 0.3, 0.7, 1.0)
# Content weight, neighbors wanted, offset.
PAGES = (
    (0.0, 10, 0),
    (0.0, 1000, 0),
    (0.1, 100, 7),
    (0.3, 1, 0),
    (0.3, 600, 300),
    (0.7, 20, 90),
    (1.0, 10, 0),
    (1.0, 1000, 0),
)


def item(oracle: "Oracle", row: int) -> str:
    return oracle.items.ids[row]


def user(oracle: "Oracle", row: int) -> str:
    return oracle.users.ids[row]


def newcomer(oracle: "Oracle") -> Profile:
    ratings = [Rating(item(oracle, row), 1.0 + row % 5) for row in range(3, 200, 17)]
    return Profile(
        tuple(ratings),
        liked_item_ids=(item(oracle, 40), item(oracle, 300)),
        disliked_item_ids=(item(oracle, 5), item(oracle, 6)),
    )


WHOM: dict[str, Callable[["Oracle"], Whom]] = {
    "a popular item": lambda o: ItemId(item(o, 0)),
    "an item that few know": lambda o: ItemId(item(o, len(o.items.ids) // 2)),
    "an item nobody rated": lambda o: ItemId(item(o, len(o.items.ids) - 2)),
    "an active user": lambda o: UserId(user(o, 0)),
    "a user who likes nothing": lambda o: UserId(user(o, len(o.users.ids) - 1)),
    "a newcomer": newcomer,
    "a newcomer with a favorite": lambda o: Profile(
        (Rating(item(o, 9), 5.0),), favorite_genres=("horror", "Sci-Fi")
    ),
    "a taste for genres": lambda o: Profile(favorite_genres=("Comedy", "WAR")),
    "dislikes alone": lambda o: Profile(disliked_item_ids=(item(o, 7), item(o, 80))),
    "examples": lambda o: Examples(
        (item(o, 3), item(o, 3), item(o, 60)), (item(o, 8), item(o, 450))
    ),
    "a text": lambda o: Text("comedy HORROR"),
}


def every_nth_id(oracle: "Oracle", target: Target, n: int) -> tuple[str, ...]:
    return (*oracle.sides[target].ids[1::n], "an id that nobody has")


FILTERS: dict[str, Callable[["Oracle", Target], Filter]] = {
    "no filter": lambda o, t: NO_FILTER,
    "three of four": lambda o, t: Filter(
        include_ids=tuple(i for row, i in enumerate(o.sides[t].ids) if row % 4)
    ),
    "one in ten": lambda o, t: Filter(include_ids=every_nth_id(o, t, 10)),
    "one in a hundred": lambda o, t: Filter(include_ids=every_nth_id(o, t, 100)),
    "one": lambda o, t: Filter(include_ids=(o.sides[t].ids[17],)),
    "none": lambda o, t: Filter(include_ids=("nothing of the kind",)),
    "without a few": lambda o, t: Filter(exclude_ids=every_nth_id(o, t, 60)),
    "without most": lambda o, t: Filter(exclude_ids=tuple(o.sides[t].ids[5::2])),
    "most and without a few": lambda o, t: Filter(
        include_ids=tuple(o.sides[t].ids[100:]), exclude_ids=every_nth_id(o, t, 60)
    ),
}
ITEM_FILTERS: dict[str, Filter] = {
    "a genre": Filter(any_genres=("Horror",)),
    "either of two genres": Filter(any_genres=("Comedy", "Drama")),
    "both of two genres": Filter(all_genres=("Crime", "Drama")),
    "not two genres": Filter(no_genres=("Drama", "Action")),
    "genres that exclude themselves": Filter(all_genres=("War",), no_genres=("War",)),
    "the nineties": Filter(min_year=1990, max_year=1999),
    "since 1960": Filter(min_year=1960),
    "until a year far off": Filter(max_year=2**40),
    "comedies of some years, no drama": Filter(
        any_genres=("Comedy", "Crime"), no_genres=("Drama",), min_year=1970, max_year=2005
    ),
}
SEEING = ("a popular item", "an active user", "a newcomer", "examples")


def check_all(oracle: "Oracle", whom: Whom, target: Target, wanted: Filter) -> None:
    for weight, count, offset in PAGES:
        query = Query(whom, target, weight, wanted, count, offset, EXACT, include_components=True)
        oracle.check(query, answer(oracle.bundle, query))


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("whom", WHOM)
@pytest.mark.parametrize("name", WORLDS)
def test_unfiltered_answers_are_those_of_brute_force(
    world: "World", name: str, whom: str, target: Target
) -> None:
    oracle = world(name)
    check_all(oracle, WHOM[whom](oracle), target, NO_FILTER)


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("wanted", FILTERS)
@pytest.mark.parametrize("whom", ["a popular item", "an active user"])
@pytest.mark.parametrize("name", FILTERED_WORLDS)
def test_answers_filtered_by_ids_are_those_of_brute_force(
    world: "World", name: str, whom: str, wanted: str, target: Target
) -> None:
    oracle = world(name)
    check_all(oracle, WHOM[whom](oracle), target, FILTERS[wanted](oracle, target))


@pytest.mark.parametrize("wanted", ITEM_FILTERS)
@pytest.mark.parametrize("whom", ["a popular item", "an active user"])
@pytest.mark.parametrize("name", FILTERED_WORLDS)
def test_answers_filtered_by_content_are_those_of_brute_force(
    world: "World", name: str, whom: str, wanted: str
) -> None:
    oracle = world(name)
    check_all(oracle, WHOM[whom](oracle), Target.ITEMS, ITEM_FILTERS[wanted])


@pytest.mark.parametrize("whom", SEEING)
@pytest.mark.parametrize("name", WORLDS)
def test_answers_without_what_was_seen_are_those_of_brute_force(
    world: "World", name: str, whom: str
) -> None:
    oracle = world(name)
    asked = WHOM[whom](oracle)
    target = Target.ITEMS if isinstance(asked, UserId | Profile) else Target.USERS
    check_all(oracle, asked, target, Filter(exclude_seen=True))


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("name", ["sample-Flat", "crowd-Flat"])
def test_a_query_that_names_no_weight_or_accuracy_gets_those_of_the_bundle(
    world: "World", name: str, target: Target
) -> None:
    oracle = world(name)
    query = Query(ItemId(item(oracle, 2)), target)
    found = answer(oracle.bundle, query)
    oracle.check(query, found)
    assert found.content_weight == BuildSettings().content_weight


@pytest.mark.parametrize("count", [10, 100, 1000])
@pytest.mark.parametrize("recall", [None, 0.9])
@pytest.mark.parametrize("whom", ["a popular item", "an active user"])
@pytest.mark.parametrize(
    "name",
    [
        "sample-PQ",
        "sample-IVF",
        "sample-HNSW",
        "crowd-PQ",
        "crowd-IVF",
        "crowd-IVFSQ",
        "crowd-IVFPQ",
        "crowd-IVFPQ2",
    ],
)
def test_an_approximate_search_returns_as_many_as_an_exact_one(
    world: "World", name: str, whom: str, recall: float | None, count: int
) -> None:
    # The lists or links that an index visits, at the effort that its recall asks for, can hold fewer
    # than are wanted.
    oracle = world(name)
    accuracy = None if recall is None else Accuracy.at_recall(recall)
    for weight in WEIGHTS:
        query = Query(
            WHOM[whom](oracle), Target.ITEMS, weight, neighbor_count=count, accuracy=accuracy
        )
        n_there = len(oracle.allowed(query))
        n_found = len(answer(oracle.bundle, query).neighbors)
        assert n_found == min(count, n_there)


@pytest.mark.parametrize("k", [10, 100])
@pytest.mark.parametrize("recall", [0.9, 0.99])
@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize(
    "name",
    [
        "sample-PQ",
        "sample-IVF",
        "sample-HNSW",
        "crowd-PQ",
        "crowd-IVF",
        "crowd-IVFSQ",
        "crowd-IVFPQ",
        "crowd-IVFPQ2",
    ],
)
def test_the_recall_that_was_asked_for_is_met(
    world: "World", name: str, target: Target, recall: float, k: int
) -> None:
    oracle = world(name)
    hits = total = 0
    for row in range(0, len(oracle.users.ids), len(oracle.users.ids) // 50):
        query = Query(
            UserId(user(oracle, row)),
            target,
            0.3,
            neighbor_count=k,
            accuracy=Accuracy.at_recall(recall),
        )
        true = -np.sort(-oracle.scores(query)[oracle.allowed(query)])[k - 1]
        hits += sum(n.score >= true - 1e-6 for n in answer(oracle.bundle, query).neighbors)
        total += k
    # The bundle measured with other users: two in a hundred are left to chance.
    assert hits / total >= recall - 0.02


@st.composite
def drawn_queries(draw: st.DrawFn, oracle: "Oracle") -> Query:
    target = draw(st.sampled_from(Target))
    items, users = st.sampled_from(oracle.items.ids), st.sampled_from(oracle.users.ids)
    some = st.lists(items, min_size=1, max_size=6).map(tuple)
    genres = st.sampled_from(oracle.bundle.content_model.genres)
    some_genres = st.lists(genres, max_size=2).map(tuple)
    stars = st.integers(2, 10).map(lambda halves: halves / 2)
    whom = draw(
        st.one_of(
            items.map(ItemId),
            users.map(UserId),
            st.builds(Examples, some, st.lists(items, max_size=3).map(tuple)),
            st.builds(
                Profile,
                st.lists(st.builds(Rating, items, stars), min_size=1, max_size=20).map(tuple),
                st.lists(items, max_size=3).map(tuple),
                st.lists(items, max_size=3).map(tuple),
                some_genres,
            ),
            st.lists(genres, min_size=1, max_size=3, unique=True).map(" ".join).map(Text),
        )
    )
    recommends = isinstance(whom, UserId | Profile)
    ids = st.lists(items if target is Target.ITEMS else users, max_size=40).map(tuple)
    about_items = target is Target.ITEMS and draw(st.booleans())
    wanted = Filter(
        any_genres=draw(some_genres) if about_items else (),
        no_genres=draw(some_genres) if about_items else (),
        min_year=draw(st.none() | st.integers(1940, 2000)) if about_items else None,
        max_year=draw(st.none() | st.integers(2000, 2030)) if about_items else None,
        include_ids=draw(ids),
        exclude_ids=draw(ids),
        exclude_seen=recommends == (target is Target.ITEMS) and draw(st.booleans()),
    )
    count = draw(st.integers(1, 600))
    return Query(
        whom,
        target,
        draw(st.none() | st.sampled_from((0.0, 1.0)) | st.floats(0, 1)),
        wanted,
        count,
        draw(st.integers(0, 1000 - count)),
        EXACT,
        include_components=draw(st.booleans()),
    )


@pytest.mark.parametrize("name", WORLDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_query_is_answered_as_brute_force_would(
    world: "World", name: str, data: st.DataObject
) -> None:
    oracle = world(name)
    query = data.draw(drawn_queries(oracle))
    oracle.check(query, answer(oracle.bundle, query))
