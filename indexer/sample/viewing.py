"""Knows when simulated users come and which films they pick, from their tastes.

It refuses to know stars: what a user thinks of a film they picked is drawn afterwards.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from indexer.sample.catalogue import Catalogue, Floats, Ints
from indexer.sample.tastes import Audience, draw_without_replacement

FIRST_SECOND = int(np.datetime64("2014-01-01", "s").astype(np.int64))
LAST_SECOND = int(np.datetime64("2024-01-01", "s").astype(np.int64)) - 1

# Log-odds of being picked: per step of fame, one sigma of a film's luck, and per unit of taste.
_FAME_ODDS, _LUCK_ODDS, _TASTE_ODDS = 0.95, 0.3, 3.0

_SESSION_S = 2 * 3600
_MEAN_STAY_S = 2 * 365 * 24 * 3600
_RATINGS_PER_SESSION = 15
_MAX_SESSIONS = 12  # in each half of a user's time
_NO_SESSION = -(2**40)  # seconds; before any film, so nothing can be rated in it


@dataclass(frozen=True, slots=True)
class Viewings:
    """Who picked what and when, one entry per (user, item) pair; arrays of shape ``(n,)``.

    Attributes
    ----------
    user_rows, item_rows
        Positions in the audience and in the catalogue.
    timestamps
        Unix seconds of the rating.
    tastes
        How much the user took to the film at that time.
    """

    user_rows: Ints
    item_rows: Ints
    timestamps: Ints
    tastes: Floats


def draw_viewings(catalogue: Catalogue, audience: Audience, rng: np.random.Generator) -> Viewings:
    """Return what everyone picks in the first and in the second half of their time here."""
    n_users = len(audience.rating_counts)
    joined = rng.integers(FIRST_SECOND, LAST_SECOND - _SESSION_S, n_users)
    stay_s = rng.exponential(_MEAN_STAY_S, n_users).astype(np.int64)
    left = np.minimum(joined + stay_s, LAST_SECOND - _SESSION_S)
    halfway = (joined + left) // 2
    late_counts = np.where(audience.stays, audience.rating_counts // 2, 0)
    popularity = _FAME_ODDS * catalogue.fame + rng.normal(0.0, _LUCK_ODDS, len(catalogue.fame))
    unseen = np.tile(catalogue.fame > 0, (n_users, 1))
    halves = []
    for loves, counts, start, end in (
        (audience.early_loves, audience.rating_counts - late_counts, joined, halfway),
        (audience.late_loves, late_counts, halfway, left),
    ):
        tastes = audience.tastes(catalogue, loves)
        sessions = _draw_sessions(counts, start, end, rng)
        released = catalogue.items.years <= _year_of(sessions.max(axis=1))[:, None]
        log_odds = popularity + _TASTE_ODDS * tastes
        log_odds[~(unseen & released)] = -np.inf
        picked = draw_without_replacement(log_odds, counts, rng)
        unseen &= ~picked
        users, films = np.nonzero(picked)
        times = _draw_times(sessions[users], catalogue.items.years[films], rng)
        halves.append((users, films, times, tastes[users, films]))
    early, late = halves
    return Viewings(*(np.concatenate(pair) for pair in zip(early, late, strict=True)))


def _draw_sessions(counts: Ints, start: Ints, end: Ints, rng: np.random.Generator) -> Ints:
    """Return when each user's sessions begin, shape ``(n_users, _MAX_SESSIONS)``, Unix seconds.

    Users have at least one session, and about one per ``_RATINGS_PER_SESSION`` of ``counts``;
    the places beyond are ``_NO_SESSION``.
    """
    n_sessions = np.minimum(1 + rng.poisson(counts / _RATINGS_PER_SESSION), _MAX_SESSIONS)
    begins = rng.integers(start[:, None], end[:, None] + 1, (len(counts), _MAX_SESSIONS))
    return np.where(np.arange(_MAX_SESSIONS) < n_sessions[:, None], begins, _NO_SESSION)


def _draw_times(sessions: Ints, years: npt.NDArray[np.int16], rng: np.random.Generator) -> Ints:
    """Return a moment in one of the ``sessions`` of each row that is not before its film's year."""
    in_time = _year_of(sessions) >= years[:, None]
    lots = np.where(in_time, rng.random(sessions.shape), -1.0)
    begins = np.take_along_axis(sessions, lots.argmax(axis=1)[:, None], axis=1)[:, 0]
    times: Ints = begins + rng.integers(0, _SESSION_S, len(begins))
    return times


def _year_of(timestamps: Ints) -> Ints:
    return timestamps.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
