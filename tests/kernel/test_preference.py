"""What ratings say, against the formulas written out a rating at a time."""

import json
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk.errors import SettingsError
from ilk.preference import Preference, age_weights

FIVE, TEN, CLICKS = (0.5, 5.0), (1.0, 10.0), None
quick = settings(deadline=None, max_examples=60)
scales = pytest.mark.parametrize("scale", [FIVE, TEN, CLICKS], ids=["five", "ten", "clicks"])
gradings = pytest.mark.parametrize("graded", [False, True], ids=["flat", "graded"])


def floats(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def usual(
    scale: tuple[float, float] | None, alpha: float = 5.0, graded: bool = False
) -> Preference:
    return Preference(scale, Preference.usual_threshold(scale), alpha, graded)


def ratings_on(scale: tuple[float, float] | None) -> list[float]:
    if scale is None:
        return [1, 2, 3, 10, 500]
    n_steps = round((scale[1] - scale[0]) * 2)
    return [scale[0] + step / 2 for step in range(n_steps + 1)]


def slow_confidence(preference: Preference, rating: float, age_weight: float) -> float:
    if preference.scale is None:
        weight = 1 + math.log(rating) if preference.graded else 1.0
    elif rating < preference.liked_from:
        return 0.0
    else:
        above = (rating - preference.liked_from) / (preference.scale[1] - preference.liked_from)
        weight = 0.5 + above if preference.graded else 1.0
    return 1 + preference.alpha * weight * age_weight


def slow_content_weight(
    preference: Preference, rating: float, ratings: list[float], age_weight: float
) -> float:
    if preference.scale is None:
        return (1 + math.log(rating)) * age_weight
    low, high = preference.scale
    if low < 0 < high:
        return rating / high * age_weight
    middle, k = (low + high) / 2, preference.habit_shrinkage
    nothing = min(middle, (k * middle + sum(ratings)) / (k + len(ratings)))
    return max(rating - nothing, 0) / (high - nothing) * age_weight


@pytest.mark.parametrize(
    ("scale", "threshold", "lowest_liked"),
    [
        ((0.5, 5), 3.875, 4),
        ((1, 5), 4, 4),
        ((1, 10), 7.75, 8),
        ((0, 10), 7.5, 7.5),
        ((0, 1), 0.75, 1),
        ((-10, 10), 5, 5),
    ],
)
def test_the_upper_quarter_of_a_scale_is_liking(
    scale: tuple[float, float], threshold: float, lowest_liked: float
) -> None:
    assert Preference.usual_threshold(scale) == threshold
    stars = np.arange(scale[0], scale[1] + 0.25, 0.5, dtype=np.float32)
    if scale == (0, 1):
        stars = np.array([0, 1], dtype=np.float32)
    liked = usual(scale).liked(stars)
    assert liked.tolist() == [star >= lowest_liked for star in stars.tolist()]


def test_every_click_is_liking() -> None:
    assert Preference.usual_threshold(CLICKS) == 0
    clicks = np.array([0.001, 1, 2000], dtype=np.float32)
    assert usual(CLICKS).liked(clicks).tolist() == [True] * 3
    # A threshold set for stars by mistake says nothing about clicks.
    assert Preference(CLICKS, 4.0, 5.0).liked(clicks).all()


@scales
@gradings
@quick
@given(alpha=st.floats(0.125, 100), age_weight=st.floats(2**-10, 1))
def test_confidences_and_content_weights_are_the_formulas(
    scale: tuple[float, float] | None, graded: bool, alpha: float, age_weight: float
) -> None:
    preference, values = usual(scale, alpha, graded), ratings_on(scale)
    ratings = np.array(values, dtype=np.float32)
    for ages, age in ((None, 1.0), (np.full(len(values), age_weight, np.float32), age_weight)):
        confidences = preference.confidences(ratings, ages)
        weights = preference.content_weights(ratings, ages)
        assert confidences.dtype == weights.dtype == np.float32
        slow = [slow_confidence(preference, value, age) for value in values]
        assert confidences.tolist() == pytest.approx(slow, rel=1e-5)
        slow = [slow_content_weight(preference, value, values, age) for value in values]
        assert weights.tolist() == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize("scale", [(-5.0, 0.0), (-9.0, -4.0)])
def test_of_a_scale_without_a_star_above_zero_the_best_counts_most(
    scale: tuple[float, float],
) -> None:
    worst, best = scale
    stars = np.array([worst, (worst + best) / 2, best], dtype=np.float32)
    preference = Preference(scale, liked_from=best, alpha=3.0)
    assert preference.content_weights(stars, None).tolist() == [0, 0, 1]


def test_of_what_somebody_is_sparing_with_the_better_half_counts() -> None:
    preference = Preference((0.5, 5.0), liked_from=4.0, alpha=3.0)
    sparing = np.array([1, 1, 2, 3] * 20, dtype=np.float32)
    weights = preference.content_weights(sparing, None)
    assert np.array_equal(weights > 0, sparing >= 2)
    # Somebody else's habit is not theirs.
    both = np.concatenate((sparing, [4.0, 2.5, 2.0])).astype(np.float32)
    rows = np.repeat([0, 1], [len(sparing), 3])
    told = preference.content_weights(both, None, user_rows=rows)
    assert told[: len(sparing)].tolist() == weights.tolist()
    assert np.array_equal(told[len(sparing) :] > 0, [True, False, False])


@pytest.mark.parametrize("stars", [[1.0], [1.0, 1.0, 1.0], [0.5, 1.0], [2.0, 1.0]])
def test_who_has_only_hated_films_has_said_nothing_of_what_they_like(stars: list[float]) -> None:
    preference = Preference((0.5, 5.0), liked_from=4.0, alpha=3.0)
    assert not preference.content_weights(np.array(stars, dtype=np.float32), None).any()


@scales
@gradings
def test_a_positive_is_surer_than_an_item_never_met_and_anything_else_says_nothing(
    scale: tuple[float, float] | None, graded: bool
) -> None:
    preference = usual(scale, 0.5, graded)
    ratings = np.array(ratings_on(scale), dtype=np.float32)
    confidences = preference.confidences(ratings, None)
    liked = preference.liked(ratings)
    assert np.all(confidences[liked] > 1)
    assert np.all(confidences[~liked] == 0)
    assert np.all(np.diff(confidences) >= 0)
    assert (len(set(confidences[liked].tolist())) > 1) == graded


def own_bars(graded: bool = False) -> Preference:
    return Preference(FIVE, 4.0, 5.0, graded, normalize="mean")


def slow_bar(stars: list[float], liked_from: float = 4.0, shrinkage: float = 5.0) -> float:
    """As if the user had also rated ``shrinkage`` films at the threshold; never above it."""
    pretended = [*stars, *[liked_from] * int(shrinkage)]
    return min(liked_from, sum(pretended) / len(pretended))


half_stars = st.integers(1, 10).map(lambda n: n / 2)
users_with_ratings = st.lists(st.lists(half_stars, max_size=30), min_size=1, max_size=6)


@gradings
@quick
@given(users=users_with_ratings, seed=st.integers(0, 2**31))
def test_a_users_own_bar_is_the_formula_alone_and_among_others(
    graded: bool, users: list[list[float]], seed: int
) -> None:
    preference = own_bars(graded)
    rows = np.repeat(np.arange(len(users)), [len(stars) for stars in users])
    ratings = np.array([s for stars in users for s in stars], dtype=np.float32)
    order = np.random.default_rng(seed).permutation(len(ratings))
    together = np.empty(len(ratings), dtype=np.float32)
    together[order] = preference.confidences(ratings[order], None, user_rows=rows[order])
    for row, stars in enumerate(users):
        alone = preference.confidences(floats(*stars), None)
        assert together[rows == row].tolist() == alone.tolist()
        bar = slow_bar(stars)
        slow = [
            0.0 if s < np.float32(bar) else 1 + 5 * (0.5 + (s - bar) / (5 - bar) if graded else 1)
            for s in stars
        ]
        assert alone.tolist() == pytest.approx(slow, rel=1e-5)


@quick
@given(stars=st.lists(half_stars, max_size=40))
def test_a_habit_makes_more_positives_and_never_fewer(stars: list[float]) -> None:
    everybodys, own = usual(FIVE), replace(usual(FIVE), normalize="mean")
    assert np.all(own.liked(floats(*stars)) >= everybodys.liked(floats(*stars)))


def test_few_ratings_are_read_as_everybodys_and_many_by_their_users_own_mean() -> None:
    preference = own_bars()
    assert not preference.liked(floats(3)).any()
    stern = floats(*([1, 2, 3] * 40))
    assert preference.bars(stern)[0] == pytest.approx(2.0, abs=0.1)
    assert preference.liked(stern).tolist() == [False, False, True] * 40
    assert not usual(FIVE).liked(stern).any()
    generous = floats(*([4, 5] * 40))
    assert preference.liked(generous).all()


def test_what_was_merely_said_to_be_liked_tells_of_no_habit() -> None:
    preference = own_bars()
    ratings = floats(5, 5, 5, *[2, 3] * 20)
    starred = np.arange(len(ratings)) >= 3
    bars = preference.bars(ratings, telling=starred)
    assert bars[0] == preference.bars(ratings[starred])[0] < preference.bars(ratings)[0]
    surely = preference.confidences(ratings, None, telling=starred)
    assert np.all(surely[:3] > 1)


def test_clicks_have_no_habit() -> None:
    clicks, flat = floats(1, 3, 50), Preference(CLICKS, 0.0, 5.0)
    own = Preference(CLICKS, 0.0, 5.0, normalize="mean")
    assert own.confidences(clicks, None).tolist() == flat.confidences(clicks, None).tolist()


def test_activity_is_counted_by_user() -> None:
    preference = Preference(FIVE, 4.0, 5.0, activity_discount=0.5, typical_activity=2.0)
    rows, ratings = np.array([0, 1, 1, 1, 1, 1]), floats(5, 5, 5, 5, 5, 1)
    confidences = preference.confidences(ratings, None, user_rows=rows)
    busy = 1 + 5 * (2 / 4) ** 0.5
    assert confidences.tolist() == pytest.approx([1 + 5 * 2**0.5, *[busy] * 4, 0])
    assert preference.confidences(ratings[1:], None).tolist() == confidences[1:].tolist()


@gradings
def test_a_threshold_at_the_top_of_the_scale_still_gives_finite_confidences(graded: bool) -> None:
    confidences = Preference(FIVE, 5.0, 5.0, graded).confidences(floats(4.5, 5.0), None)
    assert confidences.tolist() == [0, 3.5 if graded else 6]


def test_a_rating_weighs_half_as_much_every_half_life() -> None:
    half_life_s = 86_400.0
    times = 1e9 - half_life_s * np.arange(6, dtype=np.float64)
    weights = age_weights(times, 1e9, half_life_s)
    assert weights.dtype == np.float32
    assert weights.tolist() == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32]


