"""How well what is served ranks beside tuned EASE, and what its training costs beside plain ALS.

It refuses to know how anything is trained or asked: `indexer.evaluation` builds, asks and measures.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks.spending import spent_in
from indexer.evaluation.estimates import Users, mean_with_interval
from indexer.evaluation.report import evaluate
from indexer.evaluation.settings import EvaluationSettings
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings
from indexer.training.factors import fit
from indexer.training.order import ordered
from indexer.training.preference import read_ratings

_EASE_REGULARIZATIONS = (50.0, 100.0, 200.0, 400.0, 800.0)
_FIGURES = ("ndcg@100", "ndcg@10")
_FOLD_IN_FACTORS, _FOLD_IN_RATINGS, _FOLD_INS = 64, 20, 2000

# By figure: one value per test user of each split.
PerUser = dict[str, npt.NDArray[np.float64]]


def compare(
    data: Interactions, settings: BuildSettings, progress: Progress, *, n_splits: int = 5
) -> tuple[Users, dict[str, PerUser]]:
    """Rank for users held out of training, by what is served and by baselines, on the same splits.

    Returns whose each value is, and the values by model. EASE comes at each of its λ: to take the best
    of them by these very figures flatters it.

    Raises
    ------
    DataError
        If the data has too few users to hold any out.
    """
    evaluation = EvaluationSettings(splits=n_splits, ease_regularization=_EASE_REGULARIZATIONS)
    models = evaluate(data, settings, evaluation, progress).models
    figures = {name: {f: model.values(f) for f in _FIGURES} for name, model in models.items()}
    return next(iter(models.values())).whose(), figures


def table(users: Users, figures: dict[str, PerUser], seed: int) -> Iterator[str]:
    """Yield the lines that show a comparison; each figure is held against the λ best by it."""
    best = {
        figure: max((n for n in figures if n.startswith("EASE")), key=_mean_by(figures, figure))
        for figure in _FIGURES
    }
    heads = "".join(f" {f:>9} {'/ EASE':>7} {'less EASE, 95%':>20}" for f in _FIGURES)
    yield f"{'model':<12}{heads}"
    for name, model in figures.items():
        line = f"{name:<12}"
        for figure, values in model.items():
            peer = figures[best[figure]][figure]
            gap = mean_with_interval(values - peer, seed, users=users)
            interval = f"[{gap.low:+.4f}, {gap.high:+.4f}]"
            line += f" {values.mean():9.4f} {values.mean() / peer.mean():7.3f} {interval:>20}"
        yield line
    n_users = len(np.unique(users))
    yield f"{n_users} test users; held against {best['ndcg@100']} and, by NDCG@10, {best['ndcg@10']}"


def _mean_by(figures: dict[str, PerUser], figure: str) -> Callable[[str], float]:
    return lambda name: float(figures[name][figure].mean())


def cost(data: Interactions, settings: BuildSettings, *, n_rounds: int = 3) -> dict[str, float]:
    """Train by ours and by plain ``implicit`` in turn, as many factors and sweeps, then fold users in.

    Medians of ``n_rounds``. On all cores the ratios hold for an idle machine only: where others keep
    a core busy, the plain solver's threads spin while they wait for it, and ours look better.
    """
    confidences = training_matrix(data, settings)
    ratios: dict[str, list[npt.NDArray[np.float64]]] = {"one thread": [], "all cores": []}
    for _ in range(n_rounds):
        for name, limit in (("one thread", 1), ("all cores", None)):
            with threadpool_limits(limit):
                ours = spent_in(lambda: fit(confidences, settings))
                plain = spent_in(lambda: fit_plainly(confidences, settings))
            ratios[name].append(np.divide((ours.cpu_s, ours.wall_s), (plain.cpu_s, plain.wall_s)))
    cpu_ratio, wall_ratio = np.median(ratios["all cores"], axis=0)
    return {
        "training CPU / plain implicit's, one thread": float(np.median(ratios["one thread"], 0)[0]),
        "training CPU / plain implicit's, all cores": float(cpu_ratio),
        "training wall / plain implicit's, all cores": float(wall_ratio),
        "fold-in of 20 ratings, 64 factors: CPU us": _fold_in_us(confidences, settings),
    }


def training_matrix(data: Interactions, settings: BuildSettings) -> "sparse.csr_matrix[np.float32]":
    """Return what training gets, but for the ratings' age: that changes values, not the work."""
    preference, liked = read_ratings(data, settings)
    data = ordered(data, liked)
    values = preference.confidences(data.ratings, None, user_rows=data.user_rows)
    shape = (data.n_users, data.n_items)
    confidences = sparse.csr_matrix((values, (data.user_rows, data.item_rows)), shape=shape)
    confidences.eliminate_zeros()
    return confidences


def fit_plainly(
    confidences: "sparse.csr_matrix[np.float32]", settings: BuildSettings
) -> AlternatingLeastSquares:
    """Return what plain ``implicit`` fits with as many factors and sweeps, BLAS on one thread."""
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=settings.factors, iterations=settings.iterations, random_state=settings.seed
        )
        model.fit(confidences, show_progress=False)
    return model


def _fold_in_us(confidences: "sparse.csr_matrix[np.float32]", settings: BuildSettings) -> float:
    """Return CPU microseconds of one fold-in, of items drawn among those that were trained."""
    factors = fit(confidences, replace(settings, factors=_FOLD_IN_FACTORS))
    trained = np.flatnonzero(np.any(factors.items, axis=1))
    rng = np.random.default_rng(settings.seed)
    n_ratings = min(_FOLD_IN_RATINGS, len(trained))
    given = np.full(n_ratings, 1 + settings.alpha, dtype=np.float32)
    rated = [factors.items[rng.choice(trained, n_ratings, replace=False)] for _ in range(_FOLD_INS)]
    factors.fold_in.solve(rated[0], given)
    spent = spent_in(lambda: [factors.fold_in.solve(items, given) for items in rated])
    return 1e6 * spent.cpu_s / _FOLD_INS
