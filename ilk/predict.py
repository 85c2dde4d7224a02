"""Knows how many stars a user would give: k nearest neighbors, around baselines or the textbook way.

It refuses to know how neighbors of the recommending kind are found; `query` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ilk.baseline import user_bias
from ilk.bundle import Bundle
from ilk.errors import InvalidRequest, NotFound
from ilk.query.newcomer import read_profile
from ilk.types import PredictionMethod, Profile, RatingPrediction, UserId, check_id
from ilk.vectors import Rows

# Surprise's default, for the textbook method; the baseline method's own was chosen by measurement.
_TEXTBOOK_NEIGHBORS = 40
_BASELINE_NEIGHBORS = 40
_THIN_EVIDENCE = 0.5
MAX_ITEMS = 1000

Stars = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rater:
    """Who is to be predicted: rows of the items they rated, rising, the stars, and their own row.

    ``user_row`` is -1 for a user who is not in the bundle.
    """

    item_rows: Rows
    stars: Stars
    user_row: int = -1

    def places_of(self, rows: Rows) -> Rows:
        """Return where each of some items stands among those they rated, -1 where it does not."""
        if not len(self.item_rows):
            return np.full(len(rows), -1)
        places = np.minimum(self.item_rows.searchsorted(rows), len(self.item_rows) - 1)
        return np.where(self.item_rows[places] == rows, places, -1)


def predict(
    bundle: Bundle,
    rater: UserId | Profile,
    item_ids: Sequence[str],
    method: PredictionMethod = PredictionMethod.BASELINE_KNN,
) -> list[RatingPrediction]:
    """Return the stars that ``rater`` would give to each item, in order.

    What they gave to an item is no evidence for what they would give to it.

    Raises
    ------
    NotFound
        If the bundle does not hold the user or an item.
    InvalidRequest
        If there is no item or are too many, or the bundle holds clicks.
    """
    scale = bundle.preference.scale
    if scale is None:
        raise InvalidRequest("", "this bundle holds clicks, which predict no stars")
    check_count(len(item_ids))
    for item_id in item_ids:
        check_id("item_ids", item_id)
    rows = bundle.items.vocabulary.rows_of(item_ids)
    if (rows < 0).any():
        raise NotFound("item", *(item_ids[at] for at in np.flatnonzero(rows < 0).tolist()))
    known = _rater(bundle, rater)
    by_method = cosine_knn if method is PredictionMethod.COSINE_KNN else baseline_knn
    stars, counts = by_method(bundle, known, rows)
    return [
        RatingPrediction(item_id, value, count)
        for item_id, value, count in zip(
            item_ids, np.clip(stars, *scale).tolist(), counts.tolist(), strict=True
        )
    ]


def check_count(n_items: int) -> None:
    """Raise InvalidRequest if stars for so many items cannot be asked for at once."""
    if not 1 <= n_items <= MAX_ITEMS:
        raise InvalidRequest("item_ids", f"needs 1 to {MAX_ITEMS} items, got {n_items}")


def _rater(bundle: Bundle, rater: UserId | Profile) -> Rater:
    if isinstance(rater, Profile):
        read = read_profile(bundle, rater, ignore_unknown=False)
        # Genres say nothing of stars here, but a wrong one is still the caller's mistake.
        bundle.content_model.genre_codes(rater.favorite_genres, "profile.favorite_genres")
        low, high = bundle.preference.scale or (0.0, 0.0)
        stars = np.clip(read.stars, low, high)
        order = np.argsort(read.rows)
        return Rater(read.rows[order], stars[order])
    row = bundle.users.vocabulary.row_of(rater.user_id)
    if row < 0:
        raise NotFound("user", rater.user_id)
    ratings = bundle.ratings_by_user
    return Rater(ratings.others_of(row).astype(np.int64), ratings.stars_of(row), row)


def cosine_knn(
    bundle: Bundle, rater: Rater, rows: Rows
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Predict by the mean of the raters most alike, weighted by the cosine over co-rated items.

    Returns
    -------
    stars, neighbor_counts
        Shape ``(n,)`` each. Where nobody alike rated the item: the mean of all ratings, and 0.

    Notes
    -----
    Surprise's ``KNNBasic`` with cosine similarity between users, ``k`` 40, ``min_k`` 1.
    """
    alike = _Alike.of(bundle, rater)
    overall_mean = float(bundle.biases.mean[0])
    stars, counts = np.full(len(rows), overall_mean), np.zeros(len(rows), dtype=np.int64)
    for at, (row, place) in enumerate(zip(rows.tolist(), rater.places_of(rows), strict=True)):
        raters = bundle.ratings_by_item.others_of(row)
        own_stars = None if place < 0 else rater.stars.item(place)
        weights = alike.cosines(raters, own_stars, bundle.ratings_by_item.stars_of(row))
        weights[raters == rater.user_row] = 0
        best = np.argsort(-weights, kind="stable")[:_TEXTBOOK_NEIGHBORS]
        best = best[weights[best] > 0]
        if len(best):
            given = bundle.ratings_by_item.stars_of(row)[best]
            stars[at] = weights[best] @ given / weights[best].sum()
            counts[at] = len(best)
    return stars, counts


