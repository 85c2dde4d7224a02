"""Many questions at once get the answers that each gets alone; a bad one fails alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ilk.ann import IndexKind
from ilk.bundle import Bundle
from ilk.errors import IlkError, InvalidRequest, NotFound
from ilk.query import answer, answer_many
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
    Text,
    UserId,
)

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


def assert_each_as_if_alone(bundle: Bundle, queries: Sequence[Query]) -> None:
    together = answer_many(bundle, queries)
    assert len(together) == len(queries)
    for query, found in zip(queries, together, strict=True):
        alone = answer(bundle, query)
        assert isinstance(found, Neighbors)
        assert replace(found, neighbors=()) == replace(alone, neighbors=())
        assert [n.id for n in found.neighbors] == [n.id for n in alone.neighbors]
        np.testing.assert_allclose(
            [n.score for n in found.neighbors],
            [n.score for n in alone.neighbors],
            rtol=0,
            atol=1e-6,
        )


def of_every_kind(oracle: "Oracle") -> list[Query]:
    items, users = oracle.items.ids, oracle.users.ids
    taste = Profile((Rating(items[3], 5.0), Rating(items[9], 2.0)), (items[20],), (items[4],))
    return [
        query
        for row in range(4)
        for query in (
            Query(ItemId(items[row])),
            Query(UserId(users[row]), Target.USERS, 0.0, neighbor_count=3),
            Query(UserId(users[row * 30]), filter=Filter(exclude_seen=True)),
            Query(UserId(users[row]), content_weight=1.0, offset=5),
            Query(ItemId(items[row]), Target.USERS, filter=Filter(exclude_ids=(users[1],))),
            Query(ItemId(items[row]), filter=Filter(any_genres=("Horror",))),
            Query(taste, include_components=True, include_explanation=True),
            Query(taste, diversity=0.5, popularity_penalty=0.1),
            Query(Examples((items[row],), (items[40],)), accuracy=EXACT),
            Query(Text("War"), accuracy=Accuracy.at_recall(0.95)),
        )
    ]


@pytest.mark.parametrize("name", WORLDS)
def test_questions_of_every_kind_are_answered_as_if_alone(world: "World", name: str) -> None:
    oracle = world(name)
    assert_each_as_if_alone(oracle.bundle, of_every_kind(oracle))


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("name", WORLDS)
def test_a_hundred_questions_of_one_kind_are_answered_as_if_alone(
    world: "World", name: str, target: Target
) -> None:
    oracle = world(name)
    everyone = oracle.users.ids[:: len(oracle.users.ids) // 100]
    assert_each_as_if_alone(
        oracle.bundle, [Query(UserId(u), target, accuracy=EXACT) for u in everyone]
    )


@pytest.mark.parametrize("index", [IndexKind.FLAT, IndexKind.IVF])
def test_long_lists_of_exclusions_do_not_spill_over(world: "World", index: IndexKind) -> None:
    # Queries that fetch equally many share a search; what one excludes must not bind the others.
    oracle = world(f"crowd-{index.value}")
    ids = oracle.items.ids
    whom = UserId(oracle.users.ids[40])
    best = [n.id for n in answer(oracle.bundle, Query(whom, neighbor_count=1000)).neighbors]
    first, second = (tuple(best[:600]), tuple(ids[2000:2600]))
    queries = [
        Query(whom, filter=Filter(exclude_ids=gone), accuracy=EXACT) for gone in (first, second)
    ]
    assert_each_as_if_alone(oracle.bundle, queries)


@pytest.mark.parametrize("target", Target)
def test_what_many_have_seen_does_not_spill_over(crowd: "Oracle", target: Target) -> None:
    kind = UserId if target is Target.ITEMS else ItemId
    ids = crowd.users.ids if target is Target.ITEMS else crowd.items.ids
    seen = crowd.rated if target is Target.ITEMS else crowd.raters
    busy = [i for i in ids if len(seen[i]) > 512][:2]
    assert len(busy) == 2
    most = max(len(seen[i]) for i in busy)
    queries = [
        Query(
            kind(i),
            target,
            filter=Filter(exclude_seen=True),
            neighbor_count=200 + most - len(seen[i]),
            accuracy=EXACT,
        )
        for i in busy
    ]
    assert_each_as_if_alone(crowd.bundle, queries)


def test_few_neighbors_of_many_and_many_of_few_do_not_mix(crowd: "Oracle") -> None:
    # 10 neighbors beyond 600 exclusions fetch as many as 610 beyond none.
    whom = UserId(crowd.users.ids[40])
    without = Filter(exclude_ids=tuple(crowd.items.ids[:600]))
    queries = [
        Query(whom, filter=without, neighbor_count=10),
        Query(whom, neighbor_count=610),
        Query(whom, filter=Filter(exclude_ids=tuple(crowd.items.ids[:300])), neighbor_count=310),
    ]
    assert_each_as_if_alone(crowd.bundle, queries)
    assert_each_as_if_alone(crowd.bundle, queries[::-1])


BAD: list[tuple[Query, type[IlkError], str]] = [
    (Query(ItemId("no film")), NotFound, "no film"),
    (Query(UserId("nobody"), Target.USERS), NotFound, "nobody"),
    (Query(Profile((Rating("alien-1979", 9.0),))), InvalidRequest, "outside"),
    (Query(Text("zzz")), InvalidRequest, "no word"),
    (Query(ItemId("alien-1979"), filter=Filter(any_genres=("x",))), InvalidRequest, "genre 'x'"),
    (Query(ItemId("alien-1979"), include_explanation=True), InvalidRequest, "reasons"),
]


def test_errors_stand_in_the_places_of_bad_queries(bundle: Bundle) -> None:
    good = [Query(UserId(f"sim-{n:05d}")) for n in range(1, len(BAD) + 1)]
    mixed = [query for pair in zip(good, (q for q, _, _ in BAD), strict=True) for query in pair]
    outcomes = answer_many(bundle, mixed)
    for query, outcome in zip(good, outcomes[::2], strict=True):
        assert isinstance(outcome, Neighbors)
        assert [n.id for n in outcome.neighbors] == [n.id for n in answer(bundle, query).neighbors]
    for (_, kind, words), outcome in zip(BAD, outcomes[1::2], strict=True):
        assert isinstance(outcome, kind)
        assert words in str(outcome)


def test_no_question_gets_no_answer(bundle: Bundle) -> None:
    assert answer_many(bundle, []) == []
