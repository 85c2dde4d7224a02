"""The walk-through of five users gives the numbers that can be worked out on paper."""

import math

import pytest

from examples.walkthrough import FILMS, RATINGS, main
from ilk.bundle import Bundle
from ilk.predict import predict
from ilk.query import answer
from ilk.types import ItemId, PredictionMethod, Profile, Query, Rating, UserId

MEAN_OF_ALL = 37 / 9


def test_the_mean_of_all_nine_ratings_is_known(five_users_bundle: Bundle) -> None:
    assert len(RATINGS) == 9
    assert sum(stars for _, _, stars in RATINGS) == 37
    assert float(five_users_bundle.biases.mean[0]) == pytest.approx(MEAN_OF_ALL)


@pytest.mark.parametrize("whom", [UserId("U5"), Profile((Rating("Inception", 3.0),))])
@pytest.mark.parametrize(
    ("film", "stars", "n_neighbors"),
    [("Avengers", 4.0, 1), ("Titanic", 5.0, 1), ("Shrek", MEAN_OF_ALL, 0)],
)
def test_who_rated_inception_three_is_predicted_by_those_who_rated_it_too(
    five_users_bundle: Bundle, whom: UserId | Profile, film: str, stars: float, n_neighbors: int
) -> None:
    (told,) = predict(five_users_bundle, whom, [film], PredictionMethod.COSINE_KNN)
    assert told.stars == pytest.approx(stars, abs=1e-6)
    assert told.neighbor_count == n_neighbors


def test_of_two_raters_the_one_more_alike_weighs_more(five_users_bundle: Bundle) -> None:
    # U1 gave Inception 5 and Avengers 4, U3 gave Avengers 3 and Shrek 5; Inception 5 and Shrek 5
    # are one co-rated film with each, so both cosines are 1.
    both = Profile((Rating("Inception", 5.0), Rating("Shrek", 5.0)))
    (told,) = predict(five_users_bundle, both, ["Avengers"], PredictionMethod.COSINE_KNN)
    assert told.stars == pytest.approx(3.5)
    assert told.neighbor_count == 2
    # With U2 the films in common are Inception (4) and Titanic (5), with U1 Inception alone.
    (told,) = predict(
        five_users_bundle,
        Profile((Rating("Titanic", 1.0), Rating("Inception", 5.0))),
        ["Shrek"],
        PredictionMethod.COSINE_KNN,
    )
    # Only U4, who gave Titanic 4, rated Shrek as well: 4 stars.
    assert told.stars == pytest.approx(4.0)
    assert told.neighbor_count == 1


def test_nothing_is_like_titanic_by_content(five_users_bundle: Bundle) -> None:
    found = answer(five_users_bundle, Query(ItemId("Titanic"), content_weight=1))
    assert {n.id for n in found.neighbors} == FILMS.keys() - {"Titanic"}
    assert all(n.score == 0 and n.unrelated for n in found.neighbors)
    assert found.shortfall is not None
    assert (found.shortfall.requested, found.shortfall.returned) == (10, 3)


def test_inception_and_avengers_share_action_and_nothing_else(five_users_bundle: Bundle) -> None:
    found = answer(five_users_bundle, Query(ItemId("Inception"), content_weight=1)).neighbors
    # Smoothed idf: Action is in 2 of 4 films, Sci-Fi and Fantasy each in 1.
    action, other = math.log(5 / 3) + 1, math.log(5 / 2) + 1
    assert found[0].id == "Avengers"
    assert found[0].score == pytest.approx(action**2 / (action**2 + other**2), abs=1e-6)
    assert [n.unrelated for n in found] == [False, True, True]


def test_the_walk_through_prints_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    printed = capsys.readouterr().out
    assert "Avengers   4.00\n" in printed
    assert "Titanic    5.00\n" in printed
    assert "Shrek      4.11  (no similar rater: the mean of all ratings)\n" in printed
    near_titanic = printed.partition("Nearest to Titanic by genre:\n")[2].splitlines()[:3]
    assert all(line.endswith("0.0000  (unrelated)") for line in near_titanic)
