"""Knows how models are compared: what is served, at several settings, beside the usual baselines.

It refuses to know how a comparison is shown; `present` does.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle
from ilk.errors import DataError, SettingsError
from ilk.space import likeness_vectors
from indexer.evaluation.baselines import EASE, ItemKNN, Popularity, RandomRanking, Ranker
from indexer.evaluation.favorites import favorite_genres
from indexer.evaluation.figures import DEPTH, ModelFigures
from indexer.evaluation.protocols import (
    show_only,
    split_cold_items,
    split_given,
    split_latest,
    split_strong,
    split_temporal,
    split_weak,
)
from indexer.evaluation.ranking import CsrMatrix, Ranked
from indexer.evaluation.relevance import relevant
from indexer.evaluation.served import built_from, rank
from indexer.evaluation.settings import EvaluationSettings, Request
from indexer.evaluation.splits import Split
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.readers import GivenSplit
from indexer.settings import BuildSettings
from indexer.training.order import k_core, kept

_YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the models scored, by name, and what each split holds, in plain words and counts."""

    models: dict[str, ModelFigures]
    splits: list[dict[str, Any]]

    def summary(self, seed: int) -> dict[str, Any]:
        """Return everything as plain values, as the JSON has it."""
        models = {name: figures.summary(seed) for name, figures in self.models.items()}
        return {"models": models, "splits": self.splits}


def evaluate(
    data: Interactions, build: BuildSettings, settings: EvaluationSettings, progress: Progress
) -> Comparison:
    """Compare on splits that are drawn from ``data``.

    Raises
    ------
    SettingsError
        If positives by users' own bars are asked for where nothing else is left to tell the bars by.
    DataError
        If the data has nothing to test.
    """
    alone = settings.core is not None or (settings.is_strong and not settings.all_ratings)
    if settings.own_bars and alone:
        raise SettingsError(
            "--own-bars lie at users' means of all ratings, and among positives alone they would be "
            "higher: give --all-ratings with the strong protocol, and no --core"
        )
    # Before anything is held out: of what is left of a user, the build would count too little.
    data = kept(
        data,
        min_user_ratings=build.min_user_ratings,
        min_item_ratings=build.min_item_ratings,
    )
    build = replace(build, min_user_ratings=1, min_item_ratings=0)
    if settings.core is not None:
        data = k_core(data, relevant(data, build, own_bars=settings.own_bars), settings.core)
    return compare(_drawn(data, build, settings), build, settings, progress)


def evaluate_given(
    given: Iterable[GivenSplit],
    build: BuildSettings,
    settings: EvaluationSettings,
    progress: Progress,
) -> Comparison:
    """Compare on splits that somebody else has drawn.

    Raises
    ------
    SettingsError
        If the settings ask for what only a split of our own can have.
    DataError
        If a split has nothing to test.
    """
    drawn_anew = settings.core is not None or settings.splits != 1 or settings.shown is not None
    if settings.protocol not in (None, "weak") or drawn_anew or settings.all_ratings:
        raise SettingsError(
            "--train and --test are splits already drawn: they go with --protocol weak, "
            "and with none of --core, --splits, --shown and --all-ratings"
        )
    splits = (
        split_given(
            part.interactions,
            relevant(part.interactions, build, own_bars=settings.own_bars),
            part.is_train,
            ~part.is_train,
        )
        for part in given
    )
    return compare(splits, build, settings, progress)


def compare(
    splits: Iterable[Split], build: BuildSettings, settings: EvaluationSettings, progress: Progress
) -> Comparison:
    """Rank for the test users of each split by what is served and by the baselines."""
    models: dict[str, ModelFigures] = {}
    described = []
    for number, split in enumerate(splits, start=1):
        counts = split.counts()
        described.append({"protocol": split.protocol, **counts})
        told = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
        progress.say(f"split {number} ({split.protocol}): {told}")
        for name, request, ranked, vectors in _rankings(split, build, settings, progress):
            model = models.setdefault(name, ModelFigures(request))
            model.add(split, ranked, vectors, build.seed)
    for name, model in models.items():
        for figure, why in model.left_out.items():
            progress.say(f"{name}: {figure} is left out: {why}")
    return Comparison(models, described)


