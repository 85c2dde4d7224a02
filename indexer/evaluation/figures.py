"""Knows what a ranking scored, over several splits: for all test users, by activity and popularity.

It refuses to know who ranked, and how the figures are shown (`present` does).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.errors import DataError
from indexer.evaluation import metrics
from indexer.evaluation.estimates import (
    Estimate,
    ListFigure,
    Users,
    by_item_group,
    by_user_group,
    list_figure,
    mean_of_lists,
    mean_with_interval,
    popularity_groups,
)
from indexer.evaluation.metrics import Figures
from indexer.evaluation.ranking import Ranked
from indexer.evaluation.settings import Request
from indexer.evaluation.splits import Split

DEPTH = 100
# Accuracy, one value for each test user; MRR looks as deep as lists are.
ACCURACY = ("ndcg@10", "ndcg@100", "recall@20", "recall@50", "mrr")
# Figures of all lists together, of their first places.
LISTS = ("coverage@10", "gini@10", "popularity rank@10", "diversity@10", "novelty@10")
_PLACES = 10
_BY_ACTIVITY, _BY_POPULARITY = "ndcg@10", "recall@20"
_ACTIVITY_BOUNDS = (5, 20, 100)
_POPULARITY_NAMES = ("tail", "middle", "head")


@dataclass(slots=True)
class ModelFigures:
    """What one model scored.

    Attributes
    ----------
    request
        What was asked of the served model; None for a baseline.
    numbers
        The number of each test user, by id: rows of splits that were given are each split's own.
    users
        The numbers of the test users, an array for each split.
    per_user
        Accuracy by figure: one value per test user, an array for each split.
    per_list
        Figures of all lists of a split together, one for each split.
    left_out
        Figures of lists that a split, or a part of its users, ranks too little for, and why.
    activity
        Positives that each test user showed, an array for each split.
    by_popularity
        Users with held-out items in a popularity group (0 is the tail), and their recall@20.
    """

    request: Request | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    users: list[Users] = field(default_factory=list)
    per_user: dict[str, list[Figures]] = field(default_factory=dict)
    per_list: dict[str, list[ListFigure]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    activity: list[npt.NDArray[np.int64]] = field(default_factory=list)
    by_popularity: dict[int, list[tuple[Users, Figures]]] = field(default_factory=dict)

    def values(self, figure: str) -> Figures:
        """Return a per-user figure over all splits; shape ``(n,)``, a value per test user of each."""
        return np.concatenate(self.per_user[figure])

    def whose(self) -> Users:
        """Return the number of the user of each value; shape ``(n,)``."""
        return np.concatenate(self.users)

    def add(self, split: Split, ranked: Ranked, item_vectors: Any, seed: int) -> None:
        """Measure one split.

        Parameters
        ----------
        ranked
            Shape ``(n_test_users, DEPTH)``, item rows of the split's data, -1 where unfilled.
        item_vectors
            Shape ``(n_items, dim)``: what tells how alike two items are.
        """
        held_out = split.held_out_matrix()
        popularity = np.asarray(split.train_matrix().sum(axis=0)).ravel()
        users = self._numbered(split)
        self.users.append(users)
        for name in ACCURACY:
            metric, depth = metrics.metric_named(f"mrr@{DEPTH}" if name == "mrr" else name)
            self.per_user.setdefault(name, []).append(metric(ranked, held_out, depth))
        for name, figure in _list_figures(split, popularity, item_vectors).items():
            try:
                self.per_list.setdefault(name, []).append(list_figure(figure, ranked, seed))
            except DataError as error:
                self.left_out[name] = str(error)
        self.activity.append(np.diff(split.fold_in_matrix().indptr).astype(np.int64))
        metric, depth = metrics.metric_named(_BY_POPULARITY)
        groups = popularity_groups(popularity, len(_POPULARITY_NAMES))
        for group, found in by_item_group(metric, ranked, held_out, depth, groups).items():
            rows, values = found
            self.by_popularity.setdefault(group, []).append((users[rows], values))

    def _numbered(self, split: Split) -> Users:
        user_ids = [split.interactions.user_ids[row] for row in split.test_user_rows.tolist()]
        numbers = self.numbers
        return np.array([numbers.setdefault(i, len(numbers)) for i in user_ids], np.int64)

    def summary(self, seed: int) -> dict[str, Any]:
        """Return everything as plain values, each figure that is not left out with its interval."""
        users, n_users = self.whose(), len(self.numbers)
        activity = np.digitize(np.concatenate(self.activity), [b + 1 for b in _ACTIVITY_BOUNDS])
        activity = activity.astype(np.int64)
        by_activity = by_user_group(self.values(_BY_ACTIVITY), activity, users, seed)
        names = _group_names(_ACTIVITY_BOUNDS)
        figures: dict[str, Any] = {
            name: _plain(mean_with_interval(self.values(name), seed, users=users))
            for name in ACCURACY
        }
        figures |= {
            name: _plain(mean_of_lists(self.per_list[name], n_users))
            for name in LISTS
            if name not in self.left_out
        }
        figures["left_out"] = dict(self.left_out)
        figures[f"{_BY_ACTIVITY} by activity"] = {
            names[group]: _plain(estimate) for group, estimate in by_activity.items()
        }
        figures[f"{_BY_POPULARITY} by item popularity"] = {
            _POPULARITY_NAMES[group]: _plain(_over_splits(parts, seed))
            for group, parts in sorted(self.by_popularity.items())
        }
        figures["test_users"] = n_users
        figures["request"] = None if self.request is None else self.request._asdict()
        return figures


def _list_figures(split: Split, popularity: npt.NDArray[Any], item_vectors: Any) -> dict[str, Any]:
    n_items, k = split.interactions.n_items, _PLACES
    # Those who could have been counted: test users of the strong protocol, for one, could not.
    n_users = len(np.unique(split.interactions.user_rows[split.train]))
    return {
        "coverage@10": lambda ranked: metrics.coverage_at(ranked, n_items, k),
        "gini@10": lambda ranked: metrics.gini(ranked, n_items, k),
        "popularity rank@10": lambda ranked: metrics.mean_popularity_rank(ranked, popularity, k),
        "diversity@10": lambda ranked: metrics.intra_list_diversity(ranked, item_vectors, k),
        "novelty@10": lambda ranked: metrics.novelty(ranked, popularity, n_users, k),
    }


def _group_names(bounds: Sequence[int]) -> list[str]:
    between = [f"{low + 1} to {high}" for low, high in pairwise(bounds)]
    return [f"up to {bounds[0]}", *between, f"over {bounds[-1]}"]


def _over_splits(parts: list[tuple[Users, Figures]], seed: int) -> Estimate:
    users, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return mean_with_interval(values, seed, users=users)


def _plain(estimate: Estimate) -> dict[str, float]:
    return asdict(estimate)
