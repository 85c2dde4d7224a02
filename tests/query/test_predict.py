"""Predicted stars equal slow, obvious references, stay on the scale and never read their answer."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ilk.baseline import fit_biases
from ilk.bundle import Bundle
from ilk.errors import InvalidRequest, NotFound
from ilk.predict import Rater, baseline_knn, predict
from ilk.types import PredictionMethod, Profile, Rating, UserId
from indexer.interactions import Interactions, Items
from indexer.settings import BuildSettings

if TYPE_CHECKING:
    from tests.query.conftest import BuildBundle
    from tests.query.oracle import Oracle

COSINE, BASELINE = PredictionMethod.COSINE_KNN, PredictionMethod.BASELINE_KNN
Given = dict[str, dict[str, float]]


def random_stars(seed: int, n_users: int, n_items: int, density: float) -> Interactions:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((n_users, n_items)) < density)
    ids = [f"i{row}" for row in range(n_items)]
    genres: list[tuple[str, ...]] = [
        (("Drama", "War", "Comedy")[row % 3],) for row in range(n_items)
    ]
    return Interactions(
        user_ids=[f"u{row}" for row in range(n_users)],
        items=Items(ids, ids, np.full(n_items, 2000, dtype=np.int16), genres, {}),
        user_rows=pairs[:, 0].astype(np.int32),
        item_rows=pairs[:, 1].astype(np.int32),
        ratings=(rng.integers(1, 11, len(pairs)) / 2).astype(np.float32),
        timestamps=None,
        rating_scale=(0.5, 5.0),
        source="stars drawn at random",
    )


def by_user(data: Interactions) -> Given:
    given: Given = {}
    entries = zip(
        data.user_rows.tolist(), data.item_rows.tolist(), data.ratings.tolist(), strict=True
    )
    for user_row, item_row, stars in entries:
        given.setdefault(data.user_ids[user_row], {})[data.items.item_ids[item_row]] = stars
    return given


def slow_cosine_knn(given: Given, own: dict[str, float], asker: str, item_id: str) -> float | None:
    """Surprise's KNNBasic: the 40 most alike of those who rated it, if alike at all."""
    alike = []
    for user_id, theirs in given.items():
        if user_id == asker or item_id not in theirs:
            continue
        both = own.keys() & theirs.keys()
        dot = sum(own[i] * theirs[i] for i in both)
        length = math.sqrt(sum(own[i] ** 2 for i in both) * sum(theirs[i] ** 2 for i in both))
        if dot > 0:
            alike.append((dot / length, theirs[item_id]))
    nearest = sorted(alike, key=lambda pair: -pair[0])[:40]
    if not nearest:
        return None
    return sum(s * stars for s, stars in nearest) / sum(s for s, _ in nearest)


@pytest.fixture(scope="module", params=[(1, 25, 12, 0.3), (2, 120, 20, 0.6), (3, 8, 30, 0.1)])
def stars_and_bundle(
    request: pytest.FixtureRequest, build_bundle: "BuildBundle"
) -> tuple[Interactions, Bundle]:
    data = random_stars(*request.param)
    return data, build_bundle(data, BuildSettings(factors=6, iterations=4, evaluate=False))


def test_cosine_knn_is_the_textbook_method(stars_and_bundle: tuple[Interactions, Bundle]) -> None:
    data, bundle = stars_and_bundle
    given, ids = by_user(data), data.items.item_ids
    mean = float(data.ratings.mean(dtype=np.float64))
    # Of raters equally alike the textbook takes any, the bundle the first rows.
    ordered = {u: given[u] for u in bundle.users.vocabulary.ids.to_list()}
    for user_id, own in given.items():
        unrated = [i for i in ids if i not in own]
        for told in predict(bundle, UserId(user_id), unrated, COSINE):
            expected = slow_cosine_knn(ordered, own, user_id, told.item_id)
            assert told.stars == pytest.approx(mean if expected is None else expected, abs=1e-5)
            assert (told.neighbor_count == 0) == (expected is None)


