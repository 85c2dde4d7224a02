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
from indexer.evaluation.metrics import CsrMatrix, Figures, Metric, Ranked

Groups: TypeAlias = npt.NDArray[np.int64]

_N_DELETED_GROUPS = 20
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of ``n`` users and its 95% interval, ``low <= mean <= high``."""

    mean: float
    low: float
    high: float
    n: int


def mean_with_interval(values: Figures, seed: int, *, n_resamples: int = 1000) -> Estimate:
    """Return the mean of per-user figures with its 95% percentile bootstrap interval.

    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Raises
    ------
    DataError
        If ``values``, shape ``(n,)``, is empty or not finite.
    """
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError("values", "must be a vector of one or more finite figures")
    rng = np.random.default_rng(seed)
    n, mean = len(values), float(values.mean())
    means = np.array([values[rng.integers(n, size=n)].mean() for _ in range(n_resamples)])
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(mean=mean, low=min(float(low), mean), high=max(float(high), mean), n=n)


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


def mean_of_lists(figures: Sequence[ListFigure]) -> Estimate:
    """Return the mean of the same figure over splits, taken as independent, with its 95% interval."""
    mean = float(np.mean([figure.value for figure in figures]))
    squares = sum(figure.standard_error**2 for figure in figures)
    freedom = sum(max(1, min(_N_DELETED_GROUPS, figure.n) - 1) for figure in figures)
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, freedom)) * squares**0.5 / len(figures)
    return Estimate(mean, mean - reach, mean + reach, sum(figure.n for figure in figures))


def by_user_group(values: Figures, user_groups: Groups, seed: int) -> dict[int, Estimate]:
    """Return the estimate of each group of users; both arrays are ``(n_users,)``."""
    if values.shape != user_groups.shape:
        raise DataError("user_groups", f"has shape {user_groups.shape}, not {values.shape}")
    found = np.unique(user_groups)
    return {int(g): mean_with_interval(values[user_groups == g], seed) for g in found}


def by_item_group(
    metric: Metric, ranked: Ranked, held_out: CsrMatrix, k: int, item_groups: Groups
) -> dict[int, Figures]:
    """Return a metric of each user as if only one group of items had been held out, for each group.

    Lists stay as they were ranked. Users with nothing held out in a group have no value in it, and
    groups without a held-out item are left out. ``item_groups`` has shape ``(n_items,)``. After
    Steck, "Item Popularity and Recommendation Accuracy", RecSys 2011.
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
        figures[int(group)] = metric(ranked[users], part, k)
    return figures


def popularity_groups(counts: npt.NDArray[Any], n_groups: int = 3) -> Groups:
    """Return groups that hold about equal shares of all entries, 0 the tail; ties stay together."""
    ordered = np.sort(np.asarray(counts, dtype=np.int64))
    volume = np.cumsum(ordered)
    up_to = volume[np.searchsorted(ordered, counts, side="right") - 1]
    # Integers throughout: a share of exactly 1/3 must not fall on either side by rounding.
    groups: Groups = -(-up_to * n_groups // max(int(volume[-1]), 1)) - 1
    return np.clip(groups, 0, n_groups - 1)