def test_age_counts_from_the_newest_of_each_user() -> None:
    times, newest = np.array([0.0, 10.0, 90.0]), np.array([10.0, 10.0, 100.0])
    assert age_weights(times, newest, 10.0).tolist() == [0.5, 1, 0.5]


@pytest.mark.parametrize("time_s", [math.nan, 100.0, 101.0, 1e18])
def test_a_rating_without_a_time_or_from_the_future_counts_as_the_newest(time_s: float) -> None:
    assert age_weights(np.array([time_s]), 100.0, 1.0).tolist() == [1]


def test_a_positive_of_long_ago_stays_a_positive() -> None:
    weights = age_weights(np.array([-1e12, 0.0]), 1e9, 1.0)
    assert np.all(weights > 0)
    assert np.all(usual(FIVE).confidences(floats(5, 5), weights) > 1)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan])
def test_settings_that_mean_nothing_are_refused(wrong: float) -> None:
    with pytest.raises(SettingsError, match="alpha"):
        Preference(FIVE, 4.0, wrong)
    with pytest.raises(SettingsError, match="half-life"):
        Preference(FIVE, 4.0, 5.0, half_life_s=wrong)
    with pytest.raises(SettingsError, match="habit shrinkage"):
        Preference(FIVE, 4.0, 5.0, habit_shrinkage=wrong)
    with pytest.raises(SettingsError, match="normalize must be one of none, mean"):
        Preference(FIVE, 4.0, 5.0, normalize=str(wrong))  # type: ignore[arg-type]


@scales
def test_a_preference_comes_back_from_json_as_it_was(scale: tuple[float, float] | None) -> None:
    preference = Preference(scale, 3.5, 2.0, graded=True, half_life_s=60.0, normalize="mean")
    assert Preference.from_json(json.loads(json.dumps(preference.to_json()))) == preference


def test_json_from_before_habits_were_looked_at_means_what_it_meant() -> None:
    values = Preference(FIVE, 3.5, 2.0).to_json()
    del values["normalize"], values["habit_shrinkage"]
    assert Preference.from_json(values) == Preference(FIVE, 3.5, 2.0, normalize="none")
