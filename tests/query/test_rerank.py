"""Diversity and popularity change the order as the papers say, and never a score."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk.bundle import Bundle
from ilk.query import answer
from ilk.rerank import rerank
from ilk.types import EXACT, Filter, ItemId, Query, Target, UserId, Whom

if TYPE_CHECKING:
    from tests.query.oracle import Oracle

Floats = npt.NDArray[np.float64]


def slow_relevance(scores: Floats, popularity: Floats, penalty: float, place: int) -> list[float]:
    low, high = min(scores), max(scores)
    unit = [(s - low) / (high - low) if high > low else 0.0 for s in scores]
    # Nothing at the first place, all of it from the tenth on, most of it late.
    share = min(place / 9, 1) ** 4
    return [u - share * penalty * p for u, p in zip(unit, popularity, strict=True)]


def slow_margin(
    relevance: list[float], likeness: Floats, chosen: list[int], position: int, diversity: float
) -> float:
    """Carbonell & Goldstein's criterion; what is unlike the chosen gains nothing by it."""
    worst = 0.0
    for other in chosen:
        worst = max(
            worst, sum(a * b for a, b in zip(likeness[position], likeness[other], strict=True))
        )
    return (1 - diversity) * relevance[position] - diversity * worst


def candidates(seed: int, n: int) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    likeness = rng.normal(size=(n, 3))
    likeness /= np.linalg.norm(likeness, axis=1, keepdims=True)
    return -np.sort(-rng.normal(size=n)), rng.random(n), likeness


def reranked(
    scores: Floats,
    popularity: Floats,
    likeness: Floats,
    n_chosen: int,
    diversity: float,
    penalty: float,
) -> list[int]:
    order = rerank(
        scores.astype(np.float32),
        popularity.astype(np.float32),
        likeness.astype(np.float32),
        n_chosen,
        diversity=diversity,
        popularity_penalty=penalty,
    )
    return [int(position) for position in order]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 40),
    diversity=st.floats(0, 1),
    penalty=st.floats(0, 1),
    data=st.data(),
)
def test_every_choice_is_the_best_that_a_slow_reference_sees(
    seed: int, n: int, diversity: float, penalty: float, data: st.DataObject
) -> None:
    scores, popularity, likeness = candidates(seed, n)
    n_chosen = data.draw(st.integers(0, n))
    order = reranked(scores, popularity, likeness, n_chosen, diversity, penalty)
    assert len(set(order)) == len(order) == n_chosen
    for place, position in enumerate(order):
        relevance = slow_relevance(scores, popularity, penalty, place)
        left = [p for p in range(n) if p not in order[:place]]
        margins = {p: slow_margin(relevance, likeness, order[:place], p, diversity) for p in left}
        assert margins[position] >= max(margins.values()) - 1e-5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("diversity", "penalty"), [(0.0, 0.7), (0.3, 0.0), (0.7, 0.4), (1.0, 1.0)])
def test_the_whole_order_is_that_of_a_slow_reference(
    seed: int, diversity: float, penalty: float
) -> None:
    scores, popularity, likeness = candidates(seed, 25)
    chosen: list[int] = []
    while len(chosen) < 25:
        relevance = slow_relevance(scores, popularity, penalty, len(chosen))
        left = [p for p in range(25) if p not in chosen]
        chosen.append(
            max(left, key=lambda p: slow_margin(relevance, likeness, chosen, p, diversity))
        )
    assert reranked(scores, popularity, likeness, 25, diversity, penalty) == chosen


def test_equal_scores_are_told_apart_by_popularity_alone() -> None:
    popularity = np.array([0.1, 0.9, 0.5])
    assert reranked(np.ones(3), popularity, np.eye(3), 3, 0.0, 0.5) == [0, 2, 1]
    assert reranked(np.ones(3), popularity, np.eye(3), 3, 0.0, 0.0) == [0, 1, 2]


def test_re_ranking_writes_into_nothing_it_is_given() -> None:
    parts = [part.astype(np.float32) for part in candidates(1, 9)]
    before = [part.copy() for part in parts]
    rerank(parts[0], parts[1], parts[2], 9, diversity=0.5, popularity_penalty=0.5)
    assert all((part == was).all() for part, was in zip(parts, before, strict=True))


