"""What reading stars by each user's habit gives, and to whom: real users, and the same made stern.

It refuses to know how habits are read (`ilk.preference` does). Whoever is made stern likes what they
liked before and gives fewer stars for it, so what should be foretold of them is known.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from ilk.errors import DataError
from ilk.preference import Normalization
from indexer.evaluation.estimates import mean_with_interval
from indexer.evaluation.metrics import Figures, metric_named
from indexer.evaluation.protocols import split_weak
from indexer.evaluation.relevance import relevant
from indexer.evaluation.served import built_from, rank
from indexer.evaluation.splits import Split
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings

_STERN_SHARE, _STARS_LESS = 0.2, 1.5
_GROUPS = ("as they are", "made stern", "beside them")
_DEPTH = 100
_METRICS = ("ndcg@10", "ndcg@100", "recall@20")

# A group of users, and how stars are read.
Who: TypeAlias = tuple[str, Normalization]
# By figure: one value per test user, over all splits.
PerUser: TypeAlias = dict[str, Figures]


def compare(
    data: Interactions, settings: BuildSettings, progress: Progress, *, n_splits: int = 5
) -> dict[Who, PerUser]:
    """Rank by the weak protocol with and without habits, as the data are and with some made stern.

    What is relevant is judged by the stars as they are in the data.

    Raises
    ------
    DataError
        If the data has no scale of stars, or too few users to test.
    """
    positive = relevant(data, settings)
    parts: dict[Who, list[list[Figures]]] = {}
    for seed in range(settings.seed, settings.seed + n_splits):
        split = split_weak(data, positive, seed)
        is_stern = np.random.default_rng(seed).random(data.n_users) < _STERN_SHARE
        stern = replace(split, interactions=_made_stern(data, is_stern))
        tested = is_stern[split.test_user_rows]
        for normalize in get_args(Normalization):
            build = replace(settings, normalize=normalize)
            for name, values in zip(
                _GROUPS, _by_group(split, stern, tested, build, progress), strict=True
            ):
                parts.setdefault((name, normalize), []).append(values)
    return {
        who: dict(zip(_METRICS, map(np.concatenate, zip(*several, strict=True)), strict=True))
        for who, several in parts.items()
    }


def _by_group(
    split: Split,
    stern: Split,
    tested: npt.NDArray[np.bool_],
    build: BuildSettings,
    progress: Progress,
) -> Iterator[list[Figures]]:
    """Yield the figures of each group: one value per user in it, an array for each metric."""
    yield _figures(split, build, progress)
    values = _figures(stern, build, progress)
    for members in (tested, ~tested):
        yield [of_all[members] for of_all in values]


def _figures(split: Split, build: BuildSettings, progress: Progress) -> list[Figures]:
    with built_from(split.train_interactions(), build, progress) as bundle:
        ranked = rank(bundle, split, _DEPTH, content_weight=0.0)
    held_out = split.held_out_matrix()
    return [metric(ranked, held_out, depth) for metric, depth in map(metric_named, _METRICS)]


def _made_stern(data: Interactions, is_stern: npt.NDArray[np.bool_]) -> Interactions:
    if data.rating_scale is None:
        raise DataError(data.source, "has clicks; habits are read from stars")
    fewer = np.maximum(data.ratings - np.float32(_STARS_LESS), np.float32(data.rating_scale[0]))
    return replace(data, ratings=np.where(is_stern[data.user_rows], fewer, data.ratings))


def table(figures_of: dict[Who, PerUser], seed: int) -> Iterator[str]:
    """Yield the lines that show a comparison; what is gained is the mean over users, in pairs."""
    yield f"{'users':<12} {'normalize':<10}" + "".join(f" {name:>18}" for name in _METRICS)
    for group in _GROUPS:
        without, habits = figures_of[group, "none"], figures_of[group, "mean"]
        for said, figures in (("none", without), ("mean", habits)):
            yield f"{group:<12} {said:<10}" + _line(figures, seed, "")
        gained = {name: habits[name] - without[name] for name in _METRICS}
        yield f"{group:<12} {'gained':<10}" + _line(gained, seed, "+")
    yield f"made stern: {_STERN_SHARE:.0%} of users, {_STARS_LESS:g} stars less for everything"


def _line(figures: PerUser, seed: int, sign: str) -> str:
    line = ""
    for name in _METRICS:
        estimate = mean_with_interval(figures[name], seed)
        half = (estimate.high - estimate.low) / 2
        line += f" {format(estimate.mean, sign + '10.4f')} ±{half:.4f}"
    return line
