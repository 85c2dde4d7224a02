"""Equal scores stand in the order of rows, pages make up the long list, and marks say what is what."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ilk.ann import IndexKind
from ilk.bundle import Bundle
from ilk.query import answer
from ilk.query.plan import make_plan
from ilk.space import Space
from ilk.types import (
    EXACT,
    NO_FILTER,
    Examples,
    Filter,
    ItemId,
    Neighbor,
    Profile,
    Query,
    Rating,
    Target,
    Text,
    UserId,
)
from ilk.vectors import blend
from indexer.interactions import Interactions, Items
from indexer.settings import BuildSettings

if TYPE_CHECKING:
    from tests.query.conftest import BuildBundle, World
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
HALF_OF_THE_CROWD = Filter(min_year=1980)


def in_pages(bundle: Bundle, query: Query, size: int, n_pages: int) -> list[Neighbor]:
    pages = [replace(query, neighbor_count=size, offset=size * page) for page in range(n_pages)]
    return [neighbor for page in pages for neighbor in answer(bundle, page).neighbors]


def assert_pages_make_up_the_list(bundle: Bundle, query: Query, size: int, n_pages: int) -> None:
    whole = answer(bundle, replace(query, neighbor_count=size * n_pages)).neighbors
    paged = in_pages(bundle, query, size, n_pages)
    assert [n.id for n in paged] == [n.id for n in whole]
    np.testing.assert_allclose(
        [n.score for n in paged], [n.score for n in whole], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("wanted", [NO_FILTER, HALF_OF_THE_CROWD], ids=["all", "filtered"])
@pytest.mark.parametrize("row", [0, 51, 3000])
@pytest.mark.parametrize("name", ["crowd-Flat", "crowd-IVF"])
def test_of_equal_content_the_more_popular_comes_first(
    world: "World", name: str, row: int, wanted: Filter
) -> None:
    oracle = world(name)
    item_id = oracle.items.ids[row]
    query = Query(ItemId(item_id), Target.ITEMS, 1.0, wanted, 1000, accuracy=EXACT)
    found = [n.id for n in answer(oracle.bundle, query).neighbors]
    # Which genres decide the score is known without any arithmetic: runs of one set are runs of ties.
    ids = oracle.items.ids
    runs = [frozenset(oracle.genres[i]) for i in found]
    for genres in dict.fromkeys(runs):
        same = [i for i, its in zip(found, runs, strict=True) if its == genres]
        everyone = [
            ids[r] for r in oracle.allowed(query) if frozenset(oracle.genres[ids[r]]) == genres
        ]
        assert same == everyone[: len(same)]


def test_by_content_alone_a_filter_that_lets_all_pass_changes_no_order(crowd: "Oracle") -> None:
    # Items of unlike genres tie too, and sums in float32 told some of them apart.
    ids, every = crowd.items.ids, Filter(include_ids=tuple(crowd.items.ids))
    for row in range(0, 3000, 60):
        examples = Examples((ids[row], ids[row + 7], ids[row + 400]))
        query = Query(examples, Target.ITEMS, 1.0, neighbor_count=300, accuracy=EXACT)
        plain, filtered = (
            [n.id for n in answer(crowd.bundle, asked).neighbors]
            for asked in (query, replace(query, filter=every))
        )
        assert plain == filtered


@pytest.mark.parametrize("wanted", [NO_FILTER, HALF_OF_THE_CROWD], ids=["all", "filtered"])
@pytest.mark.parametrize("weight", [1.0, 0.0, 0.3])
@pytest.mark.parametrize("whom", [ItemId("i0001"), ItemId("i3010"), UserId("u0004"), Text("War")])
@pytest.mark.parametrize("name", ["crowd-Flat", "crowd-IVF"])
def test_pages_make_up_the_long_list(
    world: "World", name: str, whom: ItemId | UserId | Text, weight: float, wanted: Filter
) -> None:
    # Below weight 1 faiss keeps whichever it likes of equal scores at the last place of a page: left at
    # that, some of a tie would come on two pages and others on none.
    query = Query(whom, Target.ITEMS, weight, wanted, accuracy=EXACT)
    assert_pages_make_up_the_list(world(name).bundle, query, 25, 40)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("name", ["sample-Flat", "sample-IVF", "sample-HNSW"])
def test_pages_of_the_sample_make_up_the_long_list(
    world: "World", name: str, target: Target, weight: float
) -> None:
    query = Query(UserId("sim-00007"), target, weight, accuracy=EXACT)
    assert_pages_make_up_the_list(world(name).bundle, query, 7, 60)


@pytest.mark.parametrize(("diversity", "penalty"), [(0.0, 0.5), (0.5, 0.0), (0.4, 0.3)])
def test_re_ranked_pages_show_nobody_twice(
    bundle: Bundle, diversity: float, penalty: float
) -> None:
    # Were candidates as many as the page's last rank asks for, a later page would re-rank another pool
    # than the page before it, and the two would disagree on the order.
    query = Query(UserId("sim-00007"), diversity=diversity, popularity_penalty=penalty)
    paged = [n.id for n in in_pages(bundle, query, 10, 6)]
    assert len(set(paged)) == len(paged)


UNRATED: list[tuple[str, ...]] = [("Drama",)] * 130 + [("Drama", "War")] * 130


def films_and_twins() -> Interactions:
    """40 rated films, and 260 that nobody rated: two kinds, each all alike in everything."""
    rng = np.random.default_rng(3)
    ids = [f"f{row:03d}" for row in range(300)]
    genres: list[tuple[str, ...]] = [
        ("Drama", "War") if row % 2 else ("Comedy",) for row in range(40)
    ]
    pairs = np.argwhere(rng.random((30, 40)) < 0.4)
    return Interactions(
        user_ids=[f"u{row}" for row in range(30)],
        items=Items(ids, ids, np.full(300, 2000, dtype=np.int16), genres + UNRATED, {}),
        user_rows=pairs[:, 0].astype(np.int32),
        item_rows=pairs[:, 1].astype(np.int32),
        ratings=rng.integers(3, 6, len(pairs)).astype(np.float32),
        timestamps=None,
        rating_scale=(1.0, 5.0),
        source="films that are alike",
    )


TWINS = BuildSettings(factors=8, iterations=4, evaluate=False)


@pytest.fixture(scope="module")
def twins(build_bundle: "BuildBundle") -> Bundle:
    return build_bundle(films_and_twins(), TWINS)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("count", [5, 140, 180, 260])
def test_of_many_that_are_alike_in_everything_the_first_rows_come(
    twins: Bundle, count: int, weight: float
) -> None:
    unrated = [f"f{row:03d}" for row in range(40, 300)]
    rated = tuple(f"f{row:03d}" for row in range(40))
    for wanted in (Filter(exclude_ids=rated), Filter(include_ids=tuple(unrated))):
        query = Query(Text("Drama War"), Target.ITEMS, weight, wanted, count)
        found = answer(twins, query).neighbors
        assert [n.id for n in found] == (unrated[130:] + unrated[:130])[:count]


def test_where_a_filter_leaves_just_what_is_wanted_of_what_was_found_the_first_rows_still_come(
    build_bundle: "BuildBundle", monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build_bundle(films_and_twins(), replace(TWINS, index=IndexKind.IVF))
    monkeypatch.setattr("ilk.query.search._EXACT_CANDIDATES", 0)
    query = Query(Text("Drama War"), content_weight=0.3, neighbor_count=1, accuracy=EXACT)
    plan = make_plan(bundle, query)
    asked = blend(plan.seeker.collaborative, plan.seeker.content, 0.3)
    met = plan.space.index.nearest(asked, 32, plan.effort or 0).rows[0].tolist()
    # Of what a search meets, one of 130 that are alike may come back, and others that it did not meet.
    allowed = sorted({*range(300)} - {*met} | {max(met)})
    id_of = bundle.items.vocabulary.id_of
    wanted = Filter(include_ids=tuple(id_of(row) for row in allowed))
    first = next(row for row in allowed if id_of(row) >= "f170")
    assert first < max(met)
    (found,) = answer(bundle, replace(query, filter=wanted)).neighbors
    assert found.id == id_of(first)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_pages_of_what_is_alike_in_everything_show_everyone_once(
    twins: Bundle, weight: float
) -> None:
    query = Query(Text("Drama War"), content_weight=weight)
    assert_pages_make_up_the_list(twins, query, 20, 15)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_same_question_gets_the_same_answer(world: "World", name: str, weight: float) -> None:
    oracle = world(name)
    query = Query(ItemId(oracle.items.ids[20]), content_weight=weight, neighbor_count=200)
    assert answer(oracle.bundle, query) == answer(oracle.bundle, query)


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("whom", [ItemId("i0007"), UserId("u0002"), Text("War")])
@pytest.mark.parametrize("target", Target)
def test_what_scores_nothing_or_less_is_marked_unrelated(
    crowd: "Oracle", whom: ItemId | UserId | Text, target: Target, weight: float
) -> None:
    query = Query(whom, target, weight, neighbor_count=1000, accuracy=EXACT)
    scores = dict(zip(crowd.sides[target].ids, crowd.scores(query).tolist(), strict=True))
    neighbors = answer(crowd.bundle, query).neighbors
    # In float32 a likeness of nothing is anything up to a millionth.
    assert all(n.unrelated for n in neighbors if scores[n.id] <= 0)
    assert not any(n.unrelated for n in neighbors if scores[n.id] > 2e-6)
    marks = [n.unrelated for n in neighbors]
    assert marks == sorted(marks)


def first_id(oracle: "Oracle", *, genres: bool, rated: bool) -> str:
    """The first item without what is False."""
    return next(
        i
        for i in oracle.items.ids
        if bool(oracle.genres[i]) == genres and bool(oracle.raters[i]) == rated
    )


def test_by_content_a_film_without_genres_is_near_to_nothing(crowd: "Oracle") -> None:
    bare = first_id(crowd, genres=False, rated=True)
    neighbors = answer(crowd.bundle, Query(ItemId(bare), content_weight=1.0)).neighbors
    assert [n.id for n in neighbors] == [i for i in crowd.items.ids[:11] if i != bare][:10]
    assert all(n.unrelated and n.score == 0 for n in neighbors)


@pytest.mark.parametrize("target", Target)
def test_by_taste_a_user_without_positives_is_near_to_nothing(
    crowd: "Oracle", target: Target
) -> None:
    nobody_special = crowd.users.ids[-1]
    assert max(crowd.rated[nobody_special].values()) < 4
    neighbors = answer(
        crowd.bundle, Query(UserId(nobody_special), target, content_weight=0.0)
    ).neighbors
    assert [n.id for n in neighbors] == crowd.sides[target].ids[:10]
    assert all(n.unrelated and n.score == 0 for n in neighbors)


@pytest.mark.parametrize(
    "low_stars", [Profile((Rating("i0001", 1.0),)), Profile(disliked_item_ids=("i0001",))]
)
def test_by_taste_a_newcomer_without_positives_is_near_to_nothing(
    crowd: "Oracle", low_stars: Profile
) -> None:
    neighbors = answer(crowd.bundle, Query(low_stars, content_weight=0.0)).neighbors
    assert [n.id for n in neighbors] == crowd.items.ids[:10]
    assert all(n.unrelated for n in neighbors)


@pytest.mark.parametrize(
    "wanted", [NO_FILTER, Filter(include_ids=tuple(f"u{row:04d}" for row in range(9)))]
)
def test_who_says_nothing_gets_the_first_rows_without_a_search(
    crowd: "Oracle", monkeypatch: pytest.MonkeyPatch, wanted: Filter
) -> None:
    bundle = crowd.bundle
    says_nothing = ~bundle.items.factors.any(axis=1) & ~bundle.items.content.any(axis=1)
    whom = ItemId(crowd.items.ids[np.flatnonzero(says_nothing)[0]])
    allowed = [i for i in crowd.users.ids if not wanted.include_ids or i in wanted.include_ids]

    def refuse(*_: object) -> None:
        pytest.fail("rows were compared")

    for name in ("best", "scores", "nearest"):
        monkeypatch.setattr(Space, name, refuse)
    query = Query(whom, Target.USERS, 0.1, wanted, neighbor_count=3, offset=2)
    found = answer(bundle, query)
    assert [n.id for n in found.neighbors] == allowed[2:5]
    assert all(n.score == 0 and n.unrelated for n in found.neighbors)
    assert found.shortfall is None


def test_items_without_positives_are_marked_as_inferred_if_their_content_is_known(
    crowd: "Oracle",
) -> None:
    liked = {item_id for user_id in crowd.rated for item_id in crowd.liked(user_id)}
    query = Query(UserId("u0004"), content_weight=0.9, neighbor_count=1000)
    pages = [
        answer(crowd.bundle, replace(query, filter=Filter(include_ids=tuple(ids)))).neighbors
        for ids in (
            crowd.items.ids[:900],
            crowd.items.ids[900:1800],
            crowd.items.ids[1800:2700],
            crowd.items.ids[2700:],
        )
    ]
    neighbors = [n for page in pages for n in page]
    assert len(neighbors) == len(crowd.items.ids)
    for neighbor in neighbors:
        known = bool(crowd.genres[neighbor.id])
        assert neighbor.inferred == (known and neighbor.id not in liked)


def test_users_are_never_inferred(crowd: "Oracle") -> None:
    found = answer(crowd.bundle, Query(ItemId("i0001"), Target.USERS, neighbor_count=1000))
    assert not any(n.inferred for n in found.neighbors)


def test_scores_never_rise_along_an_answer(crowd: "Oracle") -> None:
    for whom in (ItemId("i0001"), UserId("u0050"), Text("Drama War")):
        neighbors = answer(crowd.bundle, Query(whom, neighbor_count=300)).neighbors
        assert all(a.score >= b.score for a, b in pairwise(neighbors))
