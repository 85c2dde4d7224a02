"""Few ratings are helped out by their content; none, many, and pure blends are not."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from ilk.content import ContentField, ContentModel
from ilk.query.expectation import expected_of_users
from ilk.query.plan import make_plan
from ilk.query.whom import seek
from ilk.types import Profile, Query, Rating, UserId

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
    expected = make_plan(oracle.bundle, query).seeker.expected(oracle.bundle)
    assert expected[0].any()
    assert not expected[1].any()


def test_what_is_stored_of_users_is_what_is_worked_out(crowd: "Oracle") -> None:
    bundle = crowd.bundle
    older, counts = replace(bundle, expected=None), np.diff(bundle.ratings_by_user.indptr)
    helped = np.flatnonzero((counts > 0) & (counts < 10))
    assert bundle.expected is not None
    assert 0 < len(helped) < len(counts)
    assert not np.delete(bundle.expected, helped, axis=0).any()
    for row in helped[:: max(1, len(helped) // 50)].tolist():
        query = Query(UserId(crowd.users.ids[row]), content_weight=0.3)
        stored, worked_out = (make_plan(of, query).seeker for of in (bundle, older))
        np.testing.assert_allclose(stored.collaborative, worked_out.collaborative, atol=1e-6)
        np.testing.assert_array_equal(stored.expected(bundle), worked_out.expected(bundle))
        added = stored.collaborative - seek(bundle, query).collaborative
        np.testing.assert_allclose(stored.expected(bundle).sum(axis=0), added, atol=1e-6)


def test_where_all_rated_enough_nothing_is_stored() -> None:
    genres = ContentField("genre", ("a", "b"), 1.0)
    model = ContentModel((genres,), np.ones(2, np.float32), None, np.ones((3, 4), np.float32))
    confidences = csr_matrix(np.ones((2, 12), np.float32))
    own, content = np.ones((2, 4), np.float32), np.ones((12, 2), np.float32)
    for n_rated in ([10, 12], [0, 10]):
        expected = expected_of_users(confidences, np.array(n_rated), own, content, model)
        assert expected.shape == (0, 4)
    expected = expected_of_users(confidences, np.array([4, 12]), own, content, model)
    lengths = np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(lengths, [5 * (1 / 4 - 1 / 10) * 2, 0], rtol=1e-6)
