"""Exact answers that compare with what can be among the best are those that compare with all."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ilk import space
from ilk.bundle import Bundle
from ilk.query import answer, exact, pruning, search
from ilk.query.plan import make_plan
from ilk.query.pruning import Bounds, Pruning
from ilk.space import SpaceKey
from ilk.types import (
    EXACT,
    Accuracy,
    Examples,
    Filter,
    ItemId,
    Neighbors,
    Profile,
    Query,
    Rating,
    Target,
    UserId,
    Whom,
)
from tests.query.oracle import Oracle

if TYPE_CHECKING:
    from tests.query.conftest import World

FILTERS = {
    "none": Filter(),
    "a genre": Filter(any_genres=("Drama",)),
    "two genres": Filter(all_genres=("Action", "Comedy")),
    "nearly all": Filter(min_year=1955),
    "seen": Filter(exclude_seen=True),
    "a few": Filter(include_ids=tuple(f"i{row:04d}" for row in range(0, 3600, 40))),
    "others": Filter(exclude_ids=tuple(f"i{row:04d}" for row in range(0, 3600, 3))),
}


@pytest.fixture
def crowd(world: "World", monkeypatch: pytest.MonkeyPatch) -> Iterator[Oracle]:
    """Return a bundle of 3,600 items, of which few are many here."""
    oracle = world("crowd-PQ")
    for name in ("_MANY_ITEMS", "_LEAST_WEIGHT"):
        monkeypatch.setattr(space, name, 0)
    monkeypatch.setattr(exact, "_FEW_ALLOWED", 0)
    monkeypatch.setattr(pruning, "_FIRST_COMPARED", (16, 64))
    monkeypatch.setattr(pruning, "_SAMPLED", 4)
    # However many can be: else the test would not tell what they answer.
    monkeypatch.setattr(pruning, "_CONTENDERS_AS_ALL", 1)
    oracle.bundle.bounds.clear()
    yield oracle
    oracle.bundle.bounds.clear()


def whoever(bundle: Bundle, rng: np.random.Generator) -> list[Whom]:
    users, items = bundle.users.vocabulary, bundle.items.vocabulary
    rows = [0, 1, 5, *rng.integers(0, len(bundle.users), 6).tolist()]
    some = [items.id_of(row) for row in (0, 7, 2700, *rng.integers(0, len(items), 4).tolist())]
    return [
        *(UserId(users.id_of(row)) for row in rows),
        *map(ItemId, some),
        Profile((Rating(some[0], 5.0), Rating(some[1], 1.0)), favorite_genres=("War",)),
        Examples((some[1], some[3]), (some[4],)),
    ]


def asked(query: Query, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Neighbors:
    """Return the answer of comparing with all."""
    with monkeypatch.context() as patch:
        patch.setattr(space, "_MANY_ITEMS", 1 << 40)
        return answer(bundle, query)


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("count", [1, 10, 300])
def test_every_answer_is_that_of_comparing_with_all(
    crowd: Oracle, wanted: Filter, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, rng = crowd.bundle, np.random.default_rng(count)
    for whom in whoever(bundle, rng):
        for weight in (0.0, 0.05, 0.3, 0.7, 0.95):
            query = Query(whom, content_weight=weight, neighbor_count=count, accuracy=EXACT)
            # Nothing is seen by an item.
            if not wanted.exclude_seen or isinstance(whom, UserId | Profile):
                query = replace(query, filter=wanted)
            assert answer(bundle, query) == asked(query, bundle, monkeypatch)


def test_most_items_are_not_compared_with(crowd: Oracle) -> None:
    bundle = crowd.bundle
    rows = range(20, len(bundle.users), 400)
    counts = []
    for row in rows:
        query = Query(UserId(bundle.users.vocabulary.id_of(row)), content_weight=0.9)
        plan = make_plan(bundle, query)
        found = Pruning(bundle, plan).contenders()
        assert found is not None
        counts.append(len(found[0]))
    assert np.median(counts) < len(bundle.items) / 8


def test_where_most_can_be_among_the_best_nobody_is_left_out(
    crowd: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = crowd.bundle
    plan = make_plan(bundle, Query(ItemId(bundle.items.vocabulary.id_of(3)), content_weight=0.0))
    monkeypatch.setattr(pruning, "_CONTENDERS_AS_ALL", 1 << 20)
    assert Pruning(bundle, plan).contenders() is None
    assert answer(bundle, plan.query) == asked(plan.query, bundle, monkeypatch)


def test_no_factor_is_longer_than_its_bound(crowd: Oracle) -> None:
    items, groups = crowd.bundle.items, crowd.bundle.content_groups
    bounds = Bounds.of(items.factors, groups)
    lengths = np.linalg.norm(items.factors.astype(np.float64), axis=1)
    assert bounds.lengths == pytest.approx(lengths, rel=1e-6)
    for group, longest in enumerate(bounds.longest.tolist()):
        members = groups.members[groups.indptr[group] : groups.indptr[group + 1]]
        assert longest == bounds.lengths[members].max()


def test_an_exact_answer_is_given_where_it_costs_less_than_the_index(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = world("crowd-IVFPQ2").bundle
    item_space = bundle.spaces[SpaceKey(Target.ITEMS, by_likeness=False)]
    asked = Query(
        UserId(bundle.users.vocabulary.id_of(700)),
        content_weight=0.9,
        accuracy=Accuracy.at_recall(0.9),
    )
    light = replace(asked, content_weight=0.1)
    assert item_space.exact_share(0.9) == 1
    monkeypatch.setattr(space, "_MANY_ITEMS", 0)
    assert item_space.exact_share(0.9) < item_space.exact_share(0.1) < 0.5
    plans = [make_plan(bundle, query) for query in (asked, light)]
    # As many as lists of a larger catalogue would bring.
    few, many = (0.03 * len(bundle.items), 0.3 * len(bundle.items))
    for n_fetched, pays in ((few / 12, [True, True]), (many / 12, [False, True])):
        monkeypatch.setattr(search, "fetch_count", lambda _, n=n_fetched: n)
        assert [search.index_pays(plan) for plan in plans] == pays
