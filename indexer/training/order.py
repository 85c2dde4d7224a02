"""Knows which users and items a bundle keeps, and in which order their rows and ratings stand.

It refuses to know vectors. Falling frequency puts the better known first among equal scores, and
makes the rows that training gives one λ a run. Ratings by user, then item, are compressed rows already,
whatever is made of them.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ilk.errors import DataError
from indexer.interactions import Interactions, Items


def kept(data: Interactions, *, min_user_ratings: int, min_item_ratings: int) -> Interactions:
    """Return the users and items with enough ratings, in the order in which they stood.

    Dropping items can leave a user with too few ratings and the other way round, so it is repeated
    until it settles. Users without any rating go if ``min_user_ratings`` is 1 or more, items if
    ``min_item_ratings`` is.

    Raises
    ------
    DataError
        If nothing is left.
    """
    stays = np.ones(len(data), dtype=np.bool_)
    user_rows, item_rows = data.user_rows, data.item_rows
    while True:
        by_user = np.bincount(user_rows, minlength=data.n_users)
        by_item = np.bincount(item_rows, minlength=data.n_items)
        still = (by_user >= min_user_ratings)[user_rows] & (by_item >= min_item_ratings)[item_rows]
        if still.all():
            break
        stays[stays] = still
        user_rows, item_rows = user_rows[still], item_rows[still]
    if not len(user_rows):
        raise DataError(
            data.source, "no rating is left; lower --min-user-ratings, --min-item-ratings or --core"
        )
    users = np.flatnonzero(by_user >= min_user_ratings)
    items = np.flatnonzero(by_item >= min_item_ratings)
    if len(user_rows) < len(data):
        data = data.only(stays)
    if (len(users), len(items)) == (data.n_users, data.n_items):
        return data
    return _in_order(data, users, items)


def k_core(data: Interactions, positive: npt.NDArray[np.bool_], k: int) -> Interactions:
    """Return the positives of the users and items that have ``k`` positives or more among themselves.

    Published splits are drawn from such cores: first what is no positive goes, then users and items
    with fewer than ``k``, until each that is left has ``k``. Seidman, "Network Structure and Minimum
    Degree", Social Networks 5(3), 1983. Errors are those of :func:`kept`.
    """
    return kept(data.only(positive), min_user_ratings=k, min_item_ratings=k)


def ordered(data: Interactions, liked: npt.NDArray[np.bool_]) -> Interactions:
    """Return the same users and items by falling positives, then ratings, then as they came.

    The ratings, of which each pair of user and item has one at most, come by user, then item.

    Parameters
    ----------
    liked
        Shape ``(len(data),)``: which ratings are positives.
    """
    users = _order(data.user_rows, liked, data.n_users)
    items = _order(data.item_rows, liked, data.n_items)
    data = _in_order(data, users, items)
    rows, shape = (data.user_rows, data.item_rows), (data.n_users, data.n_items)
    by_user = sp.coo_matrix((positions(len(data)), rows), shape).tocsr()
    order = by_user.data
    return replace(
        data,
        user_rows=np.repeat(positions(data.n_users), np.diff(by_user.indptr)),
        item_rows=by_user.indices,
        ratings=data.ratings[order],
        timestamps=None if data.timestamps is None else data.timestamps[order],
    )


def positions(n: int) -> npt.NDArray[np.signedinteger[Any]]:
    """Return 0, 1... to ``n - 1``: as a matrix's data they tell, transposed, what came from where."""
    return np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)


def _order(
    rows: npt.NDArray[np.int32], liked: npt.NDArray[np.bool_], n_rows: int
) -> npt.NDArray[np.int64]:
    n_ratings = np.bincount(rows, minlength=n_rows)
    n_liked = np.bincount(rows[liked], minlength=n_rows)
    return np.lexsort((np.arange(n_rows), -n_ratings, -n_liked))


def _in_order(
    data: Interactions, users: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
) -> Interactions:
    """Return these users and items, which have all the entries, numbered as they are listed."""
    return replace(
        data,
        user_ids=[data.user_ids[r] for r in users.tolist()],
        items=_items(data.items, items),
        user_rows=_renumber(data.user_rows, users, data.n_users),
        item_rows=_renumber(data.item_rows, items, data.n_items),
    )


def _renumber(
    rows: npt.NDArray[np.int32], order: npt.NDArray[np.int64], n_before: int
) -> npt.NDArray[np.int32]:
    new = np.full(n_before, -1, dtype=np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    return new[rows]


def _items(items: Items, order: npt.NDArray[np.int64]) -> Items:
    return Items(
        item_ids=[items.item_ids[r] for r in order],
        titles=[items.titles[r] for r in order],
        years=items.years[order],
        genres=[items.genres[r] for r in order],
        texts={name: [texts[r] for r in order] for name, texts in items.texts.items()},
        line_times={name: [times[r] for r in order] for name, times in items.line_times.items()},
    )
