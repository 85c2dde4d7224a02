"""Knows who the simulated users are: what they love, whether that changes, and how they rate.

It refuses to know what they watched and when; :mod:`indexer.sample.viewing` draws that from here.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from indexer.sample.catalogue import Catalogue, Floats, Ints

Bools = npt.NDArray[np.bool_]

LOVED_GROUPS = (2, 4)  # fewest and most at a time
DRIFTING_SHARE = 0.3
# Below this many ratings a user comes once and has no later years to drift in.
MIN_RATINGS_TO_STAY = 20
MEDIAN_RATINGS, ACTIVITY_SIGMA = 32, 0.95
FEWEST_RATINGS, MOST_RATINGS = 3, 400

# What one sigma of leaning to a film's genres, and of fondness for its saga, adds to a taste, where
# being of a loved group adds 1.
_LEANING, _FONDNESS = 0.5, 0.4
# Log-odds of coming to love a group, per sigma of leaning to its genres and per step of its fame.
_LEANING_ODDS, _FAME_ODDS = 2.0, 0.5


@dataclass(frozen=True, slots=True)
class Habits:
    """How users turn an opinion into stars; every array has shape ``(n_users,)``.

    Attributes
    ----------
    bias
        Stars added to everything: above 0 for the generous, below for the harsh.
    spread
        Stars per unit of opinion: small for those who call everything middling.
    ceiling
        The most stars the user ever gives; 4.5 for those who never give five.
    step
        0.5, or 1 for those who use whole stars only.
    """

    bias: Floats
    spread: Floats
    ceiling: Floats
    step: Floats


@dataclass(frozen=True, slots=True)
class Audience:
    """Users by row.

    Attributes
    ----------
    rating_counts
        Shape ``(n_users,)``: how many films each sets out to rate.
    leanings
        Shape ``(n_users, n_genres)``: lasting likes (above 0) and dislikes of genres.
    fondness
        Shape ``(n_users, n_sagas)``: lasting likes and dislikes of sagas.
    early_loves, late_loves
        Shape ``(n_users, n_groups)``: taste groups loved in the first and second half of a user's
        time here. They differ for those who drift, and only for them.
    habits
        How each rates.
    """

    rating_counts: Ints
    leanings: Floats
    fondness: Floats
    early_loves: Bools
    late_loves: Bools
    habits: Habits

    @property
    def stays(self) -> Bools:
        """Shape ``(n_users,)``: who rates in two halves rather than once."""
        return self.rating_counts >= MIN_RATINGS_TO_STAY

    @property
    def drifts(self) -> Bools:
        """Shape ``(n_users,)``: whose loved groups change midway."""
        changed: Bools = (self.early_loves != self.late_loves).any(axis=1)
        return changed

    def tastes(self, catalogue: Catalogue, loves: Bools) -> Floats:
        """Return how much each user takes to each film, shape ``(n_users, n_items)``.

        ``loves`` is ``early_loves`` or ``late_loves``. About 1 is a film of a loved group, 0 one
        that leaves the user cold, less one of a genre they dislike.
        """
        tastes: Floats = (
            loves @ catalogue.groups.T
            + _LEANING * self.leanings @ catalogue.genres.T
            + _FONDNESS * self.fondness @ catalogue.sagas.T
        )
        return tastes


def draw_audience(catalogue: Catalogue, n_users: int, rng: np.random.Generator) -> Audience:
    """Return ``n_users`` users with tastes over the catalogue's groups and genres."""
    activity = rng.lognormal(np.log(MEDIAN_RATINGS), ACTIVITY_SIGMA, n_users)
    rating_counts = np.clip(activity, FEWEST_RATINGS, MOST_RATINGS).astype(np.int64)
    leanings = rng.normal(size=(n_users, catalogue.genres.shape[1]))
    appeal = _group_appeal(catalogue, leanings)
    early_loves = _draw_loves(appeal, rng)
    new_loves = _draw_loves(np.where(early_loves, -np.inf, appeal), rng)
    drifts = (rng.random(n_users) < DRIFTING_SHARE) & (rating_counts >= MIN_RATINGS_TO_STAY)
    return Audience(
        rating_counts=rating_counts,
        leanings=leanings,
        fondness=rng.normal(size=(n_users, catalogue.sagas.shape[1])),
        early_loves=early_loves,
        late_loves=np.where(drifts[:, None], new_loves, early_loves),
        habits=_draw_habits(n_users, rng),
    )


def _group_appeal(catalogue: Catalogue, leanings: Floats) -> Floats:
    """Return log-odds, shape ``(n_users, n_groups)``, of a user coming to love a group.

    Leanings tie groups together: whoever leans to science fiction may love two kinds of it.
    """
    weights = catalogue.groups / catalogue.groups.sum(axis=0)
    genres_of_groups = weights.T @ catalogue.genres
    fame_of_groups = weights.T @ catalogue.fame
    appeal: Floats = _LEANING_ODDS * leanings @ genres_of_groups.T + _FAME_ODDS * fame_of_groups
    return appeal


def _draw_loves(appeal: Floats, rng: np.random.Generator) -> Bools:
    fewest, most = LOVED_GROUPS
    n_loves = rng.integers(fewest, most + 1, len(appeal))
    return draw_without_replacement(appeal, n_loves, rng)


def _draw_habits(n_users: int, rng: np.random.Generator) -> Habits:
    return Habits(
        bias=rng.normal(0.0, 0.35, n_users),
        spread=rng.lognormal(0.0, 0.25, n_users),
        ceiling=np.where(rng.random(n_users) < 0.12, 4.5, 5.0),
        step=np.where(rng.random(n_users) < 0.35, 1.0, 0.5),
    )


def draw_without_replacement(log_odds: Floats, counts: Ints, rng: np.random.Generator) -> Bools:
    """Return, for each row, ``counts`` columns drawn one after another by their odds.

    Parameters
    ----------
    log_odds
        Shape ``(n_rows, n_columns)``; -inf for what may not be drawn.
    counts
        Shape ``(n_rows,)``; a row with fewer columns to draw from gives all it has.

    Notes
    -----
    Adding Gumbel noise and keeping the largest is the same draw, done for all rows at once. Kool,
    van Hoof & Welling, arXiv:1903.06059.
    """
    keys = log_odds + rng.gumbel(size=log_odds.shape)
    ranks = np.argsort(np.argsort(-keys, axis=1), axis=1)
    chosen: Bools = (ranks < counts[:, None]) & np.isfinite(keys)
    return chosen
