"""Knows what a rating says: whether it is liking, how sure that is, and how it fades with time.

It refuses to know vectors. Training (`indexer`) and fold-in (`newcomer`) both read ratings through it, so
a newcomer's ratings mean what the same ratings meant in training.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from ilk.errors import SettingsError

Float32Array: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.integer[Any]]
Normalization: TypeAlias = Literal["none", "mean"]

_DEFAULT_LIKED_FROM: Final = 0.75
_HABIT_SHRINKAGE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Preference:
    """How ratings are read.

    Attributes
    ----------
    scale
        ``(min, max)`` stars, or None when the data are clicks.
    liked_from
        Ratings at or above it are positives. Ignored for clicks: all are positives.
    normalize
        ``"none"``: ``liked_from`` is everybody's bar. ``"mean"``: a user's bar is their own mean stars
        where that is lower, for some never give five (:meth:`bars`). Ignored for clicks.
    habit_shrinkage
        Ratings at which a user's own mean counts as much as ``liked_from`` in their bar.
    alpha
        Confidence of a positive over that of an item never met: ``c = 1 + alpha * weight``.
    graded
        True: ``weight`` rises with the stars above the bar (or with the logarithm of clicks);
        False: every positive weighs 1.
    half_life_s
        A rating this much older than the user's newest weighs half; None: age does not matter.
    activity_discount
        β: weights are multiplied by ``(typical_activity / n) ** β`` for a user with ``n`` positives, so
        that those who like everything do not decide everything. 0: all users alike.
    typical_activity
        Geometric mean of the users' numbers of positives in training.
    """

    scale: tuple[float, float] | None
    liked_from: float
    alpha: float
    graded: bool = False
    half_life_s: float | None = None
    activity_discount: float = 0.0
    typical_activity: float = 1.0
    normalize: Normalization = "none"
    habit_shrinkage: float = _HABIT_SHRINKAGE

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise SettingsError(f"alpha must be positive, got {self.alpha}")
        if self.half_life_s is not None and not self.half_life_s > 0:
            raise SettingsError(f"half-life must be positive, got {self.half_life_s} s")
        if self.normalize not in get_args(Normalization):
            expected = ", ".join(get_args(Normalization))
            raise SettingsError(f"normalize must be one of {expected}, got {self.normalize}")
        if not self.habit_shrinkage > 0:
            raise SettingsError(f"habit shrinkage must be positive, got {self.habit_shrinkage}")

    @staticmethod
    def usual_threshold(scale: tuple[float, float] | None) -> float:
        """Return the start of the scale's upper quarter: 4 of 5 stars, 8 of 10; 0 for clicks."""
        if scale is None:
            return 0.0
        low, high = scale
        return low + _DEFAULT_LIKED_FROM * (high - low)

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which numbers ratings may be, as named or as float32 rounds them.

        Stored ratings come back rounded: the 4.9 of a scale that ends there as 4.900000095.
        """
        if self.scale is None:
            return math.ulp(0.0), float(np.finfo(np.float32).max)
        low, high = self.scale
        return min(low, float(np.float32(low))), max(high, float(np.float32(high)))

    def bars(
        self,
        ratings: Float32Array,
        user_rows: Rows | None = None,
        telling: npt.NDArray[np.bool_] | None = None,
    ) -> Float32Array:
        """Return from how many stars on each rating is a positive; shape as given, float32.

        Parameters
        ----------
        ratings
            Shape ``(n,)``: all ratings of their users.
        user_rows
            Shape ``(n,)``: whose each rating is. None: all are of one user.
        telling
            Shape ``(n,)``: ratings that tell of a habit, where some (of a film that was merely said
            to be liked) do not. None: all do. Only for ratings of one user.

        Notes
        -----
        ``min(liked_from, (k * liked_from + sum of stars) / (k + n))`` for a user with ``n`` ratings, k
        being ``habit_shrinkage``: without ratings the bar is everybody's, with many it is the user's own
        mean, and no habit raises it, or those who choose well would like nothing (ADR 10). Shrinkage of
        a user's mean as in Bell & Koren, ICDM 2007.
        """
        if self.scale is None or self.normalize == "none":
            return np.full(len(ratings), self.liked_from, dtype=np.float32)
        return self._own(self.liked_from, ratings, user_rows, telling)

    def _own(
        self,
        usual: float,
        ratings: Float32Array,
        user_rows: Rows | None,
        telling: npt.NDArray[np.bool_] | None,
    ) -> Float32Array:
        """Return of each rating what ``usual`` is by its user's habit; arguments as for :meth:`bars`."""
        if user_rows is None:
            told = ratings if telling is None else ratings[telling]
            own = self._shrunk(usual, told.sum(dtype=np.float64), len(told))
            return np.full(len(ratings), own, dtype=np.float32)
        sums, counts = np.bincount(user_rows, weights=ratings), np.bincount(user_rows)
        levels: Float32Array = self._shrunk(usual, sums, counts)[user_rows].astype(np.float32)
        return levels

    def _shrunk(self, usual: float, sums: Any, counts: Any) -> Any:
        evidence = self.habit_shrinkage
        return np.minimum((evidence * usual + sums) / (evidence + counts), usual)

    def liked(self, ratings: Float32Array, user_rows: Rows | None = None) -> npt.NDArray[np.bool_]:
        """Return which ratings are positives; arguments as for :meth:`bars`, shape as given."""
        if self.scale is None:
            return np.ones(len(ratings), dtype=np.bool_)
        liked: npt.NDArray[np.bool_] = ratings >= self.bars(ratings, user_rows)
        return liked

    def of_wishes(self, n: int) -> Float32Array:
        """Return the confidences of ``n`` kinds of items that somebody said to like."""
        return np.full(n, 1 + self.alpha, dtype=np.float32)

    def confidences(
        self,
        ratings: Float32Array,
        age_weights: Float32Array | None,
        *,
        user_rows: Rows | None = None,
        telling: npt.NDArray[np.bool_] | None = None,
    ) -> Float32Array:
        """Return ``c`` of each rating, 0 for one that is no positive; shape as given, float32.

        Parameters
        ----------
        age_weights
            Shape ``(n,)``, or None where age does not matter.
        ratings, user_rows, telling
            As for :meth:`bars`.

        Notes
        -----
        Hu, Koren & Volinsky 2008, equation 2 (linear) and 6 (logarithmic, for counts).
        """
        bars = self.bars(ratings, user_rows, telling)
        liked = np.ones(len(ratings), np.bool_) if self.scale is None else ratings >= bars
        weights = liked.astype(np.float32)
        if self.activity_discount:
            n_positives = np.maximum(_positives_by_user(liked, user_rows), 1)
            discounts = (self.typical_activity / n_positives) ** self.activity_discount
            weights *= discounts if user_rows is None else discounts[user_rows]
        if self.graded:
            weights *= self._grades(ratings, bars)
        if age_weights is not None:
            weights *= age_weights
        return np.where(weights > 0, 1 + np.float32(self.alpha) * weights, 0).astype(np.float32)

    def content_weights(
        self,
        ratings: Float32Array,
        age_weights: Float32Array | None,
        *,
        user_rows: Rows | None = None,
        telling: npt.NDArray[np.bool_] | None = None,
    ) -> Float32Array:
        """Return how much each rated item's content counts in its user's; arguments as for :meth:`bars`.

        Stars count from the scale's middle on, or from their user's mean where that is lower, shrunk as
        in :meth:`bars`: what is worse says nothing of what somebody is like. Where a scale has a zero
        between its ends, they count from there, and what is below counts against. ADR 33.
        """
        if self.scale is None:
            weights = _log_counts(ratings)
        else:
            low, high = map(np.float32, self.scale)
            if low < 0 < high:
                weights = (ratings / high).astype(np.float32)
            else:
                nothing = self._own(
                    (self.scale[0] + self.scale[1]) / 2, ratings, user_rows, telling
                )
                above = np.maximum(ratings - nothing, np.float32(0))
                weights = (above / (high - nothing)).astype(np.float32)
        return weights if age_weights is None else (weights * age_weights).astype(np.float32)

    def _grades(self, ratings: Float32Array, bars: Float32Array) -> Float32Array:
        if self.scale is None:
            return _log_counts(ratings)
        above = np.maximum(ratings - bars, 0) / np.maximum(self.scale[1] - bars, 1e-6)
        grades: Float32Array = (0.5 + above).astype(np.float32)
        return grades

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preference":
        """Return what :meth:`to_json` was called on."""
        scale = values["scale"]
        return cls(**{**values, "scale": tuple(scale) if scale is not None else None})


def _positives_by_user(liked: npt.NDArray[np.bool_], user_rows: Rows | None) -> Any:
    """Return how many positives each user has; one number if there is one user."""
    if user_rows is None:
        return np.count_nonzero(liked)
    return np.bincount(user_rows[liked], minlength=int(user_rows.max(initial=-1)) + 1)


def _log_counts(clicks: Float32Array) -> Float32Array:
    return (1 + np.log(np.maximum(clicks, 1))).astype(np.float32)


def age_weights(
    timestamps_s: npt.NDArray[np.float64],
    newest_s: float | npt.NDArray[np.float64],
    half_life_s: float,
) -> Float32Array:
    """Return ``2 ** (-age / half_life)`` of each rating, age counted back from ``newest_s``.

    Weights are in (0, 1]; a rating without a time (NaN) counts as the newest.
    """
    ages = np.nan_to_num(np.maximum(newest_s - timestamps_s, 0.0), nan=0.0)
    # The floor keeps a positive of long ago a positive.
    return np.maximum(np.exp2(-ages / half_life_s), 1e-6).astype(np.float32)
