"""Knows how the embedded sample is made: ratings of real films by users who do not exist.

It refuses to know real behaviour: no figure here was fitted to anybody's ratings.

The model, in the order it is drawn:

1. **Who** (:mod:`~indexer.sample.tastes`). A user leans towards some genres and away from others,
   and loves two to four taste groups, finer than genres, that suit the leanings. How many films a
   user rates is log-normal: some rate three, some hundreds. Three in ten of those who stay drift:
   halfway they come to love other groups.
2. **When** (:mod:`~indexer.sample.viewing`). Users join throughout ten years and stay for some of
   them, coming in sessions.
3. **What** (likewise). The odds that a user picks a film grow exponentially with its fame, with
   its luck and with the user's taste for it: groups, genres and sagas. Nobody rates a film before
   the year of its release.
4. **How** (here). An opinion is acclaim plus taste plus noise, and a habit turns it into stars:
   some are generous, some harsh, some call everything middling, some never give five stars, some
   give whole stars only.

The same seed gives the same ratings; the draws are made in this order from one generator.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ilk.errors import SettingsError
from indexer.interactions import Interactions
from indexer.sample.catalogue import Catalogue, Floats, load_catalogue
from indexer.sample.tastes import Audience, draw_audience
from indexer.sample.viewing import Viewings, draw_viewings

RATING_SCALE = (0.5, 5.0)

_MIDDLING_STARS = 3.15
# Stars of opinion: per step of acclaim, per unit of taste, and one sigma of noise.
_ACCLAIM_STARS, _TASTE_STARS, _NOISE_STARS = 0.45, 0.7, 0.6


@dataclass(frozen=True, slots=True)
class Simulation:
    """The ratings, and the tastes they were drawn from, which real data never tells."""

    catalogue: Catalogue
    audience: Audience
    interactions: Interactions


def load_sample(seed: int = 20, n_users: int = 3000) -> Interactions:
    """Return the embedded sample: some 500 real films rated by simulated users.

    Parameters
    ----------
    seed
        At least 0.
    n_users
        At least 1. Time and memory grow with it: about a second for 3,000.

    Raises
    ------
    SettingsError
        If ``seed`` or ``n_users`` is out of range.
    """
    return simulate(seed, n_users).interactions


def simulate(seed: int, n_users: int) -> Simulation:
    """Return the ratings of :func:`load_sample` together with what they were drawn from."""
    if seed < 0:
        raise SettingsError(f"the sample's seed must be at least 0, got {seed}")
    if n_users < 1:
        raise SettingsError(f"the sample needs at least 1 user, got {n_users}")
    rng = np.random.default_rng(seed)
    catalogue = load_catalogue()
    audience = draw_audience(catalogue, n_users, rng)
    viewings = draw_viewings(catalogue, audience, rng)
    stars = _draw_stars(catalogue, audience, viewings, rng)
    by_user_then_time = np.lexsort((viewings.timestamps, viewings.user_rows))
    interactions = Interactions(
        user_ids=[f"sim-{number:05d}" for number in range(1, n_users + 1)],
        items=catalogue.items,
        user_rows=viewings.user_rows[by_user_then_time].astype(np.int32),
        item_rows=viewings.item_rows[by_user_then_time].astype(np.int32),
        ratings=stars[by_user_then_time],
        timestamps=viewings.timestamps[by_user_then_time],
        rating_scale=RATING_SCALE,
        source=f"Ilk's embedded sample: real films, simulated users (seed {seed})",
        simulated=True,
    )
    return Simulation(catalogue, audience, interactions)


def _draw_stars(
    catalogue: Catalogue, audience: Audience, viewings: Viewings, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return the stars given in each of ``viewings``, shape ``(n,)``."""
    habits, users = audience.habits, viewings.user_rows
    acclaim = catalogue.acclaim[viewings.item_rows] - catalogue.acclaim.mean()
    noise = rng.normal(0.0, _NOISE_STARS, len(users))
    opinions = _ACCLAIM_STARS * acclaim + _TASTE_STARS * viewings.tastes + noise
    wished = _MIDDLING_STARS + habits.bias[users] + habits.spread[users] * opinions
    steps = habits.step[users]
    fewest = np.maximum(RATING_SCALE[0], steps)
    most = np.floor(habits.ceiling[users] / steps) * steps
    stars: Floats = np.clip(np.round(wished / steps) * steps, fewest, most)
    return stars.astype(np.float32)
