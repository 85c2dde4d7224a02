"""Knows how models are compared: what is served, at several settings, beside the usual baselines.

It refuses to know how a comparison is shown; `present` does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle
from ilk.errors import DataError, SettingsError
from ilk.space import likeness_vectors
from indexer.assemble import preference_of
from indexer.evaluation import metrics
from indexer.evaluation.baselines import EASE, ItemKNN, Popularity, RandomRanking, Ranker
from indexer.evaluation.protocols import (
    show_only,
    split_cold_items,
    split_strong,
    split_temporal,
    split_weak,
)
from indexer.evaluation.served import built_from, rank
from indexer.evaluation.splits import Split
from indexer.interactions import Interactions
from indexer.progress import Progress, note
from indexer.settings import BuildSettings

DEPTH = 100
PROTOCOLS = ("strong", "weak", "temporal", "cold_items")
# By the name of the figure: per test user, so that intervals and groups can be given.
_PER_USER: dict[str, Callable[[Any, Any], npt.NDArray[np.float64]]] = {
    "ndcg@10": lambda ranked, held: metrics.ndcg_at(ranked, held, 10),
    "ndcg@100": lambda ranked, held: metrics.ndcg_at(ranked, held, DEPTH),
    "recall@20": lambda ranked, held: metrics.recall_at(ranked, held, 20),
    "recall@50": lambda ranked, held: metrics.recall_at(ranked, held, 50),
    "mrr": lambda ranked, held: metrics.mrr(ranked, held, DEPTH),
}


@dataclass(frozen=True)
class EvaluationSettings:
    """The choices of an evaluation.

    Parameters
    ----------
    protocol
        strong: users held out of training; weak: a part of each user's ratings; temporal: after a
        date; cold_items: films held out of training.
    splits
        Random splits to average over (one for temporal: nothing is random in it).
    blends
        Content weights to measure.
    diversities, popularity_penalties
        Re-ranking settings to measure, each with every blend.
    shown
        Show only so many positives of each test user, drawn at random: newcomers. Default: all.
    baselines
        Measure popularity, item k-NN, EASE and random beside.
    ease_regularization
        λ of EASE.
    """

    protocol: str = "strong"
    splits: int = 1
    blends: tuple[float, ...] = (0.0, 0.3, 1.0)
    diversities: tuple[float, ...] = (0.0,)
    popularity_penalties: tuple[float, ...] = (0.0,)
    shown: int | None = None
    baselines: bool = True
    ease_regularization: float = 200.0

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise SettingsError(f"--protocol must be one of {', '.join(PROTOCOLS)}")
        if self.splits < 1:
            raise SettingsError(f"--splits must be at least 1, got {self.splits}")
        if self.shown is not None and (self.shown < 1 or self.protocol != "strong"):
            raise SettingsError("--shown must be at least 1, and needs the strong protocol")


@dataclass(slots=True)
class ModelFigures:
    """What one model scored, over all splits.

    Attributes
    ----------
    per_user
        Accuracy by figure: one value per test user.
    per_list
        Figures of all lists of a split together: one value per split.
    activity
        Positives that each test user showed.
    by_popularity
        Recall@20 of held-out items by popularity group (0 is the tail), one value per split.
    """

    per_user: dict[str, list[npt.NDArray[np.float64]]] = field(default_factory=dict)
    per_list: dict[str, list[float]] = field(default_factory=dict)
    activity: list[npt.NDArray[np.int64]] = field(default_factory=list)
    by_popularity: dict[int, list[float]] = field(default_factory=dict)

    def values(self, figure: str) -> npt.NDArray[np.float64]:
        """Return a per-user figure over all splits; shape ``(n_test_users,)``."""
        return np.concatenate(self.per_user[figure])


def evaluate(
    data: Interactions, build: BuildSettings, settings: EvaluationSettings, progress: Progress
) -> dict[str, ModelFigures]:
    """Return the figures of each model, by its name.

    Raises
    ------
    DataError
        If the data has nothing to test.
    """
    positive = preference_of(data, build).liked(data.ratings)
    figures: dict[str, ModelFigures] = {}
    for split in _splits(data, positive, build.seed, settings):
        for name, ranked, vectors in _rankings(split, build, settings, progress):
            _add(figures.setdefault(name, ModelFigures()), split, ranked, vectors)
    return figures


def _splits(
    data: Interactions, positive: npt.NDArray[np.bool_], seed: int, settings: EvaluationSettings
) -> Iterator[Split]:
    if settings.protocol == "temporal":
        yield split_temporal(data, positive)
        return
    for number in range(seed, seed + settings.splits):
        if settings.protocol == "strong":
            split = split_strong(data, positive, number)
            yield split if settings.shown is None else show_only(split, settings.shown, number)
        elif settings.protocol == "weak":
            yield split_weak(data, positive, number)
        else:
            yield split_cold_items(data, positive, number)


def _rankings(
    split: Split, build: BuildSettings, settings: EvaluationSettings, progress: Progress
) -> Iterator[tuple[str, npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    k = min(DEPTH, split.interactions.n_items)
    with built_from(split.train_interactions(), build, progress) as bundle:
        vectors = _item_vectors(bundle, split)
        for weight in settings.blends:
            for diversity in settings.diversities:
                for penalty in settings.popularity_penalties:
                    ranked = rank(
                        bundle,
                        split,
                        k,
                        content_weight=weight,
                        diversity=diversity,
                        popularity_penalty=penalty,
                    )
                    yield _name(weight, diversity, penalty), ranked, vectors
    if settings.baselines:
        for name, fit in _baselines(build.seed, settings).items():
            try:
                ranker = fit(split.train_matrix())
            except DataError as error:
                note(f"{name} is left out: {error}")
                continue
            yield name, ranker.rank(split.fold_in_matrix(), k, seen=split.seen_matrix()), vectors


def _name(weight: float, diversity: float, penalty: float) -> str:
    extra = f" diversity={diversity:g}" if diversity else ""
    return f"ilk w={weight:g}{extra}" + (f" penalty={penalty:g}" if penalty else "")


def _baselines(seed: int, settings: EvaluationSettings) -> dict[str, Callable[[Any], Ranker]]:
    regularization = settings.ease_regularization
    return {
        "EASE": lambda train: EASE.fit(train, regularization=regularization),
        "item k-NN": ItemKNN.fit,
        "popularity": Popularity.fit,
        "random": lambda train: RandomRanking.fit(train, seed=seed),
    }


def _item_vectors(bundle: Bundle, split: Split) -> npt.NDArray[np.float32]:
    """Return likeness vectors of the split's items, by its own rows, for intra-list diversity."""
    rows = bundle.items.vocabulary.rows_of(split.interactions.items.item_ids)
    items = bundle.items
    vectors = likeness_vectors(items.factors, items.content, 0.5)
    return np.where(rows[:, None] >= 0, vectors[rows], 0).astype(np.float32)


