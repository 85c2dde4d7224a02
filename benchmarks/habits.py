"""What reading stars by each user's habit gives, and to whom: real users, and the same made stern.

It refuses to know how habits are read (`ilk.preference` does). Whoever is made stern likes what they
liked before and gives fewer stars for it, so what should be foretold of them is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias, get_args

import numpy as np

from ilk.errors import DataError
from ilk.preference import Normalization
from indexer.evaluation.estimates import Users, mean_with_interval
from indexer.evaluation.metrics import Figures, metric_named
from indexer.evaluation.protocols import split_weak
from indexer.evaluation.relevance import relevant
from indexer.evaluation.served import built_from, rank
from indexer.evaluation.splits import Mask, Split
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings

_STERN_SHARE, _STARS_LESS = 0.2, 1.5
_GROUPS = ("as they are", "made stern", "beside them")
_DEPTH = 100
_METRICS = ("ndcg@10", "ndcg@100", "recall@20")

# A group of users, and how stars are read.
Who: TypeAlias = tuple[str, Normalization]


@dataclass(frozen=True, slots=True, eq=False)
class PerUser:
    """One value per test user of each split, by figure, and whose each is; arrays are aligned."""

    users: Users
    figures: dict[str, Figures]


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
    users: dict[Who, list[Users]] = {}
    for seed in range(settings.seed, settings.seed + n_splits):
        split = split_weak(data, positive, seed)
        is_stern = np.random.default_rng(seed).random(data.n_users) < _STERN_SHARE
        stern = replace(split, interactions=_made_stern(data, is_stern))
        tested = is_stern[split.test_user_rows]
        for normalize in get_args(Normalization):
            build = replace(settings, normalize=normalize)
            groups = _by_group(split, stern, tested, build, progress)
            for name, (members, values) in zip(_GROUPS, groups, strict=True):
                parts.setdefault((name, normalize), []).append(values)
                users.setdefault((name, normalize), []).append(split.test_user_rows[members])
    return {who: _joined(users[who], several) for who, several in parts.items()}


def _joined(users: list[Users], parts: list[list[Figures]]) -> PerUser:
    figures = zip(_METRICS, map(np.concatenate, zip(*parts, strict=True)), strict=True)
    return PerUser(np.concatenate(users), dict(figures))


def _by_group(
    split: Split,
    stern: Split,
    tested: Mask,
    build: BuildSettings,
    progress: Progress,
) -> Iterator[tuple[Mask, list[Figures]]]:
    """Yield who is in each group, and their figures: one value per user, an array for each metric."""
    yield np.ones_like(tested), _figures(split, build, progress)
    values = _figures(stern, build, progress)
    for members in (tested, ~tested):
        yield members, [of_all[members] for of_all in values]


def _figures(split: Split, build: BuildSettings, progress: Progress) -> list[Figures]:
    with built_from(split.train_interactions(), build, progress) as bundle:
        ranked = rank(bundle, split, _DEPTH, content_weight=0.0)
    held_out = split.held_out_matrix()
    return [metric(ranked, held_out, depth) for metric, depth in map(metric_named, _METRICS)]


def _made_stern(data: Interactions, is_stern: Mask) -> Interactions:
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
        gained = {name: habits.figures[name] - without.figures[name] for name in _METRICS}
        yield f"{group:<12} {'gained':<10}" + _line(PerUser(habits.users, gained), seed, "+")
    yield f"made stern: {_STERN_SHARE:.0%} of users, {_STARS_LESS:g} stars less for everything"


def _line(of_group: PerUser, seed: int, sign: str) -> str:
    line = ""
    for name in _METRICS:
        estimate = mean_with_interval(of_group.figures[name], seed, users=of_group.users)
        half = (estimate.high - estimate.low) / 2
        line += f" {format(estimate.mean, sign + '10.4f')} ±{half:.4f}"
    return line
