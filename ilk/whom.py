"""Knows how "to whom" becomes a place in the vector spaces: known users, newcomers, films, words.

It refuses to know what is looked for near that place; `query` does.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle
from ilk.errors import InvalidRequest, NotFound
from ilk.expectation import expected_factors, is_needed
from ilk.preference import age_weights
from ilk.types import Examples, ItemId, Profile, Query, Target, Text, UserId
from ilk.vectors import Float32Matrix, Float32Vector, Rows, support, unit

# How far a negative example pushes against the pull of the positive ones: Rocchio's gamma, at the
# strength that Qdrant's recommendation API made customary.
_NEGATIVE_PULL = 0.5
_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


def _no_rows() -> Rows:
    return _NO_ROWS


@dataclass(frozen=True, slots=True)
class Seeker:
    """Where a query stands.

    Attributes
    ----------
    kind
        Whether it stands among the items or among the users.
    collaborative, content
        Its vectors, shapes ``(n_factors,)`` and ``(dim_content,)``; zero where nothing is known. The
        first is a direction where the target is of its own kind (likeness), else factors (affinity).
    own_rows
        Rows of its own kind that must not be their own neighbors.
    rated_rows, confidences
        For users: rows of the items they rated, and the confidence of each in the fold-in.
    wish
        For newcomers with favorite genres: the factors of the item they would like, which stands in
        the fold-in beside what they rated; shape ``(n_factors,)``.
    own_factors, helped_at
        ``collaborative`` before content helped out those who rated few, and at which content weight it
        did; None and 0 where it did not.
    ignored_ids
        Unknown ids that were passed over because the query allowed it.
    """

    kind: Target
    collaborative: Float32Vector
    content: Float32Vector
    own_rows: tuple[int, ...] = ()
    rated_rows: Rows = field(default_factory=_no_rows)
    confidences: Float32Vector | None = None
    wish: Float32Vector | None = None
    own_factors: Float32Vector | None = None
    helped_at: float = 0.0
    ignored_ids: tuple[str, ...] = ()

    def confidences_in(self, bundle: Bundle) -> Float32Vector:
        """Return the confidence of each rated item; those of a known user are read now."""
        if self.confidences is not None:
            return self.confidences
        (row,) = self.own_rows
        return known_confidences(bundle, row)

    def helped_by_content(self, bundle: Bundle, content_weight: float) -> "Seeker":
        """Return a user's place for recommendations at this blend; few ratings are helped out."""
        if not is_needed(len(self.rated_rows), content_weight):
            return self
        helped = replace(self, own_factors=self.collaborative, helped_at=content_weight)
        if self.confidences is None and bundle.expected is not None:
            (row,) = self.own_rows
            added = np.float32(content_weight) * bundle.expected[row]
        else:
            added = helped.expected(bundle).sum(axis=0)
        return replace(helped, collaborative=self.collaborative + added)

    def expected(self, bundle: Bundle) -> Float32Matrix:
        """Return what each rated item's content added to the factors of one who was helped out.

        Shape ``(n_rated, n_factors)``.
        """
        assert self.own_factors is not None
        confidences = self.confidences_in(bundle)
        return expected_factors(
            bundle, self.rated_rows, confidences, self.own_factors, self.helped_at
        )


def seek(bundle: Bundle, query: Query) -> Seeker:
    """Return the place of the query's ``whom``.

    Raises
    ------
    NotFound
        If the bundle does not hold an id.
    InvalidRequest
        If a genre or the whole text is unknown, or stars are off the bundle's scale.
    """
    whom = query.whom
    if isinstance(whom, ItemId):
        return _item(bundle, whom.item_id, query.target)
    if isinstance(whom, UserId):
        return known_user(bundle, whom.user_id, query.target)
    if isinstance(whom, Profile):
        return newcomer(bundle, whom, query.target, ignore_unknown=query.ignore_unknown_ids)
    if isinstance(whom, Examples):
        return _examples(bundle, whom, query)
    return _text(bundle, whom, query.target)


def _item(bundle: Bundle, item_id: str, target: Target) -> Seeker:
    row = bundle.items.vocabulary.row_of(item_id)
    if row < 0:
        raise NotFound("item", item_id)
    items = bundle.items
    vectors = items.directions if target is Target.ITEMS else items.factors
    return Seeker(Target.ITEMS, vectors[row], items.content[row], (row,))


def known_user(bundle: Bundle, user_id: str, target: Target) -> Seeker:
    """Return the place of a user of the bundle; NotFound if there is none."""
    row = bundle.users.vocabulary.row_of(user_id)
    if row < 0:
        raise NotFound("user", user_id)
    users = bundle.users
    return Seeker(
        Target.USERS,
        (users.directions if target is Target.USERS else users.factors)[row],
        users.content[row],
        (row,),
        # A view of the map: nothing is read unless seen items or reasons are asked for.
        bundle.ratings_by_user.others_of(row),  # type: ignore[arg-type]
    )


