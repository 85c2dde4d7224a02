"""Knows what a rating says: whether it is liking, how sure that is, and how it fades with time.

It refuses to know vectors. Training (`indexer`) and fold-in (`whom`) both read ratings through it, so
a newcomer's ratings mean what the same ratings meant in training.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.errors import SettingsError

Float32Array = npt.NDArray[np.float32]
_DEFAULT_LIKED_FROM = 0.75


@dataclass(frozen=True, slots=True)
class Preference:
    """How ratings are read.

    Attributes
    ----------
    scale
        ``(min, max)`` stars, or None when the data are clicks.
    liked_from
        Ratings at or above it are positives. Ignored for clicks: all are positives.
    alpha
        Confidence of a positive over that of an item never met: ``c = 1 + alpha * weight``.
    graded
        True: ``weight`` rises with the stars above ``liked_from`` (or with the logarithm of clicks);
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

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise SettingsError(f"alpha must be positive, got {self.alpha}")
        if self.half_life_s is not None and not self.half_life_s > 0:
            raise SettingsError(f"half-life must be positive, got {self.half_life_s} s")

    @staticmethod
    def usual_threshold(scale: tuple[float, float] | None) -> float:
        """Return the start of the scale's upper quarter: 4 of 5 stars, 8 of 10; 0 for clicks."""
        if scale is None:
            return 0.0
        low, high = scale
        return low + _DEFAULT_LIKED_FROM * (high - low)

    def liked(self, ratings: Float32Array) -> npt.NDArray[np.bool_]:
        """Return which ratings are positives; shape as given."""
        if self.scale is None:
            return np.ones(len(ratings), dtype=np.bool_)
        liked: npt.NDArray[np.bool_] = ratings >= np.float32(self.liked_from)
        return liked

    def confidences(
        self,
        ratings: Float32Array,
        age_weights: Float32Array | None,
        activity: npt.NDArray[np.int64] | None = None,
    ) -> Float32Array:
        """Return ``c`` of each rating, 0 for one that is no positive; shape as given, float32.

        Parameters
        ----------
        ratings, age_weights
            Shape ``(n,)``.
        activity
            Shape ``(n,)``: positives of each rating's user. None: all ratings are of one user.

        Notes
        -----
        Hu, Koren & Volinsky 2008, equation 2 (linear) and 6 (logarithmic, for counts).
        """
        liked = self.liked(ratings)
        weights = liked.astype(np.float32)
        if self.activity_discount:
            n_positives = np.count_nonzero(liked) if activity is None else activity
            weights *= (
                self.typical_activity / np.maximum(n_positives, 1)
            ) ** self.activity_discount
        if self.graded:
            weights *= self._grades(ratings)
        if age_weights is not None:
            weights *= age_weights
        return np.where(weights > 0, 1 + np.float32(self.alpha) * weights, 0).astype(np.float32)

    def content_weights(
        self, ratings: Float32Array, age_weights: Float32Array | None
    ) -> Float32Array:
        """Return how much each rated item's content counts in its user's; shape as given."""
        if self.scale is None:
            weights = _log_counts(ratings)
        else:
            weights = (ratings / np.float32(self.scale[1])).astype(np.float32)
        return weights if age_weights is None else (weights * age_weights).astype(np.float32)

    def _grades(self, ratings: Float32Array) -> Float32Array:
        if self.scale is None:
            return _log_counts(ratings)
        above = np.maximum(ratings - self.liked_from, 0) / max(
            self.scale[1] - self.liked_from, 1e-6
        )
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