ASKED: list[tuple[Whom, Target]] = [
    (UserId("sim-00007"), Target.ITEMS),
    (ItemId("alien-1979"), Target.ITEMS),
    (ItemId("alien-1979"), Target.USERS),
    (UserId("sim-00007"), Target.USERS),
]


def intra_list_likeness(oracle: "Oracle", query: Query) -> float:
    side = oracle.sides[query.target]
    rows = [side.row_of[n.id] for n in answer(oracle.bundle, query).neighbors]
    factors = side.factors[rows]
    factors /= np.linalg.norm(factors, axis=1, keepdims=True)
    weight = oracle.weight(query)
    likeness = (1 - weight) * factors @ factors.T + weight * (
        side.content[rows] @ side.content[rows].T
    )
    return float(likeness[np.triu_indices(len(rows), 1)].mean())


@pytest.mark.parametrize(("whom", "target"), ASKED)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_more_diversity_makes_the_neighbors_less_alike(
    oracle: "Oracle", whom: Whom, target: Target, weight: float
) -> None:
    levels = [
        intra_list_likeness(oracle, Query(whom, target, weight, diversity=diversity))
        for diversity in (0.0, 0.5, 0.9)
    ]
    assert levels == sorted(levels, reverse=True)
    assert levels[2] < levels[0]


@pytest.mark.parametrize(("whom", "target"), ASKED)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_higher_penalty_lowers_the_popularity_of_what_is_shown(
    oracle: "Oracle", whom: Whom, target: Target, weight: float
) -> None:
    side = oracle.bundle.side(target)
    means = []
    for penalty in (0.0, 0.4, 1.0):
        query = Query(whom, target, weight, neighbor_count=30, popularity_penalty=penalty)
        found = answer(oracle.bundle, query).neighbors
        rows = side.vocabulary.rows_of(n.id for n in found)
        means.append(float(side.popularity[rows].mean()))
    assert means == sorted(means, reverse=True)
    assert means[2] < means[0]


@pytest.mark.parametrize(("whom", "target"), ASKED)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("diversity", "penalty"), [(0.6, 0.0), (0.0, 0.6), (0.5, 0.5)])
def test_re_ranking_changes_the_order_but_no_score(
    oracle: "Oracle", whom: Whom, target: Target, weight: float, diversity: float, penalty: float
) -> None:
    query = Query(
        whom,
        target,
        weight,
        neighbor_count=30,
        accuracy=EXACT,
        diversity=diversity,
        popularity_penalty=penalty,
    )
    plain = replace(query, diversity=0.0, popularity_penalty=0.0)
    found = answer(oracle.bundle, query).neighbors
    scores, row_of = oracle.scores(query), oracle.sides[target].row_of
    assert [n.score for n in found] == pytest.approx(
        [scores[row_of[n.id]] for n in found], abs=5e-6
    )
    assert [n.id for n in found] != [n.id for n in answer(oracle.bundle, plain).neighbors]
    pool = {n.id for n in answer(oracle.bundle, replace(plain, neighbor_count=300)).neighbors}
    assert {n.id for n in found} <= pool


@pytest.mark.parametrize("kept", [0, 1, 2, 12])
def test_re_ranking_keeps_to_the_filter_and_to_the_count(bundle: Bundle, kept: int) -> None:
    include_ids = (*bundle.items.vocabulary.ids.to_list()[40 : 40 + kept], "no such film")
    query = Query(
        UserId("sim-00007"),
        filter=Filter(include_ids=include_ids),
        diversity=0.5,
        popularity_penalty=0.5,
    )
    found = answer(bundle, query)
    assert {n.id for n in found.neighbors} <= set(include_ids)
    assert len(found.neighbors) == min(kept, 10)
    assert (found.shortfall is None) == (kept >= 10)


@pytest.mark.parametrize("diversity", [0.3, 0.7, 1.0])
def test_what_is_unrelated_only_fills_the_count(bundle: Bundle, diversity: float) -> None:
    """It is like nothing that was chosen, and would else come first of all."""
    for user in map(bundle.users.vocabulary.id_of, range(0, len(bundle.users), 40)):
        asked = Query(UserId(user), content_weight=0, neighbor_count=400, diversity=diversity)
        unrelated = [neighbor.unrelated for neighbor in answer(bundle, asked).neighbors]
        assert unrelated == sorted(unrelated)