def known_confidences(bundle: Bundle, user_row: int) -> Float32Vector:
    """Return the confidence that training gave to each rating of a user, in the order stored."""
    ratings, preference = bundle.ratings_by_user, bundle.preference
    ages = None
    if preference.half_life_s is not None and len(ratings.times_s):
        times = ratings.times_s[ratings.span(user_row)].astype(np.float64)
        ages = age_weights(times, times.max(initial=-np.inf), preference.half_life_s)
    return preference.confidences(ratings.stars_of(user_row), ages)


def newcomer(
    bundle: Bundle, profile: Profile, target: Target, *, ignore_unknown: bool = False
) -> Seeker:
    """Return the place of someone who need not be in the bundle.

    Their factors are folded in from what they rated; a favorite genre counts as a liked item whose
    factors are inferred from its content. Their content is the weighted mean of what they rated, at
    length :func:`ilk.vectors.support` like that of the bundle's users, and of the genres they named.
    """
    read = read_profile(bundle, profile, ignore_unknown=ignore_unknown)
    rows, disliked = read.rows, np.isneginf(read.stars)
    known_stars = np.where(disliked, 0, read.stars).astype(np.float32)
    ages = None
    if profile.half_life_s is not None and not np.all(np.isnan(read.times_s)):
        ages = age_weights(read.times_s, float(np.nanmax(read.times_s)), profile.half_life_s)
    confidences = bundle.preference.confidences(known_stars, ages, telling=read.starred)
    confidences[disliked] = -(1 + np.float32(bundle.preference.alpha))
    weights = bundle.preference.content_weights(known_stars, ages)
    weights[disliked] = -1

    content = unit(weights @ bundle.items.content[rows]) * support(len(rows))
    factors = bundle.items.factors[rows]
    all_confidences, wished = confidences, None
    if profile.favorite_genres:
        wish = bundle.content_model.of_genres(profile.favorite_genres, "profile.favorite_genres")
        # What somebody says of themselves needs no evidence beside it.
        content = unit(content + wish)
        wished = bundle.content_model.infer_factors(wish)
        factors = np.vstack((factors, wished))
        all_confidences = np.append(confidences, np.float32(1 + bundle.preference.alpha))
    solved = bundle.fold_in.solve(factors, all_confidences)
    if target is Target.USERS:
        solved = unit(solved) * support(int(np.count_nonzero(confidences > 0)))
    return Seeker(
        Target.USERS,
        solved,
        content,
        rated_rows=rows,
        confidences=confidences,
        wish=wished,
        ignored_ids=read.ignored_ids,
    )


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
    rows, ignored = _known_items(bundle, tuple(said), ignore_unknown)
    if not len(rows) and not profile.favorite_genres:
        raise NotFound("item", *ignored)
    passed_over = set(ignored)
    values = [said[i] for i in said if i not in passed_over]
    stars = np.array([s for s, _, _ in values], dtype=np.float32)
    starred = np.array([s for _, s, _ in values], dtype=np.bool_)
    times = np.array([t for _, _, t in values], dtype=np.float64)
    return ReadProfile(rows, stars, starred, times, ignored)


def _examples(bundle: Bundle, examples: Examples, query: Query) -> Seeker:
    positive, ignored = _known_items(bundle, examples.positive_item_ids, query.ignore_unknown_ids)
    negative, more = _known_items(bundle, examples.negative_item_ids, query.ignore_unknown_ids)
    if not len(positive):
        raise NotFound("item", *ignored)
    items = bundle.items
    vectors = items.directions if query.target is Target.ITEMS else items.factors
    return Seeker(
        Target.ITEMS,
        _pull(vectors, positive, negative),
        _pull(items.content, positive, negative),
        own_rows=(*positive.tolist(), *negative.tolist()),
        ignored_ids=ignored + more,
    )


def _pull(vectors: Float32Matrix, positive: Rows, negative: Rows) -> Float32Vector:
    """Return the mean of the positives less half that of the negatives.

    A neighbor's score is then its mean score to the positives less half that to the negatives.
    """
    towards: Float32Vector = vectors[positive].mean(axis=0)
    if len(negative):
        towards -= np.float32(_NEGATIVE_PULL) * vectors[negative].mean(axis=0)
    return towards


def _text(bundle: Bundle, text: Text, target: Target) -> Seeker:
    content = bundle.content_model.of_text(text.text)
    inferred = bundle.content_model.infer_factors(content)
    if target is Target.ITEMS:
        inferred = unit(inferred) * support(0)
    return Seeker(Target.ITEMS, inferred, content)


def _known_items(
    bundle: Bundle, item_ids: tuple[str, ...], ignore_unknown: bool
) -> tuple[Rows, tuple[str, ...]]:
    rows = bundle.items.vocabulary.rows_of(item_ids)
    unknown = tuple(item_ids[at] for at in np.flatnonzero(rows < 0))
    if unknown and not ignore_unknown:
        raise NotFound("item", *unknown)
    return rows[rows >= 0], unknown