def test_cosine_knn_asks_no_more_than_forty(stars_and_bundle: tuple[Interactions, Bundle]) -> None:
    data, bundle = stars_and_bundle
    given = by_user(data)
    raters = {i: {u for u in given if i in given[u]} for i in data.items.item_ids}
    newcomer = Profile(tuple(Rating(i, 3.0) for i in data.items.item_ids[:3]))
    met = {u for i in data.items.item_ids[:3] for u in raters[i]}
    for told in predict(bundle, newcomer, data.items.item_ids[3:], COSINE):
        assert told.neighbor_count == min(40, len(raters[told.item_id] & met))


def test_cosine_knn_predicts_what_a_user_rated_by_others_alone(
    stars_and_bundle: tuple[Interactions, Bundle],
) -> None:
    data, bundle = stars_and_bundle
    given = by_user(data)
    mean = float(np.mean(data.ratings))
    for asker, own in list(given.items())[:5]:
        for told in predict(bundle, UserId(asker), list(own), COSINE):
            without = {i: stars for i, stars in own.items() if i != told.item_id}
            expected = slow_cosine_knn(given, without, asker, told.item_id)
            assert told.stars == pytest.approx(mean if expected is None else expected, abs=1e-4)


def test_a_user_and_a_newcomer_with_the_same_ratings_are_predicted_alike(oracle: "Oracle") -> None:
    # Not by the textbook: there the known user is one of the raters, and the newcomer's best match.
    user_id = oracle.users.ids[50]
    profile = Profile(tuple(Rating(i, stars) for i, stars in oracle.rated[user_id].items()))
    unrated = [i for i in oracle.items.ids if i not in oracle.rated[user_id]]
    known, new = (predict(oracle.bundle, who, unrated) for who in (UserId(user_id), profile))
    assert [t.stars for t in new] == pytest.approx([t.stars for t in known], abs=1e-5)
    assert [t.neighbor_count for t in new] == [t.neighbor_count for t in known]


def slow_biases(data: Interactions) -> tuple[float, list[float], list[float]]:
    entries = list(
        zip(data.user_rows.tolist(), data.item_rows.tolist(), data.ratings.tolist(), strict=True)
    )
    mean = sum(stars for _, _, stars in entries) / len(entries)
    users, items = [0.0] * data.n_users, [0.0] * data.n_items
    for _ in range(10):
        for row in range(data.n_items):
            left = [stars - mean - users[u] for u, i, stars in entries if i == row]
            items[row] = sum(left) / (5 + len(left))
        for row in range(data.n_users):
            left = [stars - mean - items[i] for u, i, stars in entries if u == row]
            users[row] = sum(left) / (3 + len(left))
    return mean, users, items


def test_biases_are_those_of_a_slow_alternating_fit() -> None:
    data = random_stars(5, 15, 10, 0.5)
    got = fit_biases(data.user_rows, data.item_rows, data.ratings, 15, 10)
    for part, expected in zip(got, slow_biases(data), strict=True):
        assert part == pytest.approx(expected, abs=1e-6)


def slow_baseline_knn(oracle: "Oracle", own: dict[str, float], item_id: str) -> tuple[float, int]:
    """Koren's equation 3 over the 40 most like the item, its own rating left out; none if inferred."""
    biases, row_of = oracle.bundle.biases, oracle.items.row_of
    mean = float(biases.mean[0])
    others = {i: stars for i, stars in own.items() if i != item_id}
    item_bias = {i: float(biases.items[row_of[i]]) for i in (*others, item_id)}
    bias = sum(s - mean - item_bias[i] for i, s in others.items()) / (3 + len(others))
    evidence = []
    for other, stars in others.items():
        likeness = float(
            oracle.items.directions[row_of[item_id]] @ oracle.items.directions[row_of[other]]
        )
        if likeness > 0 and not oracle.bundle.items.inferred[row_of[item_id]]:
            evidence.append((likeness**2, stars - mean - bias - item_bias[other]))
    nearest = sorted(evidence, reverse=True)[:40]
    pull = sum(w * residual for w, residual in nearest) / (0.5 + sum(w for w, _ in nearest))
    return mean + bias + item_bias[item_id] + pull, len(nearest)


