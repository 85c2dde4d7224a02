"""Few ratings are helped out by their content; none, many, and pure blends are not."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ilk.plan import make_plan
from ilk.types import Profile, Query, Rating
from ilk.whom import seek

if TYPE_CHECKING:
    from tests.query.oracle import Oracle


def asked(oracle: "Oracle", n_rated: int, content_weight: float, stars: float = 5.0) -> Query:
    rated = tuple(Rating(item_id, stars) for item_id in oracle.items.ids[:n_rated])
    return Query(Profile(rated), content_weight=content_weight)


@pytest.mark.parametrize("n_rated", [1, 2, 3, 9])
def test_what_content_lets_expect_fades_as_ratings_come_in(oracle: "Oracle", n_rated: int) -> None:
    query = asked(oracle, n_rated, 0.1)
    plain, helped = seek(oracle.bundle, query), make_plan(oracle.bundle, query).seeker
    np.testing.assert_allclose(helped.collaborative, oracle.helped(query).collaborative, atol=1e-6)
    added = np.linalg.norm(helped.collaborative - plain.collaborative)
    expected = 0.5 * (1 / n_rated - 1 / 10) * np.linalg.norm(plain.collaborative)
    assert added == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("n_rated", "content_weight", "stars"),
    [(3, 0.0, 5.0), (3, 1.0, 5.0), (10, 0.1, 5.0), (40, 0.1, 5.0), (3, 0.1, 1.0)],
    ids=["pure ALS", "pure content", "ten rated", "many rated", "nothing liked"],
)
def test_fold_in_stands_alone(
    oracle: "Oracle", n_rated: int, content_weight: float, stars: float
) -> None:
    query = asked(oracle, n_rated, content_weight, stars)
    plain, helped = seek(oracle.bundle, query), make_plan(oracle.bundle, query).seeker
    np.testing.assert_array_equal(helped.collaborative, plain.collaborative)


def test_what_was_not_liked_lets_nothing_expect(oracle: "Oracle") -> None:
    liked, disliked = oracle.items.ids[:2]
    query = Query(
        Profile(liked_item_ids=(liked,), disliked_item_ids=(disliked,)), content_weight=0.1
    )
    expected = make_plan(oracle.bundle, query).seeker.expected
    assert expected is not None
    assert expected[0].any()
    assert not expected[1].any()
