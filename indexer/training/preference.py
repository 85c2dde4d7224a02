"""Knows how the ratings of some data are read under the settings of a build.

It refuses to know what a rating then says (`ilk.preference` does).
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ilk.errors import DataError, SettingsError
from ilk.preference import Preference
from indexer.interactions import Interactions
from indexer.settings import BuildSettings

_SECONDS_PER_DAY = 86_400


def read_ratings(
    data: Interactions, settings: BuildSettings
) -> tuple[Preference, npt.NDArray[np.bool_]]:
    """Return how this data's ratings are read under these settings, and which then are positives.

    Raises
    ------
    DataError
        If the settings need timestamps and there are none.
    SettingsError
        If positives begin at stars that nobody can give.
    """
    if settings.half_life_days is not None and data.timestamps is None:
        raise DataError(data.source, "has no timestamps; --half-life-days needs them")
    liked_from = settings.liked_from
    if liked_from is None:
        liked_from = Preference.usual_threshold(data.rating_scale)
    elif data.rating_scale is not None:
        low, high = data.rating_scale
        if not low <= liked_from <= high:
            raise SettingsError(
                f"--liked-from {liked_from:g} is outside the scale of the ratings, {low:g} to {high:g}"
            )
    half_life = settings.half_life_days
    preference = Preference(
        scale=data.rating_scale,
        liked_from=liked_from,
        alpha=settings.alpha,
        graded=settings.graded,
        half_life_s=None if half_life is None else half_life * _SECONDS_PER_DAY,
        activity_discount=settings.activity_discount,
        normalize=settings.normalize,
    )
    liked = preference.liked(data.ratings, data.user_rows)
    activity = np.bincount(data.user_rows[liked])
    if not activity.any():
        return preference, liked
    typical = float(np.exp(np.mean(np.log(activity[activity > 0]))))
    return replace(preference, typical_activity=round(typical, 6)), liked