@pytest.mark.parametrize("user_row", [0, 1, 50, 300, 598, 599])
def test_baseline_knn_is_the_published_formula(oracle: "Oracle", user_row: int) -> None:
    user_id = oracle.users.ids[user_row]
    own = oracle.rated[user_id]
    unrated = [i for i in oracle.items.ids if i not in own][::5]
    assert oracle.bundle.preference.scale == (0.5, 5.0)
    for told in predict(oracle.bundle, UserId(user_id), unrated):
        stars, count = slow_baseline_knn(oracle, own, told.item_id)
        assert told.stars == pytest.approx(min(max(stars, 0.5), 5.0), abs=1e-4)
        assert told.neighbor_count == count


def test_what_nobody_has_liked_is_predicted_by_baselines_alone(bundle: Bundle) -> None:
    inferred = np.flatnonzero(bundle.items.inferred)
    assert len(inferred)
    ids = [bundle.items.vocabulary.id_of(row) for row in inferred.tolist()]
    for told in predict(bundle, UserId(bundle.users.vocabulary.id_of(0)), ids):
        assert told.neighbor_count == 0


@pytest.mark.parametrize("method", PredictionMethod)
def test_what_was_rated_is_predicted_without_reading_that_rating(
    bundle: Bundle, method: PredictionMethod
) -> None:
    # Nor through the rater's bias, or through cosines over co-rated items.
    ids = bundle.items.vocabulary.ids.to_list()
    others = tuple(Rating(item_id, 1.0 + place % 4) for place, item_id in enumerate(ids[100:130]))
    told = [
        predict(bundle, Profile((Rating(ids[50], stars), *others)), [ids[50]], method)[0]
        for stars in (0.5, 5.0)
    ]
    assert told[0].stars == pytest.approx(told[1].stars, abs=1e-6)


def test_what_a_known_user_rated_is_predicted_as_by_the_formula_without_it(
    oracle: "Oracle",
) -> None:
    user_id = oracle.users.ids[300]
    own = oracle.rated[user_id]
    for told in predict(oracle.bundle, UserId(user_id), list(own)):
        stars, count = slow_baseline_knn(oracle, own, told.item_id)
        assert told.neighbor_count == count
        assert told.stars == pytest.approx(min(max(stars, 0.5), 5.0), abs=1e-4)


@pytest.mark.parametrize("method", [COSINE, BASELINE])
def test_what_was_rated_is_predicted_as_if_it_were_not(
    build_bundle: "BuildBundle", method: PredictionMethod
) -> None:
    data = random_stars(3, 60, 40, 0.4)
    # Sums of such stars are rounded, and no less right for it.
    data = replace(data, ratings=(data.ratings * np.float32(1.1)), rating_scale=(0.55, 5.5))
    bundle = build_bundle(data, BuildSettings(factors=8, iterations=4, evaluate=False))
    given = {"i1": 2.2, "i2": 5.5, "i3": 1.1, "i5": 3.3, "i8": 4.4}
    ids = [f"i{row}" for row in range(12)]
    told = predict(bundle, _profile(given), ids, method)
    for item_id, found in zip(ids, told, strict=True):
        without = {i: value for i, value in given.items() if i != item_id}
        (alone,) = predict(bundle, _profile(without), [item_id], method)
        assert found.stars == pytest.approx(alone.stars, abs=1e-6)
        assert found.neighbor_count == alone.neighbor_count


def _profile(given: dict[str, float]) -> Profile:
    return Profile(tuple(Rating(item_id, value) for item_id, value in given.items()))


@pytest.mark.parametrize(("stars", "end"), [(5.0, 5.0), (0.5, 0.5)])
def test_predictions_stay_on_the_scale(oracle: "Oracle", stars: float, end: float) -> None:
    bundle, ids = oracle.bundle, oracle.items.ids
    rated_rows = np.arange(200)
    rater = Rater(rated_rows, np.full(200, stars, dtype=np.float32))
    raw, _ = baseline_knn(bundle, rater, np.arange(200, len(ids)))
    beyond = (raw > 5) | (raw < 0.5)
    assert beyond.any()
    profile = Profile(tuple(Rating(ids[row], stars) for row in rated_rows))
    told = np.array([t.stars for t in predict(bundle, profile, ids[200:])])
    assert (told[beyond] == end).all()
    np.testing.assert_allclose(told[~beyond], raw[~beyond], atol=1e-5)


