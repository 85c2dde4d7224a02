"""Fold-in and training, against dense linear algebra, the loss itself and `implicit`'s own model."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from ilk.bundle import Bundle, open_bundle
from ilk.errors import DataError
from ilk.foldin import FoldIn
from ilk.query.seeker import known_confidences
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.sample import load_sample
from indexer.settings import BuildSettings
from indexer.training import factors

TRAINING = BuildSettings(factors=5, iterations=4, alpha=3.0, regularization=0.05)
quick = settings(deadline=None, max_examples=60)
Matrix = npt.NDArray[Any]


def floats(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def random_problem(seed: int) -> tuple[FoldIn, Matrix, Matrix, Matrix]:
    """Return a fold-in, all items' factors, the rated rows and their confidences of either sign."""
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((20, 4)).astype(np.float32)
    rows = rng.choice(20, int(rng.integers(1, 15)), replace=False)
    confidences = 1 + rng.gamma(2.0, 3.0, len(rows)).astype(np.float32)
    confidences *= rng.choice(floats(-1, 0, 1), len(rows))
    confidences[0] = 2.5
    gram = items.T.astype(np.float64) @ items
    return FoldIn(gram, 0.1, 7.0, float(rng.choice([0, 0.5, 1]))), items, rows, confidences


def solved_by_hand(fold_in: FoldIn, items: Matrix, rows: Matrix, confidences: Matrix) -> Matrix:
    """Solve ``(YᵀCY + λI) x = YᵀC p`` with a row of ``C`` and ``p`` for every item there is."""
    weights, preferences = np.ones(len(items)), np.zeros(len(items))
    for row, confidence in zip(rows, confidences, strict=True):
        if confidence:
            weights[row] = abs(confidence)
            preferences[row] = confidence > 0
    y = items.astype(np.float64)
    penalty = slow_penalty(int((confidences > 0).sum()), fold_in)
    a = y.T @ np.diag(weights) @ y + penalty * np.eye(y.shape[1])
    return np.linalg.solve(a, y.T @ (weights * preferences))


def slow_penalty(n_positives: int, fold_in: FoldIn) -> float:
    exact = (max(n_positives, 1) + fold_in.unseen_weight) ** fold_in.exponent
    steps = [1.2**power for power in range(-60, 200)]
    return fold_in.regularization * min(steps, key=lambda step: abs(math.log(step / exact)))


