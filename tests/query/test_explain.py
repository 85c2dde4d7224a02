"""Reasons add up: rated items to the collaborative component, genres to the content component."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from ilk.bundle import Bundle
from ilk.errors import InvalidRequest
from ilk.query import answer
from ilk.query.explain import item_contributions, term_contributions
from ilk.query.plan import make_plan
from ilk.query.seeker import Seeker
from ilk.query.whom import seek
from ilk.types import (
    EXACT,
    Examples,
    ItemId,
    Profile,
    Query,
    Rating,
    Target,
    Text,
    UserId,
    Whom,
)

if TYPE_CHECKING:
    from tests.query.oracle import Oracle

YEAR_S = 365 * 86_400.0
RATINGS = (
    Rating("alien-1979", 5.0, 0.0),
    Rating("jaws-1975", 4.0, YEAR_S),
    Rating("amelie-2001", 2.0, 2 * YEAR_S),
)
ASKED: dict[str, UserId | Profile] = {
    "an active user": UserId("sim-00007"),
    "a user who rated little": UserId("sim-00123"),
    "ratings": Profile(RATINGS),
    "fading ratings": Profile(RATINGS, half_life_s=YEAR_S),
    "likes": Profile(liked_item_ids=("alien-1979", "the-godfather-1972")),
    "likes and dislikes": Profile(
        RATINGS, disliked_item_ids=("aliens-1986", "the-godfather-1972", "amelie-2001")
    ),
    "dislikes alone": Profile(disliked_item_ids=("aliens-1986",)),
    "low stars alone": Profile((Rating("aliens-1986", 1.0),)),
    "favorites alone": Profile(favorite_genres=("Horror",)),
    "ratings and favorites": Profile(RATINGS, favorite_genres=("Horror", "Comedy")),
}
WITHOUT_FAVORITES = [name for name in ASKED if "favorites" not in name]


def bundle_called(request: pytest.FixtureRequest, name: str) -> Bundle:
    bundle: Bundle = request.getfixturevalue(name)
    return bundle


def own_component(bundle: Bundle, seeker: Seeker) -> npt.NDArray[np.float64]:
    """Return the collaborative component of every item, without what everybody has in common."""
    n_positives = int(np.count_nonzero(seeker.confidences_in(bundle) > 0))
    own = seeker.collaborative - bundle.fold_in.in_common(n_positives)
    return bundle.items.factors.astype(np.float64) @ own


@pytest.mark.parametrize("whom", WITHOUT_FAVORITES)
@pytest.mark.parametrize("name", ["bundle", "fading_bundle"])
def test_contributions_of_all_rated_items_sum_to_the_collaborative_component(
    request: pytest.FixtureRequest, name: str, whom: str
) -> None:
    bundle = bundle_called(request, name)
    seeker = seek(bundle, Query(ASKED[whom]))
    rows = np.arange(len(bundle.items))
    contributions = item_contributions(bundle, seeker, rows)
    assert contributions.shape == (len(rows), len(seeker.rated_rows))
    component = own_component(bundle, seeker)
    np.testing.assert_allclose(contributions.sum(axis=1), component, rtol=0, atol=1e-5)


def test_beside_favorites_rated_items_have_the_shares_of_the_vector_that_recommended(
    oracle: "Oracle",
) -> None:
    # A favorite genre is folded in beside the ratings: reasons solved without it would be those of
    # another vector.
    profile = Profile(RATINGS, favorite_genres=("Horror", "Comedy"))
    seeker = seek(oracle.bundle, Query(profile))
    rows = np.arange(len(oracle.items.ids))
    equations = oracle.normal_equations(profile)
    shares = oracle.items.factors @ np.linalg.solve(equations.a, equations.of_ratings)
    told = item_contributions(oracle.bundle, seeker, rows).sum(axis=1)
    np.testing.assert_allclose(told, shares, rtol=0, atol=1e-5)


def test_clicks_have_reasons_that_add_up_too(clicks_bundle: Bundle) -> None:
    seeker = seek(clicks_bundle, Query(UserId("sim-00007")))
    rows = np.arange(len(clicks_bundle.items))
    total = item_contributions(clicks_bundle, seeker, rows).sum(axis=1)
    component = own_component(clicks_bundle, seeker)
    np.testing.assert_allclose(total, component, rtol=0, atol=1e-5)


@pytest.mark.parametrize("whom", ASKED)
def test_contributions_of_all_terms_sum_to_the_content_component(bundle: Bundle, whom: str) -> None:
    seeker = seek(bundle, Query(ASKED[whom]))
    rows = np.arange(len(bundle.items))
    contributions = term_contributions(bundle, seeker, rows)
    assert contributions.shape == (len(rows), len(bundle.content_model.terms))
    component = bundle.items.content.astype(np.float64) @ seeker.content
    np.testing.assert_allclose(contributions.sum(axis=1), component, rtol=0, atol=1e-6)


@pytest.mark.parametrize("whom", ASKED)
def test_the_strongest_reasons_are_listed_first_and_are_the_asker_s_own(
    oracle: "Oracle", whom: str
) -> None:
    asked = ASKED[whom]
    query = Query(asked, include_explanation=True, include_components=True, accuracy=EXACT)
    rated = set(oracle.place(query).rated_ids)
    for neighbor in answer(oracle.bundle, query).neighbors:
        assert neighbor.explanation is not None
        items, genres = neighbor.explanation.items, neighbor.explanation.genres
        assert {c.name for c in items} <= rated
        assert {c.name for c in genres} <= set(oracle.genres[neighbor.id])
        for listed in (items, genres):
            sizes = [abs(c.contribution) for c in listed]
            assert sizes == sorted(sizes, reverse=True)
            assert all(sizes)
            assert len({c.name for c in listed}) == len(listed) <= 5
        if len(genres) == len(oracle.genres[neighbor.id]):
            total = sum(c.contribution for c in genres)
            assert total == pytest.approx(neighbor.content, abs=1e-5)


@pytest.mark.parametrize("whom", ["dislikes alone", "low stars alone", "favorites alone"])
def test_who_likes_no_item_is_given_no_item_as_a_reason(bundle: Bundle, whom: str) -> None:
    found = answer(bundle, Query(ASKED[whom], include_explanation=True)).neighbors
    assert all(n.explanation is not None and n.explanation.items == () for n in found)


def test_what_is_disliked_is_never_a_reason(bundle: Bundle) -> None:
    found = answer(bundle, Query(ASKED["likes and dislikes"], include_explanation=True)).neighbors
    named = {c.name for n in found if n.explanation is not None for c in n.explanation.items}
    assert named == {"alien-1979", "jaws-1975"}


def test_a_dislike_weakens_the_reasons_to_recommend_its_like(oracle: "Oracle") -> None:
    aliens = np.array([oracle.items.row_of["aliens-1986"]])
    with_and_without = [
        item_contributions(oracle.bundle, seek(oracle.bundle, Query(profile)), aliens).sum()
        for profile in (Profile(RATINGS), Profile(RATINGS, disliked_item_ids=("aliens-1986",)))
    ]
    assert with_and_without[0] > with_and_without[1]


@pytest.mark.parametrize(
    ("whom", "target"),
    [
        (ItemId("alien-1979"), Target.ITEMS),
        (ItemId("alien-1979"), Target.USERS),
        (Examples(("alien-1979",)), Target.ITEMS),
        (Text("Horror"), Target.ITEMS),
        (UserId("sim-00007"), Target.USERS),
        (ASKED["ratings"], Target.USERS),
    ],
)
def test_only_recommendations_have_reasons(bundle: Bundle, whom: Whom, target: Target) -> None:
    with pytest.raises(InvalidRequest) as caught:
        answer(bundle, Query(whom, target, include_explanation=True))
    assert caught.value.field == "include_explanation"


def test_reasons_are_given_only_when_asked_for(bundle: Bundle) -> None:
    query = Query(ASKED["ratings"], include_components=True)
    assert all(n.explanation is None for n in answer(bundle, query).neighbors)


@pytest.mark.parametrize("whom", ["ratings", "likes and dislikes", "low stars alone", "likes"])
def test_of_few_ratings_reasons_sum_to_what_content_helps_out_too(
    bundle: Bundle, whom: str
) -> None:
    plan = make_plan(bundle, Query(ASKED[whom], content_weight=0.3))
    rows = np.arange(len(bundle.items))
    component = own_component(bundle, plan.seeker)
    contributions = item_contributions(bundle, plan.seeker, rows)
    np.testing.assert_allclose(contributions.sum(axis=1), component, rtol=0, atol=1e-5)
