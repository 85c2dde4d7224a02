"""Knows how a profile, of somebody who need not be in the bundle, becomes a place in the vector spaces.

It refuses to know everybody else who may ask; `whom` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle
from ilk.errors import InvalidRequest, NotFound
from ilk.preference import age_weights
from ilk.query.seeker import Seeker
from ilk.types import Profile, Target
from ilk.vectors import Float32Matrix, Float32Vector, Rows, support, unit, unit_rows

_GENRES: Final = "profile.favorite_genres"
# How much is made at the least of the content of who says what they favor.
_STATED: Final = np.float32(0.8)


def newcomer(
    bundle: Bundle, profile: Profile, target: Target, *, ignore_unknown: bool = False
) -> Seeker:
    """Return the place of someone who need not be in the bundle.

    Their factors are folded in from what they rated; each favorite genre counts as a liked item whose
    factors point where its content does, and are as long as those of what is liked (ADR 37). Who is
    recommended to on few positives is also taken to like what everybody does. Their content is the
    weighted mean of what they rated, at length :func:`ilk.vectors.support` like that of the bundle's
    users, and of the genres they named, at no less than ``_STATED``.
    """
    read = read_profile(bundle, profile, ignore_unknown=ignore_unknown)
    rows, rated, preference = read.rows, ~np.isneginf(read.stars), bundle.preference
    ages = None
    half_life_s = profile.half_life_s or preference.half_life_s
    if half_life_s is not None and not np.all(np.isnan(read.times_s)):
        newest_s = float(np.nanmax(read.times_s))
        ages = age_weights(read.times_s[rated], newest_s, half_life_s)
    stars, starred = read.stars[rated], read.starred[rated]
    # What is disliked is neither a positive nor stars.
    confidences = np.full(len(rows), -(1 + preference.alpha), dtype=np.float32)
    confidences[rated] = preference.confidences(stars, ages, telling=starred)
    weights = np.full(len(rows), -1, dtype=np.float32)
    weights[rated] = preference.content_weights(stars, ages, telling=starred)

    trust = support(len(rows))
    content = unit(weights @ bundle.items.content[rows]) * trust
    wishes = _wished(bundle, profile.favorite_genres)
    if len(wishes):
        wish = bundle.content_model.of_genres(profile.favorite_genres, _GENRES)
        content = unit(content + wish) * np.maximum(trust, _STATED)
    factors = np.vstack((bundle.items.factors[rows], wishes))
    all_confidences = np.append(confidences, bundle.preference.of_wishes(len(wishes)))
    solved = bundle.fold_in.solve(factors, all_confidences)
    if target is Target.USERS:
        solved = unit(solved) * support(int(np.count_nonzero(confidences > 0)))
    else:
        solved += bundle.fold_in.in_common(int(np.count_nonzero(all_confidences > 0)))
    return Seeker(
        Target.USERS,
        solved,
        content,
        rated_rows=rows,
        confidences=confidences,
        wishes=wishes,
        ignored_ids=read.ignored_ids,
    )


def _wished(bundle: Bundle, genres: Sequence[str]) -> Float32Matrix:
    """Return the factors of an item of each genre, shape ``(n, n_factors)``, as long as a liked item's.

    What is inferred is short, for most items of a genre are hardly known; who names it likes it.
    """
    if not genres:
        return np.zeros((0, bundle.items.factors.shape[1]), dtype=np.float32)
    codes = sorted(set(bundle.content_model.genre_codes(genres, _GENRES)))
    directions = unit_rows(bundle.content_model.genre_factors(codes))
    wishes: Float32Matrix = directions * np.float32(bundle.liked_length)
    return wishes


@dataclass(frozen=True, slots=True)
class ReadProfile:
    """What a profile says of items that the bundle holds.

    Attributes
    ----------
    rows
        Shape ``(n,)``, each once.
    stars
        Shape ``(n,)``, float32; ``-inf`` for a dislike.
    starred
        Shape ``(n,)``, bool: told as stars; others were told as liked or disliked.
    times_s
        Shape ``(n,)``, float64; NaN where no time was given.
    ignored_ids
        Unknown ids that were passed over.
    """

    rows: Rows
    stars: Float32Vector
    starred: npt.NDArray[np.bool_]
    times_s: npt.NDArray[np.float64]
    ignored_ids: tuple[str, ...]


def read_profile(bundle: Bundle, profile: Profile, *, ignore_unknown: bool) -> ReadProfile:
    """Return the profile by rows; the last mention of an item wins.

    Raises
    ------
    NotFound
        If an id is unknown, unless that is to be ignored and something is left.
    InvalidRequest
        If stars are off the bundle's scale, or are no number of clicks where it holds clicks.
    """
    scale = bundle.preference.scale
    best = scale[1] if scale is not None else 1.0
    low, high = bundle.preference.bounds
    for rating in profile.ratings:
        if not low <= rating.stars <= high:
            expected = (
                f"is no number of clicks; expected more than 0, and at most {high:g}"
                if scale is None
                else f"is outside [{scale[0]:g}, {scale[1]:g}]"
            )
            raise InvalidRequest(
                "profile.ratings.stars", f"{rating.stars} for item {rating.item_id!r} {expected}"
            )
    said: dict[str, tuple[float, bool, float]] = {
        r.item_id: (r.stars, True, np.nan if r.rated_at_s is None else r.rated_at_s)
        for r in profile.ratings
    }
    said |= dict.fromkeys(profile.liked_item_ids, (best, False, np.nan))
    said |= dict.fromkeys(profile.disliked_item_ids, (-np.inf, False, np.nan))
    rows, ignored = known_items(bundle, tuple(said), ignore_unknown)
    if not len(rows) and not profile.favorite_genres:
        raise NotFound("item", *ignored)
    passed_over = set(ignored)
    values = [said[i] for i in said if i not in passed_over]
    stars = np.array([s for s, _, _ in values], dtype=np.float32)
    starred = np.array([s for _, s, _ in values], dtype=np.bool_)
    times = np.array([t for _, _, t in values], dtype=np.float64)
    return ReadProfile(rows, stars, starred, times, ignored)


def known_items(
    bundle: Bundle, item_ids: tuple[str, ...], ignore_unknown: bool
) -> tuple[Rows, tuple[str, ...]]:
    """Return the rows of the items that are known, and the ids of the others; NotFound unless ignored."""
    rows = bundle.items.vocabulary.rows_of(item_ids)
    unknown = tuple(item_ids[at] for at in np.flatnonzero(rows < 0))
    if unknown and not ignore_unknown:
        raise NotFound("item", *unknown)
    return rows[rows >= 0], unknown
