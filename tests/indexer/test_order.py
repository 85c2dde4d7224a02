"""Which users and items stay, and in which order, against the slow way to say so."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk.errors import DataError
from indexer.interactions import Interactions, Items
from indexer.training.order import k_core, kept, ordered

quick = settings(deadline=None, max_examples=60)
Triple = tuple[str, str, float]


def interactions_of(triples: list[Triple]) -> Interactions:
    users = sorted({user for user, _, _ in triples})
    items = [*sorted({item for _, item, _ in triples}), "never rated"]
    return Interactions(
        users,
        Items(items, items, np.arange(len(items), dtype=np.int16), [(i,) for i in items], {}),
        np.array([users.index(user) for user, _, _ in triples], dtype=np.int32),
        np.array([items.index(item) for _, item, _ in triples], dtype=np.int32),
        np.array([stars for _, _, stars in triples], dtype=np.float32),
        np.arange(len(triples), dtype=np.int64),
        (1.0, 5.0),
        "made for a test",
    )


def triples_of(data: Interactions) -> list[Triple]:
    return [
        (data.user_ids[user], data.items.item_ids[item], float(stars))
        for user, item, stars in zip(data.user_rows, data.item_rows, data.ratings, strict=True)
    ]


@st.composite
def some_triples(draw: st.DrawFn) -> list[Triple]:
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=70, unique=True
        )
    )
    return [(f"u{u}", f"i{i}", float(draw(st.integers(1, 5)))) for u, i in pairs]


def slow_core(triples: list[Triple], least_user: int, least_item: int) -> list[Triple]:
    """Take one user or item that has too few away at a time, until none has."""
    left = list(triples)
    while True:
        users, items = [t[0] for t in left], [t[1] for t in left]
        poor = [t for t in left if users.count(t[0]) < least_user or items.count(t[1]) < least_item]
        if not poor:
            return left
        left.remove(poor[0])


@quick
@given(triples=some_triples(), k=st.integers(1, 4))
def test_a_core_holds_positives_alone_and_k_of_each_user_and_item(
    triples: list[Triple], k: int
) -> None:
    data = interactions_of(triples)
    expected = slow_core([t for t in triples if t[2] >= 4], k, k)
    if not expected:
        with pytest.raises(DataError, match="no rating"):
            k_core(data, data.ratings >= 4, k)
        return
    core = k_core(data, data.ratings >= 4, k)
    assert sorted(triples_of(core)) == sorted(expected)
    assert np.bincount(core.user_rows, minlength=core.n_users).min() >= k
    assert np.bincount(core.item_rows, minlength=core.n_items).min() >= k


@quick
@given(triples=some_triples(), least=st.tuples(st.integers(1, 3), st.integers(0, 3)))
def test_too_few_ratings_are_looked_for_again_until_it_settles(
    triples: list[Triple], least: tuple[int, int]
) -> None:
    expected = slow_core(triples, *least)
    if expected:
        data = kept(interactions_of(triples), min_user_ratings=least[0], min_item_ratings=least[1])
        assert triples_of(data) == expected
        assert ("never rated" in data.items.item_ids) == (least[1] == 0)
        assert [(i,) for i in data.items.item_ids] == data.items.genres


@quick
@given(triples=some_triples())
def test_order_falls_by_positives_and_loses_nothing(triples: list[Triple]) -> None:
    data = interactions_of(triples)
    liked = data.ratings >= 4
    sorted_data = ordered(data, liked)
    assert sorted(triples_of(sorted_data)) == sorted(triples)
    # The n-th rating was given at second n.
    assert sorted_data.timestamps is not None
    assert [triples[second] for second in sorted_data.timestamps] == triples_of(sorted_data)
    pairs = list(zip(sorted_data.user_rows, sorted_data.item_rows, strict=True))
    assert pairs == sorted(pairs)
    liked = sorted_data.ratings >= 4
    for rows, n_rows in (
        (sorted_data.user_rows, data.n_users),
        (sorted_data.item_rows, data.n_items),
    ):
        n_liked = np.bincount(rows[liked], minlength=n_rows)
        n_rated = np.bincount(rows, minlength=n_rows)
        by_rank = list(zip(-n_liked, -n_rated, strict=True))
        assert by_rank == sorted(by_rank)
    assert sorted_data.items.item_ids[-1] == "never rated"


def test_texts_and_the_times_of_their_lines_go_with_their_items() -> None:
    data = interactions_of([("a", "x", 5.0), ("a", "y", 5.0), ("b", "y", 5.0)])
    ids = data.items.item_ids
    items = replace(
        data.items,
        texts={"tags": [f"of {item_id}" for item_id in ids]},
        line_times={"tags": [np.array([row]) for row in range(len(ids))]},
    )
    found = kept(replace(data, items=items), min_user_ratings=1, min_item_ratings=1).items
    assert found.texts == {"tags": [f"of {item_id}" for item_id in found.item_ids]}
    times = [ids.index(item_id) for item_id in found.item_ids]
    assert [of_item.tolist() for of_item in found.line_times["tags"]] == [[t] for t in times]