@dataclass(frozen=True, slots=True)
class _Alike:
    """How alike every user is to a rater, by what both rated; shape ``(n_users,)`` each.

    Attributes
    ----------
    n_both
        Items that both rated.
    dots, own, theirs
        Sums over those: of products of stars, and of squares of the rater's and of the user's.
    """

    n_both: npt.NDArray[np.float64]
    dots: npt.NDArray[np.float64]
    own: npt.NDArray[np.float64]
    theirs: npt.NDArray[np.float64]

    @classmethod
    def of(cls, bundle: Bundle, rater: Rater) -> "_Alike":
        alike = cls(*np.zeros((4, len(bundle.users))))
        for item_row, stars in zip(rater.item_rows.tolist(), rater.stars.tolist(), strict=True):
            raters = bundle.ratings_by_item.others_of(item_row)
            given = bundle.ratings_by_item.stars_of(item_row).astype(np.float64)
            alike.n_both[raters] += 1
            alike.dots[raters] += stars * given
            alike.own[raters] += stars * stars
            alike.theirs[raters] += given * given
        return alike

    def cosines(
        self, users: npt.NDArray[np.int32], own_stars: float | None, given: Stars
    ) -> npt.NDArray[np.float64]:
        """Return the cosine with each of ``users`` over the items both rated; 0 where there is none.

        But for one item, to which the rater gave ``own_stars`` (None: nothing) and they ``given``.
        """
        n_both, dots = self.n_both[users], self.dots[users]
        own, theirs = self.own[users], self.theirs[users]
        if own_stars is not None:
            n_both -= 1
            dots -= own_stars * given.astype(np.float64)
            own -= own_stars**2
            theirs -= np.square(given, dtype=np.float64)
        lengths = np.sqrt(np.maximum(own * theirs, 0))
        cosines: npt.NDArray[np.float64] = np.divide(
            dots, lengths, out=np.zeros_like(dots), where=(n_both > 0) & (lengths > 0)
        )
        return cosines


def baseline_knn(
    bundle: Bundle, rater: Rater, rows: Rows
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Predict from what the user gave to the items most alike, each around its baseline.

    Returns
    -------
    stars, neighbor_counts
        Shape ``(n,)`` each. Where nothing alike was rated, or nobody has liked the item: the baseline,
        and 0.

    Notes
    -----
    ``b_ui + Σ w_ij (r_uj - b_uj) / (Σ w_ij + β)`` over the 40 rated ``j`` most like ``i``, and any as
    like as the 40th (Koren, "Factor in the Neighbors", TKDD 2010, equation 3); ``w`` is the square of
    the likeness that the bundle's item-item space holds, and β draws thin evidence towards the baseline.
    """
    items, biases = bundle.items, bundle.biases
    mean = float(biases.mean[0])
    item_biases = biases.items.astype(np.float64)
    # By how much each rating is above what the item's bias says; the rater's own is the mean of that.
    above = rater.stars - mean - item_biases[rater.item_rows]
    places = rater.places_of(rows)
    has_rated = places >= 0
    less = np.where(has_rated, above.take(places, mode="clip"), 0) if len(above) else 0.0
    own = user_bias(above.sum() - less, len(above) - has_rated)
    likeness = items.directions[rows] @ items.directions[rater.item_rows].T
    weights = np.square(np.maximum(likeness, 0, dtype=np.float64))
    weights[has_rated, places[has_rated]] = 0
    # Factors that are inferred from genres say less of stars than the baseline does.
    weights[items.inferred[rows]] = 0
    if weights.shape[1] > _BASELINE_NEIGHBORS:
        kth = np.partition(weights, -_BASELINE_NEIGHBORS, axis=1)[:, -_BASELINE_NEIGHBORS, None]
        weights[weights < kth] = 0
    total = weights.sum(axis=1)
    stars = mean + own + item_biases[rows]
    stars += (weights @ above - own * total) / (total + _THIN_EVIDENCE)
    return stars, np.count_nonzero(weights, axis=1)
