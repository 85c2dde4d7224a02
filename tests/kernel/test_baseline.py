"""Biases, against plain loops and against the ridge regression that they converge to."""

import numpy as np
import numpy.typing as npt
import pytest

from ilk import baseline
from ilk.baseline import ITEM_SHRINKAGE, USER_SHRINKAGE, fit_biases, user_bias
from ilk.bundle import Bundle

N_USERS, N_ITEMS = 7, 6
Rated = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]


@pytest.fixture
def rated() -> Rated:
    """Some ratings of all but the last user and the last item."""
    rng = np.random.default_rng(4)
    held = np.argwhere(rng.random((N_USERS - 1, N_ITEMS - 1)) < 0.6).astype(np.int32)
    stars = rng.integers(1, 6, len(held)).astype(np.float32)
    return held[:, 0], held[:, 1], stars


def slow_biases(rated: Rated, sweeps: int) -> tuple[float, list[float], list[float]]:
    ratings = [(int(u), int(i), float(s)) for u, i, s in zip(*rated, strict=True)]
    mean = sum(s for _, _, s in ratings) / len(ratings)
    users, items = [0.0] * N_USERS, [0.0] * N_ITEMS
    for _ in range(sweeps):
        for item in range(N_ITEMS):
            left = [s - mean - users[u] for u, i, s in ratings if i == item]
            items[item] = sum(left) / (ITEM_SHRINKAGE + len(left))
        for user in range(N_USERS):
            left = [s - mean - items[i] for u, i, s in ratings if u == user]
            users[user] = sum(left) / (USER_SHRINKAGE + len(left))
    return mean, users, items


def test_biases_are_the_alternating_means_written_as_loops(rated: Rated) -> None:
    mean, users, items = fit_biases(*rated, N_USERS, N_ITEMS)
    slow_mean, slow_users, slow_items = slow_biases(rated, sweeps=10)
    assert mean == pytest.approx(slow_mean)
    # Stars less their mean are float32.
    assert users.tolist() == pytest.approx(slow_users, abs=1e-6)
    assert items.tolist() == pytest.approx(slow_items, abs=1e-6)


def test_enough_sweeps_give_the_ridge_regression(
    rated: Rated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "_SWEEPS", 500)
    mean, users, items = fit_biases(*rated, N_USERS, N_ITEMS)
    user_rows, item_rows, stars = rated
    design = np.zeros((len(stars), N_USERS + N_ITEMS))
    design[np.arange(len(stars)), user_rows] = 1
    design[np.arange(len(stars)), N_USERS + item_rows] = 1
    penalty = np.diag([USER_SHRINKAGE] * N_USERS + [ITEM_SHRINKAGE] * N_ITEMS)
    solved = np.linalg.solve(
        design.T @ design + penalty, design.T @ (stars.astype(np.float64) - mean)
    )
    np.testing.assert_allclose(np.concatenate((users, items)), solved, atol=1e-6)


def test_who_rated_nothing_and_what_nobody_rated_have_no_bias(rated: Rated) -> None:
    _, users, items = fit_biases(*rated, N_USERS, N_ITEMS)
    assert users[-1] == items[-1] == 0
    assert user_bias(np.zeros(1), np.zeros(1, dtype=np.int64)).tolist() == [0]


def test_a_newcomers_bias_is_the_one_training_gave_to_the_same_ratings(bundle: Bundle) -> None:
    ratings, biases = bundle.ratings_by_user, bundle.biases
    item_biases = biases.items.astype(np.float64)
    above = [
        np.sum(ratings.stars_of(row) - biases.mean.item() - item_biases[ratings.others_of(row)])
        for row in range(len(bundle.users))
    ]
    found = user_bias(np.array(above), np.diff(ratings.indptr))
    np.testing.assert_allclose(found, biases.users, atol=1e-6)


def test_the_bundles_mean_is_that_of_all_stars(bundle: Bundle) -> None:
    stars = bundle.ratings_by_user.stars
    assert bundle.biases.mean.item() == pytest.approx(sum(stars.tolist()) / len(stars))