@pytest.mark.parametrize("method", PredictionMethod)
def test_a_dislike_is_the_lowest_rating_and_a_like_the_highest(
    bundle: Bundle, method: PredictionMethod
) -> None:
    ratings = Profile((Rating("alien-1979", 5.0), Rating("jaws-1975", 0.5)))
    words = Profile(liked_item_ids=("alien-1979",), disliked_item_ids=("jaws-1975",))
    wanted = bundle.items.vocabulary.ids.to_list()[:50]
    assert predict(bundle, words, wanted, method) == predict(bundle, ratings, wanted, method)


@pytest.mark.parametrize("method", PredictionMethod)
def test_who_rated_nothing_gets_means(bundle: Bundle, method: PredictionMethod) -> None:
    wanted = bundle.items.vocabulary.ids.to_list()[:5]
    told = predict(bundle, Profile(favorite_genres=("Horror",)), wanted, method)
    mean = float(bundle.biases.mean[0])
    own = [0.0] * 5 if method is COSINE else bundle.biases.items[:5].tolist()
    assert [t.stars for t in told] == pytest.approx([mean + b for b in own], abs=1e-5)
    assert {t.neighbor_count for t in told} == {0}


def test_predictions_come_in_the_order_asked_for(bundle: Bundle) -> None:
    wanted = ["jaws-1975", "alien-1979", "jaws-1975"]
    told = predict(bundle, UserId("sim-00007"), wanted)
    assert [t.item_id for t in told] == wanted
    assert told[0] == told[2]


@pytest.mark.parametrize("method", PredictionMethod)
def test_clicks_predict_no_stars(clicks_bundle: Bundle, method: PredictionMethod) -> None:
    with pytest.raises(InvalidRequest, match="clicks"):
        predict(clicks_bundle, UserId("sim-00007"), ["alien-1979"], method)


@pytest.mark.parametrize(
    ("rater", "wanted", "unknown"),
    [
        (UserId("nobody"), ["alien-1979"], ("nobody",)),
        (UserId("sim-00007"), ["x", "alien-1979", "y"], ("x", "y")),
        (Profile((Rating("x", 3.0),)), ["alien-1979"], ("x",)),
    ],
)
def test_unknown_raters_and_items_are_not_found_by_name(
    bundle: Bundle, rater: UserId | Profile, wanted: list[str], unknown: tuple[str, ...]
) -> None:
    with pytest.raises(NotFound) as caught:
        predict(bundle, rater, wanted)
    assert caught.value.ids == unknown


@pytest.mark.parametrize("n_wanted", [0, 1001])
def test_too_few_and_too_many_items_are_refused(bundle: Bundle, n_wanted: int) -> None:
    with pytest.raises(InvalidRequest, match=f"needs 1 to 1000 items, got {n_wanted}") as caught:
        predict(bundle, UserId("sim-00007"), ["alien-1979"] * n_wanted)
    assert caught.value.field == "item_ids"


def test_stars_off_the_scale_are_refused(bundle: Bundle) -> None:
    with pytest.raises(InvalidRequest) as caught:
        predict(bundle, Profile((Rating("alien-1979", 6.0),)), ["jaws-1975"])
    assert caught.value.field == "profile.ratings.stars"


def test_an_older_rating_counts_no_less_in_a_prediction(bundle: Bundle) -> None:
    ratings = (Rating("alien-1979", 5.0, 0.0), Rating("jaws-1975", 1.0, 1e9))
    plain, fading = Profile(ratings), Profile(ratings, half_life_s=1.0)
    assert predict(bundle, plain, ["aliens-1986"]) == predict(bundle, fading, ["aliens-1986"])
    undated = Profile(tuple(replace(r, rated_at_s=None) for r in ratings))
    assert predict(bundle, plain, ["aliens-1986"]) == predict(bundle, undated, ["aliens-1986"])