def _drawn(
    data: Interactions, build: BuildSettings, settings: EvaluationSettings
) -> Iterator[Split]:
    positive, seed = relevant(data, build, own_bars=settings.own_bars), build.seed
    if settings.protocol == "temporal":
        yield split_temporal(data, positive, cutoff_s=settings.cutoff_s)
        return
    if settings.protocol == "latest":
        yield split_latest(data, positive)
        return
    for number in range(seed, seed + settings.splits):
        if settings.is_strong:
            split = split_strong(data, positive, number, all_ratings=settings.all_ratings)
            if settings.shown is not None:
                told = favorite_genres(split, settings.favorites) if settings.favorites else None
                split = replace(show_only(split, settings.shown, number), favorites=told)
            yield split
        elif settings.protocol == "weak":
            yield split_weak(data, positive, number)
        else:
            yield split_cold_items(data, positive, number, alone=settings.among_cold)


def _rankings(
    split: Split, build: BuildSettings, settings: EvaluationSettings, progress: Progress
) -> Iterator[tuple[str, Request | None, Ranked, npt.NDArray[np.float32]]]:
    with built_from(split.train_interactions(), build, progress) as bundle:
        vectors = _item_vectors(bundle, split)
        for request in settings.requests(build.content_weight):
            yield str(request), request, rank(bundle, split, DEPTH, **request._asdict()), vectors
    if settings.baselines:
        for name, rank_by in _baselines(build.seed, settings).items():
            try:
                with progress.step(name):
                    ranked = rank_by(split)
            except (DataError, SettingsError) as error:
                progress.say(f"{name} is left out: {error}")
                continue
            yield name, None, ranked, vectors


def _baselines(seed: int, settings: EvaluationSettings) -> dict[str, Callable[[Split], Ranked]]:
    several = len(settings.ease_regularization) > 1
    ease: dict[str, Callable[[Split], Ranked]] = {
        f"EASE λ={penalty:g}" if several else "EASE": partial(
            _by_known, partial(EASE.fit, regularization=penalty)
        )
        for penalty in settings.ease_regularization
    }
    lately = {"popularity, last year": _by_what_was_popular_lately}
    return {
        **ease,
        "item k-NN": partial(_by_known, ItemKNN.fit),
        "popularity": partial(_by_known, Popularity.fit),
        **(lately if settings.protocol == "temporal" else {}),
        "random": partial(_at_random, seed=seed),
    }


def _by_what_was_popular_lately(split: Split) -> Ranked:
    times, cutoff_s = split.interactions.timestamps, split.cutoff_s
    assert times is not None
    assert cutoff_s is not None
    lately = replace(split, train=split.train & (times >= cutoff_s - _YEAR_S))
    return _by_known(Popularity.fit, lately)


def _at_random(split: Split, seed: int) -> Ranked:
    every = np.arange(split.interactions.n_items)
    fit = partial(RandomRanking.fit, seed=seed)
    return _among(every if split.candidates is None else split.candidates, fit, split)


def _by_known(fit: Callable[[CsrMatrix], Ranker], split: Split) -> Ranked:
    """Rank the items that training has positives of, for a model that can tell nothing of the others."""
    if split.candidates is not None:
        raise DataError("training", "knows none of the items to be ranked")
    return _among(np.unique(split.train_matrix().indices), fit, split)


def _among(columns: npt.NDArray[Any], fit: Callable[[CsrMatrix], Ranker], split: Split) -> Ranked:
    ranker = fit(split.train_matrix()[:, columns])
    fold_in, seen = split.fold_in_matrix()[:, columns], split.seen_matrix()[:, columns]
    ranked = ranker.rank(fold_in, DEPTH, seen=seen)
    return np.where(ranked >= 0, columns[ranked], -1).astype(np.int64)


def _item_vectors(bundle: Bundle, split: Split) -> npt.NDArray[np.float32]:
    """Return likeness vectors of the split's items, by its own rows, for intra-list diversity."""
    rows = bundle.items.vocabulary.rows_of(split.interactions.items.item_ids)
    items = bundle.items
    vectors = likeness_vectors(items.factors, items.content, 0.5)
    return np.where(rows[:, None] >= 0, vectors[rows], 0).astype(np.float32)
