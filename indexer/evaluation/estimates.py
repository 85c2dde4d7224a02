"""Knows how sure a figure is: intervals of means and of whole lists' figures, for all or by group.

It refuses to know what the figures mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from ilk.errors import DataError
from indexer.evaluation.metrics import Figures, Metric
from indexer.evaluation.ranking import CsrMatrix, Ranked

Groups: TypeAlias = npt.NDArray[np.int64]
# Whose a value is: any number, the same wherever the user comes again.
Users: TypeAlias = npt.NDArray[np.int64]

_N_DELETED_GROUPS = 20
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of ``n`` users and its 95% interval, ``low <= mean <= high``."""

    mean: float
    low: float
    high: float
    n: int


def mean_with_interval(
    values: Figures, seed: int, *, users: Users | None = None, n_resamples: int = 1000
) -> Estimate:
    """Return the mean of per-user figures with its 95% percentile bootstrap interval.

    Parameters
    ----------
    values
        Shape ``(n,)``, finite, ``n >= 1``.
    users
        Shape ``(n,)``: whose each value is; by default each is another user's. A user is drawn with all
        values, for what several splits tell of one user tells nothing of others.

    Raises
    ------
    DataError
        If ``values`` is empty or not finite, or ``users`` does not align with it.

    Notes
    -----
    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; of users with all their
    values, Davison & Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.
    """
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError("values", "must be a vector of one or more finite figures")
    sums, counts = _by_user(values, np.arange(len(values)) if users is None else users)
    rng = np.random.default_rng(seed)
    n, mean = len(sums), float(values.mean())
    drawn = (rng.integers(n, size=n) for _ in range(n_resamples))
    means = np.array([sums[rows].sum() / counts[rows].sum() for rows in drawn])
    low, high = np.quantile(means, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Estimate(mean=mean, low=min(float(low), mean), high=max(float(high), mean), n=n)


def _by_user(values: Figures, users: Users) -> tuple[Figures, npt.NDArray[np.int64]]:
    """Return the sum and the number of each user's values, users as they first come."""
    if users.shape != values.shape:
        raise DataError("users", f"has shape {users.shape}, not {values.shape}")
    _, first, user_rows = np.unique(users, return_index=True, return_inverse=True)
    # Not by number: the draws would depend on what users are called.
    user_rows = np.argsort(np.argsort(first))[user_rows]
    sums = np.bincount(user_rows, weights=values).astype(np.float64)
    return sums, np.bincount(user_rows).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ListFigure:
    """A figure of all lists together, and its standard error over the ``n`` users."""

    value: float
    standard_error: float
    n: int


def list_figure(figure: Callable[[Ranked], float], ranked: Ranked, seed: int) -> ListFigure:
    """Return a figure that is no mean over users, such as coverage, with its standard error.

    The delete-a-group jackknife: users are dealt at random into groups of equal size, the figure is
    worked out without each in turn. Users cannot be drawn with replacement here: a list that is drawn
    twice covers nothing new. Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11.
    """
    n = len(ranked)
    n_groups = min(_N_DELETED_GROUPS, n)
    value = figure(ranked)
    if n_groups < 2:
        return ListFigure(value, 0.0, n)
    group = np.random.default_rng(seed).permutation(np.arange(n) % n_groups)
    without = np.array([figure(ranked[group != g]) for g in range(n_groups)])
    variance = (n_groups - 1) / n_groups * np.square(without - without.mean()).sum()
    return ListFigure(value, float(np.sqrt(variance)), n)


def mean_of_lists(figures: Sequence[ListFigure], n_users: int) -> Estimate:
    """Return the mean of the same figure over splits with its 95% interval, of ``n_users`` in them all.

    As wide as the intervals of single splits are on average: the same users may be in each, and then
    they err together. Where splits share no user, it is wider than need be.
    """
    mean = float(np.mean([figure.value for figure in figures]))
    error = float(np.mean([figure.standard_error for figure in figures]))
    freedom = min(max(1, min(_N_DELETED_GROUPS, figure.n) - 1) for figure in figures)
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, freedom)) * error
    return Estimate(mean, mean - reach, mean + reach, n_users)


def by_user_group(
    values: Figures, user_groups: Groups, users: Users, seed: int
) -> dict[int, Estimate]:
    """Return the estimate of each group of users; all arrays are ``(n,)``, ``users`` whose values."""
    if values.shape != user_groups.shape:
        raise DataError("user_groups", f"has shape {user_groups.shape}, not {values.shape}")
    estimates = {}
    for group in np.unique(user_groups):
        inside = user_groups == group
        estimates[int(group)] = mean_with_interval(values[inside], seed, users=users[inside])
    return estimates


def by_item_group(
    metric: Metric, ranked: Ranked, held_out: CsrMatrix, k: int, item_groups: Groups
) -> dict[int, tuple[Users, Figures]]:
    """Return a metric of each user as if only one group of items had been held out, for each group.

    Lists stay as they were ranked. A group has rows of ``ranked`` and their values; users with nothing
    held out in a group are not in it, and groups without a held-out item are left out. ``item_groups``
    has shape ``(n_items,)``. After Steck, "Item Popularity and Recommendation Accuracy", RecSys 2011.
    """
    if item_groups.shape != (held_out.shape[1],):
        raise DataError("item_groups", f"has shape {item_groups.shape}, not one per item")
    figures = {}
    entries = held_out.tocoo()
    for group in np.unique(item_groups[entries.col]):
        inside = item_groups[entries.col] == group
        users, rows = np.unique(entries.row[inside], return_inverse=True)
        places = (np.ones(len(rows)), (rows, entries.col[inside]))
        part = sparse.csr_matrix(places, shape=(len(users), held_out.shape[1]))
        figures[int(group)] = users.astype(np.int64), metric(ranked[users], part, k)
    return figures


def popularity_groups(counts: npt.NDArray[Any], n_groups: int = 3) -> Groups:
    """Return groups that hold about equal shares of all entries, 0 the tail; ties stay together."""
    ordered = np.sort(np.asarray(counts, dtype=np.int64))
    volume = np.cumsum(ordered)
    up_to = volume[np.searchsorted(ordered, counts, side="right") - 1]
    # Integers throughout: a share of exactly 1/3 must not fall on either side by rounding.
    groups: Groups = -(-up_to * n_groups // max(int(volume[-1]), 1)) - 1
    return np.clip(groups, 0, n_groups - 1)
