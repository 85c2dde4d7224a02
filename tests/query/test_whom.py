"""To whom: unknown ids, profiles, dislikes, fading ratings, and newcomers who are known users."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ilk.bundle import Bundle
from ilk.errors import InvalidRequest, NotFound
from ilk.query import answer
from ilk.query.newcomer import newcomer
from ilk.types import (
    EXACT,
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
    Whom,
)

if TYPE_CHECKING:
    from tests.query.oracle import Oracle

YEAR_S = 365 * 86_400.0


def scores_of(bundle: Bundle, whom: Whom, weight: float, count: int = 494) -> dict[str, float]:
    found = answer(bundle, Query(whom, content_weight=weight, neighbor_count=count, accuracy=EXACT))
    return {n.id: n.score for n in found.neighbors}


def told(found: Neighbors) -> list[tuple[str, float]]:
    return [(n.id, n.score) for n in found.neighbors]


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize(
    ("whom", "kind", "unknown"),
    [
        (ItemId("no film"), "item", ("no film",)),
        (UserId("nobody"), "user", ("nobody",)),
        (Profile((Rating("x", 4.0), Rating("y", 1.0)), ("z",)), "item", ("x", "y", "z")),
        (Profile(disliked_item_ids=("x",)), "item", ("x",)),
        (Examples(("x", "alien-1979")), "item", ("x",)),
        (Examples(("alien-1979",), ("y", "z")), "item", ("y", "z")),
    ],
)
def test_unknown_ids_are_not_found_by_name(
    bundle: Bundle, whom: Whom, kind: str, unknown: tuple[str, ...], target: Target
) -> None:
    with pytest.raises(NotFound) as caught:
        answer(bundle, Query(whom, target))
    assert (caught.value.kind, caught.value.ids) == (kind, unknown)
    assert all(repr(i) in str(caught.value) for i in unknown)


@pytest.mark.parametrize("whom", [ItemId("x"), UserId("x")])
def test_the_one_asked_about_is_never_ignored(bundle: Bundle, whom: Whom) -> None:
    with pytest.raises(NotFound):
        answer(bundle, Query(whom, ignore_unknown_ids=True))


@pytest.mark.parametrize(
    ("whom", "same", "ignored"),
    [
        (
            Profile((Rating("x", 4.0), Rating("alien-1979", 5.0)), disliked_item_ids=("y",)),
            Profile((Rating("alien-1979", 5.0),)),
            ("x", "y"),
        ),
        (
            Profile(liked_item_ids=("x",), favorite_genres=("Horror",)),
            Profile(favorite_genres=("Horror",)),
            ("x",),
        ),
        (
            Examples(("x", "alien-1979"), ("jaws-1975", "y")),
            Examples(("alien-1979",), ("jaws-1975",)),
            ("x", "y"),
        ),
    ],
)
def test_unknown_ids_are_passed_over_and_listed_when_that_is_allowed(
    bundle: Bundle, whom: Whom, same: Whom, ignored: tuple[str, ...]
) -> None:
    found = answer(bundle, Query(whom, ignore_unknown_ids=True))
    assert found.ignored_ids == ignored
    assert told(found) == told(answer(bundle, Query(same)))


@pytest.mark.parametrize(
    "whom", [Profile((Rating("x", 4.0),), ("y",)), Examples(("x", "y"), ("alien-1979",))]
)
def test_when_every_id_is_unknown_there_is_nothing_to_pass_over_for(
    bundle: Bundle, whom: Whom
) -> None:
    with pytest.raises(NotFound) as caught:
        answer(bundle, Query(whom, ignore_unknown_ids=True))
    assert caught.value.ids == ("x", "y")


@pytest.mark.parametrize(
    ("mentions", "last"),
    [
        (
            Profile(
                (Rating("alien-1979", 0.5), Rating("jaws-1975", 4.0), Rating("alien-1979", 5.0))
            ),
            Profile((Rating("jaws-1975", 4.0), Rating("alien-1979", 5.0))),
        ),
        (
            Profile((Rating("alien-1979", 0.5), Rating("jaws-1975", 4.0)), ("alien-1979",)),
            Profile((Rating("jaws-1975", 4.0), Rating("alien-1979", 5.0))),
        ),
        (
            Profile((Rating("jaws-1975", 4.0),), ("alien-1979",), ("alien-1979",)),
            Profile((Rating("jaws-1975", 4.0),), (), ("alien-1979",)),
        ),
    ],
    ids=["rated twice", "rated, then liked", "liked, then disliked"],
)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_last_mention_of_an_item_wins(
    bundle: Bundle, mentions: Profile, last: Profile, weight: float
) -> None:
    one, other = scores_of(bundle, mentions, weight), scores_of(bundle, last, weight)
    assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("stars", [0.0, 0.49, 5.01, -1.0, 100.0])
def test_stars_off_the_scale_are_refused(bundle: Bundle, stars: float) -> None:
    with pytest.raises(InvalidRequest, match=r"'alien-1979' is outside \[0.5, 5\]") as caught:
        answer(bundle, Query(Profile((Rating("alien-1979", stars),))))
    assert caught.value.field == "profile.ratings.stars"


@pytest.mark.parametrize("limits", [(0.7, 4.9), (0.1, 4.7)])
def test_limits_that_float32_cannot_hold_do_not_refuse_stars_as_they_are_stored(
    bundle: Bundle, limits: tuple[float, float]
) -> None:
    odd = replace(bundle, preference=replace(bundle.preference, scale=limits))
    for stars in (*limits, *np.array(limits, np.float32).tolist()):
        assert answer(odd, Query(Profile((Rating("alien-1979", stars),)))).neighbors
    for stars in (limits[0] - 1e-6, limits[1] + 1e-6):
        with pytest.raises(InvalidRequest, match=f"is outside .{limits[0]}, {limits[1]}"):
            answer(odd, Query(Profile((Rating("alien-1979", stars),))))


@pytest.mark.parametrize("clicks", [0.0, -2.0, 3.5e38, 1e300])
def test_a_bundle_of_clicks_refuses_only_what_is_no_number_of_clicks(
    clicks_bundle: Bundle, clicks: float
) -> None:
    for fine in (0.5, 4000.0, 3.4e38):
        assert answer(clicks_bundle, Query(Profile((Rating("alien-1979", fine),)))).neighbors
    with pytest.raises(
        InvalidRequest,
        match=r"for item 'alien-1979' is no number of clicks; expected more than 0, and at most 3\.4",
    ) as caught:
        answer(clicks_bundle, Query(Profile((Rating("alien-1979", clicks),))))
    assert caught.value.field == "profile.ratings.stars"


@pytest.mark.parametrize(
    ("whom", "field"),
    [
        (Profile(favorite_genres=("Horror", "Heist")), "profile.favorite_genres"),
        (Text("nothing of that sort"), "text"),
    ],
)
def test_unknown_genres_and_words_are_refused_with_those_that_are_known(
    bundle: Bundle, whom: Whom, field: str
) -> None:
    with pytest.raises(InvalidRequest, match="Action, Adventure, Animation") as caught:
        answer(bundle, Query(whom))
    assert caught.value.field == field


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_dislike_pushes_its_item_and_those_like_it_away(oracle: "Oracle", weight: float) -> None:
    liked = ("alien-1979", "the-godfather-1972", "amelie-2001")
    before = scores_of(oracle.bundle, Profile(liked_item_ids=liked), weight)
    shunned = max((i for i in before if i not in liked), key=before.__getitem__)
    alike = answer(oracle.bundle, Query(ItemId(shunned), content_weight=weight, neighbor_count=20))
    after = scores_of(
        oracle.bundle, Profile(liked_item_ids=liked, disliked_item_ids=(shunned,)), weight
    )
    assert after[shunned] < before[shunned]
    near = [n.id for n in alike.neighbors if n.id not in liked]
    fall = np.mean([before[i] - after[i] for i in near])
    assert fall > 0
    assert fall > np.mean([before[i] - after[i] for i in before])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_negative_example_takes_away_half_its_likeness(bundle: Bundle, weight: float) -> None:
    near = scores_of(bundle, ItemId("alien-1979"), weight)
    far = scores_of(bundle, ItemId("jaws-1975"), weight)
    both = scores_of(bundle, Examples(("alien-1979",), ("jaws-1975",)), weight)
    assert both == pytest.approx({i: near[i] - far[i] / 2 for i in both}, abs=1e-5)


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_favorite_genres_alone_are_enough(oracle: "Oracle", weight: float, target: Target) -> None:
    asked = Query(Profile(favorite_genres=("horror",)), target, weight)
    found = answer(oracle.bundle, asked)
    assert len(found.neighbors) == 10
    assert not any(n.unrelated for n in found.neighbors)
    if target is Target.ITEMS:
        share = np.mean(["Horror" in oracle.genres[n.id] for n in found.neighbors])
        assert share > np.mean(["Horror" in genres for genres in oracle.genres.values()])


def fading(half_life_s: float | None) -> Profile:
    """Someone who loved horror for years, and now science fiction."""
    horror = ("the-exorcist-1973", "halloween-1978", "nosferatu-1922", "the-shining-1980")
    scifi = ("the-matrix-1999", "blade-runner-1982")
    return Profile(
        tuple(Rating(i, 5.0, 1e9) for i in horror)
        + tuple(Rating(i, 5.0, 1e9 + 4 * YEAR_S) for i in scifi),
        half_life_s=half_life_s,
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_shorter_the_half_life_the_more_recent_taste_counts(
    bundle: Bundle, weight: float
) -> None:
    recent, long_ago = Text("Sci-Fi"), Text("Horror")
    groups = [
        [n.id for n in answer(bundle, Query(genre, content_weight=1)).neighbors]
        for genre in (recent, long_ago)
    ]
    leads = []
    for half_life_s in (None, 8 * YEAR_S, 2 * YEAR_S, YEAR_S, 0.25 * YEAR_S):
        scores = scores_of(bundle, fading(half_life_s), weight)
        recent_mean, old_mean = (np.mean([scores[i] for i in group]) for group in groups)
        leads.append(recent_mean - old_mean)
    assert (np.diff(leads) > 0).all()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_an_endless_half_life_is_as_none(bundle: Bundle, weight: float) -> None:
    endless = scores_of(bundle, fading(1e6 * YEAR_S), weight)
    assert endless == pytest.approx(scores_of(bundle, fading(None), weight), abs=1e-5)


def test_a_half_life_without_times_changes_nothing(bundle: Bundle) -> None:
    timeless = Profile(tuple(replace(r, rated_at_s=None) for r in fading(None).ratings))
    assert scores_of(bundle, replace(timeless, half_life_s=9.0), 0.3) == pytest.approx(
        scores_of(bundle, timeless, 0.3), abs=1e-6
    )


def test_a_newcomers_own_bar_is_read_from_stars_alone(own_bars_bundle: Bundle) -> None:
    stars = {"alien-1979": 3.0, "titanic-1997": 1.0, "toy-story-1995": 2.0, "jaws-1975": 3.0}
    profile = Profile(
        ratings=tuple(Rating(item_id, s) for item_id, s in stars.items()),
        liked_item_ids=("the-matrix-1999",),
        disliked_item_ids=("the-shining-1980", "toy-story-1995"),
    )
    preference = own_bars_bundle.preference
    rated = {i: s for i, s in stars.items() if i not in profile.disliked_item_ids}
    pull, threshold = preference.habit_shrinkage, preference.liked_from
    bar = (pull * threshold + sum(rated.values())) / (pull + len(rated))
    assert 3.0 < bar < threshold
    seeker = newcomer(own_bars_bundle, profile, Target.ITEMS)
    assert seeker.confidences is not None
    ids = [own_bars_bundle.items.vocabulary.id_of(row) for row in seeker.rated_rows.tolist()]
    found = dict(zip(ids, seeker.confidences.tolist(), strict=True))
    assert [found[i] for i in rated] == [0, 0, 0]
    assert found["the-shining-1980"] == found["toy-story-1995"] == -(1 + preference.alpha)
    of_one_like = preference.typical_activity**preference.activity_discount * 1.5
    assert found["the-matrix-1999"] == pytest.approx(1 + preference.alpha * of_one_like)


def test_among_clicks_dislikes_make_nobody_more_active(clicks_bundle: Bundle) -> None:
    likes = ("alien-1979", "jaws-1975")
    profile = Profile(liked_item_ids=likes)
    disliking = replace(profile, disliked_item_ids=("titanic-1997", "the-shining-1980"))
    alone, beside = (newcomer(clicks_bundle, p, Target.ITEMS) for p in (profile, disliking))
    assert alone.confidences is not None
    assert beside.confidences is not None
    assert beside.confidences[:2].tolist() == alone.confidences.tolist()


def as_profile(bundle: Bundle, user_row: int) -> Profile:
    ratings = bundle.ratings_by_user
    span = ratings.span(user_row)
    entries = zip(
        ratings.others[span].tolist(),
        ratings.stars[span].tolist(),
        ratings.times_s[span].tolist(),
        strict=True,
    )
    return Profile(
        tuple(Rating(bundle.items.vocabulary.id_of(row), s, float(t)) for row, s, t in entries)
    )


def test_a_half_life_of_ones_own_rules_over_that_of_the_build(fading_bundle: Bundle) -> None:
    of_build = fading_bundle.preference.half_life_s
    unsaid, as_built, longer = (
        scores_of(fading_bundle, fading(half_life_s), 0.3)
        for half_life_s in (None, of_build, 100 * YEAR_S)
    )
    assert unsaid == as_built
    assert unsaid != pytest.approx(longer, abs=0.01)


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("user_row", [0, 100, 590, 599])
@pytest.mark.parametrize("name", ["bundle", "fading_bundle", "own_bars_bundle", "clicks_bundle"])
def test_a_known_user_and_a_newcomer_with_the_same_ratings_get_the_same_answers(
    request: pytest.FixtureRequest, name: str, user_row: int, weight: float, target: Target
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    user_id = bundle.users.vocabulary.id_of(user_row)
    itself = (user_id,) if target is Target.USERS else ()
    wanted = Filter(exclude_ids=itself, exclude_seen=target is Target.ITEMS)
    known = Query(UserId(user_id), target, weight, wanted, neighbor_count=50)
    new = replace(known, whom=as_profile(bundle, user_row))
    expected, got = answer(bundle, known).neighbors, answer(bundle, new).neighbors
    np.testing.assert_allclose([n.score for n in got], [n.score for n in expected], atol=1e-5)
    everyone = {n.id: n.score for n in answer(bundle, replace(known, neighbor_count=600)).neighbors}
    assert {n.id: n.score for n in got} == pytest.approx(
        {n.id: everyone[n.id] for n in got}, abs=1e-5
    )