def _add(
    figures: ModelFigures,
    split: Split,
    ranked: npt.NDArray[np.int64],
    vectors: npt.NDArray[np.float32],
) -> None:
    held_out, n_items = split.held_out_matrix(), split.interactions.n_items
    popularity = np.asarray(split.train_matrix().sum(axis=0)).ravel()
    for name, measure in _PER_USER.items():
        figures.per_user.setdefault(name, []).append(measure(ranked, held_out))
    per_list = {
        "coverage@10": metrics.coverage_at(ranked, n_items, 10),
        "gini@10": metrics.gini(ranked, n_items, 10),
        "popularity rank@10": metrics.mean_popularity_rank(ranked, popularity, 10),
        "diversity@10": metrics.intra_list_diversity(ranked, vectors, 10),
        "novelty@10": metrics.novelty(ranked, popularity, split.interactions.n_users, 10),
    }
    for name, value in per_list.items():
        figures.per_list.setdefault(name, []).append(value)
    figures.activity.append(np.diff(split.fold_in_matrix().indptr).astype(np.int64))
    groups = metrics.popularity_groups(popularity)
    by_group = metrics.by_item_group(metrics.recall_at, ranked, held_out, 20, groups, 0)
    for group, estimate in by_group.items():
        figures.by_popularity.setdefault(group, []).append(estimate.mean)


def summary(figures: dict[str, ModelFigures], seed: int) -> dict[str, Any]:
    """Return everything as plain values, as the JSON has it."""
    return {
        name: {
            **{figure: _interval(model.values(figure), seed) for figure in model.per_user},
            **{figure: float(np.mean(values)) for figure, values in model.per_list.items()},
            "ndcg@10 by activity": _by_activity(model, seed),
            "recall@20 by item popularity": {
                str(group): float(np.mean(values)) for group, values in model.by_popularity.items()
            },
            "test_users": len(model.values("ndcg@10")),
        }
        for name, model in figures.items()
    }


_ACTIVITY_BOUNDS = (5, 20, 100)


def _by_activity(model: ModelFigures, seed: int) -> dict[str, float]:
    """Return NDCG@10 of users by how many positives they showed."""
    shown, values = np.concatenate(model.activity), model.values("ndcg@10")
    group = np.digitize(shown, [b + 1 for b in _ACTIVITY_BOUNDS])
    names = _group_names(_ACTIVITY_BOUNDS)
    by_group = metrics.by_user_group(values, group.astype(np.int64), seed)
    return {names[g]: estimate.mean for g, estimate in by_group.items()}


def _group_names(bounds: Sequence[int]) -> list[str]:
    between = [f"{low + 1} to {high}" for low, high in pairwise(bounds)]
    return [f"up to {bounds[0]}", *between, f"over {bounds[-1]}"]


def _interval(values: npt.NDArray[np.float64], seed: int) -> dict[str, float]:
    estimate = metrics.mean_with_interval(values, seed)
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
