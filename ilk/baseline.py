"""Knows users' and items' biases: how far each is from the mean rating, shrunk where few rated.

It refuses to know likeness. The indexer computes biases with it, a newcomer's is computed with it.
"""

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Float64Array = npt.NDArray[np.float64]

# Ratings that pull a bias half-way to zero; Koren, "Factor in the Neighbors", TKDD 2010, section 2.2,
# has 25 and 10 for Netflix, Surprise 10 and 15; these are for alternating fits, as Surprise's.
ITEM_SHRINKAGE = 5.0
USER_SHRINKAGE = 3.0
_SWEEPS = 10


def fit_biases(
    user_rows: npt.NDArray[np.int32],
    item_rows: npt.NDArray[np.int32],
    stars: npt.NDArray[np.float32],
    n_users: int,
    n_items: int,
) -> tuple[float, Float64Array, Float64Array]:
    """Return the mean and the biases of users and items, by alternating least squares.

    Parameters
    ----------
    user_rows, item_rows, stars
        Shape ``(n_ratings,)``.

    Returns
    -------
    mean, user_biases, item_biases
        In stars; shapes ``()``, ``(n_users,)``, ``(n_items,)``.
    """
    mean = float(np.mean(stars, dtype=np.float64))
    users = np.zeros(n_users)
    n_of_user = np.bincount(user_rows, minlength=n_users)
    n_of_item = np.bincount(item_rows, minlength=n_items)
    # What is left to explain is a sum of known sums and of the other side's biases: a sparse product
    # for each sweep, where subtracting from every rating would take ten times as long.
    of_user = np.bincount(user_rows, stars, n_users) - mean * n_of_user
    of_item = np.bincount(item_rows, stars, n_items) - mean * n_of_item
    met = sp.coo_matrix((np.ones(len(stars)), (user_rows, item_rows)), (n_users, n_items)).tocsr()
    for _ in range(_SWEEPS):
        items = (of_item - met.T @ users) / (ITEM_SHRINKAGE + n_of_item)
        users = (of_user - met @ items) / (USER_SHRINKAGE + n_of_user)
    return mean, users, items


def user_bias(above: Float64Array, n_rated: npt.NDArray[np.int64]) -> Float64Array:
    """Return the bias of users who rated so many items, ``above`` stars more than those's biases say."""
    return above / (USER_SHRINKAGE + n_rated)
