"""Who asks by a profile, examples or a text is promised what rows are promised."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ilk.ann import mode, searched
from ilk.bundle import Bundle
from ilk.query import answer, strangers
from ilk.query.plan import make_plan
from ilk.query.seeker import Seeker
from ilk.space import SpaceKey
from ilk.types import (
    EXACT,
    Accuracy,
    Examples,
    Profile,
    Query,
    Rating,
    Target,
    Text,
    UserId,
    Whom,
)

if TYPE_CHECKING:
    from tests.query.conftest import World

RECALL = 0.95
N_ASKED = 20
Make = Callable[[Bundle, np.random.Generator], Whom]


def few_ratings(bundle: Bundle, rng: np.random.Generator) -> Profile:
    return Profile(tuple(Rating(item_id, 5.0) for item_id in _items(bundle, rng, 3)))


def ratings_and_genre(bundle: Bundle, rng: np.random.Generator) -> Profile:
    return replace(few_ratings(bundle, rng), favorite_genres=(_genre(bundle, rng),))


def genres(bundle: Bundle, rng: np.random.Generator) -> Profile:
    return Profile(favorite_genres=(_genre(bundle, rng),))


def examples(bundle: Bundle, rng: np.random.Generator) -> Examples:
    first, second, third = _items(bundle, rng, 3)
    return Examples((first, second), (third,))


def text(bundle: Bundle, rng: np.random.Generator) -> Text:
    return Text(f"{_genre(bundle, rng)} {_genre(bundle, rng)}")


def _items(bundle: Bundle, rng: np.random.Generator, n: int) -> list[str]:
    rows = rng.choice(len(bundle.items) // 4, n, replace=False)
    return [bundle.items.vocabulary.id_of(int(row)) for row in rows]


def _genre(bundle: Bundle, rng: np.random.Generator) -> str:
    return str(rng.choice(bundle.content_model.fields[0].terms))


@pytest.mark.parametrize("name", ["crowd-PQ", "crowd-IVF", "crowd-IVFPQ", "sample-HNSW"])
@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("make", [few_ratings, ratings_and_genre, genres, examples, text])
def test_strangers_are_found_what_was_promised(
    world: "World", name: str, target: Target, make: Make
) -> None:
    bundle, rng = world(name).bundle, np.random.default_rng(5)
    found: list[float] = []
    for weight in (0.1, 0.5, 0.8):
        for _ in range(N_ASKED):
            query = Query(make(bundle, rng), target, weight, accuracy=Accuracy.at_recall(RECALL))
            exact = answer(bundle, replace(query, accuracy=EXACT)).neighbors
            least = exact[-1].score - 1e-5
            near = answer(bundle, query).neighbors
            assert len(near) == len(exact)
            found.append(sum(n.score >= least for n in near) / len(exact))
    assert np.mean(found) >= RECALL


def _effort(bundle: Bundle, whom: Whom, weight: float) -> int:
    query = Query(whom, content_weight=weight, accuracy=Accuracy.at_recall(0.9))
    effort = make_plan(bundle, query).effort
    assert effort is not None
    return effort


def test_strangers_are_searched_for_harder_than_rows(world: "World") -> None:
    bundle = world("crowd-PQ").bundle
    rows = np.flatnonzero(np.diff(bundle.ratings_by_user.indptr) > 30)
    row = int(rows[-1])
    known = UserId(bundle.users.vocabulary.id_of(row))
    rated = bundle.ratings_by_user.others_of(row)
    alike = Profile(tuple(Rating(bundle.items.vocabulary.id_of(int(item)), 5.0) for item in rated))
    of_row, of_stranger = (_effort(bundle, whom, 0.0) for whom in (known, alike))
    assert mode(of_stranger) == mode(of_row)
    assert searched(of_stranger) > searched(of_row)


def test_more_content_is_searched_for_as_at_a_higher_weight(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = replace(world("crowd-PQ").bundle, shares={})
    key = SpaceKey(Target.ITEMS, by_likeness=False)
    weights: list[float] = []

    def effort(_: object, weight: float, *__: object) -> int:
        weights.append(weight)
        return 1

    monkeypatch.setattr(type(bundle.spaces[key]), "effort", effort)
    n_factors, n_content = bundle.users.factors.shape[1], bundle.users.content.shape[1]
    for length in (0.0, 1.0, 3.0, 100.0):
        seeker = Seeker(
            Target.USERS,
            np.full(n_factors, 0.1, dtype=np.float32),
            np.full(n_content, length, dtype=np.float32),
        )
        strangers.stranger_effort(bundle, seeker, Target.ITEMS, 0.5, 0.9)
    nobody = Seeker(
        Target.USERS, np.zeros(n_factors, dtype=np.float32), np.ones(n_content, dtype=np.float32)
    )
    strangers.stranger_effort(bundle, nobody, Target.ITEMS, 0.5, 0.9)
    strangers.stranger_effort(bundle, nobody, Target.ITEMS, 0.0, 0.9)
    assert weights[0] == 0.5
    assert weights[:4] == sorted(weights[:4])
    assert weights[3:] == [0.9, 0.9, 0.0]