@quick
@given(st.integers(0, 10_000))
def test_fold_in_solves_the_normal_equations_over_all_items(seed: int) -> None:
    fold_in, items, rows, confidences = random_problem(seed)
    before = items.copy(), confidences.copy()
    solved = fold_in.solve(items[rows], confidences)
    assert solved.dtype == np.float32
    expected = solved_by_hand(fold_in, items, rows, confidences)
    np.testing.assert_allclose(solved, expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(items, before[0])
    assert np.array_equal(confidences, before[1])


@pytest.mark.parametrize("confidences", [[], [0.0, 0.0], [-6.0, 0.0], [-6.0, -2.0]])
def test_who_likes_nothing_folds_in_to_zero(confidences: list[float]) -> None:
    fold_in, items, _, _ = random_problem(1)
    given_factors = items[: len(confidences)]
    assert fold_in.solve(given_factors, floats(*confidences)).tolist() == [0] * 4


def test_a_dislike_lowers_the_score_of_its_item_and_a_rating_of_no_confidence_does_nothing() -> (
    None
):
    fold_in, items, _, _ = random_problem(2)
    silent = fold_in.solve(items[:2], floats(6, 0))
    disliking = fold_in.solve(items[:2], floats(6, -6))
    assert abs(items[1] @ disliking) < abs(items[1] @ silent)
    np.testing.assert_allclose(silent, fold_in.solve(items[:1], floats(6)), rtol=1e-5)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_penalty_follows_the_count_rounded_to_the_nearest_power(exponent: float) -> None:
    fold_in = FoldIn(np.eye(1), 0.1, 7.0, exponent)
    counts = [*range(3000), 10**6, 10**7]
    assert [fold_in.penalty(n) for n in counts] == pytest.approx(
        [slow_penalty(n, fold_in) for n in counts]
    )
    exact = [0.1 * (max(n, 1) + 7.0) ** exponent for n in counts]
    np.testing.assert_allclose([fold_in.penalty(n) for n in counts], exact, rtol=0.1)


def assert_training_is_reproduced(bundle: Bundle) -> None:
    ratings = bundle.ratings_by_user
    for row in range(len(bundle.users)):
        rated = bundle.items.factors[ratings.others_of(row)]
        confidences = known_confidences(bundle, row)
        folded = bundle.fold_in.solve(rated, confidences)
        folded += bundle.fold_in.in_common(int(np.count_nonzero(confidences)))
        stored = bundle.users.factors[row]
        np.testing.assert_allclose(folded, stored, atol=2e-5 * max(np.abs(stored).max(), 1e-6))


def published(data: Interactions, choices: dict[str, Any], store: Path) -> Bundle:
    small = BuildSettings(factors=6, iterations=2, evaluate=False, **choices)
    assemble_and_publish(data, store, small, {}, Progress(quiet=True))
    return open_bundle(store)


def test_folding_in_the_ratings_of_every_trained_user_gives_their_stored_factors(
    bundle: Bundle,
) -> None:
    assert bundle.users.factors.any(axis=1).mean() > 0.9
    assert_training_is_reproduced(bundle)


def test_what_users_have_in_common_is_where_their_mean_draws_who_is_unknown(bundle: Bundle) -> None:
    fold_in, users = bundle.fold_in, bundle.users.factors.astype(np.float64)
    n_positives = np.array(
        [np.count_nonzero(known_confidences(bundle, row)) for row in range(len(users))]
    )
    assert fold_in.common is not None
    own = users - fold_in.in_common(n_positives)
    a = fold_in.gram + fold_in.penalty(1) * np.eye(len(fold_in.gram))
    drawn = fold_in.penalty(1) * own[n_positives > 0].mean(axis=0)
    np.testing.assert_allclose(a @ fold_in.common, drawn, atol=1e-4 * np.abs(drawn).max())
    # Theirs is the taste for what most have liked.
    scores = bundle.items.factors @ fold_in.common
    counts = np.diff(bundle.ratings_by_item.indptr)
    assert np.corrcoef(scores, counts)[0, 1] > 0.8


def test_the_more_somebody_likes_the_less_they_have_in_common(bundle: Bundle) -> None:
    fold_in = bundle.fold_in
    assert fold_in.common is not None
    assert not fold_in.in_common(0).any()
    shares = fold_in.in_common(np.array([0, 1, 10, 190])) @ fold_in.common
    np.testing.assert_allclose(
        shares / (fold_in.common @ fold_in.common), [0, 10 / 11, 1 / 2, 1 / 20], rtol=1e-5
    )
    assert not dataclasses.replace(fold_in, common=None).in_common(np.array([0, 3])).any()


@pytest.mark.parametrize(
    "choices",
    [
        {"graded": True},
        {"half_life_days": 30.0},
        {"frequency_exponent": 0.0},
        {"liked_from": 0.5, "alpha": 500.0},
    ],
    ids=lambda choices: "-".join(choices),
)
def test_fold_in_reads_ratings_as_training_did_under_other_settings(
    choices: dict[str, Any], tmp_path: Path
) -> None:
    assert_training_is_reproduced(published(load_sample(n_users=60), choices, tmp_path))


def test_fold_in_reads_clicks_as_training_did(tmp_path: Path) -> None:
    clicks = dataclasses.replace(load_sample(n_users=60), rating_scale=None)
    assert_training_is_reproduced(published(clicks, {"graded": True}, tmp_path))


def test_fold_in_reads_ages_as_training_did_before_1970(tmp_path: Path) -> None:
    sample = load_sample(n_users=60)
    assert sample.timestamps is not None
    old = dataclasses.replace(sample, timestamps=sample.timestamps - 4_000_000_000)
    assert_training_is_reproduced(published(old, {"half_life_days": 30.0}, tmp_path))


def random_confidences(n_users: int = 40, n_items: int = 30) -> sp.csr_matrix:
    """Return confidences of some pairs, rows and columns by falling count, the last ones empty."""
    rng = np.random.default_rng(5)
    chances = np.outer(np.linspace(1, 0.05, n_users), np.linspace(1, 0.05, n_items))
    positive: Matrix = np.less(rng.random((n_users, n_items)), chances)
    positive[-2:], positive[:, -3:] = False, False
    positive = positive[np.argsort(-positive.sum(axis=1), kind="stable")]
    positive = positive[:, np.argsort(-positive.sum(axis=0), kind="stable")]
    values = 1 + 3 * rng.uniform(0.5, 1.5, positive.shape)
    return sp.csr_matrix(np.where(positive, values, 0).astype(np.float32))


def slow_scale(confidences: npt.NDArray[np.float64], exponent: float = 1.0) -> float:
    """Return what makes the λ of a typical row so many times the noise, as the settings say."""
    n_users, n_items = (np.count_nonzero(confidences.any(axis=axis)) for axis in (1, 0))
    n_positives = np.count_nonzero(confidences)
    noise = math.sqrt(confidences.sum() / n_users) + math.sqrt(confidences.sum() / n_items)
    of_user = (n_positives / n_users + n_items / TRAINING.alpha) ** exponent
    of_item = (n_positives / n_items + n_users / TRAINING.alpha) ** exponent
    return TRAINING.regularization * noise / math.sqrt(of_user * of_item)


def slow_loss(confidences: sp.csr_matrix, trained: factors.Factors) -> float:
    """Return the loss over every pair, with λ of every row by its own count."""
    dense = confidences.toarray().astype(np.float64)
    counts = [(dense > 0).sum(axis=axis) for axis in (1, 0)]
    n_others = [np.count_nonzero(counts[1]), np.count_nonzero(counts[0])]
    users, items = trained.users.astype(np.float64), trained.items.astype(np.float64)
    used = np.ix_(counts[0] > 0, counts[1] > 0)
    error = np.where(dense > 0, dense, 1) * ((dense > 0) - users @ items.T) ** 2
    total = float(error[used].sum())
    for side, n_of_row, n in zip((users, items), counts, n_others, strict=True):
        fold_in = FoldIn(
            np.eye(1),
            slow_scale(dense),
            n / TRAINING.alpha,
            TRAINING.frequency_exponent,
        )
        penalties = [slow_penalty(int(count), fold_in) for count in n_of_row]
        total += float(penalties @ (side**2).sum(axis=1))
    return total


def test_every_sweep_lowers_the_frequency_regularized_loss() -> None:
    confidences = random_confidences()
    losses = [
        slow_loss(
            confidences, factors.fit(confidences, dataclasses.replace(TRAINING, iterations=n))
        )
        for n in range(1, 11)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_no_row_of_the_trained_factors_is_better_longer_or_shorter() -> None:
    # Were any row's λ another than the one its own count gives, the loss would tell.
    confidences = random_confidences()
    trained = factors.fit(confidences, dataclasses.replace(TRAINING, iterations=300))
    least = slow_loss(confidences, trained)
    for name in ("users", "items"):
        for row in np.flatnonzero(getattr(trained, name).any(axis=1)).tolist():
            for scale in (0.99, 1.01):
                moved = getattr(trained, name).copy()
                moved[row] *= np.float32(scale)
                assert slow_loss(confidences, dataclasses.replace(trained, **{name: moved})) > least


def test_training_is_the_same_to_the_last_bit_for_a_seed_whatever_the_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confidences, fits = random_confidences(120, 90), []
    for n_threads in (1, 1, 2):
        monkeypatch.setattr(factors, "_threads", lambda _, n=n_threads: n)
        fits.append(factors.fit(confidences, TRAINING))
    for again in fits[1:]:
        assert again.users.tobytes() == fits[0].users.tobytes()
        assert again.items.tobytes() == fits[0].items.tobytes()
        assert again.fold_in.gram.tobytes() == fits[0].fold_in.gram.tobytes()
    other = factors.fit(confidences, dataclasses.replace(TRAINING, seed=7))
    assert other.users.tobytes() != fits[0].users.tobytes()


@pytest.mark.parametrize("n_steps", [1, 8])
def test_many_rows_are_settled_as_if_each_was_solved(
    n_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    confidences = random_confidences(120, 90)
    # Of one λ, so that rows are many at once.
    training = dataclasses.replace(TRAINING, frequency_exponent=0.0)
    directly = factors.fit(confidences, training)
    monkeypatch.setattr(factors, "_CONFIRMING_ROWS", 4)
    monkeypatch.setattr(factors, "_SETTLING_STEPS", n_steps)
    settled = factors.fit(confidences, training)
    np.testing.assert_allclose(settled.users, directly.users, rtol=1e-3, atol=1e-6)
    # One step is too few, which the rows that are solved directly tell.
    assert (settled.users.tobytes() == directly.users.tobytes()) == (n_steps == 1)


def test_one_penalty_for_all_rows_is_what_implicit_does(monkeypatch: pytest.MonkeyPatch) -> None:
    confidences = random_confidences()[:38, :27]
    starts: list[Matrix] = []
    drawn = factors._start

    def kept_start(rng: np.random.Generator, n_rows: int, n_factors: int) -> Matrix:
        starts.append(drawn(rng, n_rows, n_factors))
        return np.copy(starts[-1])

    monkeypatch.setattr(factors, "_start", kept_start)
    monkeypatch.setattr(factors, "_EARLY_CG_STEPS", factors._CG_STEPS)
    plain = dataclasses.replace(TRAINING, frequency_exponent=0.0)
    trained = factors.fit(confidences, plain)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=plain.factors,
            regularization=slow_scale(confidences.toarray().astype(np.float64), exponent=0.0),
            iterations=plain.iterations,
            num_threads=1,
        )
        model.cg_steps = factors._CG_STEPS
        model.user_factors, model.item_factors = starts
        model.fit(confidences, show_progress=False)
    np.testing.assert_allclose(trained.items, model.item_factors, rtol=1e-4, atol=1e-6)
    assert trained.fold_in.penalty(1) == trained.fold_in.penalty(900)
    assert trained.fold_in.penalty(1) == pytest.approx(model.regularization)


@pytest.mark.parametrize(("iterations", "n_early"), [(1, 0), (2, 1), (5, 2), (6, 3)])
def test_the_first_half_of_the_sweeps_takes_smaller_steps(
    iterations: int, n_early: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    plain = factors._HalfStep.improve

    def improve(half_step: factors._HalfStep, own: Matrix, other: Matrix, n_steps: int) -> None:
        steps.append(n_steps)
        plain(half_step, own, other, n_steps)

    monkeypatch.setattr(factors._HalfStep, "improve", improve)
    factors.fit(random_confidences(), dataclasses.replace(TRAINING, iterations=iterations))
    assert steps == [1] * (2 * n_early) + [2] * (2 * (iterations - n_early))


def test_rows_without_positives_have_no_factors_and_sweeps_are_counted() -> None:
    sweeps: list[int] = []
    trained = factors.fit(random_confidences(), TRAINING, sweeps.append)
    assert (trained.users.shape, trained.items.shape) == ((40, 5), (30, 5))
    assert not trained.users[-2:].any()
    assert not trained.items[-3:].any()
    assert trained.users[0].any()
    assert sweeps == [1, 2, 3, 4]


def test_confidences_without_a_positive_cannot_be_trained_on() -> None:
    with pytest.raises(DataError, match="no positive"):
        factors.fit(sp.csr_matrix(np.zeros((3, 2), dtype=np.float32)), TRAINING)
